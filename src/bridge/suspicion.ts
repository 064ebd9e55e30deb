/** Identity of a queued message. */
interface Queued {
  readonly lane: number;
  readonly seq: number;
}

/** After so many connections that ended on the same message it is held back, to see whether others get through. */
const STRIKES = 3;

/**
 * How much is sent on a connection. `all`: the window. `narrow`: one message at a time, so that it is known which one a connection ends on.
 * `others`: all but the suspect, one at a time. `suspect`: another one has got through on this very connection, now it is the suspect's turn.
 */
export type Care = "all" | "narrow" | "others" | "suspect";

/**
 * Finds a message that the remote answers by ending the connection. A link that breaks ends connections too: a message is guilty only if the
 * remote has just taken another one on the same connection.
 */
export class Suspicion {
  private strikes = 0;
  suspect: Queued | undefined;
  care: Care = "all";

  /** A connection begins. */
  begin(hasOthers: boolean): Care {
    if (this.strikes === 0) this.care = "all";
    else this.care = this.strikes >= STRIKES && hasOthers ? "others" : "narrow";
    return this.care;
  }

  /** Another message than the suspect has been answered for good: now it is the suspect's turn. */
  othersGetThrough(): void {
    this.care = "suspect";
  }

  /** The suspect has been answered for good. */
  acquit(): void {
    this.clear();
    this.care = "all";
  }

  /** The connection has ended; `unanswered` is the message that it was sent first and has not answered. True if that one is guilty. */
  ended(unanswered: Queued | undefined, byRemote: boolean): boolean {
    const { care } = this;
    if (!unanswered || !byRemote || care === "others") {
      this.clear(); // nothing gets through: it is not the message
      return false;
    }
    const isSame = unanswered.lane === this.suspect?.lane && unanswered.seq === this.suspect.seq;
    if (care === "suspect" && isSame) {
      this.clear();
      return true;
    }
    this.strikes = isSame ? this.strikes + 1 : 1;
    this.suspect = unanswered;
    return false;
  }

  private clear(): void {
    this.strikes = 0;
    this.suspect = undefined;
  }
}
