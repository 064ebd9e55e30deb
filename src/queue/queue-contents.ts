import type { QoS } from "../mqtt/protocol.ts";
import { pageKey, queueKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Need, Store } from "../store/store.ts";
import { Backlog } from "./backlog.ts";
import { Clearance } from "./clearance.ts";
import { GapReader } from "./gap-reader.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import { Message } from "./message.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import type { QueueTotals } from "./queue-totals.ts";
import { readRecord, recordReceivedMs, recordSeq, recordSize } from "./record.ts";
import { SeqRanges } from "./seq-ranges.ts";
import { StoredPages } from "./stored-pages.ts";
import { Slot, Window } from "./window.ts";

/** What came of looking for a message to drop: `kept`: the first that may be dropped is not over; `unread`: it is on disk alone, and being read. */
export type Dropping = "dropped" | "kept" | "unread" | "none";

/** What queues share. */
export interface QueueContext {
  readonly store: Store;
  readonly budget: MemoryBudget;
  readonly totals: QueueTotals;
}

/**
 * What a queue holds: the messages of one receiver's lane, in order, in RAM and on disk; how they come, are dropped, written, read back and passed.
 *
 * Sequence numbers: everything below `ackedBelow` is acknowledged; `nextSeq` is the next to give. Where messages stand is the window's to know, where
 * their records lie the backlog's, what may go out for the disk's sake the clearance's.
 */
export abstract class QueueContents implements Keeper {
  nextSeq = 1;
  /** Not done yet: a message acknowledged out of turn does not count, nor one that is known to be lost. */
  messages = 0;
  /** Of those messages' records. What a lost one had is known once no stored message is left to be read. */
  bytes = 0;
  lost = 0;
  /** What came below was let in by an earlier answer to what the receiver may have, perhaps another one: it is asked again before it is sent. */
  recheckBelow = 1;

  readonly window: Window;
  protected readonly backlog: Backlog;
  /** Made when something is to be read. */
  private gapReader: GapReader | undefined;
  protected readonly clearance: Clearance;
  /** Above the head: what lies below it is forgotten. */
  protected readonly dropped = new SeqRanges();
  private touchedIn: GroupNumber = 0;
  private hasEnded = false;

  constructor(
    private readonly session: SessionNumber,
    readonly lane: number,
    readonly durable: boolean,
    windowSlots: number,
    protected readonly context: QueueContext,
  ) {
    this.window = new Window(windowSlots);
    this.backlog = new Backlog(durable, context.budget);
    this.clearance = new Clearance(context.store, this);
  }

  /** Pages that were read ahead have arrived. */
  protected abstract onLoaded(): void;

  /** Messages that had been stored can't be read any more. */
  protected abstract onLost(messages: number): void;

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

  protected count(messages: number, bytes: number): void {
    const { totals } = this.context;
    this.messages += messages;
    this.bytes += bytes;
    totals.messages += messages;
    totals.bytes += bytes;
  }

  /** Takes away: to add `-bytes` of none would add -0, and the sum be no integer to V8 any more, which compiles all that looks at it anew. */
  protected uncount(messages: number, bytes: number): void {
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

  /** When the oldest message came, or somewhat earlier while that one is on disk alone; 0 if there is none. */
  get oldestMs(): number {
    return this.messages === 0 ? 0 : this.backlog.oldestMs;
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

  /** Has the queue written with the present group. Returns that group, 0 if there is none. */
  touch(need: Need): GroupNumber {
    if (!this.durable) return 0;
    if (need === "synced") this.clearance.expectSync();
    this.touchedIn = this.context.store.touch(this, need);
    return this.touchedIn;
  }

  /** Whether the message was sent, on this connection or an earlier one, or may have been. */
  hasBeenSent(seq: number): boolean {
    return seq < this.clearance.sentBelow;
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

  protected advanceHead(): void {
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
  protected passHead(): number {
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

  /** Everything unacknowledged is gone through again from the head. */
  protected rewind(): void {
    this.window.rewind();
    this.backlog.rewind();
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

  /** Where its messages stand, as the store keeps it. */
  get progress(): Buffer {
    return encodeProgress(this, this.firstPage, this.oldestMs, this.clearance.sentBelow, this.window.slots, this.dropped.all);
  }

  /** The session has ended: nothing of the queue is written from now on, be it asked in the group that removes the session. */
  end(): void {
    this.hasEnded = true;
    this.backlog.clear();
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

  protected readAhead(): void {
    if (!this.backlog.hasGap) return;
    this.gapReader ??= new GapReader(this.pages, this.backlog, this.window, this.dropped, this);
    this.gapReader.readAhead();
  }

  /** The head is past the beginning of the gap: the keys of the pages that are done with are wanted. */
  protected readPassed(): void {
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
    if (lost > 0) this.onLost(lost);
    if (lost > 0 || backlog.deletedPages.length > 0) this.touch("soon");
    this.onLoaded();
  }
}
