import type { Clock } from "../clock/clock.ts";

/** A link that has had its share of a turn. */
export interface Resting {
  /** The next turn has begun. */
  goOn(): void;
}

/**
 * The system may hand over megabytes in one turn, a hundred thousand packets of a few links: the others are to have theirs before more of them are
 * taken. So when large reads have come, or such of many packets, and have had their share of the turn, each of their links rests until the next one, in which those that have
 * waited longest come first.
 */
export class Turn {
  /** Counts turns in which there were such reads. */
  number = 0;
  /** Of all links, taken from the system and waiting. */
  asideBytes = 0;
  /** When the first one came; 0: none has. */
  private begunMs = 0;
  private resting: Resting[] = [];

  /** Such a read has come, more may follow. Returns the turn's number. */
  begin(clock: Clock): number {
    if (this.begunMs === 0) {
      this.number += 1;
      this.begunMs = clock.exactMs();
      clock.endOfTurn(() => this.end(clock));
    }
    return this.number;
  }

  /** Whether they have taken more than that. */
  hasTaken(ms: number, clock: Clock): boolean {
    return this.begunMs > 0 && clock.exactMs() - this.begunMs > ms;
  }

  /** Whether more may be put aside. If not, reads are taken whole: each link rests behind its own, and has nothing more in memory. */
  get hasRoom(): boolean {
    return this.asideBytes < MAX_ASIDE_BYTES;
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
    let woken = 0;
    while (woken < resting.length && !this.hasTaken(WAKING_MS, clock)) resting[woken++]?.goOn();
    this.resting = [...resting.slice(woken), ...this.resting];
  }
}

/** A hundred links with a full read each. */
const MAX_ASIDE_BYTES = 8 * 1024 * 1024;
/** Afterwards those that still rest wait for another turn: no longer than what a link may have, or it would rest again behind the others. */
const WAKING_MS = 0.8;
