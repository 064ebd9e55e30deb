import { unseal } from "./checked.ts";
import type { Database, WriteOperation } from "./database.ts";
import { type Expectation, lastGeneration } from "./find-generations.ts";
import { type Generations, REPEATED_EVERY } from "./generations.ts";
import { generationOf, keyOfRider, type KeyRange, pagesBehind, plainKey, ridersIn, ridersKey } from "./keys.ts";
import { type Rider, ridersOf } from "./page-load.ts";
import { readable } from "./read-range.ts";
import { byItself } from "./riders.ts";
import { isCorruption } from "./store-error.ts";

/** So many pages, or generations, are looked at for the last one where what rides is intact. */
const MAX_DAMAGED = 100;

/**
 * At a start: writes what rides by itself (`Riders`). `onDamaged` is called before that if there is damage in what rides on the last page, or in the last generation: what
 * rides before it is older. Where records may have been lost, the one that tells of riders is not relied on.
 */
export async function unloadRiders(database: Database, generations: Generations, { areCertain }: Pick<Expectation, "areCertain">, onDamaged: (detail: string) => void): Promise<void> {
  const sealed = await database.get(ridersKey);
  if (sealed === undefined && areCertain) {
    // Where that was damaged, or was never noted, an uncertain start would believe what rode long ago.
    if (generations.current > 0 && generations.ridesFrom === 0) await write(database, generations, []);
    return;
  }
  const from = sealed && unseal(ridersKey, sealed);
  // What rode on pages has left them with the first generation: a record that still tells of it is older.
  const isKnown = from !== undefined && (areCertain || generationOf(from) > 0 || generations.current === 0);
  const { riders, damage } = isKnown ? await ridersFrom(database, generations, from, areCertain) : await ridersOfAny(database, generations);
  if (sealed === undefined && riders.length === 0) return;
  if (damage !== undefined) onDamaged(damage);
  await write(database, generations, riders);
}

/** By itself, so that nothing rides any more. */
async function write(database: Database, generations: Generations, riders: readonly Rider[]): Promise<void> {
  const operations: WriteOperation[] = [...riders.map(byItself), { type: "del", key: ridersKey }];
  generations.place(operations);
  await database.batch(operations, { sync: true });
}

interface Found {
  readonly riders: readonly Rider[];
  readonly damage: string | undefined;
}

const ridersFrom = (database: Database, generations: Generations, from: Buffer, areCertain: boolean): Promise<Found> =>
  generationOf(from) > 0 ? ridersSince(database, generationOf(from), generations, areCertain) : lastRiders(database, [...generations.ranges(...pagesBehind(from))].reverse());

/** It is not known where they ride. If there are generations, it is there. */
const ridersOfAny = async (database: Database, generations: Generations): Promise<Found> => ({ ...(await ridersSince(database, 1, generations, false)), damage: "the record of what rides" });

/** Reads up to the end what stands behind the key. LevelDB passes over a table that it can't open, and says so there alone; what is damaged is passed over all the same. Rejects with LevelDB's error. */
async function behind(database: Database, key: Buffer, to: Buffer): Promise<void> {
  try {
    await database.keys({ gt: key, lt: to, fillCache: false }).all();
  } catch (error) {
    if (!isCorruption(error)) throw error;
  }
}

/** `ranges`: where the pages behind that one stand, the last of them first. */
async function lastRiders(database: Database, ranges: readonly KeyRange[]): Promise<Found> {
  let damage: string | undefined;
  for (const { from, to } of ranges) {
    try {
      for await (const [key, value] of database.iterator({ gte: from, lt: to, reverse: true, limit: MAX_DAMAGED, fillCache: false })) {
        const riders = ridersOf(plainKey(key), value);
        if (riders === undefined) {
          damage ??= `what rode on page ${key.toString("hex")}`;
          continue;
        }
        await behind(database, key, to);
        return { riders, damage };
      }
    } catch (error) {
      if (!isCorruption(error)) throw error;
      damage = `what rode on pages behind ${from.toString("hex")}`;
    }
  }
  return { riders: [], damage };
}

/** What rides in the last generations, back to one that began with all of it. If some of it is damaged, or may be missing without a trace, what others before have of it. */
async function ridersSince(database: Database, from: number, { current, ridesFrom }: Generations, areCertain: boolean): Promise<Found> {
  const riders = new Map<string, Rider>();
  let damage: string | undefined;
  const first = Math.max(from, ridesFrom);
  const last = await lastGeneration(database, current - 1);
  for (let generation = last; generation >= first && generation > last - (areCertain && damage === undefined ? REPEATED_EVERY : MAX_DAMAGED); generation--) {
    const riding = ridersIn(generation);
    const state = { isWhole: true };
    const found = await readable(() => database.iterator({ gte: riding.from, lt: riding.to, fillCache: false }), () => (state.isWhole = false));
    for (const [key, sealed] of found) {
      const value = unseal(key, sealed);
      const name = key.toString("latin1", riding.from.length - 1);
      if (value === undefined) state.isWhole = false;
      else if (!riders.has(name)) riders.set(name, { key: keyOfRider(key), value });
    }
    if (!state.isWhole) damage ??= `what rode in generation ${generation}`;
  }
  return { riders: [...riders.values()], damage };
}
