import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import { Parked, type ParkedMessage } from "../queue/parked.ts";
import type { Queue } from "../queue/queue.ts";
import { recordSize } from "../queue/record.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import type { Lanes, QueuedMessage } from "./lanes.ts";
import { PARKED_LANE } from "./packet-id.ts";

/**
 * Puts messages of a session aside: the one that a remote answers by closing. On each connection it is noted which message was sent first and has no
 * answer.
 */
export class Parking {
  private lane: Parked | undefined;
  private unanswered: QueuedMessage | undefined;
  /** The lane of the message in flight that was sent first. */
  private sentFirst: Queue | undefined;

  constructor(
    private readonly session: SessionNumber,
    private readonly durable: boolean,
    private readonly store: Store,
    private readonly lanes: Lanes,
    private readonly onLost: (messages: number) => void,
  ) {}

  private get parked(): Parked {
    this.lane ??= new Parked(this.session, PARKED_LANE, this.durable, this.store, this.onLost);
    return this.lane;
  }

  recover(record: Buffer): void {
    this.parked.recover(record);
  }

  /** See `Parked.recoverBeyondRecord`. Rejects with StoreError. */
  async recoverBeyondRecord(): Promise<void> {
    await this.parked.recoverBeyondRecord();
  }

  /** A connection begins. */
  attach(): void {
    this.sentFirst = undefined;
  }

  /** A message of the queue is sent. */
  noteSent(queue: Queue): void {
    this.sentFirst ??= queue;
  }

  /** Nothing of the queue is in flight any more. */
  noteAnswered(queue: Queue): void {
    if (queue === this.sentFirst) this.sentFirst = this.lanes.queues.find(({ inFlight }) => inFlight > 0);
  }

  /** The connection ends: notes the message that was sent first and has no answer. */
  noteUnanswered(): void {
    this.unanswered = undefined;
    for (const queue of [this.sentFirst, ...this.lanes.queues]) {
      const seq = queue?.firstUnanswered ?? 0;
      if (!queue || seq === 0) continue;
      this.unanswered = { lane: queue.lane, seq };
      return;
    }
  }

  get firstUnanswered(): QueuedMessage | undefined {
    return this.unanswered;
  }

  get messages(): number {
    return this.lane?.messages ?? 0;
  }

  /**
   * Puts `firstUnanswered` aside: in one group it leaves its lane and is kept where nothing is sent from. At once if it lies in RAM, as it does
   * on a connection that has come to it. `onParked` is told of it in the same turn. Returns the message; undefined if there is none, or it has been
   * answered meanwhile, or can't be read. Rejects with StoreError when the store can't be read.
   */
  async parkHead(onParked: (queue: Queue, seq: number, qos: QoS, group: GroupNumber) => void): Promise<ParkedMessage | undefined> {
    const { unanswered } = this;
    if (!unanswered) return undefined;
    const { lane, seq } = unanswered;
    const queue = this.lanes.get(lane);
    if (!queue?.isOpen(seq)) return undefined;
    const message = new Message();
    if (!queue.readFromRam(message, seq) && !(await queue.fetch(message, seq))) return undefined;
    if (this.unanswered !== unanswered || !queue.isOpen(seq)) return undefined;
    this.unanswered = undefined;
    const { qos } = message;
    const parked = { topic: message.topic.toString("utf8", message.topicStart, message.topicEnd), bytes: message.payloadLength, qos };
    this.parked.add(message, lane);
    onParked(queue, seq, qos, queue.takeOut(seq, recordSize(message)));
    return parked;
  }

  /** What is put aside, oldest first. Rejects with StoreError when the store can't be read. */
  list(): Promise<readonly ParkedMessage[]> {
    return this.lane?.list() ?? Promise.resolve([]);
  }

  /** Takes back what is put aside: `append` is called for each message in the group in which it is removed here. Rejects with StoreError. */
  takeBack(append: (message: Message, lane: number) => void): Promise<number> {
    return this.lane?.takeBack(append) ?? Promise.resolve(0);
  }

  /** Returns how many were dropped. */
  drop(): number {
    return this.lane?.drop() ?? 0;
  }

  onStored(upTo: GroupNumber): void {
    this.lane?.onStored(upTo);
  }

  get awaitsStore(): boolean {
    return this.lane?.awaitsStore ?? false;
  }

  /** The session has ended. */
  end(): void {
    this.lane?.end();
  }
}
