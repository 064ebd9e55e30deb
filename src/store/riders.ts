import { isSealed, seal, unseal } from "./checked.ts";
import type { Database, WriteOperation } from "./database.ts";
import type { Generations } from "./generations.ts";
import type { GroupRecords } from "./group.ts";
import { holdsMessages, isPageKey, type KeyRange, mayRide, pagesBehind, plainKey, QUEUE_OF_PAGE_BYTES, ridersKey } from "./keys.ts";
import { loadPage, type Rider, riderBytes, ridersOf } from "./page-load.ts";
import { isCorruption } from "./store-error.ts";

/** So many groups in a row must have done nothing but add pages: then more of them are likely to follow. */
const PATIENCE_GROUPS = 8;
/** On one page. Each carries all that rides, so that the last page alone is to be found at a start. */
const MAX_LOAD_BYTES = 4096;
/** Or this part of the group: many queues that grow have as many records, and much more to store. */
const MAX_LOAD_PART = 1 / 16;
/** A larger page is one large message: to carry something it would be copied. */
const MAX_CARRIER_BYTES = 256 * 1024;
/** So many pages are looked at for the last one whose load is intact. */
const MAX_DAMAGED_PAGES = 100;

/** A group as LevelDB is to get it. */
export interface Batch {
  readonly operations: WriteOperation[];
  /** Of keys and values. */
  readonly bytes: number;
  /** Of message records. */
  readonly storedBytes: number;
  /** It ends what only pages have held: an unsynced batch may be lost though a later one is not. */
  readonly mustSync: boolean;
  /** It is all pages. */
  readonly isCarried: boolean;
  /** It is all pages of one queue, behind what that queue had. */
  readonly isInOrder: boolean;
}

/**
 * Turns groups into batches. While a queue only grows, the small records that change with each group (progress of queues, incoming identifiers, the
 * time) ride on the group's last page. By themselves they would lie in each of LevelDB's tables together with pages; all tables would overlap, and
 * every page would be written twice more by compaction. On pages they leave the tables in the order of their pages, with nothing to merge.
 *
 * `ridersKey` names the page of the queue behind which each one carries all that rides. So what rides is on the queue's last page, and nowhere else; it is written
 * by itself again with the first group that does anything but add pages.
 */
export class Riders {
  readonly #riding = new Map<string, Rider>();
  /** The last page of the queue that carries; undefined while none does. */
  #lastPage: Buffer | undefined;
  /** Groups in a row that only added pages. */
  #growing = 0;

  /** To be called once for each group: the batch is written until that works. */
  batchOf({ keys, values, bytes }: GroupRecords): Batch {
    const carrier = this.#carrierOf(keys, values);
    this.#growing = carrier === undefined ? 0 : this.#growing + 1;
    const isCarried = carrier !== undefined && this.#lastPage !== undefined && this.#board(keys, values, Math.max(MAX_LOAD_BYTES, bytes * MAX_LOAD_PART));
    const operations: WriteOperation[] = [];
    let extraBytes = 0;
    let mustSync = false;
    if (!isCarried) {
      for (const { key, value } of this.#riding.values()) {
        operations.push({ type: "put", key, value: seal(key, value) });
        extraBytes += key.length + value.length;
        mustSync = true;
      }
      this.#riding.clear();
      if (this.#lastPage !== undefined) operations.push({ type: "del", key: ridersKey });
    }
    this.#lastPage = isCarried || this.#growing >= PATIENCE_GROUPS ? carrier : undefined;
    let storedBytes = 0;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (value !== undefined && holdsMessages(key)) storedBytes += value.length;
      if (value === undefined) operations.push({ type: "del", key });
      else if (!isCarried || isPageKey(key)) operations.push({ type: "put", key, value: this.#valueOf(key, value, isCarried) });
    }
    if (!isCarried && this.#lastPage !== undefined) operations.push({ type: "put", key: ridersKey, value: seal(ridersKey, this.#lastPage) });
    const isInOrder = isCarried && keys.every((key) => !isPageKey(key) || areOfOneQueue(key, carrier));
    return { operations, bytes: bytes + extraBytes, storedBytes, mustSync, isCarried, isInOrder };
  }

  #valueOf(key: Buffer, value: Buffer, isCarried: boolean): Buffer {
    if (isCarried && key === this.#lastPage) return loadPage(key, value, [...this.#riding.values()]);
    return isSealed(key) ? seal(key, value) : value;
  }

  /** The group's last page of the queue that carries, of any queue while none does; undefined if the group does more than add pages. */
  #carrierOf(keys: readonly Buffer[], values: readonly (Buffer | undefined)[]): Buffer | undefined {
    let carrier: Buffer | undefined;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (value === undefined || value.length > MAX_CARRIER_BYTES) return undefined;
      if (!isPageKey(key)) {
        if (!mayRide(key)) return undefined;
      } else if (this.#lastPage === undefined || isBehind(this.#lastPage, key)) carrier = key;
    }
    return carrier;
  }

  /** Adds the group's small records to those that ride; false if they are too many by now. */
  #board(keys: readonly Buffer[], values: readonly (Buffer | undefined)[], maxBytes: number): boolean {
    let bytes = 0;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (value !== undefined && !isPageKey(key)) this.#riding.set(key.toString("latin1"), { key, value });
    }
    for (const rider of this.#riding.values()) bytes += riderBytes(rider);
    return bytes <= maxBytes;
  }
}

const areOfOneQueue = (page: Buffer, other: Buffer): boolean => page.compare(other, 0, QUEUE_OF_PAGE_BYTES, 0, QUEUE_OF_PAGE_BYTES) === 0;
/** Whether both pages are of one queue, and `page` comes later. */
const isBehind = (last: Buffer, page: Buffer): boolean => areOfOneQueue(page, last) && page.compare(last) > 0;

/**
 * At a start: writes what rides by itself. `onDamaged` is called before that if the last page that carries is damaged: what rides on the one before is older.
 */
export async function unloadRiders(database: Database, generations: Generations, onDamaged: (detail: string) => void): Promise<void> {
  const sealed = await database.get(ridersKey);
  if (sealed === undefined) return;
  const page = unseal(ridersKey, sealed);
  const { riders, damage } = page === undefined ? { riders: [], damage: "the record of what rides on pages" } : await lastRiders(database, [...generations.ranges(...pagesBehind(page))].reverse());
  const operations: WriteOperation[] = riders.map(({ key, value }) => ({ type: "put", key, value: seal(key, value) }));
  if (damage !== undefined) onDamaged(damage);
  await database.batch([...operations, { type: "del", key: ridersKey }], { sync: true });
}

interface Found {
  readonly riders: readonly Rider[];
  readonly damage: string | undefined;
}

/** `ranges`: where the pages behind that one stand, the last of them first. */
async function lastRiders(database: Database, ranges: readonly KeyRange[]): Promise<Found> {
  let damage: string | undefined;
  for (const { from, to } of ranges) {
    try {
      for await (const [key, value] of database.iterator({ gte: from, lt: to, reverse: true, limit: MAX_DAMAGED_PAGES, fillCache: false })) {
        const riders = ridersOf(plainKey(key), value);
        if (riders !== undefined) return { riders, damage };
        damage ??= `what rode on page ${key.toString("hex")}`;
      }
    } catch (error) {
      if (!isCorruption(error)) throw error;
      damage = `what rode on pages behind ${from.toString("hex")}`;
    }
  }
  return { riders: [], damage };
}
