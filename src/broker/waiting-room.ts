import type { Clock, Timer } from "../clock/clock.ts";
import type { Publisher } from "./admission.ts";

/** What a publisher may have sent and not got acknowledged while its messages wait; versions before 5 don't say how much they would send. */
const MAX_WAITING_MESSAGES = 20;
const MAX_WAITING_BYTES = 1024 * 1024;
const CHECK_MS = 1_000;

/** A message that waits, or an acknowledgement that is due behind one. Its bytes are its own. */
export interface WaitingPublish {
  readonly bytes: number;
  /** Whether some queue that it goes to has no room for it. */
  isBlocked(): boolean;
  take(): void;
  /** Tells the publisher that it is not taken; undefined if the publisher can't be told. */
  readonly refuse: (() => void) | undefined;
}

interface Line {
  readonly waiting: WaitingPublish[];
  bytes: number;
  /** Since when the first one waits. */
  sinceMs: number;
  isStopped: boolean;
}

/**
 * Publishers whose messages go to queues that are full and drop nothing (`queue_full block`). The message waits, unacknowledged, and all later
 * ones of its connection behind it; from some number on nothing is read from there. Who has waited too long is told that they are not taken, or
 * disconnected where that can't be told: it will send again, and brokers that wait for each other come apart.
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
      line = { waiting: [], bytes: 0, sinceMs: this.clock.nowMs(), isStopped: false };
      this.lines.set(publisher, line);
      this.isEmpty = false;
    }
    line.waiting.push(waiting);
    line.bytes += waiting.bytes;
    this.bytes += waiting.bytes;
    if (line.waiting.length >= MAX_WAITING_MESSAGES || line.bytes >= MAX_WAITING_BYTES || this.bytes > this.maxBytes) {
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
    for (const [publisher, line] of [...this.lines]) if (line.sinceMs <= limitMs) this.timeOut(publisher, line);
    if (!this.isEmpty) this.timer ??= this.clock.after(CHECK_MS, () => this.check());
  }

  private timeOut(publisher: Publisher, { waiting, isStopped }: Line): void {
    this.leave(publisher);
    if (waiting.some(({ refuse }) => refuse === undefined)) return this.onTimeout(publisher);
    for (const { refuse } of waiting) refuse?.();
    if (isStopped) publisher.resumeReading();
  }

  /** Who came first is first; each has one message taken at a time, so that none takes all the room. */
  private retry(): void {
    if (this.isRetrying) return;
    this.isRetrying = true;
    for (let going = [...this.lines]; going.length > 0; ) going = going.filter(([publisher, line]) => this.takeNext(publisher, line));
    this.isRetrying = false;
  }

  /** Takes the first message of the line; false if it has to wait, or nothing is left. */
  private takeNext(publisher: Publisher, line: Line): boolean {
    const [first] = line.waiting;
    if (publisher.isClosed || !first) {
      this.leave(publisher);
      return false;
    }
    if (first.isBlocked()) return false;
    line.waiting.shift();
    line.bytes -= first.bytes;
    this.bytes -= first.bytes;
    line.sinceMs = this.clock.nowMs();
    first.take();
    if (line.waiting.length > 0) return true;
    this.leave(publisher);
    if (line.isStopped) publisher.resumeReading();
    return false;
  }

  private leave(publisher: Publisher): void {
    this.bytes -= this.lines.get(publisher)?.bytes ?? 0;
    this.lines.delete(publisher);
    this.isEmpty = this.lines.size === 0;
  }
}
