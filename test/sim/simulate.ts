import { expect, it } from "vitest";
import { World } from "./world.ts";

const env = process.env;
const isLong = env["AMQTDD_LONG"] === "1";
const onlySeed = env["AMQTDD_SEED"] === undefined ? undefined : Number(env["AMQTDD_SEED"]);
const firstSeed = Number(env["AMQTDD_FIRST_SEED"] ?? 1);
const seeds = Number(env["AMQTDD_SEEDS"] ?? (isLong ? 100_000 : 2_000));

/** Runs the share of the seeds that falls to one test file: several files share the cores. */
export function simulate(share: number, shares: number): void {
  const mine: number[] = [];
  for (let seed = firstSeed + share; seed < firstSeed + seeds; seed += shares) mine.push(seed);
  const chosen = onlySeed === undefined ? mine : onlySeed % shares === share ? [onlySeed] : [];
  it.skipIf(chosen.length === 0)(`keeps its promises under ${chosen.length} seeds of faults (share ${share + 1} of ${shares})`, { timeout: isLong ? 14_400_000 : 900_000 }, async () => {
    const complaints: string[] = [];
    for (const seed of chosen) {
      const world = new World(seed);
      const thrown = await world.run().then(() => [], (error: unknown) => [`seed ${seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`]);
      complaints.push(...world.complaints, ...thrown);
      if (world.complaints.length + thrown.length > 0) console.log(`replay it with AMQTDD_SEED=${seed} scripts/test test/sim`);
    }
    expect(complaints).toEqual([]);
  });
}
