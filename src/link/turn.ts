import type { Clock } from "../clock/clock.ts";

/** A link that has had its share of a turn. */
export interface Resting {
  /** The next turn has begun. */
  goOn(): void;
}

/**
 * The system may hand over megabytes in one turn, a hundred thousand packets of a few links: the others are to have theirs before more of them are
 * taken. So when large reads have come, and the turn has taken some milliseconds, each of their links rests until the next one.
 */
export class Turn {
  /** Counts turns in which there were large reads. */
  number = 0;
  /** When the first one came; 0: none has. */
  private begunMs = 0;
  private resting: Resting[] = [];

  /** A large read has come, more may follow. Returns the turn's number. */
  begin(clock: Clock): number {
    if (this.begunMs === 0) {
      this.number += 1;
      this.begunMs = clock.nowMs();
      clock.endOfTurn(() => this.end(clock));
    }
    return this.number;
  }

  isLong(clock: Clock): boolean {
    return this.begunMs > 0 && clock.nowMs() - this.begunMs > MAX_TURN_MS;
  }

  rest(link: Resting): void {
    this.resting.push(link);
  }

  private end(clock: Clock): void {
    this.begunMs = 0;
    const { resting } = this;
    if (resting.length === 0) return;
    this.resting = [];
    this.begin(clock);
    for (const link of resting) link.goOn();
  }
}

const MAX_TURN_MS = 3;
