import type { Queue } from "../queue/queue.ts";

/** Retained messages queued beyond `maxQueuedMessages`: so many, and only while the queue is smaller than this. */
const MAX_REPLAYED_MESSAGES = 10_000;
const MAX_REPLAYED_BYTES = 64 * 1024 * 1024;

/** Retained messages on their way to a session, which tells what happens to it. */
export interface Replay {
  /** A peer came, or took something: there may be room for more. */
  peerHasRoom(): void;
  peerGone(): void;
  sessionGone(): void;
}

/** Retained messages in a queue that are not counted against its limit [MQTT-3.3.1-6]. */
export class Replayed {
  private messages = 0;
  /** The sequence number that ends them. */
  private below = 0;

  /** One more was appended; `waitingBefore` is what waited before it was. */
  add(queue: Queue, waitingBefore: number): void {
    this.messages = waitingBefore + 1;
    this.below = queue.nextSeq;
  }

  /** Those among the messages that wait; at most: which of the messages have left is not known. */
  waitingIn(queue: Queue | undefined): number {
    return !queue || queue.ackedBelow >= this.below ? 0 : Math.min(this.messages, queue.waiting);
  }

  hasRoomIn(queue: Queue): boolean {
    return this.waitingIn(queue) < MAX_REPLAYED_MESSAGES && queue.bytes < MAX_REPLAYED_BYTES;
  }
}
