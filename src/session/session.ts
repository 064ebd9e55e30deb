import { PUBREL_BYTE } from "../mqtt/acks.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import { Reason } from "../mqtt/reason.ts";
import type { Clock } from "../clock/clock.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import type { MemoryBudget } from "../queue/memory-budget.ts";
import type { ParkedMessage } from "../queue/parked.ts";
import type { Queue } from "../queue/queue.ts";
import type { QueueTotals } from "../queue/queue-totals.ts";
import { Slot } from "../queue/window.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import { recordSize } from "../queue/record.ts";
import { Admission } from "./admission.ts";
import { Bounds, type QueueLimits } from "./bounds.ts";
import { Drain, type DrainLimits } from "./drain.ts";
import { IncomingIds, type IncomingTotal } from "./incoming.ts";
import { Lanes, type QueuedMessage, seqOfPacket } from "./lanes.ts";
import { LANES, packetIdOf, PARKED_LANE } from "./packet-id.ts";
import { Parking } from "./parking.ts";
import type { Peer } from "./peer.ts";
import { type Replay, Replayed } from "./replayed.ts";
import { Sender } from "./sender.ts";
import { type ReadRights, View } from "./view.ts";

/** They may change while the daemon runs. */
export interface SessionLimits extends QueueLimits {
  readonly maxInflightMessages: number;
}

export interface SessionContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly budget: MemoryBudget;
  readonly totals: QueueTotals;
  readonly incomingTotal: IncomingTotal;
  readonly limits: SessionLimits;
  /** The queue changed: it wants to hear when its group is stored. */
  readonly onAppended: (session: Session) => void;
  /** A limit has cost a message; `droppedMessages` is the count so far. */
  readonly onDropped: (session: Session) => void;
  /** There may be room for messages that wait with their publishers (`queue_full block`). */
  readonly onRoom: () => void;
  /** The queue has come near its limit of messages, or is not near it any more. */
  readonly onLevel: (session: Session, isNearlyFull: boolean) => void;
  readonly onLost: (session: Session, messages: number) => void;
  /** A session is below another mount point than it was: what it may get has changed. */
  readonly onRemounted: (session: Session) => void;
}

/** Retained messages that can wait go out while less than this waits for the peer: messages in the queue, bytes that it has not read. */
const REPLAY_WAITING_MESSAGES = 32;
const REPLAY_UNSENT_BYTES = 256 * 1024;

/** One peer's MQTT session, whichever side dialled: the in-flight window over its queues, and the incoming QoS 2 identifiers. */
export class Session {
  readonly incoming: IncomingIds;
  /** Messages that the peer has answered with a reason code of an error. */
  refusedMessages = 0;
  /** Called when the peer has taken something, or has come: there may be room for more. */
  onRoom: (() => void) | undefined;
  /** Retained messages for new subscriptions that are not all handed over yet. */
  replay: Replay | undefined;
  private readonly view = new View();
  private readonly replayed = new Replayed();
  private readonly lanes: Lanes;
  private readonly parking: Parking;
  private readonly bounds: Bounds;
  private readonly drain: Drain;
  private readonly sender: Sender;
  private peer: Peer | undefined;
  private maxInflight: number;

  constructor(
    readonly number: SessionNumber,
    readonly clientId: string,
    /** Whether the session outlives its connection; then its messages are on disk. */
    readonly durable: boolean,
    private readonly context: SessionContext,
  ) {
    const { store, budget, limits } = context;
    const isStored = durable && store.durable;
    const onLost = (messages: number): void => context.onLost(this, messages);
    this.incoming = new IncomingIds(number, store, isStored, context.incomingTotal);
    this.maxInflight = limits.maxInflightMessages;
    const queueContext = { store, budget, totals: context.totals, onLoaded: () => this.onLoaded(), onLost };
    this.lanes = new Lanes(number, isStored, () => limits.maxInflightMessages, queueContext, () => this.isAttached);
    this.parking = new Parking(number, isStored, store, this.lanes, onLost);
    this.drain = new Drain(context.clock, () => this.pump());
    this.bounds = new Bounds(limits, this.lanes, this.replayed, context.totals, budget, context.clock, {
      onDropped: () => context.onDropped(this),
      onRoom: () => context.onRoom(),
      onLevel: (isNearlyFull) => context.onLevel(this, isNearlyFull),
    });
    this.sender = new Sender(context.clock, this.view, this.parking, this.bounds, this.drain, () => context.onAppended(this));
  }

  /** Prefix that is taken off topics before they are sent (a listener's mount point). */
  get strippedPrefix(): Buffer {
    return this.view.prefix;
  }

  set strippedPrefix(prefix: Buffer) {
    if (this.view.mount(prefix)) this.context.onRemounted(this);
  }

  get mountPrefix(): string {
    return this.view.prefixText;
  }

  /** What its user may read; undefined: everything. */
  set rights(rights: ReadRights | undefined) {
    this.view.rights = rights;
  }

  mayRead(topicName: string): boolean {
    return this.view.mayRead(topicName);
  }

  get isAttached(): boolean {
    return this.peer !== undefined;
  }

  /** Messages whose time was over before they could be sent. */
  get expiredMessages(): number {
    return this.bounds.expired;
  }

  /** Messages that were larger than the peer takes. */
  get oversizedMessages(): number {
    return this.sender.oversizedMessages;
  }

  get isCongested(): boolean {
    return this.peer?.congested ?? false;
  }

  /** Whether one more message of QoS 1 or 2 would be on its way to the peer at once. */
  get hasRoom(): boolean {
    if (!this.peer || this.peer.congested) return false;
    return (this.lanes.get(0)?.messages ?? 0) < this.maxInflight;
  }

  get queuedMessages(): number {
    return this.lanes.messages;
  }

  /** Of those the ones beyond the in-flight window. */
  get waitingMessages(): number {
    return this.lanes.waiting;
  }

  /** Size of the records of all. */
  get queuedBytes(): number {
    return this.lanes.bytes;
  }

  /** Messages that a limit has cost, since the start. */
  get droppedMessages(): number {
    return this.bounds.dropped;
  }

  /** What its queue may hold, if not what all sessions of its kind may. */
  set queueLimits(limits: QueueLimits) {
    this.bounds.limits = limits;
  }

  /** How fast what waits is sent. */
  set drainLimits(limits: DrainLimits) {
    this.drain.limits = limits;
  }

  get queueLimits(): QueueLimits {
    return this.bounds.limits;
  }

  /** About when the oldest queued message came; undefined if none is queued. */
  get oldestMs(): number | undefined {
    return this.lanes.oldestMs;
  }

  get inFlightMessages(): number {
    return this.lanes.inFlight;
  }

  /** See `Queue.awaited`. */
  awaited(lane: number): number {
    return this.lanes.get(lane)?.awaited ?? 0;
  }

  /** Whether a message is still queued, sent or not. */
  isQueued(message: QueuedMessage): boolean {
    return this.lanes.isOpen(message);
  }

  recoverQueue(lane: number, record: Buffer): void {
    if (lane === PARKED_LANE) return this.parking.recover(record);
    this.lanes.at(lane).recover(record);
  }

  /** Removes pages that a power cut has brought back. */
  async removeLeftovers(): Promise<void> {
    for (const queue of this.lanes.queues) await queue.removeLeftovers();
  }

  /** The store has been repaired: takes up messages that no record of a queue tells of. Rejects with StoreError. */
  async recoverBeyondRecords(): Promise<void> {
    for (let lane = 0; lane < LANES; lane++) await this.lanes.at(lane).recoverBeyondRecord();
    await this.parking.recoverBeyondRecord();
  }

  /** A connection takes the session up: what is unacknowledged is sent again, in order, DUP set [MQTT-4.4.0-1]. `maxQoS`: the peer takes no higher one. */
  attach(peer: Peer, maxInflight: number, maxQoS: QoS = 2): void {
    this.peer = peer;
    this.sender.begin(maxQoS);
    this.maxInflight = Math.min(maxInflight, this.context.limits.maxInflightMessages);
    this.parking.attach();
    for (const queue of this.lanes.queues) queue.attach();
    this.pump();
  }

  detach(): void {
    if (this.peer) this.parking.noteUnanswered();
    this.peer = undefined;
    this.drain.stop();
    for (const queue of this.lanes.queues) queue.detach();
    this.replay?.peerGone();
  }

  /** What the last connection left without any answer, the first of each lane; the one that was sent first leads. */
  get unanswered(): readonly QueuedMessage[] {
    return this.parking.unanswered;
  }

  /** Messages that are put aside; they do not count as queued. */
  get parkedMessages(): number {
    return this.parking.messages;
  }

  /** Puts the first of `unanswered` aside (see `Parking.parkHead`). */
  parkHead(): Promise<ParkedMessage | undefined> {
    return this.parking.parkHead((queue, seq, qos, group) => {
      if (group !== 0) this.context.onAppended(this);
      // The peer may have kept the identifier: PUBREL has it forgotten, so that the next message under it is not taken for this one.
      if (qos === 2) this.peer?.acknowledge(PUBREL_BYTE, packetIdOf(queue.lane, seq), group, 0);
      this.pump();
    });
  }

  /** What is put aside, oldest first. Rejects with StoreError when the store can't be read. */
  parked(): Promise<readonly ParkedMessage[]> {
    return this.parking.list();
  }

  /**
   * Appends what is put aside to the lanes that it came from, as new messages; each in the group in which it leaves there. Returns how many.
   * Rejects with StoreError when the store can't be read; what was not appended stays aside.
   */
  retryParked(): Promise<number> {
    return this.parking.takeBack((message, lane) => {
      message.receivedMs = this.context.clock.nowMs();
      this.enqueue(this.lanes.at(lane), message, message.qos, message.retain);
    });
  }

  /** Returns how many were dropped. */
  dropParked(): number {
    const dropped = this.parking.drop();
    if (this.parking.awaitsStore) this.context.onAppended(this);
    return dropped;
  }

  /**
   * The peer's side of the session is new: nothing of what was in exchange is known to it. Called before `attach`.
   * Returns the group that holds it, 0 if nothing is to be waited for.
   */
  forgetPeer(): GroupNumber {
    const group = Math.max(this.incoming.clear(), this.lanes.forgetPeer());
    this.bounds.forgetPeer();
    if (this.lanes.awaitsStore) this.context.onAppended(this);
    return group;
  }

  /** More may be on its way from now on. */
  widen(maxInflight: number): void {
    this.sender.only = undefined;
    this.maxInflight = Math.min(maxInflight, this.context.limits.maxInflightMessages);
    this.pump();
  }

  /** Sends this message when it is the first of its lane, and nothing of QoS 1 and 2 beside it; after an `attach` that let nothing go. */
  sendAlone({ lane }: QueuedMessage): void {
    this.sender.only = this.lanes.get(lane);
    this.maxInflight = 1;
    this.pump();
  }

  /** Nothing new is sent until the next `attach`; exchanges that have begun go on. */
  quiesce(): void {
    this.maxInflight = 0;
  }

  /** Whether messages are on their way, in either direction, whose exchange is not over. */
  get hasOpenExchanges(): boolean {
    return this.inFlightMessages > 0 || this.incoming.size > 0;
  }

  /** Visits what is queued, not done and in no page of the store; `mayBeKnown`: the peer may have it. */
  visitUnwritten(visit: (message: Message, mayBeKnown: boolean) => void): void {
    this.lanes.get(0)?.visitUnwritten(visit);
  }

  /** Where the messages of the normal lane stand, as the store keeps it. */
  get progress(): Buffer | undefined {
    return this.lanes.get(0)?.progress;
  }

  /** Drops all queued messages from RAM and writes nothing any more; what is on disk goes with the session's record. */
  discard(): void {
    this.peer = undefined;
    this.drain.stop();
    this.incoming.end();
    for (const queue of this.lanes.queues) queue.end();
    this.parking.end();
    this.replay?.sessionGone();
  }

  /**
   * Hands a message to the receiver: QoS 0 goes out at once or not at all, QoS 1 and 2 are queued (and sent at once if it is their turn).
   * Returns the group that makes the message durable here, 0 if none need be waited for, `Admission.dropped` if it was not taken.
   */
  deliver(message: Message, qos: QoS, retain: boolean, laneNumber = 0): GroupNumber {
    if (qos === 0) return this.deliverQoS0(message, retain, laneNumber);
    if (!this.view.reaches(message)) return Admission.taken;
    const queue = this.lanes.at(laneNumber);
    const size = this.bounds.countsBytes ? recordSize(message) : 0;
    if (!this.bounds.fits(1, size) && !this.goesAtOnce(queue) && !this.bounds.makeRoom(queue, size)) return this.drop();
    return this.enqueue(queue, message, qos, retain);
  }

  /** See `Receiver.forward`. */
  forward(message: Message, packets: number): boolean {
    const { peer } = this;
    if (!peer || peer.congested || this.view.prefix.length > 0) return false;
    if (this.bounds.limits.queueQoS0 && this.lanes.waiting > 0) return false;
    return peer.forward(message, packets);
  }

  private deliverQoS0(message: Message, retain: boolean, laneNumber: number): GroupNumber {
    const { peer } = this;
    if (!this.view.reaches(message)) return Admission.dropped;
    if (this.bounds.limits.queueQoS0) {
      const queue = this.lanes.at(laneNumber);
      if (!peer || peer.congested || queue.waiting > 0) return this.queueQoS0(queue, message, retain);
    }
    if (!peer) return Admission.dropped;
    if (peer.congested) return this.drop();
    return this.sender.sendQoS0(peer, message, retain);
  }

  /** In RAM, or not at all. */
  private queueQoS0(queue: Queue, message: Message, retain: boolean): GroupNumber {
    if (this.context.budget.exceeded || !this.bounds.admitsQoS0(recordSize(message))) return this.drop();
    const wasRetain = message.retain;
    message.retain = retain;
    queue.qos0.append(message, queue.nextSeq);
    message.retain = wasRetain;
    this.bounds.watch();
    return Admission.taken;
  }

  blocks(message: Message, copies: number): boolean {
    return this.view.reaches(message) && this.hasNoRoom(recordSize(message), copies, 0);
  }

  /** Whether a message of `bytes` for this lane has to wait, with its publisher. */
  hasNoRoom(bytes: number, copies: number, laneNumber: number): boolean {
    return !this.goesAtOnce(this.lanes.at(laneNumber)) && this.bounds.blocks(bytes, copies);
  }

  /** Nothing waits before a message that comes to the queue now. */
  private goesAtOnce(queue: Queue): boolean {
    return this.peer?.congested === false && queue.waiting === 0 && queue.windowOpen(this.maxInflight);
  }

  private enqueue(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const { peer } = this;
    if (!this.durable) return this.deliverUnkept(queue, message, qos, retain);
    const isLive = queue.waiting === 0;
    const wasRetain = message.retain;
    message.retain = retain;
    const group = queue.append(message, qos);
    message.retain = wasRetain;
    if (queue.durable) this.context.onAppended(this);
    if (peer) this.sender.pump(peer, queue, this.maxInflight, isLive);
    this.bounds.watch();
    return group;
  }

  /** A message for a session that ends with its connection need not be kept once it is sent. */
  private deliverUnkept(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const peer = this.peer;
    if (peer && queue.waiting === 0 && message.share === 0 && queue.windowOpen(this.maxInflight) && !peer.congested) {
      return this.sender.sendUnkept(peer, queue, message, qos, retain);
    }
    const wasRetain = message.retain;
    message.retain = retain;
    queue.append(message, qos);
    message.retain = wasRetain;
    if (peer) this.sender.pump(peer, queue, this.maxInflight);
    this.bounds.watch();
    return Admission.taken;
  }

  /** Queues a retained message of QoS 1 or 2 for a new subscription, whatever `maxQueuedMessages` says [MQTT-3.3.1-6]. */
  queueRetained(message: Message, qos: QoS): GroupNumber {
    if (!this.view.reaches(message)) return Admission.taken;
    const queue = this.lanes.at(0);
    message.receivedMs = this.context.clock.nowMs(); // it waits from now on, however old the value is
    const waitingBefore = this.replayed.waitingIn(queue);
    const group = this.enqueue(queue, message, qos, true);
    this.replayed.add(queue, waitingBefore);
    return group;
  }

  /** Whether `queueRetained` may go on. */
  get takesRetained(): boolean {
    const queue = this.lanes.get(0);
    return !queue || this.replayed.hasRoomIn(queue);
  }

  /** Whether a peer is there that keeps up with what it gets: the time for what can wait. */
  get isReady(): boolean {
    const { peer } = this;
    if (!peer || peer.congested || peer.unsentBytes >= REPLAY_UNSENT_BYTES) return false;
    return (this.lanes.get(0)?.waiting ?? 0) < REPLAY_WAITING_MESSAGES;
  }

  private drop(): GroupNumber {
    this.bounds.noteDropped();
    return Admission.dropped;
  }

  /** What was read ahead has come: for a peer that may be gone by now. */
  private onLoaded(): void {
    this.bounds.trim();
    if (this.peer) this.pump();
    else for (const queue of this.lanes.queues) this.evict(queue);
    if (this.lanes.awaitsStore) this.context.onAppended(this);
  }

  /** What is on disk need not be in RAM. */
  private evict(queue: Queue): void {
    queue.evict(this.peer ? "cursor" : this.bounds.keepsHead ? "head" : "nothing");
    if (this.context.budget.exceeded) this.bounds.noteDropped(queue.qos0.clear());
  }

  /** Drops what is older than its queue allows. To be called now and then. */
  dropOld(): void {
    this.bounds.dropOld();
    this.bounds.noteLess();
  }

  /** Sends what the window allows, high lane first. */
  pump(): void {
    const peer = this.peer;
    if (!peer) return;
    for (const queue of this.lanes.queues) this.sender.pump(peer, queue, this.maxInflight);
    this.bounds.noteLess();
    this.replay?.peerHasRoom();
    this.onRoom?.();
  }

  /** Group `upTo` is on disk: QoS 2 messages that waited for it go, what lies on disk may leave RAM. True if no later group is awaited. */
  onStored(upTo: GroupNumber): boolean {
    this.parking.onStored(upTo);
    for (const queue of this.lanes.queues) {
      if (!queue.onStored(upTo)) continue;
      if (this.peer) this.sender.pump(this.peer, queue, this.maxInflight);
      if (!this.peer || this.context.budget.exceeded) this.evict(queue);
    }
    this.bounds.noteLess();
    // Also for what the pump has just asked for.
    return !this.lanes.awaitsStore && !this.parking.awaitsStore;
  }

  /** PUBACK: true if it ended a message. */
  onPuback(packetId: number, reasonCode = 0): boolean {
    if (!this.finish(packetId, Slot.sent)) return false;
    if (reasonCode >= FIRST_ERROR) this.refusedMessages += 1;
    return true;
  }

  /** PUBCOMP: true if it ended a message. */
  onPubcomp(packetId: number): boolean {
    return this.finish(packetId, Slot.received);
  }

  private finish(packetId: number, expected: number): boolean {
    const queue = this.lanes.ofPacket(packetId);
    if (!queue?.acknowledge(seqOfPacket(queue, packetId), expected)) return false;
    if (queue.inFlight === 0) this.parking.noteAnswered(queue);
    if (this.peer && queue.waiting > 0) this.sender.pump(this.peer, queue, this.maxInflight);
    this.bounds.noteLess();
    this.replay?.peerHasRoom();
    this.onRoom?.();
    return true;
  }

  /** PUBREC that refuses a message: it is over [MQTT-4.3.3-4]. True if it was. */
  onRefused(packetId: number): boolean {
    if (!this.finish(packetId, Slot.sentQoS2)) return false;
    this.refusedMessages += 1;
    return true;
  }

  /** PUBREC: PUBREL follows once our note of it is on disk. An unknown identifier is answered too, so that the peer can finish. */
  onPubrec(packetId: number): boolean {
    const queue = this.lanes.ofPacket(packetId);
    const seq = queue ? seqOfPacket(queue, packetId) : 0;
    const isNew = queue?.receive(seq) ?? false;
    const isKnown = isNew || queue?.slotOf(seq) === Slot.received;
    this.peer?.acknowledge(PUBREL_BYTE, packetId, queue?.receivedNoted ?? 0, 0, isKnown ? 0 : Reason.PacketIdentifierNotFound);
    return isNew;
  }
}
