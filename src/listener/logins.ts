import type { Clock } from "../clock/clock.ts";

/** A user may mistype so often. */
const FREE_FAILURES = 3;
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 8_000;
/** An address without failures for so long begins anew. */
const FORGET_MS = 300_000;
const MAX_ADDRESSES = 10_000;
/** Slow checks under way for an address that has failed more often than it may: others' are not to wait behind them. */
const MAX_SUSPECT_CHECKS = 8;
/** CONNECT packets that wait for a slow check, of all connections together. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Bounds on logging in: how much waits for password checks, and how long the answer to a wrong password waits. */
export class Logins {
  /** By address, the one that failed longest ago first. */
  private readonly failures = new Map<string, { readonly count: number; readonly atMs: number }>();
  /** Slow checks under way, by address. */
  private readonly checks = new Map<string, number>();
  private waitingBytes = 0;

  constructor(private readonly clock: Clock) {}

  /** Whether a CONNECT of so many bytes may wait for a slow check. If so, `endCheck` has to follow. */
  beginCheck(address: string, bytes: number): boolean {
    const checks = this.checks.get(address) ?? 0;
    if (this.waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    if (checks >= MAX_SUSPECT_CHECKS && this.failuresOf(address) > FREE_FAILURES) return false;
    this.waitingBytes += bytes;
    this.checks.set(address, checks + 1);
    return true;
  }

  endCheck(address: string, bytes: number): void {
    this.waitingBytes -= bytes;
    const left = (this.checks.get(address) ?? 1) - 1;
    if (left > 0) this.checks.set(address, left);
    else this.checks.delete(address);
  }

  /**
   * A password from the address was wrong. Returns how long the answer waits: longer with each failure. A right one is never held up, so that who
   * shares an address with a guesser, or with a device that is set up wrongly, is served all the same.
   */
  failed(address: string): number {
    const count = this.failuresOf(address) + 1;
    this.failures.delete(address);
    this.failures.set(address, { count, atMs: this.clock.nowMs() });
    if (this.failures.size > MAX_ADDRESSES) this.forgetOldest();
    return count <= FREE_FAILURES ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (count - FREE_FAILURES - 1), MAX_DELAY_MS);
  }

  private failuresOf(address: string): number {
    const known = this.failures.get(address);
    return known && this.clock.nowMs() - known.atMs < FORGET_MS ? known.count : 0;
  }

  private forgetOldest(): void {
    const [oldest] = this.failures.keys();
    if (oldest !== undefined) this.failures.delete(oldest);
  }
}
