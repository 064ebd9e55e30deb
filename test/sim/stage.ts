import { Network } from "./network.ts";
import type { Place } from "./simulated-daemon.ts";
import { seededRng, VirtualClock } from "./virtual-clock.ts";

const CALM_MS = 900_000;
/** Looking whether all is done costs more than a turn. */
const TURNS_A_LOOK = 32;

/** Time, chance and network of one simulation, and what is found wrong in it. Everything that happens follows from the seed. */
export class Stage implements Place {
  readonly clock = new VirtualClock();
  readonly rng: () => number;
  readonly network: Network;
  maxWriteMs = 20;
  maxReadMs = 10;
  /** What does not hold, in words; empty when all is well. */
  readonly complaints: string[] = [];
  private readonly startedMs: number;

  constructor(readonly seed: number) {
    this.rng = seededRng(seed);
    this.network = new Network(this.clock, this.rng);
    this.startedMs = this.clock.nowMs();
  }

  get elapsedMs(): number {
    return this.clock.nowMs() - this.startedMs;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.rng() * choices.length)] as T; // the index is below the length
  }

  onViolation(text: string): void {
    this.complaints.push(`seed ${this.seed} at ${this.elapsedMs} ms: ${text.slice(0, 300)}`);
  }

  /** Called now and then while time goes on. */
  protected look(): void {
    // nothing to look at
  }

  /** Runs until `done`; what it waits for must come within the limit. Ends at once when something does not hold. */
  async until(done: () => boolean, what: string, limitMs = CALM_MS, turnsALook = TURNS_A_LOOK): Promise<void> {
    const { clock, complaints } = this;
    const endMs = this.elapsedMs + limitMs;
    for (let turn = 0; turn % turnsALook > 0 || !done(); turn++) {
      if (turn % turnsALook === 0) {
        await settle(); // what has ended without the store
        this.look();
        if (this.elapsedMs > endMs) return this.onViolation(`${what} did not come in ${limitMs / 1000} s`);
      }
      clock.step();
      if (clock.mustSettle) {
        clock.mustSettle = false;
        await settle();
      }
      if (complaints.length > 0) return;
    }
  }

  async runFor(ms: number): Promise<void> {
    let over = false;
    this.clock.after(ms, () => (over = true));
    await this.until(() => over, "the end of a pause");
  }
}

/** Lets promises that are settled be seen by who awaits them. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
