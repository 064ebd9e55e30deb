import { it } from "vitest";
import { seededRng } from "../sim/virtual-clock.ts";

const LONG_SECONDS = 600;
const SECONDS = 60;
/** For all targets together. */
const isLong = process.env["AMQTDD_LONG"] === "1";
const budgetMs = 1000 * Number(process.env["AMQTDD_FUZZ_SECONDS"] ?? (isLong ? LONG_SECONDS : SECONDS));
/** The normal run goes over the same ground each time, so that what it says of a change is due to the change; the long one looks for new ground. */
const firstSeed = Number(process.env["AMQTDD_FUZZ_SEED"] ?? (isLong ? Date.now() % 1_000_000_000 : 1));
const maxRounds = Number(process.env["AMQTDD_FUZZ_ROUNDS"] ?? Infinity);

export type Rng = () => number;

/**
 * A test that runs rounds until its share of the time is over, at least one, each from a seed of its own. The seed of a round that fails is in
 * the error: AMQTDD_FUZZ_SEED=seed AMQTDD_FUZZ_ROUNDS=1 runs that round again.
 */
export function fuzz(name: string, share: number, round: (rng: Rng) => void | Promise<void>): void {
  it(name, async () => {
    const endMs = performance.now() + budgetMs * share;
    let rounds = 0;
    do {
      const seed = firstSeed + rounds;
      try {
        await round(seededRng(seed));
      } catch (error) {
        throw new Error(`AMQTDD_FUZZ_SEED=${seed} AMQTDD_FUZZ_ROUNDS=1: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
      rounds += 1;
    } while (rounds < maxRounds && performance.now() < endMs);
    console.log(`${name}: ${rounds} rounds from seed ${firstSeed}`);
  }, budgetMs * share + 60_000);
}

export const below = (rng: Rng, end: number): number => Math.floor(rng() * end);

export function pick<T>(rng: Rng, choices: readonly T[]): T {
  return choices[below(rng, choices.length)] as T; // the index is below the length
}
