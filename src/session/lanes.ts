import type { GroupNumber } from "../store/store.ts";
import type { SessionNumber } from "../store/keys.ts";
import { Queue, type QueueOwner } from "../queue/queue.ts";
import type { QueueContext } from "../queue/queue-contents.ts";
import { IDS_PER_LANE, indexOf, laneOf } from "./packet-id.ts";

/** Where lane 0, the normal one, 1, high, and 2, low, stand in the order in which they are drained. */
const RANKS = [1, 0, 2];

const rankOf = ({ lane }: Queue): number => RANKS[lane] ?? 0;

/** A message of one of a session's lanes: the same lane and sequence number are the same message. */
export interface QueuedMessage {
  readonly lane: number;
  readonly seq: number;
  /** PUBREC has come for it: PUBREL is what it has to be sent. */
  readonly isNoted: boolean;
}

/** Of what sessions share. */
export interface LanesContext extends QueueContext {
  readonly limits: { readonly maxInflightMessages: number };
}

/** The queues of one session, one for each topic priority, each made when it is first wanted. */
export class Lanes {
  /** Those that there are, in the order in which they are drained. */
  queues: readonly Queue[] = NO_QUEUES;
  private isAttached = false;

  constructor(
    private readonly session: SessionNumber,
    readonly durable: boolean,
    private readonly context: LanesContext,
    private readonly owner: QueueOwner,
  ) {}

  get(lane: number): Queue | undefined {
    const { queues } = this;
    for (let index = 0; index < queues.length; index++) if (queues[index]?.lane === lane) return queues[index];
    return undefined;
  }

  at(lane: number): Queue {
    return this.get(lane) ?? this.make(lane);
  }

  /** The ring is at least four windows wide, so that one message whose acknowledgement is late does not stop the others at once. */
  private get windowSlots(): number {
    return Math.min(IDS_PER_LANE, 2 ** Math.ceil(Math.log2(this.context.limits.maxInflightMessages * 4)));
  }

  private make(lane: number): Queue {
    const queue = new Queue(this.session, lane, this.durable, this.windowSlots, this.context, this.owner);
    if (this.isAttached) queue.attach();
    this.queues = this.queues.concat(queue).sort((one, other) => rankOf(one) - rankOf(other));
    return queue;
  }

  /** A connection begins. */
  attach(): void {
    this.isAttached = true;
    for (const queue of this.queues) {
      queue.window.widen(this.windowSlots); // the limit may have been raised
      queue.attach();
    }
  }

  detach(): void {
    this.isAttached = false;
    for (const queue of this.queues) queue.detach();
  }

  /** The queue that a packet identifier belongs to. */
  ofPacket(packetId: number): Queue | undefined {
    return this.get(laneOf(packetId));
  }

  get messages(): number {
    let messages = 0;
    for (const queue of this.queues) messages += queue.messages + queue.qos0.messages;
    return messages;
  }

  get bytes(): number {
    let bytes = 0;
    for (const queue of this.queues) bytes += queue.bytes + queue.qos0.bytes;
    return bytes;
  }

  /** Messages beyond the in-flight windows, and the size of their records. */
  get waiting(): number {
    const { queues } = this;
    let messages = 0;
    for (let index = 0; index < queues.length; index++) messages += queues[index]?.waiting ?? 0;
    return messages;
  }

  get waitingBytes(): number {
    const { queues } = this;
    let bytes = 0;
    for (let index = 0; index < queues.length; index++) bytes += queues[index]?.waitingBytes ?? 0;
    return bytes;
  }

  get inFlight(): number {
    let messages = 0;
    for (const queue of this.queues) messages += queue.inFlight;
    return messages;
  }

  /** About when the oldest message came; undefined if there is none. */
  get oldestMs(): number | undefined {
    const times = this.queues.flatMap(({ messages, oldestMs, qos0 }) => [...(messages > 0 ? [oldestMs] : []), ...(qos0.messages > 0 ? [qos0.oldestMs] : [])]);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Whether messages are not done that were sent, on this connection or an earlier one, or may have been. */
  get hasBegun(): boolean {
    return this.queues.some((queue) => queue.hasBeenSent(queue.ackedBelow));
  }

  /** Whether a message is still queued, sent or not, and as far as it was. */
  isOpen({ lane, seq, isNoted }: QueuedMessage): boolean {
    return this.get(lane)?.isOpen(seq, isNoted) ?? false;
  }

  /** What the peer may have has changed. */
  recheck(): void {
    for (const queue of this.queues) queue.recheck();
  }

  /** The peer's side of the session is new. Returns the group that holds it, 0 if nothing is to be waited for. */
  forgetPeer(): GroupNumber {
    let group: GroupNumber = 0;
    for (const queue of this.queues) group = Math.max(group, queue.forgetPeer());
    return group;
  }

  get awaitsStore(): boolean {
    return this.queues.some((queue) => queue.awaitsStore);
  }
}

const NO_QUEUES: readonly Queue[] = [];

/** The sequence number that a packet identifier stands for. */
export const seqOfPacket = (queue: Queue, packetId: number): number => queue.window.seqOf(indexOf(packetId), IDS_PER_LANE);
