import { LANES } from "../session/packet-id.ts";

/** How long an answer may take before the remote is asked for a sign of life, and again from that sign on. */
const PATIENCE_MS = 15_000;
/** Each time that patience ends in vain there is twice as much of it, up to 16 minutes in all: a remote may be slow. */
const MAX_DOUBLINGS = 5;

interface Awaited {
  /** What the session says that it awaits in one lane. */
  mark: number;
  sinceMs: number;
  /** When the remote has shown that it has read the message; 0 before. */
  readMs: number;
}

/**
 * Finds an answer that will not come: a remote that has swallowed one acknowledgement would hold back the queue behind that message for ever.
 * PINGRESP to a PINGREQ that followed the message says that the remote has read it, however slow the link is.
 */
export class AnswerWatch {
  private readonly lanes: Awaited[] = Array.from({ length: LANES }, () => ({ mark: 0, sinceMs: 0, readMs: 0 }));
  private hasAsked = false;
  private doublings = 0;
  /** What was given up last, and in which lane. */
  private overdueLane = 0;
  private overdueMark = 0;

  constructor(
    private readonly awaited: (lane: number) => number,
    private readonly ping: () => void,
  ) {}

  /** A connection begins: everything is sent again. */
  begin(nowMs: number): void {
    this.hasAsked = false;
    for (const lane of this.lanes) {
      lane.sinceMs = nowMs;
      lane.readMs = 0;
    }
  }

  answeredPing(nowMs: number): void {
    if (!this.hasAsked) return;
    this.hasAsked = false;
    for (const lane of this.lanes) if (lane.readMs === 0 && this.isLate(lane, nowMs)) lane.readMs = nowMs;
  }

  /** To be called now and then. True if an answer is not worth waiting for any longer. */
  isOverdue(nowMs: number): boolean {
    for (const [number, lane] of this.lanes.entries()) {
      const mark = this.awaited(number);
      if (number === this.overdueLane && mark !== 0 && mark !== this.overdueMark) this.doublings = 0;
      if (mark !== lane.mark) {
        lane.mark = mark;
        lane.sinceMs = nowMs;
        lane.readMs = 0;
      }
      if (lane.readMs > 0 && nowMs - lane.readMs >= this.patienceMs) return this.giveUp(number, mark);
      if (lane.readMs === 0 && this.isLate(lane, nowMs) && !this.hasAsked) {
        this.hasAsked = true;
        this.ping();
      }
    }
    return false;
  }

  private giveUp(lane: number, mark: number): true {
    this.overdueLane = lane;
    this.overdueMark = mark;
    this.doublings = Math.min(this.doublings + 1, MAX_DOUBLINGS);
    return true;
  }

  private get patienceMs(): number {
    return PATIENCE_MS * 2 ** this.doublings;
  }

  private isLate({ mark, sinceMs }: Awaited, nowMs: number): boolean {
    return mark !== 0 && nowMs - sinceMs >= this.patienceMs;
  }
}
