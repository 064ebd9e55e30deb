import type { QoS } from "../mqtt/protocol.ts";
import type { SessionNumber } from "../store/keys.ts";
import type { GroupNumber } from "../store/store.ts";
import type { Message } from "./message.ts";
import { QueueContents, type QueueContext } from "./queue-contents.ts";
import { readRecord } from "./record.ts";
import { WaitingQoS0 } from "./waiting-qos0.ts";
import { Slot } from "./window.ts";

/** Whose messages a queue has. */
export interface QueueOwner {
  /** Pages of the queue that were read ahead have arrived. */
  onLoaded(queue: Queue): void;
  /** Messages that had been stored can't be read any more. */
  onLost(messages: number): void;
}

/**
 * One receiver's messages of one lane, in order, and how far it has got with them: the cursor stands before the next one to send, answers take them
 * out. A connection goes through everything unacknowledged from the head.
 */
export class Queue extends QueueContents {
  /** Beside the numbered messages, which alone `messages` and `bytes` count. */
  qos0 = WaitingQoS0.none;
  /** The group that holds the note of every PUBREC so far: PUBREL waits for it, the first one and those sent again. */
  receivedNoted: GroupNumber = 0;

  constructor(
    session: SessionNumber,
    lane: number,
    durable: boolean,
    windowSlots: number,
    context: QueueContext,
    private readonly owner: QueueOwner,
  ) {
    super(session, lane, durable, windowSlots, context);
  }

  get inFlight(): number {
    return this.window.inFlight;
  }

  /** Messages beyond the in-flight window. */
  get waiting(): number {
    return this.messages - this.window.inFlight + this.qos0.messages;
  }

  /** Size of those messages' records. */
  get waitingBytes(): number {
    return this.bytes - this.window.inFlightBytes + this.qos0.bytes;
  }

  /** Whether a message of QoS 0 waits and all that came before it has been sent. */
  get isQoS0Due(): boolean {
    return this.qos0.messages > 0 && this.qos0.beforeSeq <= this.nextToSend;
  }

  /** The number of the next message to send, which need not be in RAM; `nextSeq` if there is none. */
  private get nextToSend(): number {
    const { backlog } = this;
    return this.settleCursor() ? backlog.cursor.seq : backlog.hasGap ? backlog.gapFrom : this.nextSeq;
  }

  /** Copies a message of QoS 0 to the end of those. */
  appendQoS0(message: Message, retain: boolean): void {
    const { budget, totals } = this.context;
    if (this.qos0 === WaitingQoS0.none) this.qos0 = new WaitingQoS0(budget, totals);
    this.qos0.append(message, retain, this.nextSeq);
  }

  /** Gives a sequence number to a message that is sent at once and need not be kept (its session ends with the connection). */
  sendUnkept(slot: number): number {
    const { window } = this;
    const seq = this.nextSeq;
    this.nextSeq += 1;
    this.count(1, 0);
    window.set(seq, slot);
    window.inFlight += 1;
    window.passedBelow = this.nextSeq;
    return seq;
  }

  /** Whether the next message finds room in the window: by count (`maxInflight` of the peer) and by its distance from the oldest one. */
  windowOpen(maxInflight: number): boolean {
    return this.window.inFlight < maxInflight && this.window.reaches(this.nextToSend);
  }

  /** Puts the next record to handle under `message`; false if none is in RAM (one may be on its way from the disk). */
  peek(message: Message): boolean {
    const { cursor } = this.backlog;
    while (this.settleCursor()) {
      readRecord(message, cursor.bytes, cursor.at);
      if (message.topicEnd > message.topicStart || !this.passEmpty(cursor.seq)) return true;
    }
    this.readAhead();
    return false;
  }

  /** Moves the cursor to a record that was not dropped; false if there is none in RAM. */
  private settleCursor(): boolean {
    const { backlog, dropped } = this;
    while (backlog.settleCursor()) {
      if (dropped.isEmpty || !dropped.has(backlog.cursor.seq)) return true;
      this.stepCursor();
    }
    return false;
  }

  /** The record under the cursor has no content. Unless only its exchange is to be finished the message is lost after all: the peer has forgotten it. */
  private passEmpty(seq: number): boolean {
    const state = this.window.stateOf(seq);
    if (state === Slot.received || state === Slot.acknowledged || seq < this.ackedBelow) return false;
    this.stepCursor();
    this.window.set(seq, Slot.acknowledged);
    this.uncount(1, this.backlog.bytesOf(seq));
    this.advanceHead();
    this.touch("soon");
    this.lost += 1;
    this.onLost(1);
    return true;
  }

  /** The record under the cursor; peek returned true. */
  get cursorSeq(): number {
    return this.backlog.cursor.seq;
  }

  /** Whether the record under the cursor may go out. */
  maySend(seq: number, qos: QoS): boolean {
    return !this.durable || this.clearance.maySend(seq, qos);
  }

  /** The record under the cursor has been sent (again): it takes a slot of the window, and stands at `slot`. Returns whether it carries DUP. */
  advanceSent(slot: number): boolean {
    const { window } = this;
    const seq = this.cursorSeq;
    const again = this.clearance.pass(seq);
    window.set(seq, slot);
    window.inFlight += 1;
    window.inFlightBytes += this.backlog.cursor.recordBytes;
    this.stepCursor();
    return again;
  }

  /** The record under the cursor needs no sending. */
  stepCursor(): void {
    this.window.passedBelow = this.cursorSeq + 1;
    if (this.backlog.stepCursor()) this.readAhead();
  }

  /** PUBREC has come; true if the message was waiting for it, be it since an earlier connection: the peer has it, it must not be sent again. */
  receive(seq: number): boolean {
    if (this.window.exactStateOf(seq) !== Slot.sentQoS2) return false;
    this.window.set(seq, Slot.received);
    this.receivedNoted = this.touch("synced");
    return true;
  }

  /**
   * The receiver is done with the message; true if it was in flight on this connection: what an earlier one left open is sent again first.
   * Removes what is acknowledged without a break from the head.
   */
  acknowledge(seq: number, expected: number): boolean {
    const { window, backlog } = this;
    if (seq >= window.passedBelow || window.exactStateOf(seq) !== expected) return false;
    let size: number;
    if (seq === window.ackedBelow) {
      size = this.passHead();
    } else {
      size = backlog.bytesOf(seq);
      window.set(seq, Slot.acknowledged);
    }
    window.inFlight -= 1;
    window.inFlightBytes -= size;
    this.uncount(1, size);
    this.advanceHead();
    this.readPassed();
    this.touch("soon");
    return true;
  }

  /**
   * What the peer owes an answer to: the oldest message in flight and where it stands, as one number that changes with either. 0 if nothing, or if
   * PUBREL is still to leave.
   */
  get awaited(): number {
    const { ackedBelow, passedBelow } = this.window;
    const state = passedBelow > ackedBelow ? this.window.stateOf(ackedBelow) : Slot.unsent;
    if (state === Slot.unsent || (state === Slot.received && this.receivedNoted > this.context.store.stored)) return 0;
    return ackedBelow * (Slot.acknowledged + 1) + state;
  }

  /** Whether no end of the message is known, nor PUBREC of it unless it `isNoted`: a peer that has forgotten that is to note it again. */
  isOpen(seq: number, isNoted: boolean): boolean {
    const state = this.window.stateOf(seq);
    return seq >= this.ackedBelow && seq < this.nextSeq && state !== Slot.acknowledged && (isNoted || state !== Slot.received);
  }

  /** Removes an open message of the window, whose record has `bytes`; returns the group that holds it. */
  takeOut(seq: number, bytes: number): GroupNumber {
    const { window } = this;
    if (seq < window.passedBelow && window.stateOf(seq) !== Slot.unsent) {
      window.inFlight -= 1;
      window.inFlightBytes -= bytes;
    }
    window.set(seq, Slot.acknowledged);
    this.uncount(1, bytes);
    this.advanceHead();
    this.readPassed();
    return this.touch("synced");
  }

  /** A connection begins. */
  attach(): void {
    this.rewind();
    if (this.durable) this.clearance.attach(this.messages === 0);
  }

  /** The connection is over: what it did not send need not carry DUP after a crash. */
  detach(): void {
    this.rewind();
    this.window.rest();
    if (this.qos0.messages === 0) this.qos0 = WaitingQoS0.none;
    if (this.clearance.detach() && this.messages > 0) this.touch("soon");
  }

  /**
   * The peer has no session: what it acknowledged in part it will not remember, so all unacknowledged messages are new to it. What it had
   * noted with PUBREC is not sent before that is on disk: after a crash it would get PUBREL for a message that it may not have.
   * Returns the group that holds the change, 0 if nothing is to be waited for.
   */
  forgetPeer(): GroupNumber {
    const { window, clearance } = this;
    let notedBelow = 0;
    for (let seq = window.ackedBelow; seq < clearance.sentBelow && window.reaches(seq); seq++) {
      const state = window.stateOf(seq);
      if (state === Slot.received) notedBelow = seq + 1;
      if (state !== Slot.acknowledged) window.set(seq, Slot.unsent);
    }
    if (clearance.sentBelow > window.ackedBelow) clearance.forget(window.ackedBelow, notedBelow, this.touch("synced"));
    this.backlog.rewindDrop();
    return clearance.forgottenGroup;
  }

  override end(): void {
    super.end();
    this.qos0.clear();
  }

  protected override onLoaded(): void {
    this.owner.onLoaded(this);
  }

  protected override onLost(messages: number): void {
    this.owner.onLost(messages);
  }
}
