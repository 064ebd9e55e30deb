import type { Clock } from "../clock/clock.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** When they have more than this in all, links wait for each other. */
const MAX_BYTES = 32 * MIB;
/** Where the others have more than this, without the largest, a link is closed: buffers double before their links wait, and each of thousands has begun a packet before it can. */
const MAX_BYTES_OF_OTHERS = 128 * MIB;
/** A packet of this size waits for nothing. */
const FREE_BYTES = 4 * KIB;
/** What a link that goes on takes at least; one that has more doubles that. */
const LEAST_STEP_BYTES = 64 * KIB;
/** Who goes on and sends nothing for so long has had its turn, who does send after ten times that. */
const TICK_MS = 50;
const TICKS_OF_A_TURN = 10;
/** While others wait for what it has, a link that has brought nothing for so long is closed. */
const MAX_SILENT_MS = 5_000;

/** A link that receives a large packet. */
export interface Receiver {
  /** It has waited long enough. */
  readOn(): void;
  /** How long nothing has come of it. */
  silentMs(nowMs: number): number;
  /** Others wait for the memory that it has. */
  giveUp(): void;
}

/**
 * Large packets that are not whole yet, of all links that are logged in. Beyond what they may have together one link goes on, so that its packet becomes whole, and the others
 * wait: what their peers send stays with the system. All wait while too much is not on disk yet: a thousand links would have a packet each there.
 */
export class UnfinishedPackets {
  bytes = 0;
  /** The one that goes on whatever there is. */
  private ahead: Receiver | undefined;
  private aheadTicks = 0;
  /** What each of those has that are not small. */
  private readonly large = new Map<Receiver, number>();
  /** In the order in which they came. */
  private readonly waiting = new Set<Receiver>();
  private areTakingTurns = false;
  private isReleasing = false;

  /** `isFull`: too much waits for the disk; `release` follows when that has changed. */
  constructor(private readonly isFull: () => boolean) {}

  /** What `link` has of a packet, 0 if it is whole, has grown by `grown`, or shrunk, to `bytes`. Returns what it has to do; `wait`: until `readOn`. */
  note(link: Receiver, grown: number, bytes: number, clock: Clock): "read" | "wait" | "close" {
    this.bytes += grown;
    if (bytes > FREE_BYTES) this.large.set(link, bytes);
    else this.large.delete(link);
    if (grown < 0) {
      if (this.ahead === link) this.ahead = undefined;
      this.waiting.delete(link);
      this.releaseSoon(clock);
    }
    if (bytes <= FREE_BYTES) return "read";
    if (this.bytes - bytes > MAX_BYTES_OF_OTHERS && this.bytes - bytes - this.largestBut(link) > MAX_BYTES_OF_OTHERS) return "close";
    const isFull = this.isFull();
    if (this.bytes <= MAX_BYTES && !isFull) return "read";
    if (this.waiting.size === 0 && !isFull && this.ahead === undefined) this.goAhead(link);
    if (this.ahead === link) return "read";
    this.waiting.add(link);
    this.takeTurns(clock);
    return "wait";
  }

  private largestBut(link: Receiver): number {
    let largest = 0;
    for (const [other, bytes] of this.large) if (other !== link && bytes > largest) largest = bytes;
    return largest;
  }

  private goAhead(link: Receiver): void {
    this.ahead = link;
    this.aheadTicks = 0;
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
    for (const link of this.waiting) {
      if (room <= 0 && this.ahead !== undefined) return;
      if (room <= 0) this.goAhead(link);
      room -= Math.max(this.large.get(link) ?? 0, LEAST_STEP_BYTES);
      this.waiting.delete(link);
      link.readOn();
    }
  }

  private takeTurns(clock: Clock): void {
    if (this.areTakingTurns) return;
    this.areTakingTurns = true;
    clock.after(TICK_MS, () => {
      this.areTakingTurns = false;
      if (this.waiting.size === 0) return;
      const nowMs = clock.nowMs();
      this.endSilent(nowMs);
      this.aheadTicks += 1;
      const isFull = this.isFull();
      const isOver = this.aheadTicks >= TICKS_OF_A_TURN;
      if (isOver || (!isFull && (this.ahead?.silentMs(nowMs) ?? 0) >= TICK_MS)) this.ahead = undefined;
      if (isOver || !isFull) this.letOn(isFull ? 0 : MAX_BYTES - this.bytes);
      this.takeTurns(clock);
    });
  }

  private endSilent(nowMs: number): void {
    for (const link of this.large.keys()) {
      if (this.bytes <= MAX_BYTES) return;
      if (!this.waiting.has(link) && link.silentMs(nowMs) >= MAX_SILENT_MS) link.giveUp();
    }
  }
}
