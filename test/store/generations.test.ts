import { randomBytes } from "node:crypto";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase, type WriteOperation } from "../../src/store/database.ts";
import { findGenerations, scanGenerations, sourceOf } from "../../src/store/find-generations.ts";
import { Generations, type Place } from "../../src/store/generations.ts";
import {
  formatKey, generationKey, generationOf, generationsKey, isPageKey, keyIn, type KeyRange, MAX_GENERATION, pageKey, pageSeq, pagesBetween, pagesOf, plainKey, queueKey, retainedKey, retainedRange, riderKeyIn,
} from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { untilStored } from "./contract.ts";

const FORMAT = Buffer.from('{"format":3}');
const CUT_BYTES = 20_000;
const isGenerationPage = (key: Buffer): boolean => isPageKey(key) && generationOf(key) > 0;
const hex = (key: Buffer): string => key.toString("hex");
const textOf = (key: string, value: Buffer): string => `${key} ${value.length} ${value.toString("hex", 0, 24)}`;

function rangeOf([from, to]: readonly [Buffer, Buffer]): KeyRange {
  return { from, to };
}

describe("places of pages", () => {
  it("are found for each range, page by page in the order of queues and numbers, whatever came and went", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const rng = seededRng(seed);
      const upTo = (limit: number): number => Math.floor(rng() * limit);
      const generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, FORMAT);
      const disk = new Set<string>();
      const model = new Set<string>();
      const next = new Map<number, number>();
      for (let group = upTo(60); group > 0; group--) {
        const operations: WriteOperation[] = [];
        for (let pages = upTo(4); pages > 0; pages--) {
          const queue = upTo(6);
          const seq = (next.get(queue) ?? 0) + 1 + upTo(3);
          next.set(queue, seq);
          operations.push({ type: "put", key: pageKey(1 + (queue >> 1), queue & 1, seq), value: Buffer.alloc(1) });
        }
        for (const key of model) if (rng() < 0.1) operations.push({ type: "del", key: Buffer.from(key, "hex") });
        for (const { type, key } of operations) void (type === "put" ? model.add(hex(key)) : model.delete(hex(key)));
        generations.place(operations);
        for (const { type, key } of operations) if (isPageKey(key)) void (type === "put" ? disk.add(hex(key)) : disk.delete(hex(key)));
        if (rng() < 0.3) generations.begin();
        if (rng() < 0.2) keepOnly(generations, placesOn(disk));
      }
      expect([...disk].map((key) => hex(plainKey(Buffer.from(key, "hex")))).sort(), `seed ${seed}`).toEqual([...model].sort());
      const page = (): Buffer => pageKey(1 + upTo(3), upTo(2), upTo(20));
      const ranges = [
        pagesOf(1 + upTo(3)), pagesBetween(1, 1 + upTo(4)), pagesBetween(0, 9), rangeOf([page(), page()]), rangeOf([Buffer.concat([page(), Buffer.alloc(1)]), pageKey(9, 0, 0)]),
        rangeOf([pageKey(2, 0, upTo(20)), pageKey(2, 0, upTo(20))]),
      ];
      for (const { from, to } of ranges) {
        const read = [...generations.ranges(from, to)].flatMap((range) => [...disk].filter((key) => key >= hex(range.from) && key < hex(range.to)).sort());
        const wanted = [...model].filter((key) => key >= hex(from) && key < hex(to)).sort();
        expect(read.map((key) => hex(plainKey(Buffer.from(key, "hex")))), `seed ${seed}, ${hex(from)} to ${hex(to)}`).toEqual(wanted);
      }
    }
  });

  it("are noted for each queue alone, however many there are in a generation", () => {
    const generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, FORMAT);
    generations.begin();
    const noted = Array.from({ length: 2_000 }, (_, queue) => generations.place([{ type: "put", key: pageKey(queue + 1, 0, 1), value: Buffer.alloc(1) }]));
    expect(Math.max(...noted.slice(1))).toBeLessThan(64);
  });
});

describe("a read of pages in several generations", () => {
  it("passes through each once, though a look for emptied ones moves the beginning of one meanwhile", () => {
    const generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, FORMAT);
    for (const seq of [100, 200, 300]) {
      generations.begin();
      generations.place([{ type: "put", key: pageKey(1, 0, seq), value: Buffer.alloc(1) }]);
    }
    const read = generations.ranges(pageKey(1, 0, 160), pageKey(1, 0, 400));
    const passed = [generationOf((read.next().value as KeyRange).from)];
    const kept = [[160, 1], [200, 2]].map(([seq = 0, generation = 0]) => ({ first: pageKey(1, 0, seq + 10).toString("latin1"), generation }));
    keepOnly(generations, kept);
    passed.push(...[...read].map(({ from }) => generationOf(from)));
    expect(passed).toEqual([1, 2, 3]);
  });
});

describe("a look for pages", () => {
  /** Keys of each generation: of so many queues, so many pages of each, behind what rides there. */
  function generationOfMany(generation: number, queues: number, pages: number): Buffer[] {
    const keys = [generationKey(generation, 0), ...Array.from({ length: queues }, (_, queue) => riderKeyIn(generation, queueKey(queue + 1, 0)))];
    for (let queue = 1; queue <= queues; queue++) for (let seq = 0; seq < pages; seq++) keys.push(keyIn(generation, pageKey(queue, 0, generation * 1000 + seq)));
    return keys;
  }

  /** What is found, in how many looks at how many keys. */
  async function look(keys: readonly Buffer[]): Promise<{ found: string[]; numbers: readonly number[]; looks: number; passed: number }> {
    const sorted = [...keys].sort((a, b) => a.compare(b));
    let [looks, passed] = [0, 0];
    const firstKeys = (from: Buffer, to: Buffer, limit: number): Promise<Buffer[]> => {
      const at = sorted.findIndex((key) => key.compare(from) >= 0);
      const first = at < 0 ? [] : sorted.slice(at, at + limit).filter((key) => key.compare(to) < 0);
      looks++;
      passed += first.length;
      return Promise.resolve(first);
    };
    const { places, numbers } = await scanGenerations({ getMany: () => expect.fail("it reads records"), firstKeys }, 0, MAX_GENERATION);
    return { found: places.map(textOfPlace).sort(), numbers, looks, passed };
  }

  const textOfPlace = ({ first, generation }: Place): string => `${generation} ${Buffer.from(first, "latin1").toString("hex")}`;
  const wantedOf = (keys: readonly Buffer[]): string[] => placesOn(keys.map(hex)).map(textOfPlace).sort();

  it("finds the first of each queue in each generation, and which there are, however many they are", async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = seededRng(seed);
      const keys = Array.from({ length: 1 + Math.floor(rng() * 6) }, (_, generation) => generationOfMany(1 + 2 * generation, Math.floor(rng() ** 3 * 300), 1 + Math.floor(rng() * 12))).flat();
      const left = keys.filter(() => rng() < 0.9);
      const { found, numbers } = await look(left);
      expect(found, `seed ${seed}`).toEqual(wantedOf(left));
      expect(numbers, `seed ${seed}`).toEqual([...new Set(left.map(generationOf))]);
    }
  });

  it("seeks no queue by itself where there are very many, with few pages each", async () => {
    const keys = [1, 2, 3, 4].flatMap((generation) => generationOfMany(generation, 1000, 10));
    const { found, looks } = await look(keys);
    expect(found).toEqual(wantedOf(keys));
    expect(looks).toBeLessThan(500);
  });

  it("passes over the pages of a queue where there are few", async () => {
    const keys = [1, 2, 3, 4].flatMap((generation) => generationOfMany(generation, 4, 1000));
    const { found, passed } = await look(keys);
    expect(found).toEqual(wantedOf(keys));
    expect(passed).toBeLessThan(100);
  });
});

it("goes on with a generation when there are very many places, and finds all pages", () => {
  const QUEUES = 9_000;
  const GENERATIONS = 13;
  const generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, FORMAT);
  for (let seq = 1; seq <= GENERATIONS; seq++) {
    generations.begin();
    const operations = Array.from({ length: QUEUES }, (_, index): WriteOperation => ({ type: "put", key: pageKey(QUEUES - index, 0, seq), value: FORMAT }));
    generations.place(operations);
    expect(new Set(operations.slice(0, QUEUES).map(({ key }) => generationOf(key)))).toEqual(new Set([Math.min(seq, 12)]));
  }
  expect([...generations.ranges(pageKey(77, 0, 0), pageKey(77, 0, GENERATIONS + 1))].map(({ from }) => generationOf(from))).toEqual(Array.from({ length: 13 }, (_, index) => index));
  keepOnly(generations, []);
  generations.begin();
  expect(generations.current).toBe(13);
});

/** Forgets all that is emptied. */
function keepOnly(generations: Generations, found: readonly Place[]): void {
  const { grown, riding } = generations;
  generations.keepOnly(found, grown, new Map(generations.emptied(found, riding).map((generation) => [generation, [generationKey(generation, 0)]])));
}

/** Of each queue the first page in each generation. */
function placesOn(disk: Iterable<string>): { first: string; generation: number }[] {
  const places = new Map<string, { first: string; generation: number }>();
  for (const text of [...disk].sort()) {
    const key = Buffer.from(text, "hex");
    const queue = text.slice(0, -12);
    if (isGenerationPage(key) && !places.has(queue)) places.set(queue, { first: plainKey(key).toString("latin1"), generation: generationOf(key) });
  }
  return [...places.values()];
}

it("has no record older than LevelDB's last table after a power cut, though nothing is synced otherwise", async () => {
  const root = await mkdtemp(join(tmpdir(), "amqtdd-generations-"));
  const written: { readonly operations: WriteOperation[]; readonly sync: boolean }[] = [];
  const options = { durability: "process", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES, report: () => undefined } as const;
  const openDatabase = async (directory: string): Promise<Database> => {
    const database = await openLevelDatabase(directory);
    const batch = database.batch.bind(database) as (operations: WriteOperation[], options: { readonly sync: boolean }) => Promise<void>;
    return Object.assign(database, {
      batch: (operations: WriteOperation[], { sync }: { readonly sync: boolean }) => {
        written.push({ operations: [...operations], sync });
        return batch(operations, { sync });
      },
    });
  };
  const store = await openStore({ ...options, directory: join(root, "store"), openDatabase });
  const write = (session: number, seq: number): Promise<void> =>
    untilStored(store, store.touch({
      writeTo: (group) => {
        group.put(pageKey(session, 0, seq), randomBytes(1_000));
        group.put(queueKey(session, 0), Buffer.from(`progress ${seq}`));
      },
    }, "synced"));
  for (let seq = 1; seq <= 300; seq++) await write(1 + (seq % 3), seq);
  await store.close();
  // LevelDB begins a log for a generation: who comes first there may be the last one of the log before, which is not synced.
  const firsts = written.filter(({ operations }) => operations.some(({ key }) => key.equals(generationKey(generationOf(key), 0))));
  const first = firsts.at(-1) ?? expect.fail("no generation");
  const after = written.indexOf(first);
  const left = await openLevelDatabase(join(root, "left"));
  for (const { operations } of written.slice(0, after)) await left.batch(operations);
  if (first.sync) await left.batch(first.operations);
  const [next] = written.slice(after + 1);
  await left.batch(next?.operations ?? expect.fail("nothing behind it"));
  await left.close();
  const again = await openStore({ ...options, directory: join(root, "left") });
  const records = await again.read(queueKey(1, 0), queueKey(9, 0), 10_000);
  await again.close();
  await rm(root, { recursive: true });
  for (const [, value] of records) expect(Number.parseInt(value.toString().slice(9), 10)).toBeGreaterThan(after - 10);
});

describe("a store in which several queues grow", () => {
  let root: string;
  let directory: string;
  let store: LevelStore | undefined;
  let events: StoreEvent[];
  /** What must be there: pages and queues' records by their keys. */
  let model: Map<string, Buffer>;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "amqtdd-generations-"));
    directory = join(root, "store");
    events = [];
    model = new Map();
    store = await open();
  });

  afterEach(async () => {
    await store?.close();
    await rm(root, { recursive: true });
  });

  const open = (place = directory, cutBytes: number | undefined = CUT_BYTES): Promise<LevelStore> =>
    openStore({
      directory: place, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes,
      report: (event) => events.push(event),
    });

  async function write(changes: readonly (readonly [key: Buffer, value: Buffer | undefined])[]): Promise<void> {
    const written = store ?? expect.fail("no store");
    for (const [key, value] of changes) void (value ? model.set(hex(key), value) : model.delete(hex(key)));
    await untilStored(written, written.touch({ writeTo: (group) => changes.forEach(([key, value]) => (value ? group.put(key, value) : group.delete(key))) }, "synced"));
  }

  const page = (session: number, seq: number): readonly [Buffer, Buffer] => [pageKey(session, 0, seq), Buffer.concat([Buffer.from([0, 0, 0]), randomBytes(997)])];
  const progress = (session: number, seq: number): readonly [Buffer, Buffer] => [queueKey(session, 0), Buffer.from(`progress ${session} ${seq}`)];

  async function grow(sessions: readonly number[], from: number, to: number): Promise<void> {
    for (let seq = from; seq <= to; seq++) await write(sessions.flatMap((session) => [page(session, seq), progress(session, seq)]));
  }

  const remove = (sessions: readonly number[], from: number, to: number): Promise<void> =>
    write(sessions.flatMap((session) => Array.from({ length: to - from + 1 }, (_, index) => [pageKey(session, 0, from + index), undefined] as const)));

  async function readAll({ from, to }: KeyRange, maxBytes = 5_000): Promise<string[]> {
    const records: string[] = [];
    for (let next = from; ; ) {
      const slice = await (store ?? expect.fail("no store")).read(next, to, maxBytes);
      for (const [key, value] of slice) records.push(textOf(hex(key), value));
      const last = slice.at(-1);
      if (!last) return records;
      next = Buffer.concat([last[0], Buffer.alloc(1)]);
    }
  }

  const wanted = ({ from, to }: KeyRange): string[] => [...model].filter(([key]) => key >= hex(from) && key < hex(to)).map(([key, value]) => textOf(key, value)).sort();

  /** The pages of each session, and of several. */
  async function expectPages(): Promise<void> {
    for (const range of [pagesOf(1), pagesOf(2), pagesOf(3), pagesBetween(0, 9)]) expect(await readAll(range)).toEqual(wanted(range));
  }

  /** After a start: queues' records, too. While they ride on pages they are not read. */
  async function expectAll(): Promise<void> {
    await expectPages();
    const records = rangeOf([queueKey(0, 0), queueKey(9, 0)]);
    expect(await readAll(records)).toEqual(wanted(records));
  }

  /** As it lies on the disk. */
  async function keys(): Promise<Buffer[]> {
    await store?.close();
    const database = await openLevelDatabase(directory);
    const all = await database.keys().all();
    await database.close();
    store = await open();
    return all;
  }

  async function change(key: Buffer, value: Buffer | undefined, { opens } = { opens: true }): Promise<void> {
    await store?.close();
    const database = await openLevelDatabase(directory);
    if (value) await database.put(key, value);
    else await database.del(key);
    await database.close();
    if (opens) store = await open();
  }

  async function formatOnDisk(): Promise<unknown> {
    await store?.close();
    const database = await openLevelDatabase(directory);
    const format: unknown = JSON.parse(String(await database.get(formatKey)));
    await database.close();
    store = await open();
    return format;
  }

  /** The process is killed. */
  async function kill(): Promise<void> {
    const copy = join(root, `killed${performance.now()}`);
    // LevelDB may be writing out what is in memory: a copy of half of that is no state of the disk.
    for (let names = await readdir(directory); ; names = await readdir(directory)) {
      const isWhole = await cp(directory, copy, { recursive: true }).then(() => true, () => false);
      if (isWhole && String(await readdir(directory)) === String(names)) break;
      await rm(copy, { recursive: true, force: true });
    }
    await store?.close();
    await rm(directory, { recursive: true });
    await cp(copy, directory, { recursive: true });
    store = await open();
  }

  it("has a generation for each table, and finds every page and record again, killed or stopped, whatever was deleted", { timeout: 60_000 }, async () => {
    await grow([1, 2, 3], 1, 80);
    expect(new Set((await keys()).filter(isPageKey).map(generationOf)).size).toBeGreaterThan(4);
    await expectAll();
    await grow([1, 2, 3], 81, 120);
    await expectPages();
    await kill();
    await expectAll();
    await remove([1], 1, 70);
    await remove([2], 30, 90);
    await expectPages();
    await grow([2, 3], 121, 160);
    await kill();
    await grow([3], 161, 200);
    await expectPages();
    await remove([1, 2, 3], 71, 120);
    await kill();
    await expectAll();
    await remove([1, 2, 3], 1, 200);
    await expectPages();
    expect((await keys()).filter(isPageKey)).toEqual([]);
    expect(events).toEqual([]);
  });

  it("has a generation for each table though each group adds to one queue alone, and small records beside their pages", { timeout: 60_000 }, async () => {
    for (let seq = 1; seq <= 240; seq++) await write([page(1 + (seq % 3), seq), progress(1 + (seq % 3), seq)]);
    await store?.close();
    store = undefined;
    const database = await openLevelDatabase(directory);
    const all = await database.keys().all();
    const progressByItself = await database.get(queueKey(1, 0));
    await database.close();
    store = await open();
    expect(new Set(all.filter(isPageKey).map(generationOf)).size).toBeGreaterThan(4);
    expect(progressByItself?.toString()).not.toContain("progress 1 240");
    await expectAll();
    await grow([1, 2, 3], 241, 270);
    await kill();
    await expectAll();
    expect(events).toEqual([]);
  });

  it("has a generation for each table though one queue grows, where messages are retained with each group, which it finds again, too, killed or stopped", { timeout: 60_000 }, async () => {
    const retained = (seq: number): readonly [Buffer, Buffer | undefined] => [retainedKey(Buffer.from(`topic ${seq % 4}`)), seq % 7 === 0 ? undefined : Buffer.from(`retained ${seq}`)];
    const expectRetained = async (): Promise<void> => expect(await readAll(retainedRange)).toEqual(wanted(retainedRange));
    for (let seq = 1; seq <= 200; seq++) await write([page(1, seq), progress(1, seq), retained(seq)]);
    const all = await keys();
    expect(new Set(all.filter(isPageKey).map(generationOf)).size).toBeGreaterThan(4);
    await expectAll();
    await expectRetained();
    for (let seq = 201; seq <= 240; seq++) await write([page(1, seq), progress(1, seq), retained(seq)]);
    await kill();
    await expectAll();
    await expectRetained();
    expect(events).toEqual([]);
  });

  it("is of format 4, which one queue that grows does not make", async () => {
    await grow([1], 1, 100);
    expect(await formatOnDisk()).toMatchObject({ format: 3 });
    await grow([1, 2], 101, 130);
    expect(await formatOnDisk()).toMatchObject({ format: 4, created: expect.any(String) });
    await expectAll();
  });

  it.each<[string, (generation: Buffer) => Buffer]>([["a generation", (generation) => generation], ["all generations", () => generationsKey]])(
    "finds the pages by themselves when the record of %s is damaged, or missing",
    async (_, recordOf) => {
      await grow([1, 2, 3], 1, 60);
      const generation = (await keys()).find((key) => !isPageKey(key) && generationOf(key) > 0) ?? expect.fail("no generation");
      await change(recordOf(generation), Buffer.from("damaged"));
      await expectAll();
      await grow([1, 2, 3], 61, 90);
      if (recordOf(generation) === generationsKey) await change(generationsKey, undefined);
      else await kill();
      await expectAll();
    },
  );

  it("writes the records of generations again when they were lost", async () => {
    await grow([1, 2, 3], 1, 60);
    for (const key of await keys()) if (key.equals(generationsKey) || (!isPageKey(key) && generationOf(key) > 0)) await change(key, undefined, { opens: false });
    await kill();
    await expectAll();
    await kill();
    await expectAll();
  });

  it("uses no number again of a generation that is empty, though the record of all generations is lost: records of its own are still there", async () => {
    await grow([1, 2, 3], 1, 60);
    await remove([1, 2, 3], 1, 60);
    await change(generationsKey, undefined);
    await grow([1, 2, 3], 61, 80);
    await kill();
    await expectAll();
    await grow([1, 2, 3], 81, 150);
    await kill();
    await expectAll();
  });

  it("finds the pages of a generation whose record was in a part of a log that LevelDB has dropped, and has their queues take them up", { timeout: 60_000 }, async () => {
    await grow([1, 2, 3], 1, 60);
    await store?.close();
    store = await open(directory, Infinity); // all that follows stays in the log
    for (let seq = 61; seq <= 75; seq++) await write([1, 2, 3].flatMap((session) => [page(session, seq), progress(session, seq)]));
    const copy = join(root, "copy");
    await cp(directory, copy, { recursive: true });
    await store?.close();
    store = undefined;
    const logs = (await readdir(copy)).filter((name) => name.endsWith(".log")).sort();
    const log = join(copy, logs.at(-1) ?? expect.fail("no log"));
    const bytes = await readFile(log);
    expect(bytes.length).toBeGreaterThan(40_000);
    bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
    await writeFile(log, bytes);
    await rm(directory, { recursive: true });
    await cp(copy, directory, { recursive: true });
    store = await open();
    expect(events.map(({ kind }) => kind)).toContain("damaged");
    // A page of 1,000 bytes: the first block of the log holds ten groups, or so.
    for (const session of [1, 2, 3]) {
      const seqs = (await readAll(pagesOf(session))).map((text) => pageSeq(Buffer.from(text.slice(0, 24), "hex")));
      expect(seqs.filter((seq) => seq > 72)).toEqual([73, 74, 75]);
    }
    expect(store.wasRepaired).toBe(true); // what rode on those pages may be unknown
  });

  it("keeps the records of generations, and what rides there, over a repair while it runs", async () => {
    await store?.close();
    let opened = 0;
    store = await openStore({
      directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES, report: () => undefined,
      openDatabase: async (path) => {
        opened += 1;
        if (opened === 2) throw Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" });
        const database = await openLevelDatabase(path);
        if (opened > 2) {
          for (const key of await database.keys().all()) if (!isPageKey(key) && generationOf(key) > 0) await database.del(key);
          return database;
        }
        const { batch } = database;
        let writes = 0;
        return Object.assign(database, { batch: (...changes: unknown[]) => (++writes === 98 ? Promise.reject(new Error("IO error")) : Reflect.apply(batch, database, changes) as unknown) });
      },
    });
    await grow([1, 2, 3], 1, 50);
    await write([progress(4, 1)]);
    await grow([1, 2, 3], 51, 99);
    expect(opened).toBe(3);
    await store.close();
    store = await open();
    await expectAll();
  });

  it("syncs what a queue begins a generation with, though nobody waits for it: later pages count on its record", async () => {
    await grow([1, 2], 1, 30);
    const growing = store ?? expect.fail("no store");
    const before = growing.figures.syncs;
    await untilStored(growing, growing.touch({ writeTo: (group) => group.put(...page(3, 1)) }, "soon"));
    expect(growing.figures.syncs).toBe(before + 1);
    await untilStored(growing, growing.touch({ writeTo: (group) => group.put(...page(3, 2)) }, "soon"));
    expect(growing.figures.syncs).toBe(before + 1);
  });

  it("forgets generations that hold nothing any more, on the disk too, and uses no number again", { timeout: 60_000 }, async () => {
    const highest = async (): Promise<number> => Math.max(...(await keys()).map(generationOf));
    await grow([1, 2, 3], 1, 60);
    const before = await highest();
    await remove([1, 3], 1, 60);
    await remove([2], 1, 40);
    await grow([2], 61, 61);
    const current = await highest();
    expect(current).toBeGreaterThan(before);
    await compactAndForget();
    const held = new Set((await keys()).filter(isGenerationPage).map(generationOf));
    expect(new Set((await keys()).filter((key) => !isPageKey(key) && generationOf(key) > 0).map(generationOf))).toEqual(held);
    await expectAll();
    await remove([2], 1, 61);
    await compactAndForget();
    expect((await keys()).filter((key) => generationOf(key) > 0)).toEqual([]);
    await grow([1, 2], 200, 201);
    expect(await highest()).toBeGreaterThan(current);
    await expectAll();
  });

  /** What the compactor does when a drain is over. */
  async function compactAndForget(): Promise<void> {
    await store?.close();
    store = await openStore({
      directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 1000, freeBytes: () => Promise.resolve(999), reserveBytes: 0, report: () => undefined,
    });
    const compacting = store;
    // The group that deletes what they have left: nothing else is written.
    await expect.poll(() => compacting.figures.groups, { timeout: 20_000 }).toBeGreaterThan(0);
    await store.close();
    store = await open();
  }

  it("tells a start of each page without looking for it", async () => {
    await grow([1, 2, 3], 1, 100);
    await store?.close();
    store = undefined;
    const database = await openLevelDatabase(directory);
    const source = sourceOf(database);
    const told = await findGenerations({ ...source, firstKeys: () => expect.fail("it looks for pages") }, { areExpected: true, areCertain: true });
    const byPlace = (a: { first: string }, b: { first: string }): number => (a.first < b.first ? -1 : 1);
    expect([...told.places].sort(byPlace)).toEqual([...(await scanGenerations(source, 0, MAX_GENERATION)).places].sort(byPlace));
    expect(await database.get(generationKey(told.unused, 0))).toBeUndefined();
    await database.close();
  });
});
