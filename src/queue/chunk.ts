import { recordEnd, recordSeq } from "./record.ts";

const FIRST_CHUNK_BYTES = 1024;
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

  private constructor(
    readonly bytes: Buffer,
    /** Its buffer is of one of the sizes of `spare`; the store keeps what it has read as it likes. */
    private readonly isReusable = false,
  ) {}

  static forAppend(recordBytes: number, previousBytes: number): Chunk {
    // A power of two, also behind a chunk that was made for one large message.
    const grown = Math.min(Math.max(FIRST_CHUNK_BYTES, 1 << (32 - Math.clz32(previousBytes))), MAX_CHUNK_BYTES);
    if (recordBytes > grown) return new Chunk(Buffer.allocUnsafeSlow(recordBytes));
    const reused = spareOf(grown).pop();
    if (reused) spareBytes -= grown;
    return new Chunk(reused ?? Buffer.allocUnsafeSlow(grown), true);
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

  /** Nobody reads the chunk any more, nor is it on its way to the disk. */
  recycle(): void {
    const { bytes } = this;
    if (!this.isReusable || spareBytes + bytes.length > MAX_SPARE_BYTES) return;
    spareOf(bytes.length).push(bytes);
    spareBytes += bytes.length;
  }
}

/**
 * Buffers of chunks that are gone, by the binary logarithm of their size: queues that are filled and emptied, or left to the disk, all the time would
 * have the garbage collector run for them, and leave holes in native memory, which it does not count as its own.
 */
const spare: Buffer[][] = [];
let spareBytes = 0;
const MAX_SPARE_BYTES = 2 * 1024 * 1024;

const spareOf = (bytes: number): Buffer[] => (spare[31 - Math.clz32(bytes)] ??= []);

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
