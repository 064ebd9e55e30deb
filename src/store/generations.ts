import { seal } from "./checked.ts";
import type { WriteOperation } from "./database.ts";
import { withGenerations } from "./format.ts";
import { formatKey, generationKey, generationsKey, isPageKey, keyIn, type KeyRange, QUEUE_OF_PAGE_BYTES, ridersKey } from "./keys.ts";
import type { GroupWriter, Keeper } from "./store.ts";

/** So many numbers are noted as used at a time. */
const RESERVED = 256;
/** With so many places in RAM, 8 MB, the current generation goes on: more tables overlap then, which costs bytes written. */
const MAX_PLACES = 100_000;
/** More than so many are put among the others all at once: each by itself would move all behind it. */
const MANY = 8;
/** All that rides is put once in so many generations that follow each other, lest each begin with it. A start reads so many. */
export const REPEATED_EVERY = 8;

/** A generation holds pages of a queue, the oldest of which there were has the key `first` in generation 0, as latin1. */
export interface Place {
  readonly first: string;
  readonly generation: number;
}

/** What a start knows of the generations. */
export interface FoundGenerations {
  /** In any order. */
  readonly places: readonly Place[];
  /** How many records each generation has. */
  readonly records: ReadonlyMap<number, number>;
  /** No generation from here on has been used; 0: there were none. */
  readonly unused: number;
  /** What rides in lower ones has been written by itself since; 0 if that is not known. */
  readonly ridesFrom: number;
  /** Some record was missing or damaged. */
  readonly wasLost: boolean;
}

/**
 * Where pages stand. While several queues grow, all new pages go to one *generation*, whose number leads their keys; when it has become as large as a table
 * is to be, the next one begins. So the pages that are written together lie together, behind all older ones, and LevelDB has nothing to merge.
 * Outside the store a page has the key that it has in generation 0, where all pages stand until several queues grow.
 *
 * Within a queue later pages are in later generations: a number is never used again. Which queues have pages in a generation is kept in RAM, and in a record
 * of the generation, written with the first page of each queue.
 */
export class Generations implements Keeper {
  /** By `first`: of each queue from the oldest generation on. */
  #places: Place[];
  #current: number;
  /** The last one that has got pages: what rides in a generation is there. */
  #grown: number;
  #queues = 0;
  /** How many records each generation has. None without one has pages. */
  readonly #records: Map<number, number>;
  #ridesFrom: number;
  /** No number from here on is noted as used. */
  #reserved: number;
  /** Of what generations have left, to be deleted. */
  #leftKeys: Buffer[] = [];
  readonly #format: Buffer;

  /** `format`: value of the format record. */
  constructor({ places, records, unused, ridesFrom }: Omit<FoundGenerations, "wasLost">, format: Buffer) {
    this.#places = sorted(places);
    this.#records = new Map(records);
    this.#ridesFrom = ridesFrom;
    this.#current = this.#grown = this.#reserved = unused;
    this.#format = format;
  }

  /** New pages go to the next one from now on, unless so many queues are in so many that those would take too much memory. Everything that has been placed must be on disk. */
  begin(): void {
    if (this.#places.length >= MAX_PLACES) return;
    this.#current += 1;
    this.#queues = 0;
  }

  /** How many queues have pages in the current generation. */
  get queues(): number {
    return this.#queues;
  }

  get current(): number {
    return this.#current;
  }

  /** All that is to be known of generations before this one is where their pages are. */
  get grown(): number {
    return this.#grown;
  }

  /** What rides is in this generation and later ones, be it that it is in others too. */
  get riding(): number {
    return Math.max(this.#grown - REPEATED_EVERY + 1, 0);
  }

  /** What rides in generations before this one has been written by itself since. */
  get ridesFrom(): number {
    return this.#ridesFrom;
  }

  /** Value of the format record. */
  get format(): Buffer {
    return this.#current === 0 ? this.#format : withGenerations(this.#format);
  }

  /**
   * Gives the pages of a batch their keys, and adds what tells the next start of them; and, if the batch writes what has ridden by itself, that it does.
   * Returns the bytes of that; if there are any the batch must be synced, since later ones count on it.
   */
  place(operations: WriteOperation[]): number {
    if (this.#current === 0) return 0;
    const joined = this.#join(operations);
    const { length } = operations;
    let hasLeft = false;
    for (let index = 0; index < length; index++) {
      const operation = operations[index] as WriteOperation; // index < length
      if (operation.type === "del" && operation.key === ridersKey) hasLeft = true;
      if (!isPageKey(operation.key)) continue;
      const generation = operation.type === "put" ? this.#current : (this.#holding(operation.key.toString("latin1"))?.generation ?? 0);
      operations[index] = { ...operation, key: keyIn(generation, operation.key) };
    }
    if (joined.length > 0) operations.push(...this.#notes(joined));
    if (hasLeft && this.#reserved > 0) operations.push(...this.#notesOfLeaving());
    return operations.slice(length).reduce((bytes, operation) => bytes + operation.key.length + (operation.type === "put" ? operation.value.length : 0), 0);
  }

  /** Notes the first page of each queue that has none in the current generation yet. Returns those pages. */
  #join(operations: readonly WriteOperation[]): string[] {
    const joining = new Map<string, Place>();
    for (const { type, key } of operations) {
      if (type !== "put" || !isPageKey(key)) continue;
      const first = key.toString("latin1");
      const queue = queueOf(first);
      if (!joining.has(queue) && this.#holding(endOf(first))?.generation !== this.#current) joining.set(queue, { first, generation: this.#current });
    }
    const places = [...joining.values()];
    if (places.length > MANY) this.#places = sorted(this.#places.concat(places));
    else for (const place of places) this.#places.splice(this.#indexBehind(endOf(place.first)), 0, place);
    this.#queues += places.length;
    if (places.length > 0) this.#grown = this.#current;
    return places.map(({ first }) => first);
  }

  /** A record for those alone that have come: with one for all, many queues that come one by one would have theirs written again and again. */
  #notes(joined: readonly string[]): WriteOperation[] {
    const record = this.#records.get(this.#current) ?? 0;
    this.#records.set(this.#current, record + 1);
    const note = noteOf(this.#current, record, joined);
    if (this.#current < this.#reserved) return [note];
    this.#reserved = this.#current + RESERVED;
    return [note, ...this.#notesOfUsed()];
  }

  /** Nothing rides in the current generation any more; nor in one whose number is not noted yet. */
  #notesOfLeaving(): WriteOperation[] {
    this.#ridesFrom = Math.min(this.#current + 1, this.#reserved);
    return this.#notesOfUsed();
  }

  #notesOfUsed(): WriteOperation[] {
    return notesOfUsed({ records: this.#records, unused: this.#reserved, ridesFrom: this.#ridesFrom }, this.#format);
  }

  /** Where the pages from `from` up to `to` stand, in their order. Looked up step by step: places may come and go meanwhile. */
  *ranges(from: Buffer, to: Buffer): Generator<KeyRange> {
    if (!isPageKey(from) || this.#places.length === 0) return void (yield { from, to });
    const high = to.toString("latin1");
    let low = from.toString("latin1");
    for (let place = this.#holding(low) ?? this.#behind(low); place !== undefined && place.first < high; place = this.#behind(low)) {
      const end = least(high, endOf(place.first));
      if (place.first > low) yield rangeIn(0, low, end);
      let passed = 0;
      for (let next: Place | undefined = place; next !== undefined && next.first < end; next = this.#behind(next.first)) {
        if (next.generation <= passed) continue; // its first page has been deleted meanwhile: it begins later now
        passed = next.generation;
        yield rangeIn(passed, low > next.first ? low : next.first, end);
      }
      if (end === high) return;
      low = end;
    }
    yield rangeIn(0, low, high);
  }

  /** The last place of the key's queue that begins there or before. */
  #holding(key: string): Place | undefined {
    const place = this.#places[this.#indexBehind(key) - 1];
    return place !== undefined && isOfQueue(place, key) ? place : undefined;
  }

  #behind(key: string): Place | undefined {
    return this.#places[this.#indexBehind(key)];
  }

  /** Of the first place that begins behind the key. */
  #indexBehind(key: string): number {
    let low = 0;
    let high = this.#places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#places[middle] as Place).first > key) high = middle; // middle < length
      else low = middle + 1;
    }
    return low;
  }

  /** Generations before `before` that are not among `found`, all places that had pages when that was `riding`, or earlier: they are empty, and stay so. */
  emptied(found: readonly Place[], before: number): number[] {
    const held = new Set(found.map(({ generation }) => generation));
    return [...this.#records.keys()].filter((generation) => generation < before && !held.has(generation));
  }

  /** Forgets emptied generations, whose keys are given, and what has gone from the others. Emptied ones that are not given are so another time. */
  keepOnly(found: readonly Place[], before: number, emptied: ReadonlyMap<number, readonly Buffer[]>): void {
    const held = new Set(found.map(({ generation }) => generation));
    this.#places = sorted([
      ...found.filter(({ generation }) => generation < before), ...this.#places.filter(({ generation }) => generation >= before || !(held.has(generation) || emptied.has(generation))),
    ]);
    for (const [generation, keys] of emptied) {
      this.leave(keys);
      this.#records.delete(generation);
    }
  }

  /** Of records that are not needed any more. */
  leave(keys: readonly Buffer[]): void {
    this.#leftKeys.push(...keys);
  }

  /** There are such that are to be deleted. */
  get hasLeft(): boolean {
    return this.#leftKeys.length > 0;
  }

  /** Deletes them. */
  writeTo(group: GroupWriter): void {
    for (const key of this.#leftKeys) group.delete(key);
    this.#leftKeys = [];
  }
}

const sealedPut = (key: Buffer, value: Buffer): WriteOperation => ({ type: "put", key, value: seal(key, value) });
/** A record of a generation. */
const noteOf = (generation: number, record: number, pages: readonly string[]): WriteOperation =>
  sealedPut(generationKey(generation, record), Buffer.from(pages.map((page) => page.slice(1)).join(""), "latin1"));

/** What tells that there are generations, between which numbers, and from which one on records ride. */
function notesOfUsed({ records, unused, ridesFrom }: Pick<FoundGenerations, "records" | "unused" | "ridesFrom">, format: Buffer): WriteOperation[] {
  const used = Buffer.alloc(12);
  used.writeUInt32BE([...records.keys()].reduce((least, generation) => Math.min(least, generation), unused));
  used.writeUInt32BE(unused, 4);
  used.writeUInt32BE(ridesFrom, 8);
  return [sealedPut(generationsKey, used), { type: "put", key: formatKey, value: withGenerations(format) }];
}

/** All of that, after some of it was lost: one record for each generation. */
export function allNotes({ places, ...found }: FoundGenerations, format: Buffer): WriteOperation[] {
  const operations: WriteOperation[] = [];
  for (const [generation, records] of found.records) {
    for (let record = 1; record < records; record++) operations.push({ type: "del", key: generationKey(generation, record) });
    operations.push(noteOf(generation, 0, places.filter((place) => place.generation === generation).map(({ first }) => first)));
  }
  return [...operations, ...notesOfUsed(found, format)];
}

const queueOf = (page: string): string => page.slice(0, QUEUE_OF_PAGE_BYTES);
const isOfQueue = ({ first }: Place, page: string): boolean => first.startsWith(queueOf(page));
const LAST_SEQ = Buffer.alloc(6, 0xff).toString("latin1");
/** Behind all pages of the page's queue. */
const endOf = (page: string): string => queueOf(page) + LAST_SEQ;
/** What was noted anew after a loss may be told twice: the oldest counts. */
const sorted = (places: readonly Place[]): Place[] =>
  [...places]
    .sort((a, b) => (a.first < b.first ? -1 : 1))
    .filter((place, index, { [index - 1]: before }) => before?.generation !== place.generation || !isOfQueue(before, place.first));
const least = (a: string, b: string): string => (a < b ? a : b);
const rangeIn = (generation: number, from: string, to: string): KeyRange => ({
  from: keyIn(generation, Buffer.from(from, "latin1")),
  to: keyIn(generation, Buffer.from(to, "latin1")),
});
