import type { Clock } from "../clock/clock.ts";

/** A user may mistype so often. */
const FREE_FAILURES = 3;
const FIRST_DELAY_MS = 250;
const MAX_DELAY_MS = 8_000;
/** An address without failures for so long begins anew. */
const FORGET_MS = 300_000;
const MAX_ADDRESSES = 10_000;
/** Of an address that has failed more often than it may a password is looked at so much later, and so many wait for that at a time. */
const HOLD_MS = 1_000;
const MAX_HELD = 8;
/** Slow checks under way for such an address: others' are not to wait behind them. */
const MAX_SUSPECT_CHECKS = 8;
/** A user who has logged in from an address is not held up by what others do there, until so many passwords for that name were wrong. */
const MAX_RESIDENT_FAILURES = 16;
/** CONNECT packets that wait, of all connections together. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Bounds on logging in: how much waits for password checks, and how long the answer to a wrong password waits. */
export class Logins {
  /** By address, the one that failed longest ago first. */
  private readonly failures = new Map<string, { readonly count: number; readonly atMs: number }>();
  /** Users who have logged in, by address and name, with the wrong passwords since; the one that logged in longest ago first. */
  private readonly residents = new Map<string, number>();
  /** What refuses those whose password is still to be looked at, with the size of their CONNECT: by address, the oldest first. */
  private readonly held = new Map<string, Map<() => void, number>>();
  /** Slow checks under way, by address. */
  private readonly checks = new Map<string, number>();
  private waitingBytes = 0;

  constructor(private readonly clock: Clock) {}

  /**
   * How long a user's CONNECT waits before its password is looked at. Right or wrong: who would guess can't do without the answer, not by going away
   * before it comes either, as a right one comes at once.
   */
  holdMs(address: string, user: string): number {
    return this.isSuspect(address) && !this.residents.has(residentOf(address, user)) ? HOLD_MS : 0;
  }

  /**
   * Whether a CONNECT of so many bytes may wait for its time. If so, `release` has to follow; `refuse` is called if it has to give way to a later one, so
   * that those who go away without a word keep nobody out.
   */
  hold(address: string, bytes: number, refuse: () => void): boolean {
    if (this.waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    this.waitingBytes += bytes;
    const held = this.held.get(address) ?? new Map<() => void, number>();
    this.held.set(address, held.set(refuse, bytes));
    const [oldest] = held.keys();
    if (held.size > MAX_HELD && oldest) {
      this.release(address, oldest);
      oldest();
    }
    return true;
  }

  release(address: string, refuse: () => void): void {
    const held = this.held.get(address);
    this.waitingBytes -= held?.get(refuse) ?? 0;
    held?.delete(refuse);
    if (held?.size === 0) this.held.delete(address);
  }

  /** Whether a CONNECT of so many bytes may wait for a slow check. If so, `endCheck` has to follow. */
  beginCheck(address: string, bytes: number): boolean {
    const checks = this.checks.get(address) ?? 0;
    if (this.waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    if (checks >= MAX_SUSPECT_CHECKS && this.isSuspect(address)) return false;
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

  /** What has begun before it was seen how many there are: the address is suspect, and others wait behind it. */
  isCrowding(address: string): boolean {
    return (this.checks.get(address) ?? 0) > MAX_SUSPECT_CHECKS && this.isSuspect(address);
  }

  succeeded(address: string, user: string): void {
    const resident = residentOf(address, user);
    this.residents.delete(resident);
    this.residents.set(resident, 0);
    if (this.residents.size > MAX_ADDRESSES) forgetOldest(this.residents);
  }

  /**
   * A password from the address was wrong. Returns how long the answer waits: longer with each failure. Who logs in as before is not held up, so that
   * who shares an address with a guesser, or with a device that is set up wrongly, is served all the same.
   */
  failed(address: string, user: string): number {
    const resident = residentOf(address, user);
    const wrong = this.residents.get(resident);
    if (wrong !== undefined && wrong < MAX_RESIDENT_FAILURES) this.residents.set(resident, wrong + 1);
    else this.residents.delete(resident);
    const count = this.failuresOf(address) + 1;
    this.failures.delete(address);
    this.failures.set(address, { count, atMs: this.clock.nowMs() });
    if (this.failures.size > MAX_ADDRESSES) forgetOldest(this.failures);
    return count <= FREE_FAILURES ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (count - FREE_FAILURES - 1), MAX_DELAY_MS);
  }

  private isSuspect(address: string): boolean {
    return this.failuresOf(address) > FREE_FAILURES;
  }

  private failuresOf(address: string): number {
    const known = this.failures.get(address);
    return known && this.clock.nowMs() - known.atMs < FORGET_MS ? known.count : 0;
  }
}

const residentOf = (address: string, user: string): string => `${address} ${user}`;

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
