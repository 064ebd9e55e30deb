import type { Dialect } from "./handshake.ts";

/** A remote that closes instead of answering CONNECT this often, one time after the other, is asked in a plainer way. */
const CLOSES_BEFORE_FALL_BACK = 2;

/**
 * How one remote wants its CONNECT spelt. Each connection begins with the fullest way. A plainer one that was reached because the remote
 * closed is believed only if the remote then closes on the fullest once more: one that is being restarted closes on anything.
 */
export class Spelling {
  private step = 0;
  private closes = 0;
  /** Whether a step was left because the remote had closed, which need not mean CONNECT. */
  private isGuess = false;
  /** The step that the remote has taken; 0 if it was the fullest, or none. */
  private taken = 0;
  private isProven = false;

  /** `ladder`: ways to spell CONNECT, from the one with most in it to the plainest. */
  constructor(private readonly ladder: readonly [Dialect, ...Dialect[]]) {}

  get dialect(): Dialect {
    return this.ladder[this.step] ?? this.ladder[0];
  }

  /** The next attempt is a new one: it begins with the fullest. */
  restart(): void {
    this.step = 0;
    this.isGuess = false;
    if (!this.isProven) this.taken = 0;
  }

  /** The remote refuses the protocol. True if there is a plainer way to try now. */
  refused(): boolean {
    this.closes = 0;
    return this.stepTo(this.step + 1);
  }

  /** The remote has closed without CONNACK: perhaps it does not take what CONNECT says. True if there is a plainer way to try now. */
  closed(): boolean {
    this.isGuess = true;
    if (this.taken > this.step) return this.stepTo(this.taken);
    this.closes += 1;
    if (this.closes < CLOSES_BEFORE_FALL_BACK) return false;
    if (this.stepTo(this.step + 1)) return true;
    this.closes = 0;
    return false;
  }

  private stepTo(step: number): boolean {
    if (step >= this.ladder.length) return false;
    this.step = step;
    return true;
  }

  /** CONNACK 0. False: this connection is to be left, and the fullest way tried once more. */
  accepted(): boolean {
    const { step, taken } = this;
    const isKnown = !this.isGuess || step === 0 || step === taken;
    this.closes = 0;
    this.taken = step;
    this.isProven = isKnown;
    if (isKnown) return true;
    this.step = 0;
    this.isGuess = false;
    return false;
  }
}
