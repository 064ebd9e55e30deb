import type { QueuedMessage } from "../session/lanes.ts";

/** So many connections have to end on the same message, one after the other. After each verdict twice as many, until the remote has taken something. */
const STRIKES = 3;
/** Before that so many may: most suspects go through when they are sent once more. */
const FREE_ENDS = 3;
/** So long each of them has to stand before that: the first, then twice and four times as long. */
const STAND_MS = 1_000;
const MAX_DOUBLINGS = 2;
/** And so many times as long as it then takes to end. */
const TIMES_AS_LONG = 30;
/** What takes longer to end one than this allows is not held back, nor found guilty. */
const MAX_STAND_MS = 60_000;

/**
 * Finds a message that the remote answers by ending the connection, be it PUBLISH or PUBREL of it that it can't stand. A network that cuts ends connections too, and a remote in trouble ends them
 * on any message. So the suspect is held back until the connection has stood for a while, the remote is asked for an answer, and the suspect
 * is sent right after that, alone: only connections that stand without it and end soon with it count, several in a row. A connection that ends while the
 * suspect is held back, or on something else, clears it. Nothing overtakes the suspect meanwhile.
 */
export class Suspicion {
  /** The first is sent alone, then the next: the answer to a message of another lane may have been lost with the connection. */
  private suspects: readonly QueuedMessage[] = [];
  /** Connections that have ended on the suspect, and those of them that count. */
  private ends = 0;
  private strikes = 0;
  /** How long the last one lasted with it. */
  private lastedMs = 0;
  /** Verdicts since the remote has last taken something. */
  private verdicts = 0;
  private beganMs = 0;
  private sentMs = 0;

  get suspect(): QueuedMessage | undefined {
    return this.suspects[0];
  }

  /** A connection begins. True: the suspect is held back until `isDue` and the remote has answered PINGREQ. */
  begin(nowMs: number): boolean {
    this.beganMs = this.sentMs = nowMs;
    return this.suspect !== undefined;
  }

  isDue(nowMs: number): boolean {
    return nowMs - this.beganMs >= this.standMs;
  }

  /** How long the connection has to stand before the suspect is sent. */
  private get standMs(): number {
    const neededMs = TIMES_AS_LONG * this.lastedMs;
    return this.ends < FREE_ENDS || neededMs > MAX_STAND_MS ? 0 : Math.max(neededMs, STAND_MS * 2 ** Math.min(this.strikes, MAX_DOUBLINGS));
  }

  /** The suspect is sent now. */
  sent(nowMs: number): void {
    this.sentMs = nowMs;
  }

  /** The remote has taken a message. */
  taken(): void {
    this.verdicts = 0;
  }

  /** The suspect has been taken; the next one is the suspect now, if there is another. */
  acquit(): void {
    this.suspectOnly(this.suspects.slice(1));
  }

  private suspectOnly(suspects: readonly QueuedMessage[]): void {
    this.suspects = suspects;
    this.ends = this.strikes = 0;
  }

  /** The connection has ended; `unanswered` is what it left so, the first of each lane. True if the first of them is guilty. */
  ended(unanswered: readonly QueuedMessage[], byRemote: boolean, nowMs: number): boolean {
    const [first] = unanswered;
    if (!first || !byRemote) {
      this.suspectOnly([]);
      return false;
    }
    if (!isSame(first, this.suspect)) this.suspectOnly(unanswered);
    const wasHeld = this.standMs > 0;
    this.ends += 1;
    this.lastedMs = nowMs - this.sentMs;
    if (wasHeld && this.sentMs - this.beganMs >= TIMES_AS_LONG * this.lastedMs) this.strikes += 1;
    if (this.strikes < STRIKES * 2 ** this.verdicts) return false;
    this.verdicts += 1;
    this.suspectOnly([]);
    return true;
  }
}

const isSame = (one: QueuedMessage, other?: QueuedMessage): boolean => one.lane === other?.lane && one.seq === other.seq && one.isNoted === other.isNoted;
