import type { Rng } from "../clock/clock.ts";

const MAX_DOUBLINGS = 2;

/** Waits between attempts: the interval, doubled with each failure up to four times (or up to the maximum), with jitter so that many daemons do not come at once. */
export class Backoff {
  private failures = 0;

  constructor(
    private readonly intervalMs: number,
    private readonly maxIntervalMs: number | undefined,
    private readonly rng: Rng,
  ) {}

  succeeded(): void {
    this.failures = 0;
  }

  /** Wait before the next attempt, in ms. */
  nextMs(): number {
    const doublings = this.maxIntervalMs === undefined ? Math.min(this.failures, MAX_DOUBLINGS) : this.failures;
    this.failures = Math.min(this.failures + 1, 30);
    const ceiling = this.maxIntervalMs ?? Infinity;
    const full = Math.min(this.intervalMs * 2 ** doublings, Math.max(ceiling, this.intervalMs));
    return Math.round(full * (0.75 + 0.25 * this.rng()));
  }
}
