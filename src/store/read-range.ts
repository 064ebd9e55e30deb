import { isSealed, unseal } from "./checked.ts";
import type { Database } from "./database.ts";
import { isPageKey, justBehind, type KeyRange, plainKey } from "./keys.ts";
import { recordsOf } from "./page-load.ts";
import type { StoredRecord } from "./store.ts";
import { describeError, isCorruption } from "./store-error.ts";

/** Keys read at a time: at first, at most, and the largest factor between: what comes may be larger than what came. */
const FIRST_KEYS = 4;
const MOST_KEYS = 1024;
const MOST_GROWTH = 16;
/** Handed over by LevelDB at a time, or a little more. */
const MOST_BYTES = 1024 * 1024;
const SOME_BYTES = 64 * 1024;
/** With so much of what is wanted it is enough: the rest might be one record too many. */
const ENOUGH = 7 / 8;

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
 * Keys first, to see how far there is room; then what there is so far. Few at first, since LevelDB reads values along with keys; then as many as there is room for by what those were.
 * What is damaged is left out, but where it is no page; `onDamaged` hears of it.
 */
export async function readRange(database: Database, { from, to }: KeyRange, found: Found, onDamaged: (detail: string, key?: Buffer) => void): Promise<void> {
  let wanted = FIRST_KEYS;
  let range: { gte?: Buffer; gt?: Buffer } = { gte: from };
  for (;;) {
    const options = { ...range, lt: to, limit: wanted, fillCache: false };
    let keys: readonly Buffer[];
    let entries: readonly StoredRecord[];
    try {
      keys = await database.keys(options).all();
      const last = keys.at(-1);
      entries = last === undefined ? [] : await readToEnd(database, { ...range, lt: justBehind(last) }, keys.length);
    } catch (error) {
      if (!isCorruption(error) || !isPageKey(from)) throw error;
      onDamaged(describeError(error));
      entries = await readable(() => database.iterator(options));
      keys = entries.map(([key]) => key);
    }
    for (const [key, value] of entries) {
      const intact = isSealed(key) ? unseal(key, value) : isPageKey(key) ? recordsOf(value) : value;
      if (intact === undefined) onDamaged(`record ${key.toString("hex", 0, 64)}`, key);
      else if (!found.take(plainKey(key), intact, value.length)) return;
    }
    const last = keys.at(-1);
    if (last === undefined) return;
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
 * All of a range, which has `count` records or about so many. LevelDB passes over a table that it can't open or read, as when there are too many open files, and says so to who comes to the
 * end of the range, not to who stops before. A closed iterator keeps what it has read last until it is collected, and what native code holds does not hurry the collector: here that is nothing.
 * Rejects with LevelDB's error.
 */
async function readToEnd(database: Database, range: { readonly gte?: Buffer; readonly gt?: Buffer; readonly lt: Buffer }, count: number): Promise<StoredRecord[]> {
  const found: StoredRecord[] = [];
  const iterator = database.iterator({ ...range, fillCache: false, highWaterMarkBytes: MOST_BYTES });
  try {
    for (let next = await iterator.nextv(count); next.length > 0; next = await iterator.nextv(count)) found.push(...next);
  } finally {
    await iterator.close();
  }
  return found;
}

/** All of a range, some at a time: one by one it takes several times as long. Rejects with LevelDB's error. */
export async function* allOf(database: Database, { from, to }: KeyRange): AsyncGenerator<readonly StoredRecord[]> {
  const iterator = database.iterator({ gte: from, lt: to, fillCache: false, highWaterMarkBytes: SOME_BYTES });
  try {
    for (let next = await iterator.nextv(MOST_KEYS); next.length > 0; next = await iterator.nextv(MOST_KEYS)) yield next;
  } finally {
    await iterator.close();
  }
}

/**
 * The first keys of a range, `limit` or, seldom, more, read to the end of what they are once more, for the same reason. What is removed in between still counts: fewer than `limit` are all
 * that there are. Rejects with LevelDB's error.
 */
export async function firstKeys(database: Database, range: { readonly gte?: Buffer; readonly gt?: Buffer; readonly lt: Buffer; readonly limit: number }): Promise<Buffer[]> {
  const keys = await database.keys({ ...range, fillCache: false }).all();
  const last = keys.at(-1);
  if (last === undefined || keys.length < range.limit) return keys;
  const again = await database.keys({ ...range, lt: justBehind(last), limit: -1, fillCache: false }).all();
  if (again.length >= keys.length) return again;
  const known = new Set(again.map((key) => key.toString("latin1")));
  return [...again, ...keys.filter((key) => !known.has(key.toString("latin1")))].sort(Buffer.compare);
}

/** An iterator of LevelDB's that has not been asked yet. */
interface Unread<T> {
  all(): Promise<T[]>;
  nextv(size: number): Promise<T[]>;
  close(): Promise<void>;
}

/**
 * What can be read of what `begin` iterates over. One by one costs many times as much as all at once. But LevelDB passes over a block that it can't read, and says so when it has come to
 * the end: by then everything else must have been taken. `onDamaged` is called then.
 */
export async function readable<T>(begin: () => Unread<T>, onDamaged: () => void = () => undefined): Promise<T[]> {
  try {
    return await begin().all();
  } catch (error) {
    if (!isCorruption(error)) throw error;
  }
  const found: T[] = [];
  const iterator = begin();
  try {
    for (let next = await iterator.nextv(1); next.length > 0; next = await iterator.nextv(1)) found.push(...next);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    onDamaged();
  } finally {
    await iterator.close();
  }
  return found;
}
