import { isSealed, seal } from "./checked.ts";
import type { WriteOperation } from "./database.ts";
import { REPEATED_EVERY } from "./generations.ts";
import type { GroupRecords } from "./group.ts";
import { holdsMessages, isPageKey, isRetainedKey, mayRide, QUEUE_OF_PAGE_BYTES, riderKeyIn, ridersKey, startOfGeneration } from "./keys.ts";
import { loadPage, type Rider, riderBytes } from "./page-load.ts";

/**
 * So many groups in a row must have done nothing but add pages, with the same queue's last, before records ride on those: then more of them are likely to follow. The group that
 * ends it is synced, whatever `durability` says.
 */
const PATIENCE_GROUPS = 8;
/** On one page. Each carries all that rides, so that the last page alone is to be found at a start. */
const MAX_LOAD_BYTES = 4096;
/** In generations, one in `REPEATED_EVERY` of which begins with all that rides. */
const MAX_RIDING_BYTES = 1024 * 1024;
/** Or this part of the group: many queues that grow have as many records, and much more to store. */
const MAX_LOAD_PART = 1 / 16;
/** To put so many there takes some milliseconds. */
const MAX_RIDERS = 4000;
/** A larger retained message is written by itself, lest it drive out all that rides. */
const MAX_RETAINED_BYTES = 2048;
/** A larger page is one large message: to carry something it would be copied. */
const MAX_CARRIER_BYTES = 256 * 1024;
/** Value of a record that has been deleted, while it rides in a generation. Others have some length. */
const DELETED = Buffer.alloc(0);

/** A group as LevelDB is to get it. */
export interface Batch {
  readonly operations: WriteOperation[];
  /** Of keys and values. */
  readonly bytes: number;
  /** Of message records. */
  readonly storedBytes: number;
  /** What rides comes to another place: an unsynced batch may be lost though a later one is not. */
  readonly mustSync: boolean;
  /**
   * Undefined if it does more than add pages and change small records, or if those do not ride and would not in a generation. `inOrder`: its pages are of the
   * queue that has grown before. `none`: it adds no page.
   */
  readonly growth: "inOrder" | "ofSeveral" | "none" | undefined;
}

/** What a group does. */
interface Shape {
  /** It only adds pages and changes small records. */
  readonly isGrowing: boolean;
  readonly hasPages: boolean;
  readonly isInOrder: boolean;
  /** Its last page, of the queue that carries if one does; undefined if there is none that may carry. */
  readonly carrier: Buffer | undefined;
}

/**
 * Turns groups into batches. The small records that change with each group (progress of queues, incoming identifiers, the time) would lie in each of LevelDB's
 * tables together with pages; all tables would overlap, and every page would be written twice more by compaction. So they ride with the pages, and leave the
 * tables in the order in which those were written, with nothing to merge: while one queue only grows, on the group's last page; when there are generations, in the one of the pages.
 * Retained messages ride in generations alone, if they are small: a page could carry few.
 *
 * `ridersKey` tells a start where: behind which page of a queue, or from which generation on. Each page behind that one carries all that rides: so it is on the queue's last page. Into a
 * generation each group puts what it changes, and the first one that adds pages there all that rides, if that was not done lately: so it is in the last `REPEATED_EVERY` generations with pages.
 */
export class Riders {
  readonly #riding = new Map<string, Rider>();
  #ridingBytes = 0;
  /** The last page of the queue that carries, or the generation that does; undefined while none does. */
  #seat: Buffer | number | undefined;
  /** The generation that all that rides has been put in last. */
  #repeatedIn = 0;
  #mustRepeat = false;
  /** In this generation no more records ride than those that have: they were too many. */
  #leftGeneration = 0;
  /** Groups in a row that only added pages, the last of each to one queue. */
  #growing = 0;
  /** The last page that was added in such a row. */
  #lastAdded: Buffer | undefined;
  /** Small records that have changed in it by themselves, and how large the retained messages among them are. */
  readonly #changed = new Set<string>();
  #changedRetainedBytes = 0;

  /** A write has failed: if the database has to be repaired before the next one, something that rides may be lost. */
  repeat(): void {
    this.#mustRepeat = true;
  }

  /** To be called once for each group: the batch is written until that works. `current`: the generation of its pages; `discarded`: pages that are deleted with it. */
  batchOf(group: GroupRecords, current: number, discarded: readonly Buffer[] = []): Batch {
    const before = this.#seat;
    const last = this.#lastAdded;
    const shape = this.#shapeOf(group, current, discarded.length > 0);
    this.#growing = shape.carrier === undefined ? 0 : last !== undefined && areOfOneQueue(last, shape.carrier) ? this.#growing + 1 : 1;
    const next = current === 0 ? shape.carrier : this.#seatIn(current, shape);
    const maxBytes = Math.max(current === 0 ? MAX_LOAD_BYTES : MAX_RIDING_BYTES, group.bytes * MAX_LOAD_PART);
    const isCarried = next !== undefined && (current > 0 || before !== undefined) && this.#board(group, maxBytes);
    this.#seat = isCarried || (current === 0 && this.#growing >= PATIENCE_GROUPS) ? next : undefined;
    if (current > 0 && next !== undefined && !isCarried) this.#leftGeneration = current;

    const moved = isCarried ? this.#moveFrom(before) : this.#alightFrom(before, group);
    const movedBytes = moved.reduce((sum, operation) => sum + operation.key.length + (operation.type === "put" ? operation.value.length : 0), 0);
    const operations = [...moved, ...this.#operationsOf(group, { isCarried, hasMoved: moved.length > 0 }), ...discarded.map((key): WriteOperation => ({ type: "del", key }))];
    if (!isCarried && this.#seat instanceof Buffer) operations.push(sealedPut(ridersKey, this.#seat));
    return { operations, bytes: group.bytes + movedBytes + bytesOf(discarded), storedBytes: storedBytesOf(group), mustSync: moved.length > 0, growth: this.#growthOf(group, shape, isCarried) };
  }

  #operationsOf({ keys, values }: GroupRecords, { isCarried, hasMoved }: { readonly isCarried: boolean; readonly hasMoved: boolean }): WriteOperation[] {
    const operations: WriteOperation[] = [];
    const seat = this.#seat;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (isCarried && this.#rides(key, value)) {
        if (typeof seat === "number" && !hasMoved) operations.push(putIn(seat, { key, value: value ?? DELETED }));
      } else if (value === undefined) operations.push({ type: "del", key });
      else if (isCarried && key === seat) operations.push({ type: "put", key, value: loadPage(key, value, [...this.#riding.values()]) });
      else operations.push(putAlone(key, value));
    }
    return operations;
  }

  #shapeOf({ keys, values }: GroupRecords, current: number, discards: boolean): Shape {
    let isGrowing = true;
    let isInOrder = true;
    let mayCarry = true;
    let carrier: Buffer | undefined;
    let last: Buffer | undefined;
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (value === undefined || value.length > MAX_CARRIER_BYTES) mayCarry = false;
      if (isPageKey(key) && value !== undefined) {
        const previous: Buffer | undefined = last ?? this.#lastAdded;
        isInOrder &&= previous === undefined || areOfOneQueue(previous, key);
        last = key;
        if (!(this.#seat instanceof Buffer) || isBehind(this.#seat, key)) carrier = key;
      } else if (!this.#rides(key, value)) isGrowing = false;
      else if (!mayRide(key)) mayCarry = false;
    }
    // In a generation pages that are deleted beside others that are added have waited until they are many: tables are mostly in order.
    if (discards && (current === 0 || last === undefined)) isGrowing = false;
    this.#lastAdded = isGrowing ? (last ?? this.#lastAdded) : undefined;
    return { isGrowing, hasPages: last !== undefined, isInOrder, carrier: isGrowing && mayCarry ? carrier : undefined };
  }

  /** What a generation has is told by its first page: without one records stay where they are. */
  #seatIn(current: number, { hasPages }: Shape): number | undefined {
    if (hasPages) return current === this.#leftGeneration ? undefined : current;
    return typeof this.#seat === "number" ? this.#seat : undefined;
  }

  #growthOf(group: GroupRecords, { isGrowing, hasPages, isInOrder }: Shape, isCarried: boolean): Batch["growth"] {
    if (!isGrowing || isCarried) this.#forgetChanged();
    if (!isGrowing) return undefined;
    if (!isCarried && !this.#noteChanged(group)) return undefined;
    if (!hasPages) return "none";
    // One queue's small records will ride on its pages; no retained message does.
    if (isInOrder && !isCarried) return this.#changedRetainedBytes > 0 ? "ofSeveral" : undefined;
    return isInOrder ? "inOrder" : "ofSeveral";
  }

  /** False if they are too many by now. */
  #noteChanged({ keys, values }: GroupRecords): boolean {
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      if (isPageKey(key)) continue;
      const { size } = this.#changed;
      this.#changed.add(key.toString("latin1"));
      if (isRetainedKey(key) && this.#changed.size > size) this.#changedRetainedBytes += key.length + (values[index]?.length ?? 0);
    }
    if (this.#changed.size <= MAX_RIDERS && this.#changedRetainedBytes <= MAX_RIDING_BYTES) return true;
    this.#forgetChanged();
    return false;
  }

  #forgetChanged(): void {
    this.#changed.clear();
    this.#changedRetainedBytes = 0;
  }

  /** Whether it may ride in a generation. What rides would hide a later record that stood by itself: so a retained message does, whatever its size, if one of its topic rides. */
  #rides(key: Buffer, value: Buffer | undefined): boolean {
    if (!isRetainedKey(key)) return mayRide(key);
    return value === undefined || value.length <= MAX_RETAINED_BYTES || this.#riding.has(key.toString("latin1"));
  }

  /** Adds the group's small records to those that ride; false if they are too many by now. */
  #board({ keys, values }: GroupRecords, maxBytes: number): boolean {
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      if (!this.#rides(key, values[index])) continue;
      const name = key.toString("latin1");
      const before = this.#riding.get(name);
      const rider = { key, value: values[index] ?? DELETED };
      this.#ridingBytes += riderBytes(rider) - (before ? riderBytes(before) : 0);
      this.#riding.set(name, rider);
    }
    return this.#ridingBytes <= maxBytes && this.#riding.size <= MAX_RIDERS;
  }

  /** All that rides, in a generation that it comes to, and now and then in one where it goes on. */
  #moveFrom(before: Buffer | number | undefined): WriteOperation[] {
    const seat = this.#seat;
    if (typeof seat !== "number") return [];
    const isNew = typeof before !== "number" || this.#mustRepeat;
    if (!isNew && seat - this.#repeatedIn < REPEATED_EVERY) return [];
    this.#repeatedIn = seat;
    this.#mustRepeat = false;
    const operations = [...this.#riding.values()].map((rider) => putIn(seat, rider));
    return isNew ? [...operations, sealedPut(ridersKey, startOfGeneration(seat))] : operations;
  }

  /** What has ridden, by itself; what the group changes it writes. */
  #alightFrom(before: Buffer | number | undefined, { keys }: GroupRecords): WriteOperation[] {
    if (before !== undefined) for (const key of keys) if (!isPageKey(key)) this.#riding.delete(key.toString("latin1"));
    const riders = [...this.#riding.values()];
    this.#riding.clear();
    this.#ridingBytes = 0;
    if (before === undefined) return [];
    return [...riders.map(byItself), { type: "del", key: ridersKey }];
  }
}

const sealedPut = (key: Buffer, value: Buffer): WriteOperation => ({ type: "put", key, value: seal(key, value) });
const putAlone = (key: Buffer, value: Buffer): WriteOperation => (isSealed(key) ? sealedPut(key, value) : { type: "put", key, value });
/** What has ridden, as it stands by itself. */
export const byItself = ({ key, value }: Rider): WriteOperation => (value.length === 0 ? { type: "del", key } : putAlone(key, value));
const putIn = (generation: number, { key, value }: Rider): WriteOperation => sealedPut(riderKeyIn(generation, key), value);
const areOfOneQueue = (page: Buffer, other: Buffer): boolean => page.compare(other, 0, QUEUE_OF_PAGE_BYTES, 0, QUEUE_OF_PAGE_BYTES) === 0;
const bytesOf = (keys: readonly Buffer[]): number => keys.reduce((sum, key) => sum + key.length, 0);
/** Whether both pages are of one queue, and `page` comes later. */
const isBehind = (last: Buffer, page: Buffer): boolean => areOfOneQueue(page, last) && page.compare(last) > 0;

function storedBytesOf({ keys, values }: GroupRecords): number {
  let bytes = 0;
  for (let index = 0; index < keys.length; index++) if (holdsMessages(keys[index] as Buffer)) bytes += values[index]?.length ?? 0; // index < length
  return bytes;
}
