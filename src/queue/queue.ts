import type { QoS } from "../mqtt/protocol.ts";
import { pageKey, pageSeq, queueKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store, StoredRecord } from "../store/store.ts";
import { Chunk, ChunkList } from "./chunk.ts";
import { LostRanges } from "./lost.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import type { Message } from "./message.ts";
import { intactRecords } from "./page.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { emptyRecord, readRecord, recordEnd, recordReceivedMs, recordSeq, recordSize, sealRecords, writeRecord } from "./record.ts";

/** Where a message of the window stands. `unsent` is also what a slot outside the window holds. */
export const Slot = { unsent: 0, sent: 1, received: 2, acknowledged: 3 } as const;

/** Read-ahead: pages are fetched while fewer unsent bytes than this lie in RAM, this many at a time. */
const READ_AHEAD_BYTES = 256 * 1024;

/**
 * Messages that a stored record allows to be sent beyond those that have been. Half of it is what goes out while the next record is on its way,
 * more than any disk takes that long for; all of it is the most that carries DUP after a crash although it was never sent.
 */
const SEND_AHEAD = 65_536;

export interface QueueContext {
  readonly store: Store;
  readonly budget: MemoryBudget;
  /** Called when pages that were read ahead have arrived. */
  readonly onLoaded: () => void;
  /** Called when messages that had been stored can't be read any more. */
  readonly onLost: (messages: number) => void;
}

/**
 * One receiver's messages of one lane, in order.
 *
 * Sequence numbers: everything below `ackedBelow` is acknowledged; the cursor stands before the next record to send; `nextSeq` is the next to give.
 * RAM holds `front` (from the head on) and, while stored messages have been left to the disk, `back` (the newest); between them lies the gap
 * [gapFrom, gapTo), which is on disk alone. Without a gap `back` is empty.
 */
export class Queue implements Keeper {
  nextSeq = 1;
  ackedBelow = 1;
  /** Not done yet: a message acknowledged out of turn does not count, nor one that is known to be lost. */
  messages = 0;
  /** Of those messages' records. What a lost one had is known once no stored message is left to be read. */
  bytes = 0;
  lost = 0;
  inFlight = 0;

  private slots: Uint8Array;
  private mask: number;
  private readonly front = new ChunkList();
  private readonly back = new ChunkList();
  private gapFrom = 0;
  private gapTo = 0;
  /** No page that begins below holds anything of the gap. */
  private gapPage = 0;
  /** Offset in `front.head` of the first record that is not acknowledged. */
  private headAt = 0;
  private foundAt = 0;
  private cursorChunk: Chunk | undefined;
  private cursorAt = 0;
  private firstUnwritten: Chunk | undefined;
  private deletedPages: number[] = [];
  private readonly lostRanges = new LostRanges();
  private countsLostBytes = false;
  /** When the oldest message came, or earlier: what is known of it while it does not lie in RAM. */
  private knownOldestMs = 0;
  /** Sequence numbers below this are on disk; `writtenBelow` is what the group in flight adds. */
  private storedBelow = 1;
  private writtenBelow = 1;
  private writtenIn: GroupNumber = 0;
  private touchedIn: GroupNumber = 0;
  /** The group that holds the last note of a PUBREC. */
  private notedIn: GroupNumber = 0;
  /** Sequence numbers below this may have been sent before: they carry DUP. Never below `ackedBelow`. */
  private sentBelow = 1;
  /**
   * Whichever record of those written so far a crash leaves with a message below this, it says that the message may have been sent.
   * Infinity: no record with such a message has been written.
   */
  private sendableBelow = Infinity;
  /** The limit in the last record that was written with a synced group, and that group; 0 once it is stored and has been counted. */
  private syncedLimit = 0;
  private syncedIn: GroupNumber = 0;
  /** The group that will hold the next record needs a sync for this queue. */
  private needsSync = false;
  /** The group that holds it that the peer knows nothing, 0 once that is stored; what it had noted with PUBREC lies below the limit. */
  private forgottenIn: GroupNumber = 0;
  private forgottenBelow = 0;
  private writtenLimit = 1;
  private isAttached = false;
  /** On this connection the cursor has passed every message below; nothing else can be acknowledged. */
  private passedBelow = 1;
  private loading = false;
  private epoch = 0;
  private hasEnded = false;

  constructor(
    readonly session: SessionNumber,
    readonly lane: number,
    readonly durable: boolean,
    windowSlots: number,
    private readonly context: QueueContext,
  ) {
    this.slots = new Uint8Array(windowSlots);
    this.mask = windowSlots - 1;
  }

  /** Takes up a stored queue where its progress record left it; its pages stay on disk until they are wanted. */
  recover(record: Buffer): void {
    const progress = decodeProgress(record);
    this.nextSeq = this.storedBelow = this.writtenBelow = progress.nextSeq;
    this.ackedBelow = progress.ackedBelow;
    this.sentBelow = Math.min(Math.max(progress.sentLimit, progress.ackedBelow), progress.nextSeq);
    this.sendableBelow = this.writtenLimit = progress.sentLimit;
    // Not the record's count: what was lost and not passed yet will be found lost again.
    this.messages = progress.nextSeq - progress.ackedBelow - progress.slots.filter(({ state }) => state === Slot.acknowledged).length;
    this.bytes = progress.bytes;
    this.knownOldestMs = progress.oldestMs;
    // The window may have been wider when the record was written.
    const span = (progress.slots.at(-1)?.seq ?? this.ackedBelow) - this.ackedBelow + 1;
    if (span > this.slots.length) {
      this.slots = new Uint8Array(2 ** Math.ceil(Math.log2(span)));
      this.mask = this.slots.length - 1;
    }
    for (const { seq, state } of progress.slots) this.slots[seq & this.mask] = state;
    this.gapPage = progress.firstPage;
    this.gapFrom = this.ackedBelow;
    this.gapTo = this.nextSeq;
  }

  /** Removes the pages below the head: a power cut may have taken their removal back. */
  removeLeftovers(): void {
    const { store } = this.context;
    const head = pageKey(this.session, this.lane, this.firstPage());
    const removeFrom = (from: Buffer): void => {
      store.read(from, head, READ_AHEAD_BYTES).then(
        (pages) => {
          const last = pages.at(-1);
          if (!last) return;
          for (const [key] of pages) this.deletedPages.push(pageSeq(key));
          this.touch("soon");
          removeFrom(pageKey(this.session, this.lane, pageSeq(last[0]) + 1));
        },
        () => undefined, // the next start tries again
      );
    };
    removeFrom(pageKey(this.session, this.lane, 0));
  }

  get isEmpty(): boolean {
    return this.messages === 0;
  }

  /** Messages beyond the in-flight window. */
  get waiting(): number {
    return this.messages - this.inFlight;
  }

  /** When the oldest message came, or somewhat earlier while that one is on disk alone; 0 if there is none. */
  get oldestMs(): number {
    if (this.messages === 0) return 0;
    const head = this.front.head;
    return head && this.headAt < head.used ? recordReceivedMs(head.bytes, this.headAt) : this.knownOldestMs;
  }

  /** Whether some of the messages are on disk alone. */
  get hasGap(): boolean {
    return this.gapFrom < this.gapTo;
  }

  /** Copies the message to the end. Returns the group that makes it durable, 0 if nothing is to be waited for. */
  append(message: Message, qos: QoS): GroupNumber {
    const list = this.hasGap ? this.back : this.front;
    const size = recordSize(message);
    let chunk = list.tail;
    if (!chunk || chunk.room < size) {
      chunk = Chunk.forAppend(size, chunk?.bytes.length ?? 0);
      this.context.budget.usedBytes += chunk.bytes.length;
      chunk.firstSeq = this.nextSeq;
      list.push(chunk);
    }
    chunk.used = writeRecord(chunk.bytes, chunk.used, message, qos, this.nextSeq);
    this.nextSeq += 1;
    chunk.endSeq = this.nextSeq;
    if (this.messages === 0) this.knownOldestMs = message.receivedMs;
    this.messages += 1;
    this.bytes += size;
    if (this.durable) this.firstUnwritten ??= chunk;
    return this.touch("synced");
  }

  /** Gives a sequence number to a message that is sent at once and need not be kept (its session ends with the connection). */
  sendUnkept(): number {
    const seq = this.nextSeq;
    this.nextSeq += 1;
    this.messages += 1;
    this.slots[seq & this.mask] = Slot.sent;
    this.inFlight += 1;
    this.passedBelow = this.nextSeq;
    return seq;
  }

  /** Whether the next message finds room in the window: by count (`maxInflight` of the peer) and by its distance from the oldest one. */
  windowOpen(maxInflight: number): boolean {
    if (this.inFlight >= maxInflight) return false;
    const next = this.settleCursor() ? this.cursorSeq : this.hasGap ? this.gapFrom : this.nextSeq;
    return next - this.ackedBelow < this.slots.length;
  }

  /** Puts the next record to handle under `message`; false if none is in RAM (one may be on its way from the disk). */
  peek(message: Message): boolean {
    while (this.settleCursor()) {
      readRecord(message, this.cursorChunk!.bytes, this.cursorAt); // settleCursor: there is a record
      if (message.topicEnd > message.topicStart || !this.passEmpty(this.cursorSeq)) return true;
    }
    this.readAhead();
    return false;
  }

  /** The record under the cursor has no content. Unless only its exchange is to be finished the message is lost after all: the peer has forgotten it. */
  private passEmpty(seq: number): boolean {
    const state = this.slotOf(seq);
    if (state === Slot.received || state === Slot.acknowledged || seq < this.ackedBelow) return false;
    this.stepCursor();
    this.slots[seq & this.mask] = Slot.acknowledged;
    this.messages -= 1;
    this.bytes -= this.recordBytes(seq);
    this.advanceHead();
    this.touch("soon");
    this.lost += 1;
    this.context.onLost(1);
    return true;
  }

  /** The record under the cursor; peek returned true. */
  get cursorSeq(): number {
    return recordSeq(this.cursorChunk!.bytes, this.cursorAt); // peek returned true
  }

  /** Where a message stands; outside the ring nothing has been sent. */
  slotOf(seq: number): number {
    if (seq < this.ackedBelow || seq >= this.nextSeq || seq - this.ackedBelow >= this.slots.length) return Slot.unsent;
    return this.slots[seq & this.mask] ?? Slot.unsent;
  }

  /**
   * Whether the record under the cursor may go out. A QoS 2 message waits until its group is on disk; any other, once it has been handed to the
   * store, until a record is there that says it may have been sent, so that it carries DUP when it is sent again after a crash [MQTT-3.3.1-1].
   */
  maySend(seq: number, qos: QoS): boolean {
    if (!this.durable) return true;
    if (qos === 2 && (seq >= this.storedBelow || (this.forgottenIn !== 0 && seq < this.forgottenBelow))) return false;
    if (seq >= this.writtenBelow || seq < this.sendableBelow) return true;
    // No such record can be written now: better a copy without DUP after a crash than nothing for as long as the disk fails.
    if (this.context.store.writesFail) return true;
    this.keepAhead();
    return seq < this.sendableBelow;
  }

  /** Has a record written that allows more to be sent, unless one is on its way. */
  private keepAhead(): void {
    this.countSynced();
    if (this.sentBelow + SEND_AHEAD / 2 > this.sendableBelow && !this.needsSync && this.syncedIn === 0) this.touch("synced");
  }

  private countSynced(): boolean {
    if (this.syncedIn === 0 || this.syncedIn > this.context.store.stored) return false;
    this.syncedIn = 0;
    if (this.syncedLimit <= this.sendableBelow) return false;
    this.sendableBelow = this.syncedLimit;
    return true;
  }

  /** The record under the cursor has been sent (again): it takes a slot of the window. Returns whether it carries DUP. */
  advanceSent(): boolean {
    const seq = this.cursorSeq;
    const slot = seq & this.mask;
    const again = seq < this.sentBelow;
    if (!again) {
      this.sentBelow = seq + 1;
      if (this.durable && this.sentBelow + SEND_AHEAD / 2 > this.sendableBelow) this.keepAhead();
    }
    if (this.slots[slot] === Slot.unsent) this.slots[slot] = Slot.sent;
    this.inFlight += 1;
    this.stepCursor();
    return again;
  }

  /** The record under the cursor needs no sending. */
  stepCursor(): void {
    const chunk = this.cursorChunk;
    if (!chunk) return;
    this.passedBelow = recordSeq(chunk.bytes, this.cursorAt) + 1;
    this.cursorAt = recordEnd(chunk.bytes, this.cursorAt);
    if (this.hasGap && !chunk.next) this.readAhead();
  }

  private settleCursor(): boolean {
    let chunk = this.cursorChunk;
    if (!chunk) {
      chunk = this.front.head;
      if (!chunk) return false;
      this.cursorAt = this.headAt;
    }
    for (;;) {
      this.cursorChunk = chunk;
      if (this.cursorAt < chunk.used) return true;
      if (!chunk.next) return false;
      chunk = chunk.next;
      this.cursorAt = 0;
    }
  }

  /** PUBREC has come; true if the message was waiting for it, be it since an earlier connection: the peer has it, it must not be sent again. */
  receive(seq: number): boolean {
    if (this.slotOf(seq) !== Slot.sent) return false;
    this.slots[seq & this.mask] = Slot.received;
    this.notedIn = this.touch("synced");
    return true;
  }

  /** The group that holds the note of every PUBREC so far: PUBREL waits for it, the first one and those sent again. */
  get receivedNoted(): GroupNumber {
    return this.notedIn;
  }

  private touch(need: "synced" | "soon"): GroupNumber {
    if (!this.durable) return 0;
    if (need === "synced") this.needsSync = true;
    this.touchedIn = this.context.store.touch(this, need);
    return this.touchedIn;
  }

  /**
   * The receiver is done with the message; true if it was in flight on this connection: what an earlier one left open is sent again first.
   * Removes what is acknowledged without a break from the head.
   */
  acknowledge(seq: number, expected: number): boolean {
    if (seq >= this.passedBelow || this.slotOf(seq) !== expected) return false;
    this.slots[seq & this.mask] = Slot.acknowledged;
    this.inFlight -= 1;
    this.messages -= 1;
    const head = this.front.head;
    // What was sent from a durable queue lies in RAM: at the head there is nothing to look for.
    if (head && seq === this.ackedBelow && this.durable) this.bytes -= recordEnd(head.bytes, this.headAt) - this.headAt;
    else this.bytes -= this.recordBytes(seq);
    this.advanceHead();
    if (this.hasGap && this.gapFrom < this.ackedBelow) this.readAhead(); // for the keys of the pages that are done with
    this.touch("soon");
    return true;
  }

  /** Size of a message that lies in `front`; 0 for one that was sent unkept. */
  private recordBytes(seq: number): number {
    const chunk = this.find(seq);
    return chunk ? recordEnd(chunk.bytes, this.foundAt) - this.foundAt : 0;
  }

  /** The chunk of `front` with the message, which begins at `foundAt`. */
  private find(seq: number): Chunk | undefined {
    let chunk = this.front.head;
    let at = this.headAt;
    for (; chunk && chunk.endSeq <= seq; at = 0) chunk = chunk.next;
    if (!chunk) return undefined;
    while (at < chunk.used && recordSeq(chunk.bytes, at) < seq) at = recordEnd(chunk.bytes, at);
    this.foundAt = at;
    return at < chunk.used && recordSeq(chunk.bytes, at) === seq ? chunk : undefined;
  }

  /** The first message that was sent on this connection and has no answer; 0 if there is none. */
  get firstUnanswered(): number {
    if (this.inFlight === 0) return 0;
    for (let seq = this.ackedBelow; seq < this.passedBelow; seq++) if (this.slotOf(seq) === Slot.sent) return seq;
    return 0;
  }

  /** Whether the message has been sent, or may be, and neither PUBREC nor an end of it is known: then it is nobody else's. */
  isOpen(seq: number): boolean {
    const state = this.slotOf(seq);
    return seq >= this.ackedBelow && seq < this.nextSeq && (state === Slot.unsent || state === Slot.sent);
  }

  /** Puts a message that has not left the window under `message`; false if it is in RAM no more: see `fetch`. */
  readFromRam(message: Message, seq: number): boolean {
    const chunk = this.find(seq);
    if (chunk) readRecord(message, chunk.bytes, this.foundAt);
    return chunk !== undefined && message.topicEnd > message.topicStart;
  }

  /** The same from the disk. Rejects with StoreError when the store can't be read. */
  async fetch(message: Message, seq: number): Promise<boolean> {
    for (let from = this.firstPage(); ; ) {
      const pages = await this.context.store.read(pageKey(this.session, this.lane, from), pageKey(this.session, this.lane, seq + 1), READ_AHEAD_BYTES);
      for (const [key, page] of pages) {
        from = pageSeq(key) + 1;
        const records = intactRecords(page, pageSeq(key), this.nextSeq);
        for (let at = 0; at < records.length; at = recordEnd(records, at)) {
          if (recordSeq(records, at) !== seq) continue;
          readRecord(message, records, at);
          return true;
        }
      }
      if (pages.length === 0) return false;
    }
  }

  /** Removes an open message of the window, whose record has `bytes`; returns the group that holds it. */
  takeOut(seq: number, bytes: number): GroupNumber {
    if (seq < this.passedBelow && this.slotOf(seq) === Slot.sent) this.inFlight -= 1;
    this.slots[seq & this.mask] = Slot.acknowledged;
    this.messages -= 1;
    this.bytes -= bytes;
    this.advanceHead();
    if (this.hasGap && this.gapFrom < this.ackedBelow) this.readAhead();
    return this.touch("synced");
  }

  /** The first sequence number from the head on that `packetIndex` (the low part of a packet id) stands for. It may be far beyond the window. */
  seqOf(packetIndex: number, modulus: number): number {
    const base = this.ackedBelow - (this.ackedBelow % modulus) + packetIndex;
    return base < this.ackedBelow ? base + modulus : base;
  }

  private advanceHead(): void {
    while (this.ackedBelow < this.nextSeq) {
      const slot = this.ackedBelow & this.mask;
      const head = this.front.head;
      const headSeq = head ? recordSeq(head.bytes, this.headAt) : this.hasGap ? this.gapFrom : this.nextSeq;
      const state = this.slots[slot];
      // Neither in RAM nor in the gap: it was lost, and has been counted.
      if (state !== Slot.acknowledged && (state !== Slot.unsent || headSeq <= this.ackedBelow)) break;
      this.slots[slot] = Slot.unsent;
      if (head && headSeq === this.ackedBelow) this.dropHeadRecord(head);
      this.ackedBelow += 1;
    }
    if (this.sentBelow < this.ackedBelow) this.sentBelow = this.ackedBelow; // what was lost was never sent
    if (this.ackedBelow === this.nextSeq) this.bytes = 0;
    this.lostRanges.forgetBelow(this.ackedBelow);
  }

  private dropHeadRecord(head: Chunk): void {
    const end = recordEnd(head.bytes, this.headAt);
    if (end < head.used) {
      this.headAt = end;
      return;
    }
    this.knownOldestMs = recordReceivedMs(head.bytes, this.headAt);
    for (const page of head.pages) this.deletedPages.push(page);
    this.release(head);
    this.front.shift();
    this.headAt = 0;
    if (this.firstUnwritten === head) this.firstUnwritten = head.next;
    if (this.cursorChunk === head) this.cursorChunk = undefined;
    // A head chunk that is emptied while its bytes wait for the store is simply left: nothing in it is owed any more.
  }

  private release(chunk: Chunk): void {
    this.context.budget.usedBytes -= chunk.bytes.length;
  }

  /** A connection begins. */
  attach(): void {
    this.isAttached = true;
    this.rewind();
    if (!this.durable) return;
    if (this.messages === 0) this.sendableBelow = Infinity;
    else this.keepAhead();
  }

  /** The connection is over: what it did not send need not carry DUP after a crash. */
  detach(): void {
    this.isAttached = false;
    this.rewind();
    if (this.messages > 0 && this.writtenLimit > this.sentBelow) this.touch("soon");
    this.evict(false);
  }

  /** Everything unacknowledged is gone through again from the head. */
  rewind(): void {
    this.inFlight = 0;
    this.passedBelow = this.ackedBelow;
    this.cursorChunk = undefined;
    this.cursorAt = 0;
  }

  /**
   * The peer has no session: what it acknowledged in part it will not remember, so all unacknowledged messages are new to it. What it had
   * noted with PUBREC is not sent before that is on disk: after a crash it would get PUBREL for a message that it may not have.
   * Returns the group that holds the change, 0 if nothing is to be waited for.
   */
  forgetPeer(): GroupNumber {
    const sentBefore = Math.min(this.sentBelow, this.ackedBelow + this.slots.length);
    for (let seq = this.ackedBelow; seq < sentBefore; seq++) {
      const slot = seq & this.mask;
      if (this.slots[slot] === Slot.received) this.forgottenBelow = seq + 1;
      if (this.slots[slot] !== Slot.acknowledged) this.slots[slot] = Slot.unsent;
    }
    if (this.sentBelow <= this.ackedBelow) return this.forgottenIn;
    this.sentBelow = this.ackedBelow;
    this.forgottenIn = this.touch("synced");
    return this.forgottenIn;
  }

  /** The session has ended: nothing of the queue is written from now on, be it asked in the group that removes the session. */
  end(): void {
    this.hasEnded = true;
    this.epoch += 1;
    for (const list of [this.front, this.back]) {
      for (let chunk = list.head; chunk; chunk = chunk.next) this.release(chunk);
      list.head = list.tail = undefined;
    }
    this.cursorChunk = this.firstUnwritten = undefined;
    this.gapFrom = this.gapTo = 0;
    this.headAt = this.messages = this.bytes = this.inFlight = 0;
    this.ackedBelow = this.sentBelow = this.passedBelow = this.nextSeq;
    this.slots.fill(0);
  }

  writeTo(group: GroupWriter): void {
    if (this.hasEnded) return group.delete(queueKey(this.session, this.lane));
    for (let chunk = this.firstUnwritten; chunk; chunk = chunk.next) {
      let from = chunk.written;
      while (from < chunk.used && recordSeq(chunk.bytes, from) < this.ackedBelow) from = recordEnd(chunk.bytes, from);
      chunk.written = chunk.used;
      if (from === chunk.used) continue;
      sealRecords(chunk.bytes, from, chunk.used);
      const firstSeq = recordSeq(chunk.bytes, from);
      group.put(pageKey(this.session, this.lane, firstSeq), chunk.bytes.subarray(from, chunk.used));
      chunk.pages.push(firstSeq);
    }
    this.firstUnwritten = undefined;
    this.writtenBelow = this.nextSeq;
    this.writtenIn = this.touchedIn;
    for (const page of this.deletedPages) group.delete(pageKey(this.session, this.lane, page));
    this.deletedPages = [];
    group.put(queueKey(this.session, this.lane), encodeProgress(this, this.firstPage(), this.oldestMs, this.limitSending(), this.slots));
  }

  /** The limit for the record that is written now. An unsynced record may be the one that a crash leaves, or not: it can lower what is allowed, not raise it. */
  private limitSending(): number {
    this.countSynced();
    const limit = this.isAttached ? this.sentBelow + SEND_AHEAD : this.sentBelow;
    this.writtenLimit = limit;
    this.sendableBelow = Math.min(this.sendableBelow, limit);
    if (this.needsSync) {
      this.syncedLimit = limit;
      this.syncedIn = this.touchedIn;
    }
    this.needsSync = false;
    return limit;
  }

  private firstPage(): number {
    return this.front.head?.pages[0] ?? (this.hasGap ? this.gapPage : this.ackedBelow);
  }

  /** Group `upTo` is on disk. Returns whether messages that waited for it may now be sent. */
  onStored(upTo: GroupNumber): boolean {
    if (this.writtenIn > upTo) return false;
    let mayGoOn = this.countSynced();
    if (this.forgottenIn !== 0 && this.forgottenIn <= upTo) {
      this.forgottenIn = 0;
      mayGoOn = true;
    }
    if (this.writtenBelow <= this.storedBelow) return mayGoOn;
    this.storedBelow = this.writtenBelow;
    return true;
  }

  /** Whether a group is awaited, with messages or with leave to send more. */
  get awaitsStore(): boolean {
    return this.storedBelow !== this.nextSeq || this.needsSync || this.syncedIn !== 0 || this.forgottenIn !== 0;
  }

  private isEvictable(chunk: Chunk): boolean {
    return chunk.written === chunk.used && chunk.endSeq <= this.storedBelow && chunk.pages.length > 0;
  }

  /** Leaves to the disk what is stored there: everything if nobody is attached, else what lies behind the cursor's chunk. */
  evict(attached: boolean): void {
    if (!this.durable || this.loading) return;
    if (!attached) {
      this.rewind();
      this.evictFront();
    } else if (!this.hasGap && this.cursorChunk?.next && this.isEvictable(this.cursorChunk.next)) {
      const [page = 0] = this.cursorChunk.next.pages; // isEvictable: there is one
      this.gapFrom = this.gapTo = this.cursorChunk.next.firstSeq;
      this.gapPage = page;
      this.front.splitAfter(this.cursorChunk, this.back);
    }
    this.evictBack();
    if (!this.hasGap && this.back.head) this.front.absorb(this.back);
  }

  /** The gap begins at the head, then. What stands before a gap leaves as a whole or not at all: there is one gap only. */
  private evictFront(): void {
    const page = this.front.head?.pages[0];
    let last: Chunk | undefined;
    for (let chunk = this.front.head; chunk && this.isEvictable(chunk); chunk = chunk.next) last = chunk;
    if (page === undefined || !last || (this.hasGap && last.next)) return;
    if (!this.hasGap) {
      this.gapTo = last.endSeq;
      this.front.splitAfter(last, this.back);
    }
    this.knownOldestMs = this.oldestMs;
    for (let chunk = this.front.head; chunk; chunk = chunk.next) this.release(chunk);
    this.front.head = this.front.tail = undefined;
    this.headAt = 0;
    this.gapPage = page;
    this.gapFrom = this.ackedBelow;
  }

  private evictBack(): void {
    if (this.gapTo === 0) return;
    for (let chunk = this.back.head; chunk && this.isEvictable(chunk); chunk = this.back.head) {
      this.gapTo = chunk.endSeq;
      this.release(chunk);
      this.back.shift();
    }
  }

  private readAhead(): void {
    if (!this.hasGap || this.loading) return;
    this.loading = true;
    const epoch = this.epoch;
    const from = pageKey(this.session, this.lane, this.gapPage);
    const to = pageKey(this.session, this.lane, this.gapTo);
    this.context.store.read(from, to, READ_AHEAD_BYTES).then(
      (records) => {
        this.loading = false;
        if (epoch !== this.epoch) return;
        this.takePages(records);
        this.context.onLoaded();
      },
      () => {
        this.loading = false; // the store tells of its own failure; the next pump tries again
      },
    );
  }

  private takePages(pages: readonly StoredRecord[]): void {
    const lostBefore = this.lost;
    for (const [key, page] of pages) this.takePage(pageSeq(key), page);
    if (pages.length === 0) this.passGap();
    if (!this.hasGap) {
      this.front.absorb(this.back);
      if (this.countsLostBytes) this.countBytes();
    }
    this.advanceHead();
    if (this.lost > lostBefore) this.context.onLost(this.lost - lostBefore);
    if (this.lost > lostBefore || this.deletedPages.length > 0) this.touch("soon");
  }

  /** Whatever the page is like, the gap moves past it. What is missing at its end shows when the next one is read. */
  private takePage(firstSeq: number, page: Buffer): void {
    const records = intactRecords(page, firstSeq, this.gapTo);
    this.gapPage = firstSeq + 1;
    if (records.length === 0) {
      this.deletedPages.push(firstSeq);
      return;
    }
    let chunk = Chunk.ofPage(firstSeq, records);
    if (chunk.firstSeq > this.wantedSeq || chunk.endSeq - chunk.firstSeq > chunk.records) chunk = Chunk.ofPage(firstSeq, this.mend(records));
    this.gapPage = Math.max(this.gapPage, chunk.endSeq);
    this.gapFrom = Math.max(this.gapFrom, chunk.endSeq);
    if (chunk.endSeq > this.ackedBelow) this.pushRead(chunk);
    else this.deletedPages.push(firstSeq);
  }

  /** No page is left in the gap. */
  private passGap(): void {
    const standIns: Buffer[] = [];
    this.miss(this.wantedSeq, this.gapTo, standIns);
    this.gapFrom = this.gapPage = this.gapTo;
    const [first] = standIns;
    if (first) this.pushRead(Chunk.ofPage(recordSeq(first, 0), Buffer.concat(standIns)));
  }

  /** The next message that the gap should bring. */
  private get wantedSeq(): number {
    return Math.max(this.gapFrom, this.ackedBelow);
  }

  private pushRead(chunk: Chunk): void {
    this.context.budget.usedBytes += chunk.bytes.length;
    const isHead = this.front.head === undefined;
    this.front.push(chunk);
    if (!isHead) return;
    this.headAt = 0;
    while (recordSeq(chunk.bytes, this.headAt) < this.ackedBelow) this.headAt = recordEnd(chunk.bytes, this.headAt);
  }

  /** Counts what is missing before and between the records; returns them with what stands in for some of those. */
  private mend(records: Buffer): Buffer {
    const parts: Buffer[] = [];
    let wanted = this.wantedSeq;
    let from = 0;
    for (let at = 0; at < records.length; at = recordEnd(records, at)) {
      const seq = recordSeq(records, at);
      if (seq > wanted) {
        parts.push(records.subarray(from, at));
        this.miss(wanted, seq, parts);
        from = at;
      }
      wanted = Math.max(wanted, seq + 1);
    }
    parts.push(records.subarray(from));
    return Buffer.concat(parts);
  }

  /**
   * Messages from `from` up to `before` can't be read. Those whose PUBREC has come are the receiver's already: an empty record stands in for each
   * until PUBREL and PUBCOMP have ended the exchange. The others are lost.
   */
  private miss(from: number, before: number, standIns: Buffer[]): void {
    for (let seq = from; seq < before; seq++) {
      const state = this.slotOf(seq);
      if (state === Slot.acknowledged) continue;
      this.countsLostBytes = true;
      if (state === Slot.received) {
        standIns.push(emptyRecord(seq, this.knownOldestMs));
        continue;
      }
      if (state === Slot.sent) this.slots[seq & this.mask] = Slot.unsent;
      if (!this.lostRanges.add(seq)) continue;
      this.lost += 1;
      this.messages -= 1;
    }
  }

  /** Everything lies in RAM. */
  private countBytes(): void {
    this.countsLostBytes = false;
    this.bytes = 0;
    let at = this.headAt;
    for (let chunk = this.front.head; chunk; chunk = chunk.next, at = 0) {
      for (let end; at < chunk.used; at = end) {
        end = recordEnd(chunk.bytes, at);
        const seq = recordSeq(chunk.bytes, at);
        if (seq >= this.ackedBelow && this.slotOf(seq) !== Slot.acknowledged) this.bytes += end - at;
      }
    }
  }
}
