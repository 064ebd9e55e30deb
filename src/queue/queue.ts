import type { QoS } from "../mqtt/protocol.ts";
import { pageKey, queueKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Need, Store } from "../store/store.ts";
import { Backlog } from "./backlog.ts";
import { Clearance } from "./clearance.ts";
import { GapReader } from "./gap-reader.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { Message } from "./message.ts";
import type { QueueTotals } from "./queue-totals.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { readRecord, recordReceivedMs, recordSeq, recordSize } from "./record.ts";
import { SeqRanges } from "./seq-ranges.ts";
import { StoredPages } from "./stored-pages.ts";
import { WaitingQoS0 } from "./waiting-qos0.ts";
import { Slot, Window } from "./window.ts";

/** What came of looking for a message to drop: `kept`: the first that may be dropped is not over; `unread`: it is on disk alone, and being read. */
export type Dropping = "dropped" | "kept" | "unread" | "none";

/** What queues share. */
export interface QueueContext {
  readonly store: Store;
  readonly budget: MemoryBudget;
  readonly totals: QueueTotals;
}

/** Whose messages a queue has. */
export interface QueueOwner {
  /** Pages of the queue that were read ahead have arrived. */
  onLoaded(queue: Queue): void;
  /** Messages that had been stored can't be read any more. */
  onLost(messages: number): void;
}

/**
 * One receiver's messages of one lane, in order.
 *
 * Sequence numbers: everything below `ackedBelow` is acknowledged; the cursor stands before the next record to send; `nextSeq` is the next to give.
 * Where messages stand is the window's to know, where their records lie the backlog's, what may go out for the disk's sake the clearance's.
 */
export class Queue implements Keeper {
  nextSeq = 1;
  /** Not done yet: a message acknowledged out of turn does not count, nor one that is known to be lost. */
  messages = 0;
  /** Of those messages' records. What a lost one had is known once no stored message is left to be read. */
  bytes = 0;
  lost = 0;
  /** Beside the numbered messages, which alone `messages` and `bytes` count. */
  qos0 = WaitingQoS0.none;
  /** What came below was let in by an earlier answer to what the receiver may have, perhaps another one: it is asked again before it is sent. */
  recheckBelow = 1;

  readonly window: Window;
  private readonly backlog: Backlog;
  /** Made when something is to be read. */
  private gapReader: GapReader | undefined;
  private readonly clearance: Clearance;
  /** Above the head: what lies below it is forgotten. */
  private readonly dropped = new SeqRanges();
  private touchedIn: GroupNumber = 0;
  /** The group that holds the note of every PUBREC so far: PUBREL waits for it, the first one and those sent again. */
  receivedNoted: GroupNumber = 0;
  private hasEnded = false;

  constructor(
    private readonly session: SessionNumber,
    readonly lane: number,
    readonly durable: boolean,
    windowSlots: number,
    private readonly context: QueueContext,
    private readonly owner: QueueOwner,
  ) {
    this.window = new Window(windowSlots);
    this.backlog = new Backlog(durable, context.budget);
    this.clearance = new Clearance(context.store, this);
  }

  private get pages(): StoredPages {
    return new StoredPages(this.session, this.lane, this.context.store);
  }

  /** Takes up a stored queue where its progress record left it; its pages stay on disk until they are wanted. */
  recover(record: Buffer): void {
    const { nextSeq, ackedBelow, firstPage, bytes, oldestMs, sentLimit, slots, dropped } = decodeProgress(record);
    this.nextSeq = this.recheckBelow = nextSeq;
    this.clearance.recover(sentLimit, ackedBelow, nextSeq);
    // Not the record's count: what was lost and not passed yet will be found lost again.
    const isDone = slots.filter(({ state }) => state === Slot.acknowledged).length + dropped.reduce((sum, { from, to }) => sum + to - from, 0);
    this.count(nextSeq - ackedBelow - isDone, bytes);
    this.dropped.recover(dropped);
    this.window.recover(ackedBelow, slots);
    this.backlog.recover(ackedBelow, nextSeq, firstPage, oldestMs);
  }

  /**
   * After a repair of the store the progress record may be older than pages are, or gone: takes up what lies behind its end, as if it may have
   * been sent. Rejects with StoreError.
   */
  async recoverBeyondRecord(): Promise<void> {
    const before = this.nextSeq;
    await this.pages.visitBehind(before, (firstSeq, records, endSeq) => {
      // Without a record nothing below the first page is owed.
      if (this.nextSeq === 1) this.window.ackedBelow = this.nextSeq = firstSeq;
      if (this.messages === 0 && records.length > 0) this.backlog.beginAt(recordReceivedMs(records, 0));
      this.count(endSeq - this.nextSeq, records.length);
      this.nextSeq = endSeq;
    });
    if (this.nextSeq === before) return;
    this.recheck();
    this.clearance.recover(this.nextSeq, this.ackedBelow, this.nextSeq);
    this.backlog.recover(this.ackedBelow, this.nextSeq, this.firstPage, this.oldestMs);
    this.touch("synced");
  }

  /** Removes the pages below the head: a power cut may have taken their removal back. */
  async removeLeftovers(): Promise<void> {
    if (this.firstPage === 1) return;
    const remove = (firstSeq: number, page: Buffer): void => {
      this.backlog.deletePage(firstSeq, page.length);
      this.touch("soon");
    };
    await this.pages.visit(0, this.firstPage, remove).catch(() => undefined); // the next start tries again
  }

  /** What the receiver may have has changed: all that is queued is asked about again. */
  recheck(): void {
    this.recheckBelow = this.nextSeq;
  }

  private count(messages: number, bytes: number): void {
    const { totals } = this.context;
    this.messages += messages;
    this.bytes += bytes;
    totals.messages += messages;
    totals.bytes += bytes;
  }

  /** Takes away: to add `-bytes` of none would add -0, and the sum be no integer to V8 any more, which compiles all that looks at it anew. */
  private uncount(messages: number, bytes: number): void {
    const { totals } = this.context;
    this.messages -= messages;
    this.bytes -= bytes;
    totals.messages -= messages;
    totals.bytes -= bytes;
  }

  private get firstPage(): number {
    return this.backlog.firstPage(this.window.ackedBelow);
  }

  get ackedBelow(): number {
    return this.window.ackedBelow;
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

  /** When the oldest message came, or somewhat earlier while that one is on disk alone; 0 if there is none. */
  get oldestMs(): number {
    return this.messages === 0 ? 0 : this.backlog.oldestMs;
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

  /** Whether some of the messages are on disk alone. */
  get hasGap(): boolean {
    return this.backlog.hasGap;
  }

  /** Copies the message to the end. Returns the group that makes it durable, 0 if nothing is to be waited for. */
  append(message: Message, qos: QoS, retain = message.retain): GroupNumber {
    const size = recordSize(message);
    if (this.messages === 0) this.backlog.beginAt(message.receivedMs);
    this.backlog.append(message, qos, retain, this.nextSeq, size);
    this.nextSeq += 1;
    this.count(1, size);
    return this.touch("synced");
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
    this.owner.onLost(1);
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

  /** Has the queue written with the present group. Returns that group, 0 if there is none. */
  touch(need: Need): GroupNumber {
    if (!this.durable) return 0;
    if (need === "synced") this.clearance.expectSync();
    this.touchedIn = this.context.store.touch(this, need);
    return this.touchedIn;
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

  /** Puts a message that has not left the window under `message`; false if it is in RAM no more: see `fetch`. */
  readFromRam(message: Message, seq: number): boolean {
    const chunk = this.backlog.find(seq);
    if (chunk) readRecord(message, chunk.bytes, this.backlog.foundOffset);
    return chunk !== undefined && message.topicEnd > message.topicStart;
  }

  /** The same from the disk. Rejects with StoreError when the store can't be read. */
  fetch(message: Message, seq: number): Promise<boolean> {
    return this.pages.find(message, seq, this.firstPage);
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

  /**
   * Drops the first message that was never sent, if `isOver` says so of its record (without it: whatever it is). What may have been sent is never
   * dropped: the peer may know its packet identifier.
   */
  dropFirst(isOver?: (bytes: Buffer, at: number) => boolean): Dropping {
    const { window, backlog, clearance, dropped } = this;
    const first = dropped.next(clearance.sentBelow);
    if (first >= this.nextSeq) return "none";
    let place = backlog.settleDrop(first, dropped);
    // Acknowledged by a peer that has forgotten the rest.
    while (place && window.stateOf(place.seq) !== Slot.unsent) place = backlog.settleDrop(dropped.next(place.seq + 1), dropped);
    if (!place) {
      this.readAhead();
      return backlog.hasGap ? "unread" : "none";
    }
    if (isOver && !isOver(place.bytes, place.at)) return "kept";
    const { seq } = place;
    this.uncount(1, place.recordBytes);
    if (seq === window.ackedBelow) {
      window.passHead();
      backlog.dropHead();
    } else {
      dropped.add(seq);
    }
    clearance.skipTo(seq + 1);
    this.advanceHead();
    this.readPassed();
    this.touch("soon");
    return "dropped";
  }

  private advanceHead(): void {
    const { window } = this;
    while (window.ackedBelow < this.nextSeq) {
      const state = window.stateOf(window.ackedBelow);
      if (state === Slot.acknowledged) this.passHead();
      else if (state !== Slot.unsent || !this.passUnsent()) break;
    }
    this.clearance.skipTo(window.ackedBelow); // what was lost was never sent
    if (window.ackedBelow === this.nextSeq) this.uncount(0, this.bytes);
    this.gapReader?.forgetBelow(window.ackedBelow);
  }

  /** The message at the head is done. Returns the size of its record, 0 if that does not lie in RAM. */
  private passHead(): number {
    const { window, backlog } = this;
    const size = backlog.headSeq(this.nextSeq) === window.ackedBelow ? backlog.dropHead() : 0;
    window.passHead();
    return size;
  }

  /** Passes a message at the head that was never sent and never will be: dropped, or lost, and counted then. False if it is neither. */
  private passUnsent(): boolean {
    const { window, backlog, dropped } = this;
    const head = window.ackedBelow;
    const droppedTo = dropped.next(head);
    if (droppedTo > head) {
      window.jumpTo(droppedTo);
      backlog.dropBelow(droppedTo);
      dropped.forgetBelow(droppedTo);
      return true;
    }
    if (backlog.headSeq(this.nextSeq) <= head) return false;
    window.passHead(); // neither in RAM nor in the gap
    return true;
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

  /** Everything unacknowledged is gone through again from the head. */
  private rewind(): void {
    this.window.rewind();
    this.backlog.rewind();
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

  /** Visits what is not done and in no page; `mayBeKnown`: it may have been sent. */
  visitUnwritten(visit: (message: Message, mayBeKnown: boolean) => void): void {
    const message = new Message();
    this.backlog.visitUnwritten((bytes, at) => {
      const seq = recordSeq(bytes, at);
      if (seq < this.ackedBelow || this.window.stateOf(seq) === Slot.acknowledged || this.dropped.has(seq)) return;
      readRecord(message, bytes, at);
      visit(message, this.hasBeenSent(seq));
    });
  }

  /** Whether the message was sent, on this connection or an earlier one, or may have been. */
  hasBeenSent(seq: number): boolean {
    return seq < this.clearance.sentBelow;
  }

  /** Where its messages stand, as the store keeps it. */
  get progress(): Buffer {
    return encodeProgress(this, this.firstPage, this.oldestMs, this.clearance.sentBelow, this.window.slots, this.dropped.all);
  }

  /** The session has ended: nothing of the queue is written from now on, be it asked in the group that removes the session. */
  end(): void {
    this.hasEnded = true;
    this.backlog.clear();
    this.qos0.clear();
    this.uncount(this.messages, this.bytes);
    this.dropped.forgetBelow(this.nextSeq);
    this.window.clear(this.nextSeq);
    this.clearance.skipTo(this.nextSeq);
  }

  writeTo(group: GroupWriter): void {
    const { session, lane, window, backlog } = this;
    if (this.hasEnded) return group.delete(queueKey(session, lane));
    backlog.writePages(window.ackedBelow, (firstSeq, page) => group.put(pageKey(session, lane, firstSeq), page));
    if (backlog.deletedPages.length > 0) group.discard(session, lane, backlog.deletedPages, backlog.deletedBytes);
    backlog.forgetDeleted();
    const sentLimit = this.clearance.noteWritten(this.touchedIn, this.nextSeq);
    group.put(queueKey(session, lane), encodeProgress(this, this.firstPage, this.oldestMs, sentLimit, window.slots, this.dropped.all));
  }

  /** Group `upTo` is on disk. Returns whether messages that waited for it may now be sent. */
  onStored(upTo: GroupNumber): boolean {
    return this.clearance.onStored(upTo);
  }

  /** Whether a group is awaited, with messages or with leave to send more. */
  get awaitsStore(): boolean {
    return this.clearance.awaitsStore(this.nextSeq);
  }

  /** Leaves to the disk what is stored there; see `Backlog.evict`. `cursor` is for a queue whose peer is there, the others for one without. */
  evict(keeping: "nothing" | "cursor" | "head"): void {
    if (!this.durable || this.gapReader?.isReading) return;
    if (keeping !== "cursor") this.rewind();
    this.backlog.evict(keeping, this.ackedBelow, this.clearance.storedBelow);
  }

  private countBytes(): number {
    const { window, dropped } = this;
    return this.backlog.countBytes((seq) => seq >= window.ackedBelow && window.stateOf(seq) !== Slot.acknowledged && !dropped.has(seq));
  }

  private readAhead(): void {
    if (!this.backlog.hasGap) return;
    this.gapReader ??= new GapReader(this.pages, this.backlog, this.window, this.dropped, this);
    this.gapReader.readAhead();
  }

  /** The head is past the beginning of the gap: the keys of the pages that are done with are wanted. */
  private readPassed(): void {
    if (this.backlog.hasGap && this.backlog.gapFrom < this.ackedBelow) this.readAhead();
  }

  /** For the gap reader: pages that were read stand in the backlog. */
  onRead(lost: number): void {
    const { backlog, gapReader } = this;
    this.lost += lost;
    this.uncount(lost, 0);
    if (!backlog.hasGap) {
      backlog.join(this.ackedBelow);
      if (gapReader?.hasMissed) this.count(0, this.countBytes() - this.bytes);
      if (gapReader) gapReader.hasMissed = false;
    }
    this.advanceHead();
    if (!backlog.hasGap && gapReader?.isDone) this.gapReader = undefined;
    if (lost > 0) this.owner.onLost(lost);
    if (lost > 0 || backlog.deletedPages.length > 0) this.touch("soon");
    this.owner.onLoaded(this);
  }
}
