import type { Clock } from "../clock/clock.ts";
import { PUBREL_BYTE } from "../mqtt/acks.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import type { Queue } from "../queue/queue.ts";
import { Slot } from "../queue/window.ts";
import type { GroupNumber } from "../store/store.ts";
import { Admission } from "./admission.ts";
import type { Bounds } from "./bounds.ts";
import type { Drain } from "./drain.ts";
import { packetIdOf } from "./packet-id.ts";
import type { Parking } from "./parking.ts";
import type { Peer } from "./peer.ts";
import type { View } from "./view.ts";

const DUP_FLAG = 8;
/** The time of a message is over; of one that has no such time. */
const EXPIRED = -2;
const NO_EXPIRY = -1;

/** Takes messages out of a session's queues, in order, and sends to the peer what it may have of them. */
export class Sender {
  /** Messages that were larger than the peer takes. */
  oversizedMessages = 0;
  /** If set, only from this queue messages are sent. */
  only: Queue | undefined;
  private readonly record = new Message();
  private isPumping = false;

  constructor(
    private readonly clock: Clock,
    private readonly view: View,
    private readonly parking: Parking,
    private readonly bounds: Bounds,
    private readonly drain: Drain,
    /** Something has to wait for the store. */
    private readonly onWaits: () => void,
  ) {}

  /** A connection begins. */
  begin(): void {
    this.isPumping = false;
    this.only = undefined;
  }

  /** A message of QoS 1 or 2 whose turn it is, and which need not be kept: its session ends with the connection. */
  sendUnkept(peer: Peer, queue: Queue, message: Message, qos: QoS, retain: boolean): GroupNumber {
    const expirySeconds = this.expirySeconds(message);
    if (expirySeconds === EXPIRED) return this.countExpired();
    const id = packetIdOf(queue.lane, queue.nextSeq);
    if (!peer.publish((qos << 1) | (retain ? 1 : 0), message, message.topicStart + this.view.prefix.length, id, expirySeconds)) return this.countOversized();
    queue.sendUnkept();
    return Admission.taken;
  }

  private countExpired(): GroupNumber {
    this.bounds.expired += 1;
    return Admission.dropped;
  }

  /** What the peer can't take is done for it [MQTT-3.1.2-25]. */
  private countOversized(): GroupNumber {
    this.oversizedMessages += 1;
    return Admission.taken;
  }

  /** How long the message may still be delivered: EXPIRED not at all, -1 for ever. */
  private expirySeconds({ expiresAtMs }: Message): number {
    if (expiresAtMs === 0) return NO_EXPIRY;
    const leftMs = expiresAtMs - this.clock.nowMs();
    return leftMs < 0 ? EXPIRED : Math.ceil(leftMs / 1000);
  }

  sendQoS0(peer: Peer, message: Message, retain: boolean): GroupNumber {
    const strip = this.view.prefix.length;
    if (message.frameEnd > message.frameStart && strip === 0 && !retain && peer.forward(message, 1)) return Admission.taken;
    const expirySeconds = this.expirySeconds(message);
    if (expirySeconds === EXPIRED) return this.countExpired();
    if (!peer.publish(retain ? 1 : 0, message, message.topicStart + strip, 0, expirySeconds)) return this.countOversized();
    return Admission.taken;
  }

  /** Sends what the window allows. `isLive`: what there is to send has just come. */
  pump(peer: Peer, queue: Queue, maxInflight: number, isLive = false): void {
    if (this.only !== undefined && this.only !== queue) return;
    if (this.isPumping) return; // a peer that has acknowledged before `publish` returned: the loop below goes on
    this.isPumping = true;
    this.bounds.dropOld();
    if (queue.qos0.messages > 0) this.pumpQoS0(peer, queue);
    while (!peer.congested && queue.windowOpen(maxInflight) && queue.peek(this.record) && (isLive || this.drain.mayGo())) {
      if (!this.sendNext(peer, queue)) break;
      if (queue.qos0.messages > 0) this.pumpQoS0(peer, queue);
    }
    this.isPumping = false;
  }

  /** Sends the messages of QoS 0 whose turn it is. */
  private pumpQoS0(peer: Peer, queue: Queue): void {
    const { record, view } = this;
    while (!peer.congested && queue.isQoS0Due && this.drain.mayGo()) {
      queue.qos0.read(record);
      this.drain.note(record.payloadEnd - record.topicStart);
      if (view.shows(record)) this.sendQoS0(peer, record, record.retain);
      queue.qos0.dropFirst();
    }
  }

  /** Handles the record under the cursor, which lies under `record`; false if it has to wait. */
  private sendNext(peer: Peer, queue: Queue): boolean {
    const { record, view } = this;
    const seq = queue.cursorSeq;
    const slot = queue.slotOf(seq);
    const id = packetIdOf(queue.lane, seq);
    if (slot === Slot.acknowledged || seq < queue.ackedBelow) {
      queue.stepCursor();
      return true;
    }
    if (slot === Slot.received) {
      queue.advanceSent();
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
    if (!view.shows(record)) return this.passBy(queue, seq);
    if (!queue.maySend(seq, record.qos)) {
      this.onWaits();
      return false;
    }
    const flags = (record.qos << 1) | (record.retain ? 1 : 0);
    this.parking.noteSent(queue);
    const again = queue.advanceSent();
    this.drain.note(record.payloadEnd - record.topicStart);
    if (peer.publish(again ? flags | DUP_FLAG : flags, record, record.topicStart + view.prefix.length, id, expirySeconds)) return true;
    this.countOversized();
    queue.acknowledge(seq, Slot.sent);
    return true;
  }

  /** The record under the cursor is done without being sent. */
  private passBy(queue: Queue, seq: number): boolean {
    queue.advanceSent();
    queue.acknowledge(seq, Slot.sent);
    return true;
  }
}
