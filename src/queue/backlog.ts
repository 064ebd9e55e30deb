import type { QoS } from "../mqtt/protocol.ts";
import { Chunk, ChunkList } from "./chunk.ts";
import { Cursor } from "./cursor.ts";
import type { MemoryBudget } from "./memory-budget.ts";
import type { Message } from "./message.ts";
import { recordEnd, recordReceivedMs, recordSeq, sealRecords, writeRecord } from "./record.ts";
import type { SeqRanges } from "./seq-ranges.ts";

/**
 * The records of one lane in order, in RAM and on disk. RAM holds `front` (from the head on) and, while stored messages have been left to the disk,
 * `back` (the newest); between them lies the gap [gapFrom, gapTo), which is on disk alone. Without a gap `back` is empty.
 *
 * The cursor stands in `front`, before the next record to send.
 */
export class Backlog {
  gapFrom = 0;
  gapTo = 0;
  /** No page that begins below holds anything of the gap. */
  gapPage = 0;
  /** First sequence numbers of the pages that are to be deleted from the disk, and about how many bytes those hold. */
  deletedPages = NO_PAGES;
  deletedBytes = 0;
  private readonly front = new ChunkList();
  private readonly back = new ChunkList();
  /** Offset in `front.head` of the first record that is not done. */
  private headAt = 0;
  private foundAt = 0;
  /** Stands before a record once settleCursor has returned true. */
  readonly cursor = new Cursor();
  /** Stands somewhere before the first message that may be dropped, once one is looked for. */
  private dropCursor: Cursor | undefined;
  private firstUnwritten: Chunk | undefined;
  /** When the oldest message came, or earlier: what is known of it while it does not lie in RAM. */
  private knownOldestMs = 0;

  constructor(
    private readonly durable: boolean,
    private readonly budget: MemoryBudget,
  ) {}

  /** Everything from `ackedBelow` up to `nextSeq` lies on disk alone. */
  recover(ackedBelow: number, nextSeq: number, firstPage: number, oldestMs: number): void {
    this.gapPage = firstPage;
    this.gapFrom = ackedBelow;
    this.gapTo = nextSeq;
    this.knownOldestMs = oldestMs;
  }

  /** Whether some of the messages are on disk alone. */
  get hasGap(): boolean {
    return this.gapFrom < this.gapTo;
  }

  /** When the message at the head came, or somewhat earlier while that one is on disk alone. */
  get oldestMs(): number {
    const head = this.front.head;
    return head && this.headAt < head.used ? recordReceivedMs(head.bytes, this.headAt) : this.knownOldestMs;
  }

  /** Nothing is in the backlog; a message that came at `receivedMs` is appended next. */
  beginAt(receivedMs: number): void {
    this.knownOldestMs = receivedMs;
  }

  /** Copies the message, whose record has `size`, to the end. */
  append(message: Message, qos: QoS, retain: boolean, seq: number, size: number): void {
    const list = this.hasGap ? this.back : this.front;
    let chunk = list.tail;
    if (!chunk || chunk.room < size) {
      chunk = Chunk.forAppend(size, chunk?.bytes.length ?? 0);
      this.budget.usedBytes += chunk.bytes.length;
      chunk.firstSeq = seq;
      list.push(chunk);
    }
    chunk.used = writeRecord(chunk.bytes, chunk.used, message, qos, seq, retain);
    chunk.endSeq = seq + 1;
    if (this.durable) this.firstUnwritten ??= chunk;
  }

  /** Puts what was read from the disk behind `front`, whose head is not done from `ackedBelow` on. */
  pushRead(chunk: Chunk, ackedBelow: number): void {
    this.budget.usedBytes += chunk.bytes.length;
    const isHead = this.front.head === undefined;
    this.front.push(chunk);
    if (!isHead) return;
    this.headAt = 0;
    while (recordSeq(chunk.bytes, this.headAt) < ackedBelow) this.headAt = recordEnd(chunk.bytes, this.headAt);
  }

  /** No gap is left: all lies in `front`. The head may have passed the gap, and some of `back`, as what was acknowledged out of turn. */
  join(ackedBelow: number): void {
    this.front.absorb(this.back);
    this.dropBelow(ackedBelow);
  }

  /** Moves the cursor to a record; false if there is none in RAM. */
  settleCursor(): boolean {
    return this.cursor.settle(this.front.head, this.headAt);
  }

  /** Passes the record under the cursor. Returns whether it stood in the last chunk before the gap. */
  stepCursor(): boolean {
    this.cursor.step();
    return this.cursor.chunk?.next === undefined && this.hasGap;
  }

  rewind(): void {
    this.cursor.reset();
  }

  /**
   * Looks for the first record from `seq` on; undefined if none lies in RAM. On the way chunks behind the head in which `dropped` has everything
   * are left, and their pages are to be deleted.
   */
  settleDrop(seq: number, dropped: SeqRanges): Cursor | undefined {
    const { front } = this;
    const dropCursor = (this.dropCursor ??= new Cursor());
    for (;;) {
      const { chunk } = dropCursor;
      if (!dropCursor.settle(front.head, this.headAt)) return undefined;
      if (chunk && chunk !== dropCursor.chunk && chunk !== front.head && dropped.next(chunk.firstSeq) >= chunk.endSeq) this.remove(chunk);
      if (dropCursor.seq >= seq) return dropCursor;
      dropCursor.step();
    }
  }

  /** Messages that were sent may be dropped again. */
  rewindDrop(): void {
    this.dropCursor = undefined;
  }

  private remove(chunk: Chunk): void {
    if (this.cursor.chunk === chunk) this.cursor.reset(chunk.next);
    if (this.firstUnwritten === chunk) this.firstUnwritten = chunk.next;
    this.deletePagesOf(chunk);
    this.release(chunk);
    this.front.remove(chunk);
  }

  /** Sequence number of the first record, be it in RAM or on disk alone; `nextSeq` if there is none. */
  headSeq(nextSeq: number): number {
    const head = this.front.head;
    return head ? recordSeq(head.bytes, this.headAt) : this.hasGap ? this.gapFrom : nextSeq;
  }

  /** The first record is done. Returns its size, 0 if it does not lie in RAM. */
  dropHead(): number {
    const head = this.front.head;
    if (!head) return 0;
    const end = recordEnd(head.bytes, this.headAt);
    const size = end - this.headAt;
    if (end < head.used) this.headAt = end;
    else this.dropHeadChunk(head);
    return size;
  }

  /** Its last record is done. */
  private dropHeadChunk(head: Chunk): void {
    this.knownOldestMs = recordReceivedMs(head.bytes, this.headAt);
    this.deletePagesOf(head);
    this.release(head);
    this.front.shift();
    this.headAt = 0;
    if (this.firstUnwritten === head) this.firstUnwritten = head.next;
    if (this.cursor.chunk === head) this.cursor.reset();
    if (this.dropCursor?.chunk === head) this.dropCursor.reset();
    // A head chunk that is emptied while its bytes wait for the store is simply left: nothing in it is owed any more.
  }

  /** Everything below `seq` is done. */
  dropBelow(seq: number): void {
    while (this.front.head && recordSeq(this.front.head.bytes, this.headAt) < seq) this.dropHead();
  }

  /** The chunk of `front` with the message, which begins at `foundOffset`. */
  find(seq: number): Chunk | undefined {
    let chunk = this.front.head;
    let at = this.headAt;
    for (; chunk && chunk.endSeq <= seq; at = 0) chunk = chunk.next;
    if (!chunk) return undefined;
    while (at < chunk.used && recordSeq(chunk.bytes, at) < seq) at = recordEnd(chunk.bytes, at);
    this.foundAt = at;
    return at < chunk.used && recordSeq(chunk.bytes, at) === seq ? chunk : undefined;
  }

  get foundOffset(): number {
    return this.foundAt;
  }

  /** Size of a message that lies in `front`; 0 for any other. */
  bytesOf(seq: number): number {
    const chunk = this.find(seq);
    return chunk ? recordEnd(chunk.bytes, this.foundAt) - this.foundAt : 0;
  }

  /** Size of the records of `front` for which `counts` says so. */
  countBytes(counts: (seq: number) => boolean): number {
    let bytes = 0;
    let at = this.headAt;
    for (let chunk = this.front.head; chunk; chunk = chunk.next, at = 0) {
      for (let end; at < chunk.used; at = end) {
        end = recordEnd(chunk.bytes, at);
        if (counts(recordSeq(chunk.bytes, at))) bytes += end - at;
      }
    }
    return bytes;
  }

  /** Visits the records that no page holds: what has not been handed to the store, or all if nothing is. */
  visitUnwritten(visit: (bytes: Buffer, at: number) => void): void {
    for (let chunk = this.durable ? this.firstUnwritten : this.front.head; chunk; chunk = chunk.next) {
      let at = Math.max(this.durable ? chunk.written : 0, chunk === this.front.head ? this.headAt : 0);
      for (; at < chunk.used; at = recordEnd(chunk.bytes, at)) visit(chunk.bytes, at);
    }
  }

  /** Hands over what no page holds yet and is not done: one page a chunk. */
  writePages(ackedBelow: number, put: (firstSeq: number, page: Buffer) => void): void {
    for (let chunk = this.firstUnwritten; chunk; chunk = chunk.next) {
      let from = chunk.written;
      while (from < chunk.used && recordSeq(chunk.bytes, from) < ackedBelow) from = recordEnd(chunk.bytes, from);
      chunk.written = chunk.used;
      if (from === chunk.used) continue;
      sealRecords(chunk.bytes, from, chunk.used);
      const firstSeq = recordSeq(chunk.bytes, from);
      put(firstSeq, chunk.bytes.subarray(from, chunk.used));
      chunk.pages.push(firstSeq);
    }
    this.firstUnwritten = undefined;
  }

  /** The page that begins with this message is to be deleted from the disk. */
  deletePage(firstSeq: number, bytes: number): void {
    if (this.deletedPages === NO_PAGES) this.deletedPages = [];
    this.deletedPages.push(firstSeq);
    this.deletedBytes += bytes;
  }

  private deletePagesOf({ pages, used }: Chunk): void {
    for (const page of pages) this.deletePage(page, Math.ceil(used / pages.length));
  }

  /** They have been handed to the store. */
  forgetDeleted(): void {
    this.deletedPages = NO_PAGES;
    this.deletedBytes = 0;
  }

  /** No page with a lower first sequence number counts any more. */
  firstPage(ackedBelow: number): number {
    return this.front.head?.pages[0] ?? (this.hasGap ? this.gapPage : ackedBelow);
  }

  /** Leaves to the disk what is stored there: everything, or what lies behind the chunk of the cursor or of the head. */
  evict(keeping: "nothing" | "cursor" | "head", ackedBelow: number, storedBelow: number): void {
    this.dropCursor = undefined;
    if (keeping === "nothing") this.evictFront(ackedBelow, storedBelow);
    else this.evictBehind(keeping === "cursor" ? this.cursor.chunk : this.front.head, storedBelow);
    this.evictBack(storedBelow);
    if (!this.hasGap && this.back.head) this.join(ackedBelow);
  }

  private evictBehind(kept: Chunk | undefined, storedBelow: number): void {
    const next = kept?.next;
    if (this.hasGap || !next || !isEvictable(next, storedBelow)) return;
    const [page = 0] = next.pages; // isEvictable: there is one
    this.gapFrom = this.gapTo = next.firstSeq;
    this.gapPage = page;
    this.front.splitAfter(kept, this.back);
  }

  /** The gap begins at the head, then. What stands before a gap leaves as a whole or not at all: there is one gap only. */
  private evictFront(ackedBelow: number, storedBelow: number): void {
    const page = this.front.head?.pages[0];
    let last: Chunk | undefined;
    for (let chunk = this.front.head; chunk && isEvictable(chunk, storedBelow); chunk = chunk.next) last = chunk;
    if (page === undefined || !last || (this.hasGap && last.next)) return;
    if (!this.hasGap) {
      this.gapTo = last.endSeq;
      this.front.splitAfter(last, this.back);
    }
    this.knownOldestMs = this.oldestMs;
    for (let chunk = this.front.head; chunk; chunk = chunk.next) this.leaveToDisk(chunk);
    this.front.head = this.front.tail = undefined;
    this.headAt = 0;
    this.gapPage = page;
    this.gapFrom = ackedBelow;
  }

  private evictBack(storedBelow: number): void {
    if (this.gapTo === 0) return;
    for (let chunk = this.back.head; chunk && isEvictable(chunk, storedBelow); chunk = this.back.head) {
      this.gapTo = chunk.endSeq;
      this.leaveToDisk(chunk);
      this.back.shift();
    }
  }

  /** The chunk leaves RAM; its bytes may still be on their way to the disk. */
  private release(chunk: Chunk): void {
    this.budget.usedBytes -= chunk.bytes.length;
    if (!this.durable) chunk.recycle();
  }

  /** The same for one that is on disk. */
  private leaveToDisk(chunk: Chunk): void {
    this.release(chunk);
    chunk.recycle();
  }

  /** Forgets everything; nothing is handed over to be written or deleted. */
  clear(): void {
    for (const list of [this.front, this.back]) {
      for (let chunk = list.head; chunk; chunk = chunk.next) this.release(chunk);
      list.head = list.tail = undefined;
    }
    this.cursor.reset();
    this.dropCursor = undefined;
    this.firstUnwritten = undefined;
    this.gapFrom = this.gapTo = 0;
    this.headAt = 0;
  }
}

/** What most backlogs have to delete at most times. */
const NO_PAGES: number[] = [];

/** Whether everything of the chunk is on disk. */
function isEvictable(chunk: Chunk, storedBelow: number): boolean {
  return chunk.written === chunk.used && chunk.endSeq <= storedBelow && chunk.pages.length > 0;
}
