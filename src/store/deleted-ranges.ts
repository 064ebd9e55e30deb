import { WRITE_BUFFER_BYTES } from "./database.ts";
import type { KeyRange } from "./keys.ts";
import { bytesBeforeSeq, firstPageOf, generationOf, isPageKey, isRetainedRider, justBehind, pageSeq, startOfGeneration } from "./keys.ts";

/** First and last page that were deleted, or retained messages that rode in a generation, both included. */
interface Deleted {
  from: Buffer;
  to: Buffer;
  /** What had been written by the time of the last deletion. */
  writtenBytes: number;
}

/** Bytes that tables hold between two keys. */
export type SizeOf = (range: KeyRange) => Promise<number>;

/** Slices are about this large: a compaction of one takes a fraction of a second. */
const SLICE_BYTES = 16 * 1024 * 1024;
/** So much that is not known to be deleted may lie between two ranges of a slice. */
const MAX_GAP_BYTES = 1024 * 1024;
/** When so much more has been written, nothing of a deletion is in memory: one buffer is full, and the next can't be before that one is in tables. Twice that, since a group may be as large. */
const IN_TABLES_BYTES = 4 * WRITE_BUFFER_BYTES;
const MANY_RANGES = 4096;

/** Where pages have been deleted, queue by queue in each generation: there pages are deleted from the oldest on, so that little else lies between. */
export class DeletedRanges {
  readonly #byQueue = new Map<string, Deleted>();

  get size(): number {
    return this.#byQueue.size;
  }

  /** So many that it is to be seen which LevelDB has compacted by itself. */
  get areMany(): boolean {
    return this.size >= MANY_RANGES;
  }

  /** Other records are few, and LevelDB comes to them by itself. `writtenBytes`: to the database, so far. */
  note(key: Buffer, writtenBytes: number): void {
    if (!isPageKey(key) && !isRetainedRider(key)) return;
    const queue = key.toString("latin1", 0, bytesBeforeSeq(key));
    const range = this.#byQueue.get(queue);
    if (range === undefined) return void this.#byQueue.set(queue, { from: key, to: key, writtenBytes });
    range.writtenBytes = writtenBytes;
    if (key.compare(range.to) > 0) range.to = key;
    else if (key.compare(range.from) < 0) range.from = key;
  }

  /**
   * Takes out what makes slices of at least `minBytes`; what is smaller stays, in the hope that it grows. If that is not 0, what lies between must not be more: compaction
   * would write it anew. What LevelDB has compacted by itself is forgotten.
   */
  async takeSlices(sizeOf: SizeOf, minBytes: number, writtenBytes: number): Promise<KeyRange[]> {
    const ranges = [...this.#byQueue.entries()].sort(([, a], [, b]) => a.from.compare(b.from));
    const slices: KeyRange[] = [];
    let group: { readonly queues: string[]; from: Buffer; to: Buffer; bytes: number; gapBytes: number } | undefined;
    const finish = (): void => {
      if (group !== undefined && group.bytes >= minBytes && (minBytes === 0 || group.bytes >= group.gapBytes)) {
        for (const queue of group.queues) this.#byQueue.delete(queue);
        slices.push(...cut(group.from, group.to, group.bytes));
      }
      group = undefined;
    };
    for (const [queue, range] of ranges) {
      const { from, to } = range;
      // The last page counts too: in a generation it is often the only one of its queue.
      const bytes = await sizeOf({ from, to: justBehind(to) });
      if (bytes === 0 && writtenBytes - range.writtenBytes >= IN_TABLES_BYTES) {
        this.#byQueue.delete(queue);
        continue;
      }
      const gapBytes = group === undefined ? 0 : await gapBytesOf(group.to, from, sizeOf);
      if (group !== undefined && (group.bytes + bytes > SLICE_BYTES || gapBytes > MAX_GAP_BYTES)) finish();
      if (group === undefined) group = { queues: [queue], from, to, bytes, gapBytes: 0 };
      else {
        group.queues.push(queue);
        group.to = to;
        group.bytes += bytes;
        group.gapBytes += gapBytes;
      }
    }
    finish();
    return slices;
  }
}

/** What tables hold between the two pages, without what rides in the generation of the latter: most of that is older than what rides in the last one. */
async function gapBytesOf(before: Buffer, from: Buffer, sizeOf: SizeOf): Promise<number> {
  const behind = justBehind(before);
  const generation = generationOf(from);
  if (generationOf(before) === generation) return sizeOf({ from: behind, to: from });
  const bytesBefore = await sizeOf({ from: behind, to: startOfGeneration(generation) });
  return isPageKey(from) ? bytesBefore + (await sizeOf({ from: firstPageOf(generation), to: from })) : bytesBefore;
}

/** A range of one queue in slices; one over several queues, or with what rode, is no larger than a slice. */
function cut(from: Buffer, to: Buffer, bytes: number): KeyRange[] {
  const shared = bytesBeforeSeq(from);
  if (!isPageKey(from) || from.compare(to, 0, shared, 0, shared) !== 0) return [{ from, to }];
  const parts = Math.max(1, Math.ceil(bytes / SLICE_BYTES));
  const first = pageSeq(from);
  const step = (pageSeq(to) - first) / parts;
  return Array.from({ length: parts }, (_, part) => ({
    from: part === 0 ? from : at(from, first + Math.floor(step * part)),
    to: part === parts - 1 ? to : at(from, first + Math.floor(step * (part + 1))),
  }));
}

function at(page: Buffer, seq: number): Buffer {
  const key = Buffer.from(page);
  key.writeUIntBE(seq, bytesBeforeSeq(key), 6);
  return key;
}
