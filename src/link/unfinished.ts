import type { Clock } from "../clock/clock.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** When they have more than this in all, links wait for each other. */
const MAX_BYTES = 32 * MIB;
/** Where the others have more than this, a link is closed: buffers double before their links wait, and each of thousands has begun a packet before it can. */
const MAX_BYTES_OF_OTHERS = 128 * MIB;
/** A packet of this size waits for nothing. */
const FREE_BYTES = 4 * KIB;
/** What a link that goes on takes at least; one that has more doubles that. */
const LEAST_STEP_BYTES = 64 * KIB;
/** Then another one has its turn: a peer may send slowly, or nothing. */
const TURN_MS = 500;

/** A link that receives a large packet. */
export interface Receiver {
  /** It has waited long enough. */
  readOn(): void;
}

/**
 * Large packets that are not whole yet, of all links that are logged in. Beyond what they may have together one link goes on, so that its packet becomes whole, and the others
 * wait: what their peers send stays with the system. All wait while too much is not on disk yet: a thousand links would have a packet each there.
 */
export class UnfinishedPackets {
  bytes = 0;
  /** The one that goes on whatever there is. */
  private ahead: Receiver | undefined;
  /** In the order in which they came, and what each has. */
  private readonly waiting = new Map<Receiver, number>();
  private areTakingTurns = false;
  private isReleasing = false;

  /** `isFull`: too much waits for the disk; `release` follows when that has changed. */
  constructor(private readonly isFull: () => boolean) {}

  /** What `link` has of a packet, 0 if it is whole, has grown by `grown`, or shrunk, to `bytes`. Returns what it has to do; `wait`: until `readOn`. */
  note(link: Receiver, grown: number, bytes: number, clock: Clock): "read" | "wait" | "close" {
    this.bytes += grown;
    if (grown < 0) {
      if (this.ahead === link) this.ahead = undefined;
      this.waiting.delete(link);
      this.releaseSoon(clock);
    }
    if (bytes <= FREE_BYTES) return "read";
    if (this.bytes - bytes > MAX_BYTES_OF_OTHERS) return "close";
    const isFull = this.isFull();
    if (this.bytes <= MAX_BYTES && !isFull) return "read";
    if (this.waiting.size === 0 && !isFull) this.ahead ??= link;
    if (this.ahead === link) return "read";
    this.waiting.set(link, bytes);
    this.takeTurns(clock);
    return "wait";
  }

  /** Not at once: it may be in the midst of another link's packets. */
  private releaseSoon(clock: Clock): void {
    if (this.isReleasing || this.waiting.size === 0) return;
    this.isReleasing = true;
    clock.endOfTurn(() => {
      this.isReleasing = false;
      this.release();
    });
  }

  /** Not to be called in the midst of a link's packets. */
  release(): void {
    if (!this.isFull()) this.letOn(MAX_BYTES - this.bytes);
  }

  /** As many as there is room for, and one whatever there is, if none is. */
  private letOn(bytesFree: number): void {
    let room = bytesFree;
    for (const [link, bytes] of this.waiting) {
      if (room <= 0 && this.ahead !== undefined) return;
      if (room <= 0) this.ahead = link;
      room -= Math.max(bytes, LEAST_STEP_BYTES);
      this.waiting.delete(link);
      link.readOn();
    }
  }

  private takeTurns(clock: Clock): void {
    if (this.areTakingTurns) return;
    this.areTakingTurns = true;
    clock.after(TURN_MS, () => {
      this.areTakingTurns = false;
      if (this.waiting.size === 0) return;
      this.ahead = undefined;
      this.letOn(this.isFull() ? 0 : MAX_BYTES - this.bytes);
      this.takeTurns(clock);
    });
  }
}
