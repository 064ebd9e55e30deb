/** Identity of a queued message. */
interface Queued {
  readonly lane: number;
  readonly seq: number;
}

/** So many connections have to end on the same message, each after a PINGREQ has been answered on it. */
const STRIKES = 3;

/**
 * Finds a message that the remote answers by ending the connection. A link that breaks ends connections too, and a remote in trouble ends them
 * on any message: so it is asked for an answer before the suspect is sent, alone; and only one message is found guilty before another one
 * has been taken. Nothing overtakes the suspect meanwhile.
 */
export class Suspicion {
  suspect: Queued | undefined;
  private strikes = 0;
  private isAlive = false;
  private hasTakenOne = true;

  /** A connection begins. True: ask for an answer first, then send one message at a time. */
  begin(): boolean {
    this.isAlive = false;
    return this.suspect !== undefined;
  }

  /** The remote has answered PINGREQ. */
  answeredPing(): void {
    this.isAlive = true;
  }

  /** The remote has taken a message. */
  taken(): void {
    this.hasTakenOne = true;
  }

  /** The suspect has been taken. */
  acquit(): void {
    this.suspect = undefined;
    this.strikes = 0;
  }

  /** The connection has ended; `unanswered` is the message that it was sent first and has not answered. True if that one is guilty. */
  ended(unanswered: Queued | undefined, byRemote: boolean): boolean {
    if (!unanswered || !byRemote) {
      this.acquit();
      return false;
    }
    if (unanswered.lane !== this.suspect?.lane || unanswered.seq !== this.suspect.seq) {
      this.suspect = unanswered;
      this.strikes = 0;
      return false;
    }
    if (this.isAlive) this.strikes += 1;
    if (this.strikes < STRIKES || !this.hasTakenOne) return false;
    this.hasTakenOne = false;
    this.acquit();
    return true;
  }
}
