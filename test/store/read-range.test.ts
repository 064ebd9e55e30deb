import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { seal } from "../../src/store/checked.ts";
import { CRC32C_START, crc32cStep, maskedCrc32c } from "../../src/store/crc32c.ts";
import { type Database, openLevelDatabase, repairLevelDatabase, type WriteOperation } from "../../src/store/database.ts";
import { lastGeneration, scanGenerations, sourceOf } from "../../src/store/find-generations.ts";
import { Generations } from "../../src/store/generations.ts";
import { DatabaseHandle } from "../../src/store/handle.ts";
import { endOfQueue, generationOf, justBehind, keyIn, type KeyRange, MAX_GENERATION, pageKey, pageSeq, plainKey, queueKey, riderKeyIn, ridersKey, sessionKey, startOfGeneration } from "../../src/store/keys.ts";
import { firstKeys, Found, readRange } from "../../src/store/read-range.ts";
import { loadPage } from "../../src/store/page-load.ts";
import type { StoreEvent } from "../../src/store/store-error.ts";
import { StoreDirectory } from "../../src/store/store-directory.ts";
import { mendedTable } from "../../src/store/table.ts";
import { Uncertainty } from "../../src/store/uncertainty.ts";
import { unloadRiders } from "../../src/store/unload-riders.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";

/** With them a generation has 45 blocks. */
const SESSIONS = 3;
const PAGES = 60;
/** Nothing that Snappy could pack: a block has four of them. */
const page = (): Buffer => Buffer.concat([Buffer.from([0, 0, 0]), randomBytes(1_300)]);

let folder: string;
let database: Database | undefined;

beforeEach(() => {
  folder = makeFolder("damaged-blocks");
});

afterEach(async () => {
  await database?.close();
  removeFolder(folder);
});

/** Where the kind of each of the table's first blocks stands. */
function kindsOfBlocks(table: Buffer): number[] {
  const kinds: number[] = [];
  let sum = CRC32C_START;
  for (let at = 0; at + 5 <= table.length; at++) {
    const byte = table[at] ?? 0;
    sum = crc32cStep(sum, byte);
    if (byte > 1 || maskedCrc32c(sum) !== table.readUInt32LE(at + 1)) continue;
    kinds.push(at);
    at += 4;
    sum = CRC32C_START;
  }
  return kinds;
}

/** Whether a block can't be read, of so many. */
type Damage = (block: number, blocks: number) => boolean;

/** Writes the pages, in one table. */
async function write(directory: string, keys: readonly Buffer[]): Promise<void> {
  const whole = await openLevelDatabase(directory);
  await whole.batch(keys.map((key) => ({ type: "put", key, value: page() })));
  await whole.compactRange(Buffer.from([0]), Buffer.from([0])); // out of memory, and no further
  await whole.close();
}

/** A database whose last table is damaged, and the keys of what can be read: `older`, which stand in a table beneath, and those in the other blocks. */
async function damagedDatabase(keys: readonly Buffer[], damage: Damage, older: readonly Buffer[] = []): Promise<{ database: Database; readable: string[] }> {
  const directory = path.join(folder, "damaged");
  if (older.length > 0) await write(directory, older);
  await write(directory, keys);
  const names = readdirSync(directory).filter((entry) => entry.endsWith(".ldb")).sort();
  expect(names).toHaveLength(older.length > 0 ? 2 : 1);
  const name = names.at(-1) ?? expect.fail("no table");
  const table = readFileSync(path.join(directory, name));
  const kinds = kindsOfBlocks(table);
  const blocks = kinds.length - 2; // behind them what else there is, of which nothing, and the index
  for (const [block, at] of kinds.slice(0, blocks).entries()) if (damage(block, blocks)) table.writeUInt8(7, at);
  writeFileSync(path.join(directory, name), table);
  const mended = path.join(folder, "mended");
  mkdirSync(mended);
  writeFileSync(path.join(mended, name), mendedTable(table) ?? expect.fail("nothing is intact"));
  await repairLevelDatabase(mended);
  const intact = await openLevelDatabase(mended);
  const readable = await intact.keys().all();
  await intact.close();
  expect(readable.length).toBeLessThan(keys.length - 10);
  database = await openLevelDatabase(directory);
  return { database, readable: [...readable, ...older].map(hex).sort() };
}

const handleOf = (open: Database, report: (event: StoreEvent) => void = () => undefined): DatabaseHandle =>
  new DatabaseHandle(open, { directory: new StoreDirectory(folder, 0), openDatabase: openLevelDatabase, report, uncertainty: new Uncertainty(folder) });
const hex = (key: Buffer): string => key.toString("hex");
const pages = (generation: number, firstSeq = 1): Buffer[] =>
  Array.from({ length: SESSIONS * PAGES }, (_, index) => keyIn(generation, pageKey(1 + Math.floor(index / PAGES), 0, firstSeq + (index % PAGES) * 1_000)));

/** All kinds of places: one block, several, every other one, the first and the last. */
const damages: Readonly<Record<string, Damage>> = {
  "one block after the other": (block) => block >= 12 && block < 25,
  "blocks with readable ones between": (block) => block % 3 !== 0,
  "the first blocks and the last": (block, blocks) => block < 5 || block > blocks - 5,
  "the last queue": (block, blocks) => block >= blocks - 17,
};

describe.each(Object.entries(damages))("where %s can't be read", (_, damaged) => {
  it.each([[500, 0], [5_000, 0], [1_000_000, 0], [5_000, 500], [1_000_000, 500]])("a read of %i bytes at a time has all pages but those, with pages from number %i on in another table (0: none)", async (maxBytes, between) => {
    const { database: open, readable } = await damagedDatabase(pages(0), damaged, between === 0 ? [] : pages(0, between));
    const handle = handleOf(open);
    const found: string[] = [];
    for (let from = pageKey(1, 0, 0); ; ) {
      const ranges: KeyRange[] = [{ from, to: endOfQueue(pageKey(SESSIONS, 0, 0)) }];
      const records = await handle.read(() => ranges, maxBytes);
      const last = records.at(-1);
      if (!last) break;
      found.push(...records.map(([key]) => hex(key)));
      from = justBehind(last[0]);
    }
    expect(found).toEqual(readable);
  });

  it("a look for generations finds the first page of each queue that can be read", async () => {
    const { database: open, readable } = await damagedDatabase([...pages(2), ...pages(7)], damaged);
    const firsts = new Map<string, string>();
    for (const key of readable.map((text) => Buffer.from(text, "hex"))) {
      const queue = `${generationOf(key)} ${hex(plainKey(key)).slice(0, 12)}`;
      if (!firsts.has(queue)) firsts.set(queue, hex(plainKey(key)));
    }
    const { places } = await scanGenerations(sourceOf(open), 0, MAX_GENERATION);
    const found = places.map(({ first, generation }) => [`${generation} ${Buffer.from(first, "latin1").toString("hex", 0, 6)}`, Buffer.from(first, "latin1").toString("hex")] as const);
    expect(new Map(found)).toEqual(firsts);
  });
});

describe("where a table can't be opened for a while", () => {
  let directory: string;
  let open: Database;
  let hide: (table: number) => () => void;

  beforeEach(async () => {
    directory = path.join(folder, "hidden");
    for (let generation = 2; generation <= 5; generation++) await write(directory, pages(generation, generation * 100_000));
    database = open = await openLevelDatabase(directory);
    const tables = readdirSync(directory).filter((entry) => entry.endsWith(".ldb")).sort();
    expect(tables).toHaveLength(4);
    hide = (table) => {
      const name = path.join(directory, tables[table] ?? expect.fail("no such table"));
      renameSync(name, `${name}.aside`);
      symlinkSync(name, name); // too many levels, as there may be too many open files
      return () => renameSync(`${name}.aside`, name);
    };
  });

  it.each([0, 1, 2, 3])("nothing in it is passed over (%i)", async (table) => {
    const show = hide(table);
    const to = endOfQueue(keyIn(5, pageKey(SESSIONS, 0, 0)));
    const readAll = async (maxBytes: number): Promise<number> => {
      let found = 0;
      for (let from = keyIn(2, pageKey(1, 0, 0)); ; ) {
        const read = new Found(maxBytes);
        await readRange(open, { from, to }, read, () => undefined);
        const last = read.records.at(-1)?.[0];
        if (!last) return found;
        found += read.records.length;
        from = justBehind(keyIn(Math.floor(pageSeq(last) / 100_000), last));
      }
    };
    for (const maxBytes of [500, 5_000, 100_000, 1_000_000]) await expect(readAll(maxBytes), `${maxBytes} bytes`).rejects.toThrow();
    show();
    for (const maxBytes of [5_000, 1_000_000]) expect(await readAll(maxBytes)).toBe(4 * SESSIONS * PAGES);
  });

  it("that is told, and whoever wants it can ask again", async () => {
    const events: StoreEvent[] = [];
    const handle = handleOf(open, (event) => events.push(event));
    const read = (): Promise<unknown[]> => handle.read(() => [{ from: keyIn(2, pageKey(1, 0, 0)), to: endOfQueue(keyIn(2, pageKey(1, 0, 0))) }], 1e6);
    const show = hide(0);
    await expect(read()).rejects.toMatchObject({ code: "unwritable" });
    expect(events.map(({ kind }) => kind)).toEqual(["readFailed"]);
    show();
    expect(await read()).toHaveLength(PAGES);
  });

  it("what can be opened again at the second look is not missed", async () => {
    const show = hide(1);
    const keysOf = open.keys.bind(open) as (options: object) => { all(): Promise<Buffer[]> };
    let looks = 0;
    Object.assign(open, {
      keys: (options: object) => {
        if (looks++ === 1) show();
        return keysOf(options);
      },
    });
    const range = { gte: keyIn(2, pageKey(1, 0, 0)), lt: endOfQueue(keyIn(5, pageKey(SESSIONS, 0, 0))) };
    const found = await firstKeys(open, { ...range, limit: SESSIONS * PAGES + 1 });
    expect(found.map(generationOf).filter((generation) => generation === 3)).toHaveLength(SESSIONS * PAGES);
  });

  it("a read that the store's end cuts short is told of nobody", async () => {
    const events: StoreEvent[] = [];
    const handle = handleOf(open, (event) => events.push(event));
    const read = handle.read(() => [{ from: keyIn(2, pageKey(1, 0, 0)), to: endOfQueue(keyIn(5, pageKey(SESSIONS, 0, 0))) }], 1e6);
    handle.refuseReads();
    void open.close();
    await expect(read).rejects.toMatchObject({ code: "closed" });
    expect(events).toEqual([]);
  });

  it.each([0, 1, 2, 3])("it is not taken for empty by who looks for generations (%i)", async (table) => {
    const show = hide(table);
    await expect(scanGenerations(sourceOf(open), 0, MAX_GENERATION)).rejects.toThrow();
    show();
    expect((await scanGenerations(sourceOf(open), 0, MAX_GENERATION)).places).toHaveLength(4 * SESSIONS);
  });

  it("no other page is taken for the last one, on which all rides", async () => {
    await open.close();
    const riding = path.join(folder, "riding");
    for (const seq of [1, 2, 3]) {
      const each = await openLevelDatabase(riding);
      const key = pageKey(1, 0, seq);
      const value = loadPage(key, page(), [{ key: queueKey(1, 0), value: Buffer.from(`${seq}`) }]);
      await each.put(key, value);
      if (seq === 1) await each.put(ridersKey, seal(ridersKey, pageKey(1, 0, 0)));
      await each.compactRange(Buffer.from([0]), Buffer.from([0]));
      await each.close();
    }
    database = open = await openLevelDatabase(riding);
    const unload = (): Promise<void> => unloadRiders(open, new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, Buffer.from('{"format":3}')), { areCertain: true }, () => undefined);
    const name = path.join(riding, readdirSync(riding).filter((entry) => entry.endsWith(".ldb")).sort().at(-1) ?? expect.fail("no table"));
    renameSync(name, `${name}.aside`);
    symlinkSync(name, name);
    await expect(unload()).rejects.toThrow();
    renameSync(`${name}.aside`, name);
    await unload();
    expect((await open.get(queueKey(1, 0)))?.toString("latin1", 0, 1)).toBe("3");
  });

  it("no other generation is taken for the last one", async () => {
    const show = hide(3);
    await expect(lastGeneration(open, 7)).rejects.toThrow();
    show();
    expect(await lastGeneration(open, 7)).toBe(5);
  });
});

it.each([10, 1_000, 100_000])("all is read that there is behind what is removed while it is read, %i bytes at a time", async (maxBytes) => {
  const keys = pages(0);
  await write(folder, keys);
  const open = (database = await openLevelDatabase(folder));
  const half = keys.length / 2;
  let looks = 0;
  const keysOf = open.keys.bind(open) as (options: object) => { all(): Promise<Buffer[]> };
  Object.assign(open, {
    keys: (options: object) => {
      const iterator = keysOf(options);
      const all = iterator.all.bind(iterator);
      // Right behind the first look nothing of the first half is left.
      if (looks++ === 0) iterator.all = () => all().finally(() => open.batch(keys.slice(0, half).map((key) => ({ type: "del", key }))));
      return iterator;
    },
  });
  const found = new Found(maxBytes);
  await readRange(open, { from: keyIn(0, pageKey(1, 0, 0)), to: keyIn(0, endOfQueue(pageKey(SESSIONS, 0, 0))) }, found, () => undefined);
  expect(hex(found.records[0]?.[0] ?? Buffer.alloc(0))).toBe(hex(keys[half] ?? Buffer.alloc(0)));
});

it("what is no page is not passed over", async () => {
  const { database: open } = await damagedDatabase(Array.from({ length: 180 }, (_, index) => sessionKey(index)), (block, blocks) => block > blocks - 5);
  await expect(handleOf(open).read(() => [{ from: sessionKey(0), to: sessionKey(1_000) }], 1_000_000)).rejects.toMatchObject({ code: "corrupt" });
});

it("what rides in a generation is found beside a block that can't be read, and what was in that in the generation before", async () => {
  const SESSIONS = 400;
  const riders = (generation: number): WriteOperation[] =>
    Array.from({ length: SESSIONS }, (_, index) => {
      const key = riderKeyIn(generation, queueKey(index + 1, 0));
      return { type: "put", key, value: seal(key, Buffer.concat([Buffer.from([generation]), randomBytes(60)])) };
    });
  const directory = path.join(folder, "riders");
  const whole = await openLevelDatabase(directory);
  await whole.batch([{ type: "put", key: ridersKey, value: seal(ridersKey, startOfGeneration(1)) }, ...riders(1)]);
  await whole.compactRange(Buffer.from([0]), Buffer.from([0]));
  await whole.batch(riders(2));
  await whole.compactRange(Buffer.from([0]), Buffer.from([0]));
  await whole.close();
  const name = readdirSync(directory).filter((entry) => entry.endsWith(".ldb")).sort().at(-1) ?? expect.fail("no table");
  const table = readFileSync(path.join(directory, name));
  table.writeUInt8(7, kindsOfBlocks(table)[3] ?? expect.fail("too few blocks"));
  writeFileSync(path.join(directory, name), table);
  database = await openLevelDatabase(directory);
  const damages: string[] = [];
  await unloadRiders(database, new Generations({ places: [], records: new Map(), unused: 3, ridesFrom: 0 }, Buffer.from('{"format":4}')), { areCertain: true }, (detail) => damages.push(detail));
  const generationsOf = (await database.values({ gte: queueKey(0, 0), lt: queueKey(SESSIONS + 1, 0) }).all()).map((value) => value[0]);
  expect(damages).toHaveLength(1);
  expect(generationsOf).toHaveLength(SESSIONS);
  const older = generationsOf.filter((generation) => generation === 1).length;
  expect(older).toBeGreaterThan(10);
  expect(older).toBeLessThan(100); // a block
});
