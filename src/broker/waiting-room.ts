import type { Clock, Timer } from "../clock/clock.ts";
import type { Publisher } from "./admission.ts";

/** What may wait of one publisher: versions before 5 don't say how much they would send. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** What one message takes beside its own bytes. */
const ENTRY_BYTES = 512;
const CHECK_MS = 1_000;

/** A message that waits, or an acknowledgement that is due behind one. Its bytes are its own. */
export interface WaitingPublish {
  readonly bytes: number;
  /** Whether some queue that it goes to has no room for it. */
  isBlocked(): boolean;
  take(): void;
  /** It has waited too long. False if its publisher can't be told so. */
  refuse(): boolean;
}

interface Waiting extends WaitingPublish {
  readonly sinceMs: number;
}

interface Line {
  readonly waiting: Waiting[];
  bytes: number;
  /** Since when none was taken. */
  sinceMs: number;
  isStopped: boolean;
  /** It has waited too long: it is read on until the next check, and nothing taken. */
  isOver: boolean;
}

/**
 * Publishers whose messages go to queues that are full and drop nothing (`queue_full block`). The message waits, unacknowledged, and all later
 * ones of its connection behind it; beyond some amount nothing is read from there. What has waited too long is refused; a publisher that can't be
 * told so is disconnected: it will send again, and brokers that wait for each other come apart.
 *
 * What a publisher has sent behind its messages may be the acknowledgements that make room, as where it gets what it publishes itself, or two wait for each other.
 * So much is read, and even where that was not enough the rest is before the publisher is disconnected: otherwise it would all be the same again when it comes back.
 */
export class WaitingRoom {
  /** What the hot path asks. */
  isEmpty = true;
  private readonly lines = new Map<Publisher, Line>();
  private bytes = 0;
  private timer: Timer | undefined;
  private isRetrying = false;
  private isScheduled = false;

  constructor(
    private readonly clock: Clock,
    private readonly timeoutMs: () => number,
    /** More than this in all: nothing further is read from publishers that wait. */
    private readonly maxBytes: number,
    private readonly onTimeout: (publisher: Publisher) => void,
  ) {}

  /** Whether what the publisher sends has to wait behind other messages of it. */
  holds(publisher: Publisher): boolean {
    return this.lines.has(publisher);
  }

  add(publisher: Publisher, waiting: WaitingPublish): void {
    let line = this.lines.get(publisher);
    if (!line) {
      line = { waiting: [], bytes: 0, sinceMs: this.clock.nowMs(), isStopped: false, isOver: false };
      this.lines.set(publisher, line);
      this.isEmpty = false;
    }
    if (line.isOver) return;
    const bytes = waiting.bytes + ENTRY_BYTES;
    line.waiting.push({ ...waiting, bytes, sinceMs: this.clock.nowMs() });
    line.bytes += bytes;
    this.bytes += bytes;
    if (line.bytes >= MAX_WAITING_BYTES || this.bytes > this.maxBytes) {
      line.isStopped = true;
      publisher.stopReading();
    }
    this.timer ??= this.clock.after(CHECK_MS, () => this.check());
  }

  /** Some queue has room again. */
  onRoom(): void {
    if (this.isEmpty || this.isScheduled) return;
    this.isScheduled = true;
    this.clock.endOfTurn(() => {
      this.isScheduled = false;
      this.retry();
    });
  }

  private check(): void {
    this.timer = undefined;
    this.retry();
    const limitMs = this.clock.nowMs() - this.timeoutMs();
    for (const [publisher, line] of [...this.lines]) {
      if (!line.isOver && (line.sinceMs > limitMs || this.refuseUntil(publisher, line, limitMs) || this.readsOn(publisher, line))) continue;
      this.leave(publisher);
      this.onTimeout(publisher);
    }
    if (!this.isEmpty) this.timer ??= this.clock.after(CHECK_MS, () => this.check());
  }

  /** Who has waited longest for a message to be taken is first; each has one taken at a time, so that none takes all the room. */
  private retry(): void {
    if (this.isRetrying) return;
    this.isRetrying = true;
    for (let going = [...this.lines]; going.length > 0; ) going = going.filter(([publisher, line]) => this.takeNext(publisher, line));
    this.isRetrying = false;
  }

  /** Takes the first message of the line; false if it has to wait, or nothing is left. */
  private takeNext(publisher: Publisher, line: Line): boolean {
    const [first] = line.waiting;
    if (publisher.isClosed || (!first && !line.isOver)) {
      this.leave(publisher);
      return false;
    }
    if (!first || first.isBlocked()) return false;
    line.sinceMs = this.clock.nowMs();
    this.shift(line, first);
    first.take();
    return this.goesOn(publisher, line);
  }

  private shift(line: Line, first: WaitingPublish): void {
    line.waiting.shift();
    line.bytes -= first.bytes;
    this.bytes -= first.bytes;
  }

  /** Whether there is more in the line; else its publisher is free again. */
  private goesOn(publisher: Publisher, line: Line): boolean {
    if (line.waiting.length > 0) {
      this.lines.delete(publisher);
      this.lines.set(publisher, line); // it is the last one now
      return true;
    }
    this.leave(publisher);
    if (line.isStopped) publisher.resumeReading();
    return false;
  }

  /** Refuses what has waited since `limitMs` or longer; false if the publisher can't be told. */
  private refuseUntil(publisher: Publisher, line: Line, limitMs: number): boolean {
    for (let [first] = line.waiting; first && first.sinceMs <= limitMs; [first] = line.waiting) {
      if (!first.refuse()) return false;
      this.shift(line, first);
    }
    this.goesOn(publisher, line);
    return true;
  }

  /** Reads, until the next check, what a publisher has sent from which nothing more was read. Returns whether there may be such. */
  private readsOn(publisher: Publisher, line: Line): boolean {
    if (!line.isStopped) return false;
    line.isOver = true;
    line.waiting.length = 0;
    this.bytes -= line.bytes;
    line.bytes = 0;
    publisher.resumeReading();
    return true;
  }

  private leave(publisher: Publisher): void {
    this.bytes -= this.lines.get(publisher)?.bytes ?? 0;
    this.lines.delete(publisher);
    this.isEmpty = this.lines.size === 0;
  }
}
