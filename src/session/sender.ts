import type { Clock } from "../clock/clock.ts";
import { PUBREL_BYTE } from "../mqtt/acks.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import { Reason } from "../mqtt/reason.ts";
import { Message } from "../queue/message.ts";
import type { Queue } from "../queue/queue.ts";
import { Slot } from "../queue/window.ts";
import type { GroupNumber } from "../store/store.ts";
import { Admission } from "./admission.ts";
import type { Bounds } from "./bounds.ts";
import type { Drain } from "./drain.ts";
import { type Lanes, type QueuedMessage, seqOfPacket } from "./lanes.ts";
import { packetIdOf } from "./packet-id.ts";
import type { Peer } from "./peer.ts";
import type { View } from "./view.ts";

const DUP_FLAG = 8;
/** The time of a message is over; of one that has no such time. */
const EXPIRED = -2;
const NO_EXPIRY = -1;

/** The peer keeps up while less than this waits for it: messages in the queue, bytes that it has not read. */
const IDLE_WAITING_MESSAGES = 32;
const IDLE_UNSENT_BYTES = 256 * 1024;

/** Of what sessions share. */
export interface SenderContext {
  readonly clock: Clock;
  readonly limits: { readonly maxInflightMessages: number };
}

/** The session whose connection it is. */
export interface SenderOwner {
  readonly view: View;
  readonly lanes: Lanes;
  readonly bounds: Bounds;
  /** Something has to wait for the store. */
  noteAwaited(): void;
  /** The peer is to forget the packet identifier, once the group is stored. */
  release(packetId: number, after: GroupNumber): void;
  /** Sends what the window allows, of all lanes. */
  pump(): void;
  /** The peer has taken something. */
  noteRoom(): void;
}

/** A session's connection: takes messages out of the session's queues, in order, and sends to the peer what it may have of them. */
export class Sender {
  /** If set, only from this queue messages are sent. */
  private only: Queue | undefined;
  /** The queue of the message in flight that was sent first. */
  private sentFirst: Queue | undefined;
  private readonly record = new Message();
  private isPumping = false;
  /** Answers have made room that nothing has been sent into yet. */
  private hasMadeRoom = false;
  /** So many may be in flight. */
  private maxInflight: number;
  private readonly view: View;
  private readonly lanes: Lanes;
  private readonly bounds: Bounds;

  constructor(
    private readonly session: SenderOwner,
    private readonly context: SenderContext,
    readonly peer: Peer,
    maxInflight: number,
    /** The peer takes no higher one [MQTT-3.2.2-11]. */
    private readonly maxQoS: QoS,
    /** Undefined: what waits goes as fast as the peer takes it. */
    public drain: Drain | undefined,
  ) {
    this.maxInflight = Math.min(maxInflight, context.limits.maxInflightMessages);
    this.view = session.view;
    this.lanes = session.lanes;
    this.bounds = session.bounds;
  }

  /** More may be on its way from now on. */
  widen(maxInflight: number): void {
    this.only = undefined;
    this.maxInflight = Math.min(maxInflight, this.context.limits.maxInflightMessages);
    this.session.pump();
  }

  /** Sends this message when it is the first of its lane, and nothing of QoS 1 and 2 beside it; after an `attach` that let nothing go. */
  sendAlone({ lane }: QueuedMessage): void {
    this.only = this.lanes.get(lane);
    this.maxInflight = 1;
    this.session.pump();
  }

  /** Nothing new is sent on this connection; exchanges that have begun go on. */
  quiesce(): void {
    this.maxInflight = 0;
  }

  /** Whether one more message of QoS 1 or 2 would be on its way to the peer at once. */
  get hasRoom(): boolean {
    return !this.peer.congested && (this.lanes.get(0)?.messages ?? 0) < this.maxInflight;
  }

  /** Nothing waits before a message that comes to the queue now. */
  goesAtOnce(queue: Queue): boolean {
    return queue.waiting === 0 && this.isOpen(queue) && !this.peer.congested;
  }

  /** Whether the peer keeps up with what it gets: the time for what can wait. */
  get isIdle(): boolean {
    const { peer } = this;
    return !peer.congested && peer.unsentBytes < IDLE_UNSENT_BYTES && (this.lanes.get(0)?.waiting ?? 0) < IDLE_WAITING_MESSAGES;
  }

  /** A message of QoS 1 or 2 whose turn it is, and which need not be kept: its session ends with the connection. */
  sendUnkept(queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const expirySeconds = this.expirySeconds(message);
    if (expirySeconds === EXPIRED) return this.countExpired();
    const sentQoS = this.lowered(qos);
    const id = sentQoS === 0 ? 0 : packetIdOf(queue.lane, queue.nextSeq);
    const seq = queue.nextSeq;
    if (sentQoS > 0) queue.sendUnkept(sentSlot(sentQoS)); // a shared subscription acknowledges at once
    if (this.peer.publish((sentQoS << 1) | (retain ? 1 : 0), message, message.topicStart + this.view.prefix.length, id, expirySeconds)) return Admission.taken;
    if (sentQoS > 0) queue.acknowledge(seq, sentSlot(sentQoS));
    return this.countOversized();
  }

  private countExpired(): GroupNumber {
    this.bounds.expired += 1;
    return Admission.dropped;
  }

  private lowered(qos: QoS): QoS {
    return qos < this.maxQoS ? qos : this.maxQoS;
  }

  /** What the peer can't take is done for it [MQTT-3.1.2-25]. */
  private countOversized(): GroupNumber {
    this.bounds.oversized += 1;
    return Admission.taken;
  }

  /** How long the message may still be delivered: EXPIRED not at all, -1 for ever. */
  private expirySeconds({ expiresAtMs }: Message): number {
    if (expiresAtMs === 0) return NO_EXPIRY;
    const leftMs = expiresAtMs - this.context.clock.nowMs();
    return leftMs < 0 ? EXPIRED : Math.ceil(leftMs / 1000);
  }

  sendQoS0(message: Message, retain: boolean): GroupNumber {
    const { peer } = this;
    const strip = this.view.prefix.length;
    if (message.frameEnd > message.frameStart && strip === 0 && !retain && peer.forward(message, 1)) return Admission.taken;
    const expirySeconds = this.expirySeconds(message);
    if (expirySeconds === EXPIRED) return this.countExpired();
    if (!peer.publish(retain ? 1 : 0, message, message.topicStart + strip, 0, expirySeconds)) return this.countOversized();
    return Admission.taken;
  }

  /** Sends what the window allows: the room is the first lane's that has something. Ages are looked at here, not with each message. */
  pumpAll(): void {
    if (this.isPumping) return;
    this.bounds.dropOld();
    for (const queue of this.lanes.queues) this.pump(queue);
  }

  /** The same for one lane. `isLive`: what there is to send has just come. */
  pump(queue: Queue, isLive = false): void {
    const { peer } = this;
    if (this.only !== undefined && this.only !== queue) return;
    if (this.isPumping) return; // a peer that has acknowledged before `publish` returned: the loop below goes on
    this.isPumping = true;
    try {
      if (queue.qos0.messages > 0) this.pumpQoS0(queue);
      while (this.isOpen(queue) && !peer.congested && queue.peek(this.record) && (isLive || this.mayDrain)) {
        if (!this.sendNext(queue)) break;
        if (queue.qos0.messages > 0) this.pumpQoS0(queue);
      }
    } finally {
      this.isPumping = false; // without memory for a large message what sends it throws
    }
  }

  /** Whether one more message of the queue may be on its way: all lanes share the peer's window [MQTT-3.3.4-9]. */
  private isOpen(queue: Queue): boolean {
    const { lanes } = this;
    return queue.windowOpen(lanes.queues.length === 1 ? this.maxInflight : this.maxInflight - lanes.inFlight + queue.inFlight);
  }

  /** Whether what has waited may go now. */
  private get mayDrain(): boolean {
    return this.drain === undefined || this.drain.mayGo();
  }

  /** Sends the messages of QoS 0 whose turn it is. */
  private pumpQoS0(queue: Queue): void {
    const { peer, record, view } = this;
    while (!peer.congested && queue.isQoS0Due && this.mayDrain) {
      queue.qos0.read(record);
      this.drain?.note(record.payloadEnd - record.topicStart);
      if (view.shows(record)) this.sendQoS0(record, record.retain);
      queue.qos0.dropFirst();
    }
  }

  /** Handles the record under the cursor, which lies under `record`; false if it has to wait. */
  private sendNext(queue: Queue): boolean {
    const { peer, record, view } = this;
    const seq = queue.cursorSeq;
    const slot = queue.window.stateOf(seq);
    const id = packetIdOf(queue.lane, seq);
    if (slot === Slot.acknowledged || seq < queue.ackedBelow) {
      queue.stepCursor();
      return true;
    }
    if (slot === Slot.received) {
      queue.advanceSent(Slot.received);
      peer.acknowledge(PUBREL_BYTE, id, queue.receivedNoted, 0);
      return true;
    }
    let expirySeconds = this.expirySeconds(record);
    if (expirySeconds === EXPIRED) {
      if (!queue.hasBeenSent(seq)) {
        this.countExpired();
        return this.passBy(queue, seq);
      }
      expirySeconds = 0; // its exchange has begun, and is finished
    }
    if (seq < queue.recheckBelow && !view.shows(record)) return this.withhold(queue, seq);
    if (!queue.maySend(seq, record.qos)) {
      this.session.noteAwaited();
      return false;
    }
    const qos = this.lowered(record.qos);
    const sent = sentSlot(qos);
    this.sentFirst ??= queue;
    const again = queue.advanceSent(sent);
    this.drain?.note(record.payloadEnd - record.topicStart);
    const flags = (again && qos > 0 ? DUP_FLAG : 0) | (qos << 1) | (record.retain ? 1 : 0);
    const isSent = peer.publish(flags, record, record.topicStart + view.prefix.length, qos === 0 ? 0 : id, expirySeconds);
    if (!isSent) this.countOversized();
    if (!isSent || qos === 0) queue.acknowledge(seq, sent);
    if (!isSent && again && qos === 2) this.release(queue, seq);
    return true;
  }

  /** What is under way, the first message of each lane; the one that was sent first leads. */
  get unanswered(): readonly QueuedMessage[] {
    const { sentFirst, lanes } = this;
    const inOrder = [...(sentFirst ? [sentFirst] : []), ...lanes.queues.filter((queue) => queue !== sentFirst)];
    return inOrder.flatMap(({ lane, window }) => {
      const seq = window.firstUnanswered;
      return seq === 0 ? [] : { lane, seq, isNoted: window.stateOf(seq) === Slot.received };
    });
  }

  /** The peer may not have the record under the cursor any more. */
  private withhold(queue: Queue, seq: number): boolean {
    const mayBeKnown = this.lowered(this.record.qos) === 2 && queue.hasBeenSent(seq);
    this.passBy(queue, seq);
    if (mayBeKnown) this.release(queue, seq);
    return true;
  }

  /** A QoS 2 message is done that the peer may have already: PUBREL has it forget the identifier, which would hide a later message from it. */
  private release(queue: Queue, seq: number): void {
    this.session.release(packetIdOf(queue.lane, seq), queue.touch("synced"));
  }

  /** The record under the cursor is done without being sent. */
  private passBy(queue: Queue, seq: number): boolean {
    queue.advanceSent(Slot.sent);
    queue.acknowledge(seq, Slot.sent);
    return true;
  }

  /** PUBACK: true if it ended a message. */
  onPuback(packetId: number, reasonCode = 0): boolean {
    if (!this.finish(packetId, Slot.sent)) return false;
    if (reasonCode >= FIRST_ERROR) this.bounds.refused += 1;
    return true;
  }

  /** PUBCOMP: true if it ended a message. */
  onPubcomp(packetId: number): boolean {
    return this.finish(packetId, Slot.received);
  }

  private finish(packetId: number, expected: number): boolean {
    const queue = this.lanes.ofPacket(packetId);
    if (!queue?.acknowledge(seqOfPacket(queue, packetId), expected)) return false;
    if (queue === this.sentFirst && queue.inFlight === 0) this.sentFirst = this.lanes.queues.find(({ inFlight }) => inFlight > 0);
    this.hasMadeRoom = true;
    if (this.peer.isHandingOn !== true) this.settle();
    return true;
  }

  /** Sends what finds room behind the answers that came together: one look at the queues for all of them. */
  settle(): void {
    if (!this.hasMadeRoom) return;
    this.hasMadeRoom = false;
    if (this.lanes.waiting > 0) this.pumpAll();
    this.session.noteRoom();
  }

  /** PUBREC that refuses a message: it is over [MQTT-4.3.3-4]. True if it was. */
  onRefused(packetId: number): boolean {
    if (!this.finish(packetId, Slot.sentQoS2)) return false;
    this.bounds.refused += 1;
    return true;
  }

  /** PUBREC: PUBREL follows once our note of it is on disk. An unknown identifier is answered too, so that the peer can finish. */
  onPubrec(packetId: number): boolean {
    const queue = this.lanes.ofPacket(packetId);
    const seq = queue ? seqOfPacket(queue, packetId) : 0;
    const isNew = queue?.receive(seq) ?? false;
    const isKnown = isNew || queue?.window.stateOf(seq) === Slot.received;
    this.peer.acknowledge(PUBREL_BYTE, packetId, queue?.receivedNoted ?? 0, 0, isKnown ? 0 : Reason.PacketIdentifierNotFound);
    return isNew;
  }
}

/** Where a message stands that is sent. */
const sentSlot = (qos: QoS): number => (qos === 2 ? Slot.sentQoS2 : Slot.sent);
