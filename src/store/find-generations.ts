import { unseal } from "./checked.ts";
import type { Database } from "./database.ts";
import { hasGenerations } from "./format.ts";
import { allNotes, type FoundGenerations, Generations, type Place } from "./generations.ts";
import { bytesBeforeSeq, endOfQueue, firstPageOf, generationKey, generationOf, generationsBetween, generationsKey, isPageKey, justBehind, keyIn, MAX_GENERATION, pageKey, plainKey } from "./keys.ts";
import { firstKeys, readable } from "./read-range.ts";
import { isCorruption } from "./store-error.ts";

/** In the record of all generations; there may be none. */
const RIDES_FROM_AT = 8;
/** Records read at a time. */
const SLICE = 256;
/** Keys looked at at a time: a record, or what rides, and a page behind it; and at most. */
const FEWEST_KEYS = 2;
const MOST_KEYS = 256;
/** A place in a generation's record: the key of its first page without the first byte. */
const PLACE_BYTES = pageKey(0, 0, 0).length - 1;
const PAGE_KEY_BYTES = keyIn(1, pageKey(0, 0, 0)).length;
const isPage = (key: Buffer): boolean => isPageKey(key) && key.length === PAGE_KEY_BYTES;
/** The first byte of a page's key in generation 0. */
const FIRST_BYTE = pageKey(0, 0, 0).toString("latin1", 0, 1);

/** What finding needs of a database. */
export interface GenerationSource {
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  /** The first keys of the range, at most `limit`. */
  firstKeys(from: Buffer, to: Buffer, limit: number): Promise<Buffer[]>;
}

/** What can be read of it. */
export const sourceOf = (database: Database): GenerationSource => ({
  getMany: (keys) => database.getMany(keys),
  firstKeys: async (gte, lt, limit) => {
    try {
      return await firstKeys(database, { gte, lt, limit });
    } catch (error) {
      if (!isCorruption(error)) throw error;
      return readable(() => database.keys({ gte, lt, limit, fillCache: false }));
    }
  },
});

/** What is known before: whether there are, or were, generations, and whether nothing has been lost of the records that tell of them. */
export interface Expectation {
  readonly areExpected: boolean;
  readonly areCertain: boolean;
}

/**
 * What the records of the generations say. Where one is missing or damaged, the pages themselves are looked for; that passes over all that has been
 * deleted and not compacted, and so may take long.
 */
export async function findGenerations(source: GenerationSource, { areExpected, areCertain }: Expectation): Promise<FoundGenerations> {
  const records = new Map<number, number>();
  if (!areExpected && areCertain) return { places: [], records, unused: 0, ridesFrom: 0, wasLost: false };
  const [sealed] = await source.getMany([generationsKey]);
  const used = sealed && unseal(generationsKey, sealed);
  const ridesFrom = used !== undefined && used.length > RIDES_FROM_AT ? used.readUInt32BE(RIDES_FROM_AT) : 0;
  if (!areCertain || !used) {
    const { places, numbers } = await scanGenerations(source, 0, MAX_GENERATION);
    const unused = Math.max((numbers.at(-1) ?? -1) + 1, used?.readUInt32BE(4) ?? Number(areExpected));
    return { places, records: new Map(numbers.map((generation) => [generation, 1])), unused, ridesFrom, wasLost: unused > 0 };
  }
  const unused = used.readUInt32BE(4);
  const places: Place[] = [];
  let wasLost = false;
  for (let from = used.readUInt32BE(0); from < unused; from += SLICE) {
    let numbers = Array.from({ length: Math.min(SLICE, unused - from) }, (_, index) => from + index);
    const damaged = new Set<number>();
    for (let record = 0; numbers.length > 0; record++) {
      const found = await source.getMany(numbers.map((generation) => generationKey(generation, record)));
      for (const [index, generation] of numbers.entries()) {
        const sealed = found[index];
        if (!sealed) continue;
        const told = placesOf(generation, record, sealed);
        if (told) places.push(...told);
        else damaged.add(generation);
      }
      numbers = numbers.filter((_, index) => found[index]);
      for (const generation of numbers) records.set(generation, record + 1);
    }
    wasLost ||= damaged.size > 0;
    for (const generation of damaged) places.push(...(await scanGenerations(source, generation, generation + 1)).places);
  }
  return { places, records, unused, ridesFrom, wasLost };
}

/** Finds them at a start, and writes what was lost of their records: later starts count on those. `format`: value of the format record. */
export async function recoverGenerations(database: Database, format: Buffer, { areCertain }: Pick<Expectation, "areCertain">): Promise<Generations> {
  const found = await findGenerations(sourceOf(database), { areExpected: hasGenerations(format), areCertain });
  if (!found.wasLost) return new Generations(found, format);
  await database.batch(allNotes(found, format), { sync: true });
  return new Generations({ ...found, records: new Map([...found.records.keys()].map((generation) => [generation, 1])) }, format);
}

/** The last generation that holds anything; `orElse` where that can't be read. */
export async function lastGeneration(database: Database, orElse: number): Promise<number> {
  const { from, to } = generationsBetween(0, MAX_GENERATION);
  try {
    const [found] = await database.keys({ gte: from, lt: to, reverse: true, limit: 1, fillCache: false }).all();
    // Behind it nothing is: LevelDB says here if there is something that it can't read.
    const last = found && ((await database.keys({ gt: found, lt: to, fillCache: false }).all()).at(-1) ?? found);
    return last === undefined ? 0 : generationOf(last);
  } catch (error) {
    if (isCorruption(error)) return orElse;
    throw error;
  }
}

function placesOf(generation: number, record: number, sealed: Buffer): Place[] | undefined {
  const places = unseal(generationKey(generation, record), sealed);
  if (!places) return undefined;
  return Array.from({ length: places.length / PLACE_BYTES }, (_, index) => ({
    first: FIRST_BYTE + places.toString("latin1", index * PLACE_BYTES, (index + 1) * PLACE_BYTES), generation,
  }));
}

/**
 * Looks for the first page of each queue in each of the generations, `before` not included; and for the numbers of those that have anything: what rides there, or a record, which would tell lies of a later
 * one with its number. Rejects with the source's error.
 */
export async function scanGenerations(source: GenerationSource, fromGeneration: number, before: number): Promise<{ readonly places: readonly Place[]; readonly numbers: readonly number[] }> {
  const places: Place[] = [];
  const numbers: number[] = [];
  const { from, to } = generationsBetween(fromGeneration, before);
  let queues = 0;
  let queuesBefore = 0;
  let queue: Buffer | undefined;
  for (let next = from; ; ) {
    // The more queues share a generation, the fewer pages each has there: then to read them costs less than to seek behind them.
    const limit = Math.max(FEWEST_KEYS, Math.min(MOST_KEYS, Math.max(queues, queuesBefore) >> 2));
    const keys = await source.firstKeys(next, to, limit);
    const last = keys.at(-1);
    if (!last) return { places, numbers };
    for (const key of keys) {
      const generation = generationOf(key);
      if (numbers.at(-1) !== generation) {
        numbers.push(generation);
        queuesBefore = queues;
        queues = 0;
      }
      if (!isPage(key) || (queue !== undefined && key.compare(queue, 0, queue.length, 0, queue.length) === 0)) continue;
      queue = key.subarray(0, bytesBeforeSeq(key));
      queues++;
      places.push({ first: plainKey(key).toString("latin1"), generation });
    }
    next = isPage(last) ? endOfQueue(last) : isPageKey(last) ? justBehind(last) : firstPageOf(generationOf(last));
  }
}
