import { recordEnd, recordSeq } from "./record.ts";

const FIRST_CHUNK_BYTES = 2 * 1024;
export const MAX_CHUNK_BYTES = 64 * 1024;

/** A run of records with rising sequence numbers. Append-only: bytes before `used` never change, so they may be on their way to the disk. */
export class Chunk {
  used = 0;
  firstSeq = 0;
  /** Sequence number after the last record's. */
  endSeq = 0;
  /** How many records a page that was read has. */
  records = 0;
  /** Bytes before here are in a page that has been handed to the store. */
  written = 0;
  /** First sequence numbers of the pages that hold this chunk's bytes on disk. */
  readonly pages: number[] = [];
  next: Chunk | undefined;

  private constructor(readonly bytes: Buffer) {}

  static forAppend(recordBytes: number, previousBytes: number): Chunk {
    const grown = previousBytes === 0 ? FIRST_CHUNK_BYTES : Math.min(previousBytes * 2, MAX_CHUNK_BYTES);
    const wanted = Math.max(grown, recordBytes);
    return new Chunk((wanted === MAX_CHUNK_BYTES ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(wanted));
  }

  /** What was read from the store's page `page`; the records have been checked, there is at least one. */
  static ofPage(page: number, bytes: Buffer): Chunk {
    const chunk = new Chunk(bytes);
    chunk.used = chunk.written = bytes.length;
    chunk.firstSeq = recordSeq(bytes, 0);
    chunk.pages.push(page);
    let last = 0;
    for (let at = 0; at < bytes.length; at = recordEnd(bytes, at)) {
      last = at;
      chunk.records += 1;
    }
    chunk.endSeq = recordSeq(bytes, last) + 1;
    return chunk;
  }

  get room(): number {
    return this.bytes.length - this.used;
  }
}

/** Full-sized buffers of chunks that are gone: a queue that is filled and emptied all the time would have the garbage collector run for them. */
const spare: Buffer[] = [];
const MAX_SPARE = 16;

/** Nobody reads the chunk any more, nor is it on its way to the disk. */
export function recycle({ bytes }: Chunk): void {
  if (bytes.length === MAX_CHUNK_BYTES && spare.length < MAX_SPARE) spare.push(bytes);
}

/** A chain of chunks in sequence order. */
export class ChunkList {
  head: Chunk | undefined;
  tail: Chunk | undefined;

  push(chunk: Chunk): void {
    if (this.tail) this.tail.next = chunk;
    else this.head = chunk;
    this.tail = chunk;
  }

  shift(): void {
    const first = this.head;
    if (!first) return;
    this.head = first.next;
    if (!this.head) this.tail = undefined;
  }

  remove(chunk: Chunk): void {
    if (chunk === this.head) return this.shift();
    let before = this.head;
    while (before && before.next !== chunk) before = before.next;
    if (!before) return;
    before.next = chunk.next;
    if (this.tail === chunk) this.tail = before;
  }

  /** Takes over all chunks of `other`, behind its own. */
  absorb(other: ChunkList): void {
    if (!other.head) return;
    if (this.tail) this.tail.next = other.head;
    else this.head = other.head;
    this.tail = other.tail;
    other.head = other.tail = undefined;
  }

  /** Cuts behind `last`; what follows is moved to `rest`, which is empty. */
  splitAfter(last: Chunk | undefined, rest: ChunkList): void {
    const first = last ? last.next : this.head;
    if (!first) return;
    rest.head = first;
    rest.tail = this.tail;
    if (last) last.next = undefined;
    else this.head = undefined;
    this.tail = last;
  }
}
