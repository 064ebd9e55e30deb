import type { QoS } from "../mqtt/protocol.ts";
import { pageKey, pageSeq, queueKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../store/store.ts";
import { Chunk, ChunkList } from "./chunk.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import type { Message } from "./message.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { isIntactRecord, readRecord, recordEnd, recordReceivedMs, recordSeq, recordSize, sealRecords, writeRecord } from "./record.ts";

/** Where a message of the window stands. `unsent` is also what a slot outside the window holds. */
export const Slot = { unsent: 0, sent: 1, received: 2, acknowledged: 3 } as const;

/** Read-ahead: pages are fetched while fewer unsent bytes than this lie in RAM, this many at a time. */
const READ_AHEAD_BYTES = 256 * 1024;

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
  messages = 0;
  bytes = 0;
  lost = 0;
  inFlight = 0;

  private slots: Uint8Array;
  private mask: number;
  private readonly front = new ChunkList();
  private readonly back = new ChunkList();
  private gapFrom = 0;
  private gapTo = 0;
  /** First sequence number of the page that holds `gapFrom`. */
  private gapPage = 0;
  /** Offset in `front.head` of the first record that is not acknowledged. */
  private headAt = 0;
  private cursorChunk: Chunk | undefined;
  private cursorAt = 0;
  private firstUnwritten: Chunk | undefined;
  private deletedPages: number[] = [];
  /** Sequence numbers below this are on disk; `writtenBelow` is what the group in flight adds. */
  private storedBelow = 1;
  private writtenBelow = 1;
  private writtenIn: GroupNumber = 0;
  private touchedIn: GroupNumber = 0;
  /** The group that holds the last note of a PUBREC. */
  private notedIn: GroupNumber = 0;
  /** Sequence numbers below this may have been sent before: they carry DUP. After a start the first `resendCredit` may have been. */
  private sentBelow = 1;
  private resendCredit = 0;
  private loading = false;
  private epoch = 0;

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
  recover(record: Buffer, maxInflight: number): void {
    const progress = decodeProgress(record);
    this.nextSeq = this.storedBelow = this.writtenBelow = progress.nextSeq;
    this.ackedBelow = this.sentBelow = progress.ackedBelow;
    this.messages = progress.messages;
    this.bytes = progress.bytes;
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
    this.resendCredit = maxInflight;
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

  /** When the oldest message that lies in RAM came; undefined if none does. */
  get oldestMs(): number | undefined {
    const head = this.front.head;
    return head && this.headAt < head.used ? recordReceivedMs(head.bytes, this.headAt) : undefined;
  }

  private get hasGap(): boolean {
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
    if (!this.settleCursor()) {
      this.readAhead();
      return false;
    }
    readRecord(message, this.cursorChunk!.bytes, this.cursorAt); // settleCursor: there is a record
    return true;
  }

  /** The record under the cursor; peek returned true. */
  get cursorSeq(): number {
    return recordSeq(this.cursorChunk!.bytes, this.cursorAt); // peek returned true
  }

  slotOf(seq: number): number {
    return this.slots[seq & this.mask] ?? Slot.unsent;
  }

  /** A QoS 2 message goes to its receiver only when its group is on disk. */
  isStored(seq: number): boolean {
    return !this.durable || seq < this.storedBelow;
  }

  /** The record under the cursor has been sent (again): it takes a slot of the window. Returns whether it carries DUP. */
  advanceSent(): boolean {
    const seq = this.cursorSeq;
    const slot = seq & this.mask;
    let again = seq < this.sentBelow;
    if (!again) {
      this.sentBelow = seq + 1;
      if (this.resendCredit > 0) {
        this.resendCredit -= 1;
        again = true;
      }
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

  /** PUBREC has come; true if the message was waiting for it. */
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
    this.touchedIn = this.context.store.touch(this, need);
    return this.touchedIn;
  }

  /** The receiver is done with the message; true if it was in flight. Removes what is acknowledged without a break from the head. */
  acknowledge(seq: number, expected: number): boolean {
    if (this.slotOf(seq) !== expected) return false;
    this.slots[seq & this.mask] = Slot.acknowledged;
    this.inFlight -= 1;
    this.advanceHead();
    this.touch("soon");
    return true;
  }

  /** The sequence number that `packetIndex` (the low part of a packet id) stands for, in the window as it is now. */
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
      if (state !== Slot.acknowledged) {
        if (state !== Slot.unsent || headSeq <= this.ackedBelow) return;
        this.lost += 1; // neither in RAM nor on disk: it was stored and can't be read
      }
      this.slots[slot] = Slot.unsent;
      if (head && headSeq === this.ackedBelow) this.dropHeadRecord(head);
      this.ackedBelow += 1;
      this.messages -= 1;
    }
    if (this.ackedBelow === this.nextSeq) this.bytes = 0;
  }

  private dropHeadRecord(head: Chunk): void {
    const end = recordEnd(head.bytes, this.headAt);
    this.bytes -= end - this.headAt;
    this.headAt = end;
    if (end < head.used) return;
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

  /** A connection begins: everything unacknowledged is gone through again from the head. */
  rewind(): void {
    this.inFlight = 0;
    this.cursorChunk = undefined;
    this.cursorAt = 0;
  }

  /** The peer has no session: what it acknowledged in part it will not remember, so all unacknowledged messages are new to it. */
  forgetPeer(): void {
    for (let seq = this.ackedBelow; seq < this.nextSeq && seq < this.ackedBelow + this.slots.length; seq++) {
      if (this.slots[seq & this.mask] !== Slot.acknowledged) this.slots[seq & this.mask] = Slot.unsent;
    }
    this.sentBelow = this.ackedBelow;
    this.resendCredit = 0;
    this.touch("soon");
  }

  /** Forgets all messages (their pages go with the session or by `deletedPages`). */
  clear(): void {
    this.epoch += 1;
    for (const list of [this.front, this.back]) {
      for (let chunk = list.head; chunk; chunk = chunk.next) this.release(chunk);
      list.head = list.tail = undefined;
    }
    this.cursorChunk = this.firstUnwritten = undefined;
    this.gapFrom = this.gapTo = 0;
    this.headAt = this.messages = this.bytes = this.inFlight = 0;
    this.ackedBelow = this.sentBelow = this.nextSeq;
    this.slots.fill(0);
  }

  writeTo(group: GroupWriter): void {
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
    group.put(queueKey(this.session, this.lane), encodeProgress(this, this.firstPage(), this.oldestMs ?? 0, this.slots));
  }

  private firstPage(): number {
    return this.front.head?.pages[0] ?? (this.hasGap ? this.gapPage : this.ackedBelow);
  }

  /** Group `upTo` is on disk. Returns whether messages that waited for it may now be sent. */
  onStored(upTo: GroupNumber): boolean {
    if (this.writtenIn > upTo || this.writtenBelow <= this.storedBelow) return false;
    this.storedBelow = this.writtenBelow;
    return true;
  }

  get isAllStored(): boolean {
    return this.storedBelow === this.nextSeq;
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
      this.gapFrom = this.gapTo = this.gapPage = this.cursorChunk.next.firstSeq;
      this.front.splitAfter(this.cursorChunk, this.back);
    }
    this.evictBack();
    if (!this.hasGap && this.back.head) this.front.absorb(this.back);
  }

  private evictFront(): void {
    const first = this.front.head;
    if (!first || !this.isEvictable(first)) return;
    const page = first.pages[0] ?? 0;
    const hadGap = this.hasGap;
    let head: Chunk | undefined = first;
    let endSeq = this.ackedBelow;
    while (head && this.isEvictable(head)) {
      endSeq = head.endSeq;
      this.release(head);
      this.front.shift();
      head = this.front.head;
    }
    this.headAt = 0;
    if (hadGap && head) return this.restoreOrder(page, endSeq);
    this.gapPage = page;
    this.gapFrom = this.ackedBelow;
    if (!hadGap) {
      this.gapTo = endSeq;
      this.front.splitAfter(undefined, this.back);
    }
  }

  /** A front that is stored in part, before a gap, can't occur: the store works in order, and the front is older than the gap. */
  private restoreOrder(page: number, endSeq: number): never {
    throw new Error(`queue ${this.session}/${this.lane}: page ${page} up to ${endSeq} is stored, what follows it before the gap is not`);
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
        this.takePages(records.map(([, value]) => value));
        this.context.onLoaded();
      },
      () => {
        this.loading = false; // the store tells of its own failure; the next pump tries again
      },
    );
  }

  private takePages(pages: readonly Buffer[]): void {
    for (const page of pages) {
      const intact = intactPart(page);
      if (intact.length === 0) continue;
      const chunk = Chunk.ofPage(intact);
      this.gapFrom = this.gapPage = chunk.endSeq;
      if (chunk.endSeq <= this.ackedBelow) {
        this.deletedPages.push(chunk.firstSeq);
        continue;
      }
      this.context.budget.usedBytes += chunk.bytes.length;
      const isHead = this.front.head === undefined;
      this.front.push(chunk);
      if (isHead) {
        this.headAt = 0;
        while (recordSeq(chunk.bytes, this.headAt) < this.ackedBelow) this.headAt = recordEnd(chunk.bytes, this.headAt);
      }
    }
    if (pages.length === 0) this.gapFrom = this.gapTo;
    if (!this.hasGap) this.front.absorb(this.back);
    const lostBefore = this.lost;
    this.advanceHead();
    if (this.lost > lostBefore) this.context.onLost(this.lost - lostBefore);
    if (this.deletedPages.length > 0) this.touch("soon");
  }
}

/** The records of a page up to the first that is damaged. */
function intactPart(page: Buffer): Buffer {
  let end = 0;
  while (end < page.length && isIntactRecord(page, end, page.length)) end = recordEnd(page, end);
  return page.subarray(0, end);
}
