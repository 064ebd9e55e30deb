import { PUBREL_BYTE } from "../mqtt/acks.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Idle } from "../queue/memory-budget.ts";
import type { Message } from "../queue/message.ts";
import type { ParkedMessage } from "../queue/parked.ts";
import type { Queue, QueueOwner } from "../queue/queue.ts";
import { recordSize } from "../queue/record.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber } from "../store/store.ts";
import { Admission } from "./admission.ts";
import { Bounds, type BoundsOwner } from "./bounds.ts";
import { Drain, type DrainLimits, isUnlimited } from "./drain.ts";
import { IncomingIds } from "./incoming.ts";
import { Lanes, type QueuedMessage } from "./lanes.ts";
import { LANES, packetIdOf, PARKED_LANE } from "./packet-id.ts";
import { Parking } from "./parking.ts";
import type { Peer } from "./peer.ts";
import type { Replay } from "./replayed.ts";
import { Sender, type SenderOwner } from "./sender.ts";
import type { SessionContext } from "./session-context.ts";
import { type ReadRights, View } from "./view.ts";

const NONE: readonly QueuedMessage[] = [];

/** A packet identifier that the peer is to forget, once the group is stored. */
interface Release {
  readonly packetId: number;
  readonly after: GroupNumber;
}

/** One peer's MQTT session, whichever side dialled: the in-flight window over its queues, and the incoming QoS 2 identifiers. */
export class Session implements QueueOwner, BoundsOwner, SenderOwner, Idle {
  readonly incoming: IncomingIds;
  /** Called when the peer has taken something, or has come: there may be room for more. */
  onRoom: (() => void) | undefined;
  /** Retained messages for new subscriptions that are not all handed over yet. */
  replay: Replay | undefined;
  /** What the last connection left open, the first message of each lane; the one that was sent first leads. */
  unanswered: readonly QueuedMessage[] = NONE;
  /** The connection; undefined while none is there. */
  sender: Sender | undefined;
  readonly view = new View();
  readonly lanes: Lanes;
  readonly bounds: Bounds;
  /** If there is a limit to how fast what waits is sent. */
  private drain: Drain | undefined;
  /** Once something was put aside. */
  private parking: Parking | undefined;
  /** Of messages that are done and that the peer may know: each goes to one connection that stands when its group is stored. After a start none does. */
  private releases: Release[] | undefined;

  constructor(
    readonly number: SessionNumber,
    readonly clientId: string,
    /** Whether the session outlives its connection; then its messages are on disk. */
    readonly durable: boolean,
    private readonly context: SessionContext<Session>,
  ) {
    this.incoming = new IncomingIds(number, context.store, this.isStored, context.incomingTotal);
    this.lanes = new Lanes(number, this.isStored, context, this);
    this.bounds = new Bounds(context.limits, this.lanes, this, context);
  }

  private get isStored(): boolean {
    return this.durable && this.context.store.durable;
  }

  /** Prefix that is taken off topics before they are sent (a listener's mount point). */
  get strippedPrefix(): Buffer {
    return this.view.prefix;
  }

  set strippedPrefix(prefix: Buffer) {
    if (!this.view.mount(prefix)) return;
    this.lanes.recheck();
    this.context.onRemounted(this);
  }

  get mountPrefix(): string {
    return this.view.prefixText;
  }

  /** What its user may read; undefined: everything. Messages that come after another one was set have been let in by it: see `Receiver.mayRead`. */
  set rights(rights: ReadRights | undefined) {
    if (rights === this.view.rights) return;
    this.view.rights = rights;
    this.lanes.recheck();
  }

  mayRead(topicName: string): boolean {
    return this.view.mayRead(topicName);
  }

  get isAttached(): boolean {
    return this.sender !== undefined;
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

  /** How fast what waits is sent. */
  set drainLimits(limits: DrainLimits) {
    if (!this.drain && isUnlimited(limits)) return;
    this.drain ??= new Drain(this.context.clock, () => this.pump());
    this.drain.limits = limits;
    if (this.sender) this.sender.drain = this.drain;
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

  /** Whether a message is still queued, sent or not, and as far as it was. */
  isQueued(message: QueuedMessage): boolean {
    return this.lanes.isOpen(message);
  }

  recoverQueue(lane: number, record: Buffer): void {
    if (lane === PARKED_LANE) this.aside.recover(record);
    else this.lanes.at(lane).recover(record);
  }

  private get aside(): Parking {
    const { store } = this.context;
    return (this.parking ??= new Parking(this.number, this.isStored, store, (messages) => this.onLost(messages), this.lanes));
  }

  /** Removes pages that a power cut has brought back. */
  async removeLeftovers(): Promise<void> {
    for (const queue of this.lanes.queues) await queue.removeLeftovers();
  }

  /** The store has been repaired: takes up messages that no record of a queue tells of. Rejects with StoreError. */
  async recoverBeyondRecords(): Promise<void> {
    for (let lane = 0; lane < LANES; lane++) await this.lanes.at(lane).recoverBeyondRecord();
    await this.aside.recoverBeyondRecord();
  }

  /** A connection takes the session up: what is unacknowledged is sent again, in order, DUP set [MQTT-4.4.0-1]. `maxQoS`: the peer takes no higher one. */
  attach(peer: Peer, maxInflight: number, maxQoS: QoS = 2): void {
    this.forgetReleased();
    this.sender = new Sender(this, this.context, peer, maxInflight, maxQoS, this.drain);
    this.context.budget.takeBack(this);
    this.lanes.attach();
    for (const { packetId, after } of this.releases ?? []) peer.acknowledge(PUBREL_BYTE, packetId, after, 0);
    this.pump();
  }

  detach(): void {
    const unanswered = this.sender?.unanswered ?? this.unanswered;
    this.unanswered = unanswered.length > 0 ? unanswered : NONE;
    this.forgetReleased();
    this.sender = undefined;
    this.drain?.stop();
    this.lanes.detach();
    for (const queue of this.lanes.queues) this.leave(queue);
    this.replay?.peerGone();
  }

  /** Messages that are put aside; they do not count as queued. */
  get parkedMessages(): number {
    return this.parking?.messages ?? 0;
  }

  /** What goes with the session: queued, or put aside. */
  get keptMessages(): number {
    return this.queuedMessages + this.parkedMessages;
  }

  /** Puts the first of `unanswered` aside (see `Parking.park`); undefined if there is none. */
  async parkHead(): Promise<ParkedMessage | undefined> {
    const { unanswered } = this;
    const [head] = unanswered;
    if (!head) return undefined;
    return this.aside.park(head, () => this.unanswered === unanswered, (queue, qos, group) => {
      this.unanswered = NONE;
      if (group !== 0) this.noteAwaited();
      // The peer may have kept the identifier: PUBREL has it forgotten, so that the next message under it is not taken for this one.
      if (qos === 2 && !head.isNoted) this.release(packetIdOf(queue.lane, head.seq), group);
      this.pump();
    });
  }

  /** Once: it may be the message's end that the peer can't stand. */
  release(packetId: number, after: GroupNumber): void {
    const { sender } = this;
    sender?.peer.acknowledge(PUBREL_BYTE, packetId, after, 0);
    if (after > 0) this.noteAwaited();
    if (after > 0 || !sender) (this.releases ??= []).push({ packetId, after });
  }

  /** Forgets those that the present peer has been sent. A connection that ends takes with it what waits for the store. */
  private forgetReleased(): void {
    if (!this.sender || !this.releases) return;
    const left = this.releases.filter(({ after }) => after > this.context.store.stored);
    this.releases = left.length > 0 ? left : undefined;
  }

  /** What is put aside, oldest first. Rejects with StoreError when the store can't be read. */
  async parked(): Promise<readonly ParkedMessage[]> {
    return (await this.parking?.list()) ?? [];
  }

  /**
   * Appends what is put aside to the lanes that it came from, as new messages; each in the group in which it leaves there. Returns how many.
   * Rejects with StoreError when the store can't be read; what was not appended stays aside.
   */
  async retryParked(): Promise<number> {
    const taken = this.parking?.takeBack((message, lane) => {
      message.receivedMs = this.context.clock.nowMs();
      this.enqueue(this.lanes.at(lane), message, message.qos, message.retain);
    });
    return (await taken) ?? 0;
  }

  /** Returns how many were dropped. */
  dropParked(): number {
    const dropped = this.parking?.drop() ?? 0;
    if (this.parking?.awaitsStore) this.noteAwaited();
    return dropped;
  }

  /**
   * The peer's side of the session is new: nothing of what was in exchange is known to it. Called before `attach`.
   * Returns the group that holds it, 0 if nothing is to be waited for.
   */
  forgetPeer(): GroupNumber {
    const group = Math.max(this.incoming.clear(), this.lanes.forgetPeer());
    this.bounds.forgetPeer();
    this.releases = undefined;
    if (this.lanes.awaitsStore) this.noteAwaited();
    return group;
  }

  /** Whether messages are on their way, in either direction, whose exchange is not over. */
  get hasOpenExchanges(): boolean {
    return this.inFlightMessages > 0 || this.incoming.size > 0;
  }

  /** The same with those that an earlier connection began and this one has not come to: the peer knows their identifiers. */
  get leavesExchanges(): boolean {
    return this.incoming.size > 0 || this.lanes.hasBegun;
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
    this.sender = undefined;
    this.context.budget.takeBack(this);
    this.drain?.stop();
    this.incoming.end();
    for (const queue of this.lanes.queues) queue.end();
    this.parking?.end();
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
    if (!this.bounds.fits(1, size) && !this.sender?.goesAtOnce(queue) && !this.bounds.makeRoom(queue, size)) return this.drop();
    return this.enqueue(queue, message, qos, retain);
  }

  /** The same whatever the limits say: for a message that another queue gives up, or the in-flight window has room for. */
  takeOver(message: Message, qos: QoS, retain: boolean): GroupNumber {
    if (qos === 0) return this.deliverQoS0(message, retain, 0);
    return this.view.reaches(message) ? this.enqueue(this.lanes.at(0), message, qos, retain) : Admission.taken;
  }

  /** See `Receiver.forward`. */
  forward(message: Message, packets: number): boolean {
    const peer = this.sender?.peer;
    if (!peer || peer.congested || this.view.prefix.length > 0) return false;
    if (this.bounds.limits.queueQoS0 && this.lanes.waiting > 0) return false;
    return peer.forward(message, packets);
  }

  private deliverQoS0(message: Message, retain: boolean, laneNumber: number): GroupNumber {
    const { sender } = this;
    if (!this.view.reaches(message)) return Admission.dropped;
    if (this.bounds.limits.queueQoS0) {
      const queue = this.lanes.at(laneNumber);
      if (!sender || sender.peer.congested || queue.waiting > 0) return this.queueQoS0(queue, message, retain);
    }
    if (!sender) return Admission.dropped;
    if (sender.peer.congested) return this.drop();
    return sender.sendQoS0(message, retain);
  }

  /** In RAM, or not at all. */
  private queueQoS0(queue: Queue, message: Message, retain: boolean): GroupNumber {
    if (!this.context.budget.makeRoom() || !this.bounds.admitsQoS0(recordSize(message))) return this.drop();
    queue.appendQoS0(message, retain);
    this.bounds.watch();
    return Admission.taken;
  }

  blocks(message: Message, copies: number): boolean {
    return this.view.reaches(message) && this.hasNoRoom(recordSize(message), copies, 0);
  }

  /** Whether the limits have room for the message, of QoS 1 or 2, or it goes at once. */
  hasQueueRoom(message: Message): boolean {
    return this.sender?.goesAtOnce(this.lanes.at(0)) === true || this.bounds.fits(1, this.bounds.countsBytes ? recordSize(message) : 0);
  }

  /** Whether a message of `bytes` for this lane has to wait, with its publisher. */
  hasNoRoom(bytes: number, copies: number, laneNumber: number): boolean {
    return !this.sender?.goesAtOnce(this.lanes.at(laneNumber)) && this.bounds.blocks(bytes, copies);
  }

  private enqueue(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const { sender } = this;
    const isLive = queue.waiting === 0;
    // A message for a session that ends with its connection need not be kept once it is sent.
    if (isLive && !this.durable && sender && message.share === 0 && sender.goesAtOnce(queue)) return sender.sendUnkept(queue, message, qos, retain);
    const group = queue.append(message, qos, retain);
    if (queue.durable) this.noteAwaited();
    sender?.pump(queue, isLive);
    this.bounds.watch();
    return group;
  }

  /** Queues a retained message of QoS 1 or 2 for a new subscription, whatever `maxQueuedMessages` says [MQTT-3.3.1-6]. */
  queueRetained(message: Message, qos: QoS): GroupNumber {
    if (!this.view.reaches(message)) return Admission.taken;
    const queue = this.lanes.at(0);
    message.receivedMs = this.context.clock.nowMs(); // it waits from now on, however old the value is
    const { replayed } = this.bounds;
    const waitingBefore = replayed.waitingIn(queue);
    const group = this.enqueue(queue, message, qos, true);
    replayed.add(queue, waitingBefore);
    return group;
  }

  /** Whether `queueRetained` may go on. */
  get takesRetained(): boolean {
    const queue = this.lanes.get(0);
    return !queue || this.bounds.replayed.hasRoomIn(queue);
  }

  private drop(): GroupNumber {
    this.bounds.noteDropped();
    return Admission.dropped;
  }

  /** The queue, or what is put aside, waits for the store. */
  noteAwaited(): void {
    this.context.onAppended(this);
  }

  onDropped(): void {
    this.context.onDropped(this);
  }

  onLevel(isNearlyFull: boolean): void {
    this.context.onLevel(this, isNearlyFull);
  }

  onLost(messages: number): void {
    this.context.onLost(this, messages);
  }

  /** What was read ahead has come: for a peer that may be gone by now. */
  onLoaded(queue: Queue): void {
    this.bounds.trim(queue);
    if (this.sender) this.pump();
    else this.leave(queue);
    if (this.lanes.awaitsStore) this.noteAwaited();
  }

  /** What is on disk need not be in RAM: it stays while there is room, unless it is to be read from the disk anyway, behind what is there alone. */
  private leave(queue: Queue): void {
    const { budget } = this.context;
    const mayStay = this.sender !== undefined || !queue.hasGap;
    if (!this.sender && mayStay && queue.messages > 0) budget.lend(this);
    if (budget.makeRoom() && mayStay) return;
    this.evict(queue);
    if (budget.exceeded) this.bounds.noteDropped(queue.qos0.clear());
  }

  private evict(queue: Queue): void {
    queue.evict(this.sender ? "cursor" : this.bounds.keepsHead ? "head" : "nothing");
  }

  /** Others need the room. */
  leaveToDisk(): void {
    for (const queue of this.lanes.queues) this.evict(queue);
  }

  /** Drops what is older than its queue allows, and asks again for what could not be read. To be called now and then. */
  check(): void {
    this.bounds.dropOld();
    this.bounds.noteLess();
    if (this.sender && this.lanes.waiting > 0) this.pump();
  }

  /** Sends what the window allows, high lane first. */
  pump(): void {
    if (!this.sender) return;
    this.sender.pumpAll();
    this.noteRoom();
  }

  /** The peer has come, or has taken something. */
  noteRoom(): void {
    this.bounds.noteLess();
    this.replay?.peerHasRoom();
    this.onRoom?.();
  }

  /** Group `upTo` is on disk: QoS 2 messages that waited for it go, what lies on disk may leave RAM. True if no later group is awaited. */
  onStored(upTo: GroupNumber): boolean {
    this.parking?.onStored(upTo);
    this.forgetReleased();
    for (const queue of this.lanes.queues) {
      if (!queue.onStored(upTo)) continue;
      this.sender?.pump(queue);
      this.leave(queue);
    }
    this.bounds.noteLess();
    // Also for what the pump has just asked for.
    return !this.lanes.awaitsStore && this.parking?.awaitsStore !== true;
  }
}
