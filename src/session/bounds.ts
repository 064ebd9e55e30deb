import type { Clock } from "../clock/clock.ts";
import type { Queue } from "../queue/queue.ts";
import type { QueueContext } from "../queue/queue-contents.ts";
import { recordExpiresAtMs, recordReceivedMs } from "../queue/record.ts";
import type { Lanes } from "./lanes.ts";
import { Replayed } from "./replayed.ts";

/** What happens to a message for a queue that has reached a limit; `block`: its publisher waits. */
export type QueueFull = "drop_oldest" | "drop_newest" | "block";

/** What the queues of one receiver may hold beyond its in-flight window. Unlimited is `Infinity`. May change while the daemon runs. */
export interface QueueLimits {
  readonly maxQueuedMessages: number;
  readonly maxQueuedBytes: number;
  readonly maxQueuedAgeMs: number;
  readonly queueFull: QueueFull;
  /** Whether messages of QoS 0 wait for a peer that is away or does not keep up. */
  readonly queueQoS0: boolean;
  /** What all receivers of this kind may hold together. */
  readonly maxTotalQueuedMessages: number;
  readonly maxTotalQueuedBytes: number;
}

/** Of what sessions share. */
export interface BoundsContext extends QueueContext {
  readonly clock: Clock;
  /** There may be room for messages that wait with their publishers. */
  readonly onRoom: () => void;
}

/** Whose queues are kept within limits. */
export interface BoundsOwner {
  /** A message was dropped; `dropped` counts it. */
  onDropped(): void;
  /** The queues have come near their limit of messages, or are not near it any more. */
  onLevel(isNearlyFull: boolean): void;
}

/** The share of a limit at which it is told that it is near. */
const NEAR = 0.8;
/** What may come beyond a limit while the oldest message, which is to go, is being read from the disk. */
const SLACK_MESSAGES = 1_000;
const SLACK_BYTES = 1024 * 1024;
/** The share of `max_queue_memory` that queues which have no disk may hold each when it is used up. */
const SHARE_OF_MEMORY = 1 / 16;

/** Keeps one session's queues within their limits. All of them touch only what was never sent. */
export class Bounds {
  /** Messages that a limit has cost, since the start. */
  dropped = 0;
  /** Messages whose own time was over. */
  expired = 0;
  /** Messages that were larger than the peer takes. */
  oversized = 0;
  /** Messages that the peer has answered with a reason code of an error. */
  refused = 0;
  /** Retained messages, which do not count. */
  readonly replayed = new Replayed();
  private isNearlyFull = false;
  /** Publishers wait for room. */
  private isAwaited = false;
  /** Nothing that may be dropped is too old before then, by the age that it was worked out with. */
  private nextAgeCheckMs = 0;
  private checkedAgeMs = Infinity;
  /** What was taken although the limits left no room, because the oldest messages had to be read first. */
  private owedMessages = 0;
  private owedBytes = 0;

  constructor(
    /** Those of all sessions of its kind, unless it has its own. */
    public limits: QueueLimits,
    private readonly lanes: Lanes,
    private readonly owner: BoundsOwner,
    private readonly context: BoundsContext,
  ) {}

  /** Messages that wait and count: retained ones for new subscriptions do not. */
  private get waiting(): number {
    const { waiting } = this.lanes;
    return waiting <= this.limits.maxQueuedMessages * NEAR ? waiting : waiting - this.replayed.waitingIn(this.lanes.get(0));
  }

  /** Whether a limit is one of bytes: else nobody need work them out. */
  get countsBytes(): boolean {
    return this.limits.maxQueuedBytes !== Infinity || this.limits.maxTotalQueuedBytes !== Infinity;
  }

  /** Whether there is room for so much more, here and, `copies` times, in all. */
  fits(messages: number, bytes: number, copies = 1): boolean {
    const { limits } = this;
    const { totals } = this.context;
    return (
      this.waiting + messages <= limits.maxQueuedMessages &&
      (limits.maxQueuedBytes === Infinity || this.lanes.waitingBytes + bytes <= limits.maxQueuedBytes) &&
      totals.messages + messages * copies <= limits.maxTotalQueuedMessages &&
      totals.bytes + bytes * copies <= limits.maxTotalQueuedBytes &&
      !this.crowdsMemory
    );
  }

  /** RAM is used up, and much of it by these queues, which nothing but RAM holds. Who sets no limit of messages wants all of it. */
  private get crowdsMemory(): boolean {
    const { lanes, limits } = this;
    const { budget } = this.context;
    return budget.exceeded && !lanes.durable && limits.maxQueuedMessages !== Infinity && lanes.waitingBytes > budget.maxBytes * SHARE_OF_MEMORY && !budget.makeRoom();
  }

  /** Whether a message of `bytes` that can come later may be queued: half of what the limits allow is left to what can't. */
  takesLater(bytes: number): boolean {
    const { waiting, lanes } = this;
    return waiting === 0 || (this.fits(waiting + 1, this.countsBytes ? lanes.waitingBytes : 0) && this.fits(1, bytes));
  }

  /** Whether a message has to wait, with its publisher; then it is told when there is room. */
  blocks(bytes: number, copies: number): boolean {
    const { queueFull, maxQueuedBytes, maxTotalQueuedMessages, maxTotalQueuedBytes } = this.limits;
    if (queueFull !== "block" || this.fits(1, bytes, copies)) return false;
    // For one that can never be kept there is nothing to wait for.
    if (bytes > maxQueuedBytes || copies > maxTotalQueuedMessages || bytes * copies > maxTotalQueuedBytes) return false;
    this.isAwaited = true;
    return true;
  }

  /** Makes room for a message of `bytes` that comes to `queue`, as far as the limits allow. Returns whether it is taken. */
  makeRoom(queue: Queue, bytes: number): boolean {
    const { limits, lanes } = this;
    const { totals } = this.context;
    if (this.dropExpired(queue) && this.fits(1, bytes)) return true;
    if (limits.queueFull !== "drop_oldest" || bytes > limits.maxQueuedBytes) return false;
    // Not if all of this queue were not enough.
    const others = { messages: totals.messages - lanes.waiting, bytes: totals.bytes - lanes.waitingBytes };
    if (others.messages >= limits.maxTotalQueuedMessages || others.bytes + bytes > limits.maxTotalQueuedBytes) return false;
    if (!this.dropOldest(1, bytes, queue)) return this.fits(1, bytes);
    this.owedMessages += 1;
    this.owedBytes += bytes;
    return true;
  }

  /** Drops the messages at the head whose own time is over [MQTT-3.3.2-5]. Returns whether there were any. */
  private dropExpired(queue: Queue): boolean {
    const nowMs = this.context.clock.nowMs();
    const isOver = (record: Buffer, at: number): boolean => {
      const expiresAtMs = recordExpiresAtMs(record, at);
      return expiresAtMs !== 0 && expiresAtMs < nowMs;
    };
    const before = this.expired;
    while (queue.dropFirst(isOver) === "dropped") this.expired += 1;
    return this.expired > before;
  }

  /** The same for a message of QoS 0, to which none of QoS 1 or 2 gives way. */
  admitsQoS0(bytes: number): boolean {
    if (this.limits.queueFull === "drop_oldest" && bytes <= this.limits.maxQueuedBytes) this.dropQoS0(1, bytes);
    return this.fits(1, bytes);
  }

  private dropQoS0(messages: number, bytes: number): void {
    const { queues } = this.lanes;
    for (let index = queues.length - 1; index >= 0; index--) {
      const qos0 = queues[index]?.qos0;
      while (qos0 && qos0.messages > 0 && !this.fits(messages, bytes)) {
        qos0.dropFirst();
        this.noteDropped();
      }
    }
  }

  /**
   * A page of the queue has been read: what had to wait for it is dropped. Not for the sake of other sessions: they may be what is too much. The
   * session's other queues are not read on for that: where RAM is used up, each would have the other's page read again, without end.
   */
  trim(queue: Queue): void {
    if (this.limits.maxQueuedAgeMs !== Infinity) this.nextAgeCheckMs = Math.min(this.nextAgeCheckMs, this.dropOldOf(queue));
    this.dropExpired(queue);
    const { maxQueuedMessages, maxQueuedBytes, queueFull } = this.limits;
    if (queueFull !== "drop_oldest") return;
    if (this.waiting > maxQueuedMessages || this.lanes.waitingBytes > maxQueuedBytes) this.dropOldest(0, 0, undefined);
    this.giveOwed();
  }

  /** Drops the oldest for what was taken beyond the limits of all queues together, as far as that still is too much. */
  private giveOwed(): void {
    const { queues } = this.lanes;
    for (let index = queues.length - 1; index >= 0; index--) {
      const queue = queues[index];
      while (queue && (this.owedMessages > 0 || this.owedBytes > 0) && !this.fits(0, 0)) {
        const { bytes } = queue;
        const dropping = queue.dropFirst();
        if (dropping === "unread") return;
        if (dropping !== "dropped") break;
        this.owedMessages -= 1;
        this.owedBytes -= bytes - queue.bytes;
        this.noteDropped();
      }
    }
    this.owedMessages = this.owedBytes = 0;
  }

  /** Drops messages of QoS 0 first, then the oldest of the least urgent lanes, none more urgent than `last`. Returns true if what is left over will go when it is read. */
  private dropOldest(messages: number, bytes: number, last: Queue | undefined): boolean {
    const { queues } = this.lanes;
    this.dropQoS0(messages, bytes);
    for (let index = queues.length - 1; index >= 0; index--) {
      const queue = queues[index];
      while (queue && !this.fits(messages, bytes)) {
        const dropping = queue.dropFirst();
        if (dropping === "unread") return this.isWithinSlack;
        if (dropping !== "dropped") break;
        this.noteDropped();
      }
      if (queue === last) break;
    }
    return false;
  }

  /** By what was taken, not by what waits: a limit may have been set far below that. */
  private get isWithinSlack(): boolean {
    const { limits } = this;
    const { totals } = this.context;
    return (
      this.owedMessages < SLACK_MESSAGES && this.owedBytes < SLACK_BYTES &&
      totals.messages < limits.maxTotalQueuedMessages + SLACK_MESSAGES && totals.bytes < limits.maxTotalQueuedBytes + SLACK_BYTES
    );
  }

  /** Drops what is older than the limit allows, as far as it lies in RAM; what does not is read, and `trim` called then. */
  dropOld(): void {
    const { maxQueuedAgeMs } = this.limits;
    if (maxQueuedAgeMs === Infinity) return;
    const nowMs = this.context.clock.nowMs();
    if (nowMs < this.nextAgeCheckMs && maxQueuedAgeMs === this.checkedAgeMs) return;
    this.checkedAgeMs = maxQueuedAgeMs;
    this.nextAgeCheckMs = nowMs + maxQueuedAgeMs;
    for (const queue of this.lanes.queues) this.nextAgeCheckMs = Math.min(this.nextAgeCheckMs, this.dropOldOf(queue));
  }

  /** Returns when the queue is to be looked at again; Infinity: not before something comes. */
  private dropOldOf(queue: Queue): number {
    const { maxQueuedAgeMs } = this.limits;
    const { qos0 } = queue;
    const nowMs = this.context.clock.nowMs();
    for (; qos0.messages > 0 && qos0.oldestMs + maxQueuedAgeMs <= nowMs; this.noteDropped()) qos0.dropFirst();
    const qos0CheckMs = qos0.messages > 0 ? qos0.oldestMs + maxQueuedAgeMs : Infinity;
    if (queue.messages === 0) return qos0CheckMs;
    const checkMs = queue.oldestMs + maxQueuedAgeMs;
    if (checkMs > nowMs) return Math.min(qos0CheckMs, checkMs);
    let receivedMs = 0;
    const isOver = (record: Buffer, at: number): boolean => {
      receivedMs = recordReceivedMs(record, at);
      return receivedMs + maxQueuedAgeMs <= nowMs;
    };
    let dropping = queue.dropFirst(isOver);
    for (; dropping === "dropped"; dropping = queue.dropFirst(isOver)) this.noteDropped();
    if (dropping === "kept") return Math.min(qos0CheckMs, receivedMs + maxQueuedAgeMs);
    return dropping === "unread" ? nowMs : qos0CheckMs;
  }

  /** The peer has forgotten what it was sent: it may be dropped again. */
  forgetPeer(): void {
    this.nextAgeCheckMs = 0;
  }

  noteDropped(messages = 1): void {
    for (let left = messages; left > 0; left--) {
      this.dropped += 1;
      this.owner.onDropped();
    }
  }

  /** The queues may have shrunk. */
  noteLess(): void {
    if (this.isNearlyFull || this.isAwaited) this.watch();
  }

  /** The queues may have grown or shrunk. */
  watch(): void {
    if (this.isAwaited && this.fits(1, 0)) {
      this.isAwaited = false;
      this.context.onRoom();
    }
    const near = this.limits.maxQueuedMessages * NEAR;
    const { waiting } = this.lanes;
    if (this.isNearlyFull ? waiting > near - 1 : waiting <= near) return;
    if (this.waiting > near === this.isNearlyFull) return;
    this.isNearlyFull = !this.isNearlyFull;
    this.owner.onLevel(this.isNearlyFull);
    // What is to go next is wanted in RAM by then.
    if (this.isNearlyFull && this.limits.queueFull === "drop_oldest") for (const queue of this.lanes.queues) queue.dropFirst(() => false);
  }

  /** Whether the oldest messages are kept in RAM, as they are to go soon. */
  get keepsHead(): boolean {
    const { limits } = this;
    const { totals, budget } = this.context;
    if (limits.queueFull !== "drop_oldest" || budget.exceeded) return false;
    return (
      this.isNearlyFull ||
      this.lanes.waitingBytes > limits.maxQueuedBytes * NEAR ||
      totals.messages > limits.maxTotalQueuedMessages * NEAR ||
      totals.bytes > limits.maxTotalQueuedBytes * NEAR
    );
  }
}
