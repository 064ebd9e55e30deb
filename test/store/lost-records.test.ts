import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { seal } from "../../src/store/checked.ts";
import { type Database, openLevelDatabase } from "../../src/store/database.ts";
import { generationOf, generationsKey, isPageKey, pageKey, queueKey, ridersKey, startOfGeneration } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent, type StoreOptions } from "../../src/store/open.ts";
import { untilStored } from "./contract.ts";

const CUT_BYTES = 20_000;

describe("a start that may have lost records", () => {
  let root: string;
  let directory: string;
  let store: LevelStore;
  let events: StoreEvent[];

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "amqtdd-lost-"));
    directory = join(root, "store");
    events = [];
    store = await open();
  });

  afterEach(async () => {
    await store.close();
    await rm(root, { recursive: true });
  });

  const open = (options: Partial<StoreOptions> = {}): Promise<LevelStore> =>
    openStore({
      directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES, report: (event) => events.push(event), ...options,
    });

  const write = (changes: readonly (readonly [key: Buffer, value: Buffer | undefined])[]): Promise<void> =>
    untilStored(store, store.touch({ writeTo: (group) => changes.forEach(([key, value]) => (value ? group.put(key, value) : group.delete(key))) }, "synced"));
  const page = (session: number, seq: number): readonly [Buffer, Buffer] => [pageKey(session, 0, seq), Buffer.concat([Buffer.from([0, 0, 0]), randomBytes(997)])];
  const progress = (session: number, seq: number): readonly [Buffer, Buffer] => [queueKey(session, 0), Buffer.from(`progress ${session} ${seq}`)];

  async function grow(from: number, to: number): Promise<void> {
    for (let seq = from; seq <= to; seq++) await write([1, 2, 3].flatMap((session) => [page(session, seq), progress(session, seq)]));
  }

  const remove = (from: number, to: number): Promise<void> =>
    write([1, 2, 3].flatMap((session) => Array.from({ length: to - from + 1 }, (_, index) => [pageKey(session, 0, from + index), undefined] as const)));

  /** What the queues' records say. */
  const told = async (): Promise<string[]> => (await store.read(queueKey(0, 0), queueKey(9, 0), 10_000)).map(([, value]) => value.toString());
  const progressOfAll = (seq: number): string[] => [1, 2, 3].map((session) => `progress ${session} ${seq}`);

  /** While the store is closed. */
  async function change(how: (database: Database) => Promise<unknown>): Promise<void> {
    const database = await openLevelDatabase(directory);
    await how(database);
    await database.close();
  }

  const uncertain = (): Promise<void> => writeFile(join(directory, "uncertain"), "");

  /** All that stands in generations. */
  async function inGenerations(): Promise<Buffer[]> {
    let keys: Buffer[] = [];
    await store.close();
    await change(async (database) => (keys = (await database.keys().all()).filter((key) => generationOf(key) > 0)));
    store = await open();
    return keys;
  }

  /** What the compactor does when a drain is over. */
  async function compactAndForget(): Promise<void> {
    await store.close();
    store = await open({ minFreeBytes: 1000, freeBytes: () => Promise.resolve(999) });
    // The group that deletes what they have left: nothing else is written.
    await expect.poll(() => store.figures.groups, { timeout: 20_000 }).toBeGreaterThan(0);
    await store.close();
    store = await open();
  }

  it("knows generations that hold no page, too, and has their records deleted in the end", async () => {
    await grow(1, 60);
    await remove(1, 60);
    await store.close();
    await uncertain();
    store = await open();
    store.recovered();
    await write([progress(1, 60)]);
    const left = await inGenerations();
    expect(left.filter(isPageKey)).toEqual([]);
    expect(new Set(left.map(generationOf)).size).toBeGreaterThan(4);
    await compactAndForget();
    expect(await inGenerations()).toEqual([]);
    await grow(61, 70);
    await store.close();
    store = await open();
    expect(await told()).toEqual(progressOfAll(70));
  });

  it("deletes them also if the start that was uncertain does so itself", async () => {
    await grow(1, 60);
    await remove(1, 60);
    await uncertain();
    await compactAndForget();
    expect(await inGenerations()).toEqual([]);
  });

  it("takes up what rides though the record that tells of it is gone, and tells so", async () => {
    await grow(1, 60);
    await store.close();
    await change((database) => database.del(ridersKey));
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(60));
    expect(events.map(({ kind }) => kind)).toEqual(["damaged"]);
    expect(store.wasRepaired).toBe(true);
  });

  it("leaves what rode, and was written by itself since, where nothing rides", async () => {
    await grow(1, 60);
    await store.close();
    store = await open();
    for (const session of [1, 2, 3]) await write([progress(session, 61)]);
    await store.close();
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(61));
    expect(events).toEqual([]);
  });

  it.each(["brings back", "has damaged"])("leaves it there, too, when a repair %s the record that told of it", async (how) => {
    await grow(1, 60);
    await store.close();
    store = await open();
    for (const session of [1, 2, 3]) await write([progress(session, 61)]);
    await store.close();
    await change((database) => database.put(ridersKey, how === "has damaged" ? Buffer.from("damaged") : seal(ridersKey, startOfGeneration(1))));
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(61));
  });

  it("takes up what rides in generations when a repair brings a record back that tells of riders on pages before them", async () => {
    for (let seq = 1; seq <= 15; seq++) await write([page(1, seq), progress(1, seq)]);
    await grow(16, 60);
    await store.close();
    await change((database) => database.put(ridersKey, seal(ridersKey, pageKey(1, 0, 8))));
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(60));
  });

  it.each([
    ["the record of all generations damaged", () => Buffer.from("damaged")],
    ["no number there from which on anything may", (used: Buffer) => seal(generationsKey, used.subarray(0, 8))],
  ])("leaves what rode before a start that has found %s", async (_what, changed) => {
    await grow(1, 60);
    await store.close();
    store = await open();
    await store.close();
    await change(async (database) => database.put(generationsKey, changed((await database.get(generationsKey)) ?? expect.fail("no generations"))));
    store = await open();
    for (const session of [1, 2, 3]) await write([progress(session, 61)]);
    await store.close();
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(61));
  });

  it("does so when too many records rode to go on", async () => {
    await grow(1, 60);
    for (let session = 4; session < 4000; session += 100) await write(Array.from({ length: 100 }, (_, index) => progress(session + index, 1)));
    expect(await store.read(queueKey(4, 0), queueKey(5, 0), 100)).toHaveLength(1);
    await write([1, 2, 3].map((session) => progress(session, 61)));
    await store.close();
    await uncertain();
    store = await open();
    expect((await told()).slice(0, 3)).toEqual(progressOfAll(61));
    expect(events).toEqual([]);
  });

  it("takes it up where the record of all generations does not tell since when it rides", async () => {
    await grow(1, 60);
    await store.close();
    await change(async (database) => {
      const used = (await database.get(generationsKey)) ?? expect.fail("no generations");
      await database.batch([{ type: "put", key: generationsKey, value: seal(generationsKey, used.subarray(0, 8)) }, { type: "del", key: ridersKey }]);
    });
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(60));
  });

  it("takes up what rides when the record of all generations is gone as well", async () => {
    await grow(1, 60);
    await store.close();
    store = await open();
    await grow(61, 70);
    await store.close();
    await change((database) => database.batch([{ type: "del", key: ridersKey }, { type: "del", key: generationsKey }]));
    await uncertain();
    store = await open();
    expect(await told()).toEqual(progressOfAll(70));
  });
});
