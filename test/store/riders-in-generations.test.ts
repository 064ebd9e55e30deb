import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { isSealed } from "../../src/store/checked.ts";
import { type Database, openLevelDatabase } from "../../src/store/database.ts";
import { recoverGenerations, scanGenerations, sourceOf } from "../../src/store/find-generations.ts";
import type { Generations } from "../../src/store/generations.ts";
import { GroupRecords } from "../../src/store/group.ts";
import {
  formatKey, generationOf, generationsBetween, generationsKey, incomingKey, isPageKey, keyOfRider, pageKey, queueKey, retainedKey, riderKeyIn, ridersIn, ridersKey, sessionKey, timeKey, withoutPages,
} from "../../src/store/keys.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import { type Batch, Riders } from "../../src/store/riders.ts";
import { unloadRiders } from "../../src/store/unload-riders.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { type Change, groupOf, page, progress, retained } from "./changes.ts";

/** A version that knows no generations may read it. */
const FORMAT = Buffer.from('{"format":3}');
const text = (key: Buffer): string => key.toString("latin1");

/** A change of one of 60 topics, mostly small, sometimes larger than what rides; all of them together are too large to ride. */
function retainedOf(rng: () => number, value: string): Change {
  const topic = Math.floor(rng() * 60);
  if (rng() < 0.2) return retained(topic, undefined);
  return retained(topic, value.padEnd(rng() < 0.1 ? 5_000 : Math.floor(rng() * 2_000)));
}

/** What LevelDB gets, as text. */
const written = ({ operations }: Batch): string[] =>
  operations.map(({ type, key }) => `${type === "put" ? "" : "del "}${isPageKey(key) ? "page" : key.equals(ridersKey) ? "riders" : generationOf(key) > 0 ? `${text(keyOfRider(key)).slice(0, 1)} in ${generationOf(key)}` : text(key).slice(0, 1)}`);

describe("records that ride in generations", () => {
  let directory: string;
  let database: Database;
  let generations: Generations;
  let riders: Riders;

  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), "amqtdd-riders-")), "store");
    database = await openLevelDatabase(directory);
    await database.put(formatKey, FORMAT);
    await start();
  });

  afterEach(async () => {
    await database.close();
    await rm(join(directory, ".."), { recursive: true });
  });

  async function start(areCertain = true): Promise<string | undefined> {
    generations = await recoverGenerations(database, (await database.get(formatKey)) ?? FORMAT, { areCertain });
    riders = new Riders();
    let damage: string | undefined;
    await unloadRiders(database, generations, { areCertain }, (detail) => (damage = detail));
    return damage;
  }

  /** As the store does it. */
  function prepare(group: GroupRecords): Batch {
    const batch = riders.batchOf(group, generations.current);
    return generations.place(batch.operations) > 0 ? { ...batch, mustSync: true } : batch;
  }

  async function write(changes: readonly Change[]): Promise<Batch> {
    const batch = prepare(groupOf(changes));
    await database.batch(batch.operations);
    return batch;
  }

  /** What the compactor does when a drain has been compacted. */
  async function forgetEmptied(): Promise<void> {
    const { grown, riding } = generations;
    const source = sourceOf(database);
    const { places } = await scanGenerations(source, 0, grown);
    const keys = new Map<number, Buffer[]>();
    for (const generation of generations.emptied(places, riding)) {
      const { from, to } = generationsBetween(generation, generation + 1);
      keys.set(generation, await source.firstKeys(from, to, 1000));
    }
    generations.keepOnly(places, grown, keys);
    const group = new GroupRecords();
    generations.writeTo(group);
    await database.batch(prepare(group).operations);
  }

  /** All records that stand by themselves. */
  async function small(): Promise<Map<string, string>> {
    const records = new Map<string, string>();
    for (const { from, to } of withoutPages) {
      for await (const [key, value] of database.iterator({ gte: from, lt: to })) if (!key.equals(formatKey)) records.set(text(key), value.toString("utf8", 0, value.length - (isSealed(key) ? 4 : 0)));
    }
    records.delete("b");
    return records;
  }

  const numbersOfRiders = async (): Promise<number[]> => {
    const { from } = ridersIn(1);
    return [...new Set((await database.keys({ gte: from }).all()).filter((key) => !isPageKey(key) && key[9] !== 0).map(generationOf))];
  };

  it("leave the tables to a generation, whichever queue a group adds to and whatever else it does", () => {
    expect(written(riders.batchOf(groupOf([page(1, 1), progress(1, 1)]), 3))).toEqual(["q in 3", "riders", "page"]);
    expect(written(riders.batchOf(groupOf([page(1, 2), progress(1, 2)]), 3))).toEqual(["page", "q in 3"]);
    expect(written(riders.batchOf(groupOf([[pageKey(1, 0, 1), undefined], progress(2, 1)]), 3))).toEqual(["del page", "q in 3"]);
    expect(written(riders.batchOf(groupOf([[sessionKey(3), "session"], [incomingKey(1, 0), undefined]]), 3))).toEqual(["s", "i in 3"]);
  });

  it("stay in order with pages that are deleted beside those that are added, since those go together; but not with what deletes alone, nor before there are generations", () => {
    const growthOf = (current: number, changes: Parameters<typeof groupOf>[0], discarded: Buffer[]): Batch["growth"] =>
      new Riders().batchOf(groupOf(changes), current, discarded).growth;
    const gone = [pageKey(1, 0, 1)];
    expect(growthOf(3, [page(1, 2), progress(1, 2)], gone)).toBe("inOrder");
    expect(growthOf(3, [page(1, 2), progress(1, 2)], [])).toBe("inOrder");
    expect(growthOf(3, [progress(1, 2)], gone)).toBeUndefined();
    expect(growthOf(0, [page(1, 2), progress(1, 2)], gone)).toBeUndefined();
    expect(written(new Riders().batchOf(groupOf([page(1, 2), progress(1, 2)]), 3, gone))).toEqual(["q in 3", "riders", "page", "del page"]);
  });

  it("go on in the next generation with the first group that adds a page there; all of them, synced, in each eighth", () => {
    riders.batchOf(groupOf([page(1, 1), progress(1, 1)]), 1);
    expect(riders.batchOf(groupOf([page(1, 2), progress(1, 2)]), 1).mustSync).toBe(false);
    expect(written(riders.batchOf(groupOf([progress(2, 1)]), 2))).toEqual(["q in 1"]);
    for (let generation = 2; generation <= 17; generation++) {
      const next = riders.batchOf(groupOf([page(generation, 1), progress(generation, 1)]), generation);
      const isEighth = generation % 8 === 1;
      expect(written(next)).toEqual(isEighth ? [...Array.from({ length: 2 }, () => `q in ${generation}`), "page"] : ["page", `q in ${generation}`]);
      expect(next.mustSync).toBe(isEighth);
      expect(written(riders.batchOf(groupOf([progress(2, 1)]), generation))).toEqual([`q in ${generation}`]);
    }
  });

  it("are put there once more after a failure, since a repair may have lost some", () => {
    riders.batchOf(groupOf([page(1, 1), progress(1, 1)]), 1);
    riders.batchOf(groupOf([page(1, 2), progress(1, 2)]), 1);
    riders.repeat();
    const next = riders.batchOf(groupOf([progress(2, 1)]), 1);
    expect(written(next)).toEqual(["q in 1", "q in 1", "riders"]);
    expect(next.mustSync).toBe(true);
    expect(written(riders.batchOf(groupOf([progress(3, 1)]), 1))).toEqual(["q in 1"]);
  });

  it("come from the pages of the one queue that grew before", async () => {
    for (let seq = 1; seq <= 12; seq++) await write([page(seq), progress(seq)]);
    generations.begin();
    expect(written(await write([page(1, 2), progress(1, 2)])).slice(0, 4)).toEqual(["q in 1", "q in 1", "riders", "page"]);
    await write([page(13), progress(13)]);
    expect(await start()).toBeUndefined();
    expect(await small()).toEqual(new Map([progress(13), progress(1, 2)].map(([key, value]) => [text(key), value])));
  });

  it("tell that queues grow, in order as long as it is one", () => {
    const growth = (current: number, ...changes: Change[]): unknown => riders.batchOf(groupOf(changes), current).growth;
    expect(growth(0, page(1, 1), progress(1, 1))).toBeUndefined(); // they do not ride yet
    expect(growth(0, page(1, 2), progress(1, 2))).toBe("ofSeveral");
    expect(growth(0, page(2, 1), progress(2, 1))).toBe("ofSeveral");
    expect(growth(0, [incomingKey(1, 0), undefined])).toBe("none");
    expect(growth(0, page(3, 1), page(2, 2))).toBe("ofSeveral");
    expect(growth(0, page(4, 1), [pageKey(1, 0, 1), undefined])).toBeUndefined();
    expect(growth(0, page(5, 1), [sessionKey(1), "session"])).toBeUndefined();
    expect(growth(1, page(6, 1), progress(6, 1))).toBe("inOrder");
    expect(growth(1, page(7, 1), progress(7, 1))).toBe("inOrder");
    expect(growth(1, page(3, 2), progress(3, 2))).toBe("ofSeveral");
    expect(growth(1, page(8, 1), page(4, 2), page(5, 2))).toBe("ofSeveral");
    expect(growth(1, [pageKey(1, 0, 1), undefined])).toBeUndefined();
  });

  it("do not make generations begin while they are very many", () => {
    const growing = Array.from({ length: 9000 }, (_, at) => riders.batchOf(groupOf([page(at + 1, at + 1), progress(1, at + 1)]), 0).growth);
    expect(growing.filter((growth) => growth === undefined).length).toBeGreaterThanOrEqual(2);
  });

  it("are written by themselves when they are too many, and ride again in the next generation", async () => {
    generations.begin();
    let rode = 0;
    for (let session = 1; session <= 5000; session++) {
      const { operations } = await write([page(1, session), progress(1, session)]);
      if (operations.some(({ key }) => key.equals(queueKey(session, 0)))) break;
      rode = session;
    }
    expect(rode).toBeGreaterThan(1000);
    expect(rode).toBeLessThan(5000);
    const all = await small();
    expect(all.size).toBe(rode + 1);
    await write([page(2), progress(2)]);
    expect(await database.get(ridersKey)).toBeUndefined();
    generations.begin();
    const { operations } = await write([page(3), progress(3)]);
    expect(operations.some(({ key }) => key.equals(riderKeyIn(generations.current, queueKey(1, 0))))).toBe(true);
    await start();
    expect(await small()).toEqual(all.set(text(queueKey(1, 0)), "progress 1 3"));
  });

  it("are retained messages, too, but for large ones of topics that do not ride: what rides hides what stands by itself", async () => {
    generations.begin();
    const large = "x".repeat(5_000);
    await write([page(1)]);
    expect(written(await write([retained(1, large), retained(2, "small"), retained(3, undefined)]))).toEqual(["r", "r in 1", "r in 1"]);
    expect(written(await write([retained(1, "small"), retained(2, large), retained(4, large)]))).toEqual(["r in 1", "r in 1", "r"]);
    expect(written(await write([retained(1, large)]))).toEqual(["r in 1"]);
    await start();
    expect(await small()).toEqual(new Map([retained(1, large), retained(2, large), retained(4, large)].map(([key, value]) => [text(key), value])));
  });

  it("are no retained messages before there are generations: on a page few would find room", () => {
    for (let seq = 1; seq <= 9; seq++) riders.batchOf(groupOf([page(seq), progress(seq)]), 0);
    expect(written(riders.batchOf(groupOf([page(10), progress(10)]), 0))).toEqual(["page"]);
    expect(written(riders.batchOf(groupOf([page(11), progress(11), retained(1, "value")]), 0))).toEqual(["del riders", "page", "q", "r"]);
  });

  it("make generations begin where each message is retained, be it that one queue grows; but not while those are too many to ride, or too large", () => {
    const growthOf = (topics: number, value: string): Set<Batch["growth"]> => {
      const growing = new Riders();
      return new Set(Array.from({ length: 4000 }, (_, at) => growing.batchOf(groupOf([page(at + 1), progress(at + 1), retained(at % topics, value)]), 0).growth));
    };
    expect(growthOf(2000, "x".repeat(400))).toEqual(new Set(["ofSeveral"]));
    expect(growthOf(4000, "x".repeat(400))).toContain(undefined);
    expect(growthOf(1, "x".repeat(5_000))).toEqual(new Set([undefined]));
  });

  it("do not grow without pages, however much is written of them", () => {
    for (const current of [0, 1]) {
      const alone = new Riders();
      alone.batchOf(groupOf([page(1), progress(1)]), current);
      expect(alone.batchOf(groupOf([retained(1, "value")]), current).growth).toBe("none");
      expect(alone.batchOf(groupOf([progress(1)]), current).growth).toBe("none");
    }
  });

  it("are written by themselves when retained messages are too many, and those that change ride again in the next generation", async () => {
    generations.begin();
    const all = new Map<string, string | undefined>();
    let rode = 0;
    for (let topic = 1; topic <= 1200; topic++) {
      const value = retained(topic, `value ${topic}`.padEnd(1_000));
      const batch = await write([page(topic), progress(topic), value]);
      all.set(text(value[0]), value[1]);
      if (!batch.operations.some(({ key }) => key.equals(value[0]))) continue;
      expect(batch.mustSync).toBe(rode === 0);
      rode ||= topic;
    }
    expect(rode).toBeGreaterThan(900);
    expect(rode).toBeLessThan(1050);
    generations.begin();
    expect(written(await write([page(1201), retained(1, "newer")])).slice(0, 3)).toEqual(["r in 2", "riders", "page"]);
    await write([retained(2, undefined)]);
    all.set(text(retainedKey(Buffer.from("1"))), "newer");
    all.delete(text(retainedKey(Buffer.from("2"))));
    await start();
    expect(await small()).toEqual(new Map([...all, [text(queueKey(1, 0)), "progress 1 1200"]]));
  });

  it("are found by a start, whatever came before and whenever the daemon was killed", { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = seededRng(seed);
      const model = new Map<string, string>();
      const next = [0, 1, 1, 1];
      const first = [0, 1, 1, 1];
      for (let left = Math.floor(rng() * 150); left > 0; left--) {
        const session = 1 + Math.floor(rng() * 3);
        const changes: Change[] = [];
        if (rng() < 0.8) {
          const at = next[session] ?? 0;
          changes.push(page(at, session), progress(at, session));
          if (rng() < 0.2) changes.push([timeKey, `time ${at}`]);
          next[session] = at + 1;
        }
        if (rng() < 0.2) changes.push([incomingKey(session, 0), rng() < 0.5 ? undefined : `incoming ${left}`]);
        for (let values = Math.floor(rng() * 3); values > 0; values--) changes.push(retainedOf(rng, `retained ${left}`));
        if (rng() < 0.04) changes.push([sessionKey(session), `session ${left}`]);
        if (rng() < 0.02) changes.push([queueKey(session, 1), undefined], [sessionKey(session), undefined]);
        if (rng() < 0.1) {
          for (let from = first[session] ?? 1; from < (next[session] ?? 1) - 2; from++) changes.push([pageKey(session, 0, from), undefined]);
          first[session] = Math.max(first[session] ?? 1, (next[session] ?? 1) - 2);
        }
        await write(changes);
        for (const [key, value] of changes) {
          if (isPageKey(key)) continue;
          if (value === undefined) model.delete(text(key));
          else model.set(text(key), value);
        }
        if (rng() < 0.2) generations.begin();
        if (rng() < 0.05) await forgetEmptied();
        if (rng() < 0.03) {
          expect(await start(), `seed ${seed}`).toBeUndefined();
          expect(Object.fromEntries(await small()), `seed ${seed}`).toEqual(Object.fromEntries(model));
        }
      }
      expect(await start(), `seed ${seed}`).toBeUndefined();
      expect(Object.fromEntries(await small()), `seed ${seed}`).toEqual(Object.fromEntries(model));
      await database.clear();
      await start();
    }
  });

  it("hold what a synced group held, whichever unsynced groups a power cut takes", { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = seededRng(seed);
      /** By key: the number of the last synced group that put it; negative if it deleted it. */
      const surely = new Map<string, number>();
      const pages = [1, 2].map(() => ({ first: 1, next: 1 }));
      for (let number = 1; number <= 150; number++) {
        const at = String(number).padStart(6, "0");
        const session = rng() < 0.6 ? 1 : 2;
        const changes: Change[] = [[queueKey(session, 0), at]];
        const isAppend = rng() < 0.6;
        const stored = pages[session - 1] ?? expect.fail("no such session");
        if (rng() < 0.1) changes.push([incomingKey(session, 0), rng() < 0.5 ? undefined : at]);
        if (isAppend) changes.push([pageKey(session, 0, stored.next++), at]);
        else if (rng() < 0.5) while (stored.first < stored.next - 1) changes.push([pageKey(session, 0, stored.first++), undefined]);
        if (rng() < 0.3) changes.push(retainedOf(rng, at));
        if (rng() < 0.05) changes.push([sessionKey(1), at]);
        const { operations, mustSync } = prepare(groupOf(changes));
        const isSynced = isAppend || mustSync || rng() < 0.2;
        if (isSynced || rng() < 0.5) await database.batch(operations);
        for (const [key, value] of changes) {
          if (isPageKey(key)) continue;
          if (isSynced) surely.set(text(key), value === undefined ? -1 : number);
          else if (surely.get(text(key)) === -1 || value === undefined) surely.delete(text(key));
        }
        if (rng() < 0.1) generations.begin();
        if (rng() < 0.05) await forgetEmptied();
        if (rng() < 0.02) await check(`seed ${seed}, ${number}`);
      }
      await check(`seed ${seed}`);
      await database.clear();
      await start();

      async function check(at: string): Promise<void> {
        expect(await start(), at).toBeUndefined();
        const records = await small();
        for (const [key, number] of surely) {
          if (number < 0) expect(records.has(key), `${at}, ${JSON.stringify(key)}`).toBe(false);
          else expect(Number(records.get(key)), `${at}, ${JSON.stringify(key)}`).toBeGreaterThanOrEqual(number);
        }
      }
    }
  });

  it("that are damaged are told, and looked for in the generation before", async () => {
    const events: StoreEvent[] = [];
    generations.begin();
    await write([page(1, 1), progress(1, 1), page(1, 2), progress(1, 2)]);
    await write([page(2, 1), progress(2, 1)]);
    const older = generations.current;
    generations.begin();
    await write([page(2, 2), progress(2, 2)]);
    await write([page(3, 1), progress(3, 1)]);
    const key = riderKeyIn(generations.current, queueKey(1, 0));
    const value = (await database.get(key)) ?? expect.fail("it does not ride");
    value[3]! ^= 1;
    await database.put(key, value);
    expect(await numbersOfRiders()).toEqual([older, generations.current]);
    await database.close();
    const store = await openStore({ directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event) });
    const found = await store.read(queueKey(0, 0), queueKey(9, 0), 1000);
    expect(found.map(([, progressOf]) => progressOf.toString())).toEqual(["progress 1 2", "progress 2 2"]);
    expect(events.map(({ kind }) => kind)).toEqual(["damaged"]);
    // So that what lies behind the older record is taken up.
    expect(store.wasRepaired).toBe(true);
    await store.close();
    database = await openLevelDatabase(directory);
  });

  it("are found where the record that tells of them is damaged", async () => {
    for (let seq = 1; seq <= 3; seq++) {
      generations.begin();
      await write([page(seq, 1), progress(seq, 1), page(seq, 2), progress(seq, 2)]);
    }
    const value = (await database.get(ridersKey)) ?? expect.fail("nothing rides");
    value[3]! ^= 1;
    await database.put(ridersKey, value);
    expect(await start()).toContain("record");
    expect(await small()).toEqual(new Map([progress(3, 1), progress(3, 2)].map(([key, value]) => [text(key), value])));
  });

  it("are found in generations before where a repair has left out the table that had all of them", async () => {
    for (let seq = 1; seq <= 12; seq++) {
      generations.begin();
      await write([page(seq, 2), progress(seq, 2), ...(seq === 1 ? [progress(1, 1)] : [])]);
    }
    const lost = riderKeyIn(generations.current - 3, queueKey(1, 0));
    expect(await database.get(lost)).toBeDefined();
    const { from, to } = generationsBetween(generationOf(lost), generationOf(lost) + 1);
    await database.clear({ gte: from, lt: to });
    await start(false);
    expect(await small()).toEqual(new Map([progress(1, 1), progress(12, 2)].map(([key, value]) => [text(key), value])));
  });

  it("are found, and their generation is not used again, when the record of the generations is lost and no page is left", async () => {
    for (let seq = 1; seq <= 3; seq++) {
      generations.begin();
      await write([page(seq, 1), progress(seq, 1), page(seq, 2), progress(seq, 2)]);
    }
    const { current } = generations;
    await write([1, 2, 3].flatMap((seq): Change[] => [[pageKey(1, 0, seq), undefined], [pageKey(2, 0, seq), undefined]]));
    await database.del(generationsKey);
    await start();
    expect(await small()).toEqual(new Map([progress(3, 1), progress(3, 2)].map(([key, value]) => [text(key), value])));
    expect(generations.current).toBeGreaterThan(current);
  });

  it.each([true, false])("are read many at a time by a start, be records certain or not (%s)", async (areCertain) => {
    const topics = 300;
    generations.begin();
    for (let generation = 1; generation <= 3; generation++) {
      await write([page(generation), ...Array.from({ length: topics }, (_, topic) => retained(topic, `in ${generation}`))]);
      generations.begin();
    }
    let steps = 0;
    const iterator = database.iterator.bind(database) as (...range: unknown[]) => { nextv(size: number): Promise<unknown> };
    const counting = (...range: unknown[]): unknown => {
      const made = iterator(...range);
      const nextv = made.nextv.bind(made);
      return Object.assign(made, { nextv: (size: number) => (steps++, nextv(size)) });
    };
    Object.assign(database, { iterator: counting });
    expect(await start(areCertain)).toBeUndefined();
    expect((await small()).get("r7")).toBe("in 3");
    expect(steps).toBeLessThan(topics / 10);
  });

  it("go with their generation when it is empty, but never from the last eight that have got pages", async () => {
    generations.begin();
    await write([page(1, 1), progress(1, 1), page(1, 2), progress(1, 2)]);
    const first = generations.current;
    generations.begin();
    await write([[pageKey(1, 0, 1), undefined], [pageKey(2, 0, 1), undefined], progress(9, 2)]);
    await forgetEmptied();
    expect(await numbersOfRiders()).toEqual([first]);
    for (let seq = 2; seq <= 20; seq++) {
      await write([page(seq, 1), progress(seq, 1)]);
      await forgetEmptied();
      const { current } = generations;
      expect(await numbersOfRiders()).toEqual(Array.from({ length: Math.min(current - first + 1, 8) }, (_, index) => Math.max(first, current - 7) + index));
      await write([[pageKey(1, 0, seq), undefined]]);
      generations.begin();
    }
    await start();
    expect(await small()).toEqual(new Map([progress(20, 1), progress(9, 2)].map(([key, value]) => [text(key), value])));
  });
});
