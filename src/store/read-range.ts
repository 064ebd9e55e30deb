import { isSealed, unseal } from "./checked.ts";
import type { Database } from "./database.ts";
import { bytesBeforeSeq, isPageKey, type KeyRange, MAX_SEQ, pageSeq, plainKey } from "./keys.ts";
import { recordsOf } from "./page-load.ts";
import type { StoredRecord } from "./store.ts";
import { isCorruption } from "./store-error.ts";

/** Keys read at a time: at first, at most, and the largest factor between: what comes may be larger than what came. */
const FIRST_KEYS = 4;
const MOST_KEYS = 1024;
const MOST_GROWTH = 16;
/** With so much of what is wanted it is enough: the rest might be one record too many. */
const ENOUGH = 7 / 8;
const SEQ_BYTES = 6;

/** What a read has found so far, at most `maxBytes` but for the first record. */
export class Found {
  readonly records: StoredRecord[] = [];
  bytes = 0;
  /** Nothing more is to be read. */
  isFull = false;

  constructor(readonly maxBytes: number) {}

  /** False if there is no room for it. */
  take(key: Buffer, value: Buffer, storedBytes: number): boolean {
    this.isFull = this.records.length > 0 && this.bytes + storedBytes > this.maxBytes;
    if (this.isFull) return false;
    this.records.push([key, value]);
    this.bytes += storedBytes;
    return true;
  }
}

/**
 * Keys by an iterator, values by `getMany`: a closed iterator keeps the last entries it has read until it is collected, and what native code
 * holds does not hurry the collector. Few keys at first, since LevelDB reads values along with keys; then as many as there is room for by what those were.
 * What is damaged is left out; `onDamaged` hears of it.
 */
export async function readRange(database: Database, { from, to }: KeyRange, found: Found, onDamaged: (detail: string) => void): Promise<void> {
  let wanted = FIRST_KEYS;
  let range: { gte?: Buffer; gt?: Buffer } = { gte: from };
  for (;;) {
    let keys: Buffer[];
    let values: (Buffer | undefined)[];
    try {
      keys = await database.keys({ ...range, lt: to, limit: wanted, fillCache: false }).all();
      values = await database.getMany(keys, { fillCache: false });
    } catch (error) {
      if (!isCorruption(error) || (wanted === 1 && found.records.length === 0)) throw error;
      found.isFull = wanted === 1;
      if (found.isFull) return;
      wanted = 1; // as far as the damage
      continue;
    }
    const last = keys.at(-1);
    if (last === undefined) return;
    for (const [index, value] of values.entries()) {
      const key = keys[index];
      if (key === undefined || value === undefined) continue; // removed meanwhile
      const intact = isSealed(key) ? unseal(key, value) : isPageKey(key) ? recordsOf(value) : value;
      if (intact === undefined) onDamaged(`record ${key.toString("hex", 0, 64)}`);
      else if (!found.take(plainKey(key), intact, value.length)) return;
    }
    if (found.records.length > 0) {
      found.isFull = found.bytes >= found.maxBytes * ENOUGH;
      if (found.isFull || keys.length < wanted) return;
      const fitting = Math.floor(((found.maxBytes - found.bytes) * found.records.length) / Math.max(found.bytes, 1));
      wanted = Math.max(1, Math.min(fitting, wanted * MOST_GROWTH, MOST_KEYS));
    }
    range = { gt: last };
  }
}

/**
 * The first page key from `from` on behind a block that can't be read; undefined if there is none, or if `from` is no page's. Looked for in
 * doubling steps and then by halves: a block holds pages of neighbouring numbers.
 */
export async function behindDamage(database: Database, { from, to }: KeyRange): Promise<Buffer | undefined> {
  const shared = bytesBeforeSeq(from);
  if (!isPageKey(from) || from.length < shared + SEQ_BYTES) return undefined;
  const start = pageSeq(from);
  const end = isPageKey(to) && to.length === from.length && to.compare(from, 0, shared, 0, shared) === 0 ? pageSeq(to) : MAX_SEQ;
  const at = (seq: number): Buffer => {
    const key = Buffer.from(from);
    key.writeUIntBE(seq, shared, SEQ_BYTES);
    return key;
  };
  let damaged = start;
  let readable = start;
  for (let step = 1; ; step *= 2) {
    readable = Math.min(start + step, end);
    if (await canRead(database, at(readable), to)) break;
    if (readable === end) return undefined;
    damaged = readable;
  }
  while (readable - damaged > 1) {
    const middle = Math.floor((damaged + readable) / 2);
    if (await canRead(database, at(middle), to)) readable = middle;
    else damaged = middle;
  }
  return at(readable);
}

async function canRead(database: Database, from: Buffer, to: Buffer): Promise<boolean> {
  try {
    const keys = await database.keys({ gte: from, lt: to, limit: 1, fillCache: false }).all();
    await database.getMany(keys, { fillCache: false });
    return true;
  } catch (error) {
    if (isCorruption(error)) return false;
    throw error;
  }
}
