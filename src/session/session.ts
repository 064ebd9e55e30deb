import { PUBREL_BYTE } from "../mqtt/acks.ts";
import type { Clock } from "../clock/clock.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import type { MemoryBudget } from "../queue/memory-budget.ts";
import { Parked, type ParkedMessage } from "../queue/parked.ts";
import { Queue, Slot } from "../queue/queue.ts";
import { recordSize } from "../queue/record.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import { IncomingIds } from "./incoming.ts";
import { IDS_PER_LANE, indexOf, laneOf, LANES, packetIdOf, PARKED_LANE } from "./packet-id.ts";
import type { Peer } from "./peer.ts";

/** Both may change while the daemon runs. */
export interface SessionLimits {
  readonly maxInflightMessages: number;
  readonly maxQueuedMessages: number;
}

export interface SessionContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly budget: MemoryBudget;
  readonly limits: SessionLimits;
  /** The queue changed: it wants to hear when its group is stored. */
  readonly onAppended: (session: Session) => void;
  /** A message was dropped because the queue is full; `dropped` is the count so far. */
  readonly onDropped: (session: Session) => void;
  readonly onLost: (session: Session, messages: number) => void;
  /** A session is below another mount point than it was: what it may get has changed. */
  readonly onRemounted: (session: Session) => void;
}

export interface ReadRights {
  mayRead(topicName: string): boolean;
}

/** What became of a message that was handed to a session. `dropped`: the queue is full, or nobody is there to take QoS 0. */
export const Admission = { taken: 0, dropped: -1 } as const;

/** A message of one of a session's lanes: the same lane and sequence number are the same message. */
export interface QueuedMessage {
  readonly lane: number;
  readonly seq: number;
}

/** Retained messages on their way to a session, which tells what happens to it. */
export interface Replay {
  /** A peer came, or took something: there may be room for more. */
  peerHasRoom(): void;
  peerGone(): void;
  sessionGone(): void;
}

/** Retained messages that can wait go out while less than this waits for the peer: messages in the queue, bytes that it has not read. */
const REPLAY_WAITING_MESSAGES = 32;
const REPLAY_UNSENT_BYTES = 256 * 1024;
/** Retained messages queued beyond `maxQueuedMessages`: so many, and only while the queue is smaller than this. */
const MAX_REPLAYED_MESSAGES = 10_000;
const MAX_REPLAYED_BYTES = 64 * 1024 * 1024;

/** Order in which lanes are drained: high, normal, low. Lane 0 is the normal one. */
const LANE_ORDER = [1, 0, 2] as const;

/** One peer's MQTT session, whichever side dialled: the in-flight window over its queues, and the incoming QoS 2 identifiers. */
export class Session {
  readonly incoming: IncomingIds;
  droppedMessages = 0;
  /** What its user may read; undefined: everything. */
  rights: ReadRights | undefined;
  /** Retained messages for new subscriptions that are not all handed over yet. */
  replay: Replay | undefined;
  private prefix: Buffer = NO_PREFIX;
  private prefixText = "";
  /** Retained messages in the queue that are not counted against the limit, and the sequence number that ends them. */
  private replayed = 0;
  private replayedBelow = 0;
  private readonly lanes: (Queue | undefined)[] = new Array<Queue | undefined>(LANES).fill(undefined);
  private readonly record = new Message();
  private peer: Peer | undefined;
  private maxInflight: number;
  /** The lane of the message in flight that was sent first. */
  private sentFirst: Queue | undefined;
  private unanswered: QueuedMessage | undefined;
  private parkedLane: Parked | undefined;

  constructor(
    readonly number: SessionNumber,
    readonly clientId: string,
    /** Whether the session outlives its connection; then its messages are on disk. */
    readonly durable: boolean,
    private readonly context: SessionContext,
  ) {
    this.incoming = new IncomingIds(number, context.store, durable && context.store.durable);
    this.maxInflight = context.limits.maxInflightMessages;
  }

  /** Prefix that is taken off topics before they are sent (a listener's mount point). */
  get strippedPrefix(): Buffer {
    return this.prefix;
  }

  set strippedPrefix(prefix: Buffer) {
    if (prefix.equals(this.prefix)) return;
    this.prefix = prefix;
    this.prefixText = prefix.toString();
    this.context.onRemounted(this);
  }

  get mountPrefix(): string {
    return this.prefixText;
  }

  get isAttached(): boolean {
    return this.peer !== undefined;
  }

  get queuedMessages(): number {
    let messages = 0;
    for (const queue of this.lanes) messages += queue?.messages ?? 0;
    return messages;
  }

  /** About when the oldest queued message came; undefined if none is queued. */
  get oldestMs(): number | undefined {
    const times = this.lanes.flatMap((queue) => (queue && queue.messages > 0 ? [queue.oldestMs] : []));
    return times.length === 0 ? undefined : Math.min(...times);
  }

  get inFlightMessages(): number {
    let messages = 0;
    for (const queue of this.lanes) messages += queue?.inFlight ?? 0;
    return messages;
  }

  recoverQueue(lane: number, record: Buffer): void {
    if (lane === PARKED_LANE) return this.parkedQueue.recover(record);
    const queue = this.lane(lane);
    queue.recover(record);
    queue.removeLeftovers();
  }

  private lane(lane: number): Queue {
    let queue = this.lanes[lane];
    if (queue) return queue;
    // The ring is at least four windows wide, so that one message whose acknowledgement is late does not stop the others at once.
    const windowSlots = Math.min(IDS_PER_LANE, 2 ** Math.ceil(Math.log2(this.context.limits.maxInflightMessages * 4)));
    queue = new Queue(this.number, lane, this.durable && this.context.store.durable, windowSlots, {
      store: this.context.store,
      budget: this.context.budget,
      onLoaded: () => this.onLoaded(),
      onLost: (messages) => this.context.onLost(this, messages),
    });
    if (this.peer) queue.attach();
    this.lanes[lane] = queue;
    return queue;
  }

  /** A connection takes the session up: what is unacknowledged is sent again, in order, DUP set [MQTT-4.4.0-1]. */
  attach(peer: Peer, maxInflight: number): void {
    this.peer = peer;
    this.maxInflight = Math.min(maxInflight, this.context.limits.maxInflightMessages);
    this.sentFirst = undefined;
    for (const queue of this.lanes) queue?.attach();
    this.pump();
  }

  detach(): void {
    this.noteUnanswered();
    this.peer = undefined;
    for (const queue of this.lanes) queue?.detach();
    this.replay?.peerGone();
  }

  /** Of the messages that a connection left without any answer the one that it was sent first; a connection that left none changes nothing. */
  get firstUnanswered(): QueuedMessage | undefined {
    return this.unanswered;
  }

  private noteUnanswered(): void {
    if (!this.peer) return;
    for (const queue of [this.sentFirst, ...LANE_ORDER.map((lane) => this.lanes[lane])]) {
      const seq = queue?.firstUnanswered ?? 0;
      if (!queue || seq === 0) continue;
      this.unanswered = { lane: queue.lane, seq };
      return;
    }
  }

  private get parkedQueue(): Parked {
    const { store } = this.context;
    this.parkedLane ??= new Parked(this.number, PARKED_LANE, this.durable && store.durable, store, (messages) => this.context.onLost(this, messages));
    return this.parkedLane;
  }

  /** Messages that are put aside; they do not count as queued. */
  get parkedMessages(): number {
    return this.parkedLane?.messages ?? 0;
  }

  /**
   * Puts `firstUnanswered` aside: in one group it leaves its lane and is kept where nothing is sent from. At once if it lies in RAM, as it does
   * on a connection that has come to it. Returns the message; undefined if there is none, or it has been answered meanwhile, or can't be read.
   * Rejects with StoreError when the store can't be read.
   */
  async parkHead(): Promise<ParkedMessage | undefined> {
    const { unanswered } = this;
    if (!unanswered) return undefined;
    const { lane, seq } = unanswered;
    const queue = this.lanes[lane];
    if (!queue?.isOpen(seq)) return undefined;
    const message = new Message();
    if (!queue.readFromRam(message, seq) && !(await queue.fetch(message, seq))) return undefined;
    if (this.unanswered !== unanswered || !queue.isOpen(seq)) return undefined;
    return this.park(queue, seq, message);
  }

  private park(queue: Queue, seq: number, message: Message): ParkedMessage {
    const { qos } = message;
    this.unanswered = undefined;
    const parked = { topic: message.topic.toString("utf8", message.topicStart, message.topicEnd), bytes: message.payloadLength, qos };
    this.parkedQueue.add(message, queue.lane);
    const group = queue.takeOut(seq, recordSize(message));
    if (group !== 0) this.context.onAppended(this);
    // The peer may have kept the identifier: PUBREL has it forgotten, so that the next message under it is not taken for this one.
    if (qos === 2) this.peer?.acknowledge(PUBREL_BYTE, packetIdOf(queue.lane, seq), group, 0);
    this.pump();
    return parked;
  }

  /** What is put aside, oldest first. Rejects with StoreError when the store can't be read. */
  parked(): Promise<readonly ParkedMessage[]> {
    return this.parkedLane?.list() ?? Promise.resolve([]);
  }

  /**
   * Appends what is put aside to the lanes that it came from, as new messages; each in the group in which it leaves there. Returns how many.
   * Rejects with StoreError when the store can't be read; what was not appended stays aside.
   */
  retryParked(): Promise<number> {
    const append = (message: Message, lane: number): void => void this.enqueue(this.lane(lane), message, message.qos, message.retain);
    return this.parkedLane?.takeBack(append) ?? Promise.resolve(0);
  }

  /** Returns how many were dropped. */
  dropParked(): number {
    const dropped = this.parkedLane?.drop() ?? 0;
    if (this.parkedLane?.awaitsStore) this.context.onAppended(this);
    return dropped;
  }

  /**
   * The peer's side of the session is new: nothing of what was in exchange is known to it. Called before `attach`.
   * Returns the group that holds it, 0 if nothing is to be waited for.
   */
  forgetPeer(): GroupNumber {
    let group = this.incoming.clear();
    for (const queue of this.lanes) {
      if (!queue) continue;
      group = Math.max(group, queue.forgetPeer());
      if (queue.awaitsStore) this.context.onAppended(this);
    }
    return group;
  }

  /** More may be on its way from now on. */
  widen(maxInflight: number): void {
    this.maxInflight = Math.min(maxInflight, this.context.limits.maxInflightMessages);
    this.pump();
  }

  /** Whether a message is still queued, sent or not. */
  isQueued({ lane, seq }: QueuedMessage): boolean {
    return this.lanes[lane]?.isOpen(seq) ?? false;
  }

  /** Nothing new is sent until the next `attach`; exchanges that have begun go on. */
  quiesce(): void {
    this.maxInflight = 0;
  }

  /** Whether messages are on their way, in either direction, whose exchange is not over. */
  get hasOpenExchanges(): boolean {
    return this.inFlightMessages > 0 || this.incoming.size > 0;
  }

  /** Drops all queued messages from RAM and writes nothing any more; what is on disk goes with the session's record. */
  discard(): void {
    this.peer = undefined;
    this.incoming.end();
    for (const queue of this.lanes) queue?.end();
    this.parkedLane?.end();
    this.replay?.sessionGone();
  }

  /**
   * Hands a message to the receiver: QoS 0 goes out at once or not at all, QoS 1 and 2 are queued (and sent at once if it is their turn).
   * Returns the group that makes the message durable here, 0 if none need be waited for, `Admission.dropped` if it was not taken.
   */
  deliver(message: Message, qos: QoS, retain: boolean, laneNumber = 0): GroupNumber {
    const peer = this.peer;
    if (qos === 0) {
      if (!peer || !this.reaches(message)) return Admission.dropped;
      if (peer.congested) return this.drop();
      this.sendQoS0(peer, message, retain);
      return Admission.taken;
    }
    if (!this.reaches(message)) return Admission.taken;
    const queue = this.lane(laneNumber);
    if (queue.waiting >= this.context.limits.maxQueuedMessages && this.isFull(queue)) return this.drop();
    return this.enqueue(queue, message, qos, retain);
  }

  private enqueue(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const { peer } = this;
    if (!this.durable) return this.deliverUnkept(queue, message, qos, retain);
    const wasRetain = message.retain;
    message.retain = retain;
    const group = queue.append(message, qos);
    message.retain = wasRetain;
    if (queue.durable) this.context.onAppended(this);
    if (peer) this.pumpQueue(peer, queue);
    return group;
  }

  /** A message for a session that ends with its connection need not be kept once it is sent. */
  private deliverUnkept(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const peer = this.peer;
    if (peer && queue.messages === queue.inFlight && queue.windowOpen(this.maxInflight) && !peer.congested) {
      const seq = queue.sendUnkept();
      const id = packetIdOf(queue.lane, seq);
      const strip = this.strippedPrefix.length;
      peer.publish((qos << 1) | (retain ? 1 : 0), message.topic, message.topicStart + strip, message.topicEnd, id,
        message.payload, message.payloadStart, message.payloadEnd);
      return Admission.taken;
    }
    const wasRetain = message.retain;
    message.retain = retain;
    queue.append(message, qos);
    message.retain = wasRetain;
    if (peer) this.pumpQueue(peer, queue);
    return Admission.taken;
  }

  /** Queues a retained message of QoS 1 or 2 for a new subscription, whatever `maxQueuedMessages` says [MQTT-3.3.1-6]. */
  queueRetained(message: Message, qos: QoS): GroupNumber {
    if (!this.reaches(message)) return Admission.taken;
    const queue = this.lane(0);
    const waitingBefore = this.replayedWaiting(queue);
    const group = this.enqueue(queue, message, qos, true);
    this.replayed = waitingBefore + 1;
    this.replayedBelow = queue.nextSeq;
    return group;
  }

  /** Retained messages among those that wait; at most: which of the messages have left is not known. */
  private replayedWaiting(queue: Queue): number {
    return queue.ackedBelow >= this.replayedBelow ? 0 : Math.min(this.replayed, queue.waiting);
  }

  private isFull(queue: Queue): boolean {
    return queue.waiting - this.replayedWaiting(queue) >= this.context.limits.maxQueuedMessages;
  }

  /** Whether `queueRetained` may go on. */
  get takesRetained(): boolean {
    const queue = this.lanes[0];
    return !queue || (this.replayedWaiting(queue) < MAX_REPLAYED_MESSAGES && queue.bytes < MAX_REPLAYED_BYTES);
  }

  /** Whether a peer is there that keeps up with what it gets: the time for what can wait. */
  get isReady(): boolean {
    const { peer } = this;
    if (!peer || peer.congested || peer.unsentBytes >= REPLAY_UNSENT_BYTES) return false;
    return (this.lanes[0]?.waiting ?? 0) < REPLAY_WAITING_MESSAGES;
  }

  private drop(): GroupNumber {
    this.droppedMessages += 1;
    this.context.onDropped(this);
    return Admission.dropped;
  }

  private sendQoS0(peer: Peer, message: Message, retain: boolean): void {
    const strip = this.strippedPrefix.length;
    if (message.frameEnd > message.frameStart && strip === 0 && !retain) {
      peer.forward(message.frame, message.frameStart, message.frameEnd);
      return;
    }
    peer.publish(retain ? 1 : 0, message.topic, message.topicStart + strip, message.topicEnd, 0,
      message.payload, message.payloadStart, message.payloadEnd);
  }

  mayRead(topicName: string): boolean {
    return this.rights === undefined || this.rights.mayRead(topicName);
  }

  /** A message that was queued for an earlier user, or under earlier rules, is checked again. */
  private mayReadRecord({ topic, topicStart, topicEnd }: Message): boolean {
    return this.rights === undefined || this.rights.mayRead(topic.toString("utf8", topicStart, topicEnd));
  }

  /** A topic outside the mount point of the present connection, or equal to it, can't be spelt to this peer [MQTT-4.7.3-1]. */
  private reaches(message: Message): boolean {
    const prefix = this.strippedPrefix;
    if (prefix.length === 0) return true;
    const end = message.topicStart + prefix.length;
    return end < message.topicEnd && prefix.compare(message.topic, message.topicStart, end) === 0;
  }

  /** What was read ahead has come: for a peer that may be gone by now. */
  private onLoaded(): void {
    if (this.peer) this.pump();
    else for (const queue of this.lanes) queue?.evict(false);
  }

  /** Sends what the window allows, high lane first. */
  pump(): void {
    const peer = this.peer;
    if (!peer) return;
    for (const lane of LANE_ORDER) {
      const queue = this.lanes[lane];
      if (queue) this.pumpQueue(peer, queue);
    }
    this.replay?.peerHasRoom();
  }

  private pumpQueue(peer: Peer, queue: Queue): void {
    const record = this.record;
    while (!peer.congested && queue.windowOpen(this.maxInflight) && queue.peek(record)) {
      const seq = queue.cursorSeq;
      const slot = queue.slotOf(seq);
      const id = packetIdOf(queue.lane, seq);
      if (slot === Slot.acknowledged || seq < queue.ackedBelow) {
        queue.stepCursor();
        continue;
      }
      if (slot === Slot.received) {
        queue.advanceSent();
        peer.acknowledge(PUBREL_BYTE, id, queue.receivedNoted, 0);
        continue;
      }
      if (!this.reaches(record) || !this.mayReadRecord(record)) {
        queue.advanceSent();
        queue.acknowledge(seq, Slot.sent);
        continue;
      }
      if (!queue.maySend(seq, record.qos)) return this.context.onAppended(this);
      const flags = (record.qos << 1) | (record.retain ? 1 : 0);
      this.sentFirst ??= queue;
      const again = queue.advanceSent();
      peer.publish(again ? flags | 8 : flags, record.topic, record.topicStart + this.strippedPrefix.length, record.topicEnd, id,
        record.payload, record.payloadStart, record.payloadEnd);
    }
  }

  /** Group `upTo` is on disk: QoS 2 messages that waited for it go, what lies on disk may leave RAM. True if no later group is awaited. */
  onStored(upTo: GroupNumber): boolean {
    let settled = true;
    if (this.parkedLane) {
      this.parkedLane.onStored(upTo);
      if (this.parkedLane.awaitsStore) settled = false;
    }
    for (const lane of LANE_ORDER) {
      const queue = this.lanes[lane];
      if (!queue) continue;
      if (queue.onStored(upTo)) {
        if (this.peer) this.pumpQueue(this.peer, queue);
        if (!this.peer || this.context.budget.exceeded) queue.evict(this.peer !== undefined);
      }
      if (queue.awaitsStore) settled = false; // also for what the pump has just asked for
    }
    return settled;
  }

  private queueOf(packetId: number): Queue | undefined {
    return this.lanes[laneOf(packetId)];
  }

  /** PUBACK: true if it ended a message. */
  onPuback(packetId: number): boolean {
    return this.finish(packetId, Slot.sent);
  }

  /** PUBCOMP: true if it ended a message. */
  onPubcomp(packetId: number): boolean {
    return this.finish(packetId, Slot.received);
  }

  private finish(packetId: number, expected: number): boolean {
    const queue = this.queueOf(packetId);
    if (!queue?.acknowledge(queue.seqOf(indexOf(packetId), IDS_PER_LANE), expected)) return false;
    if (queue.inFlight === 0 && queue === this.sentFirst) this.sentFirst = this.lanes.find((lane) => (lane?.inFlight ?? 0) > 0);
    if (this.peer && queue.messages > queue.inFlight) this.pumpQueue(this.peer, queue);
    this.replay?.peerHasRoom();
    return true;
  }

  /** PUBREC: PUBREL follows once our note of it is on disk. An unknown identifier is answered too, so that the peer can finish. */
  onPubrec(packetId: number): boolean {
    const queue = this.queueOf(packetId);
    const known = queue?.receive(queue.seqOf(indexOf(packetId), IDS_PER_LANE)) ?? false;
    this.peer?.acknowledge(PUBREL_BYTE, packetId, queue?.receivedNoted ?? 0, 0);
    return known;
  }
}

const NO_PREFIX = Buffer.alloc(0);
