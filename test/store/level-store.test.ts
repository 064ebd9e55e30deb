import { randomBytes } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { seal } from "../../src/store/checked.ts";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase, type WriteOperation } from "../../src/store/database.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent, type StoreOptions } from "../../src/store/open.ts";
import { pageKey, queueKey, sessionKey } from "../../src/store/keys.ts";
import type { GroupWriter } from "../../src/store/store.ts";
import { countingBatches } from "./batches.ts";
import { readText, storeContract, TestKeeper, untilStored } from "./contract.ts";

const clock = new SystemClock();

function optionsFor(directory: string, events: StoreEvent[] = []): StoreOptions {
  const report = (event: StoreEvent): number => events.push(event);
  return { directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report };
}

storeContract("LevelStore", async () => {
  const directory = await mkdtemp(join(tmpdir(), "amqtdd-store-"));
  return { open: () => openStore(optionsFor(directory)), remove: () => rm(directory, { recursive: true }) };
});

/** A real database whose first `failures` batches fail. */
function failingDatabase(failures: number, message: string): { openDatabase: (directory: string) => Promise<Database>; opened: () => number } {
  let left = failures;
  let opened = 0;
  const openDatabase = async (directory: string): Promise<Database> => {
    const database = await openLevelDatabase(directory);
    opened++;
    return new Proxy(database, {
      get(target, name) {
        if (name === "batch" && left > 0) {
          left--;
          return () => {
            throw new Error(message);
          };
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  };
  return { openDatabase, opened: () => opened };
}

const causes = ["No space left on device", "Input/output error", "Read-only file system"] as const;

/**
 * A real database whose writes fail while `failing`: on append nothing of the batch reaches the file, on sync all of it does, yet the caller
 * is told that it failed. Once failed, a handle is never to be written again.
 */
class FaultyDatabase {
  failing: "append" | "sync" | undefined;
  reopenFails = false;
  writesToSpoilt = 0;
  private cause: string = causes[0];

  fail(how: "append" | "sync", cause: string): void {
    this.failing = how;
    this.cause = cause;
  }

  readonly openDatabase = async (directory: string): Promise<Database> => {
    if (this.failing !== undefined && this.reopenFails) throw new Error(`IO error: ${this.cause}`);
    const database = await openLevelDatabase(directory);
    let isSpoilt = false;
    const write = async (operations: WriteOperation[], options: { readonly sync: boolean }): Promise<void> => {
      if (isSpoilt) this.writesToSpoilt++;
      if (this.failing === "sync") await database.batch(operations, { sync: false });
      isSpoilt = this.failing !== undefined;
      if (isSpoilt) throw new Error(`IO error: ${this.cause}`);
      await database.batch(operations, options);
    };
    return new Proxy(database, {
      get(target, name) {
        if (name === "batch") return write;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  };
}

describe("a store on disk", () => {
  let root: string;
  let directory: string;
  let store: LevelStore | undefined;
  let events: StoreEvent[];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "amqtdd-store-"));
    directory = join(root, "store");
    events = [];
    store = undefined;
  });
  afterEach(async () => {
    await store?.close();
    await rm(root, { recursive: true });
  });

  async function fillAndClose(): Promise<void> {
    const filled = await openStore(optionsFor(directory));
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "kept");
    await untilStored(filled, filled.touch(keeper, "synced"));
    await filled.close();
  }

  it("is closed to others", async () => {
    store = await openStore(optionsFor(directory));
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
  });

  it("cannot be opened twice", async () => {
    store = await openStore(optionsFor(directory));
    await expect(openStore(optionsFor(directory))).rejects.toMatchObject({ code: "locked" });
  });

  it("names the system's error when its place cannot be a directory", async () => {
    await writeFile(join(root, "file"), "");
    await expect(openStore(optionsFor(join(root, "file", "store")))).rejects.toMatchObject({ code: "unwritable", message: expect.stringContaining("ENOTDIR") });
  });

  it.each(["Permission denied", "Input/output error", "Too many open files", "Read-only file system", "No space left on device"])(
    "leaves a store where it is when the system says %s, and opens it when it can",
    async (message) => {
      await fillAndClose();
      const before = (await readdir(directory)).sort();
      const openDatabase = async (): Promise<never> => Promise.reject(new Error("Database failed to open", { cause: new Error(`IO error: ${directory}/LOCK: ${message}`) }));
      await expect(openStore({ ...optionsFor(directory, events), openDatabase })).rejects.toMatchObject({ code: "unavailable", message: expect.stringContaining(message) });
      expect((await readdir(directory)).sort()).toEqual(before);
      expect(events).toEqual([]);
      store = await openStore(optionsFor(directory, events));
      expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
    },
  );

  it("takes a permission that is missing for a mistake where no store is yet", async () => {
    const openDatabase = async (): Promise<never> => Promise.reject(new Error("IO error: Permission denied"));
    await expect(openStore({ ...optionsFor(directory, events), openDatabase })).rejects.toMatchObject({ code: "unwritable" });
  });

  it.each(["CURRENT", "MANIFEST"])("repairs a damaged %s and keeps what was stored", async (damaged) => {
    await fillAndClose();
    for (const name of await readdir(directory)) if (name.startsWith(damaged)) await writeFile(join(directory, name), "damaged");
    store = await openStore(optionsFor(directory, events));
    expect(events.map(({ kind }) => kind)).toEqual(["repaired"]);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it("repairs a store without CURRENT instead of taking it for a new one", async () => {
    await fillAndClose();
    await rm(join(directory, "CURRENT"));
    store = await openStore(optionsFor(directory, events));
    expect(events.map(({ kind }) => kind)).toEqual(["repaired"]);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it.each(["MANIFEST-0000\u00002\n", "\u0000".repeat(9) + "000002\n", "\n", ".\n", `${"A".repeat(5_000)}\n`])("repairs a store whose CURRENT names no manifest: %j", async (content) => {
    await fillAndClose();
    await writeFile(join(directory, "CURRENT"), content);
    store = await openStore(optionsFor(directory, events));
    expect(events.map(({ kind }) => kind)).toEqual(["repaired"]);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it("says that a log is missing", async () => {
    await fillAndClose();
    for (const name of await readdir(directory)) if (name.endsWith(".log")) await rm(join(directory, name));
    store = await openStore(optionsFor(directory, events));
    expect(events).toEqual([{ kind: "repaired", detail: expect.stringMatching(/the log \d+ is missing/) as string }]);
  });

  it("keeps what a start has made a table of where a power cut takes back that CURRENT was renamed, and not that the log was deleted", async () => {
    await fillAndClose();
    const before = join(root, "before");
    await cp(directory, before, { recursive: true });
    await (await openStore(optionsFor(directory))).close();
    for (const name of await readdir(before)) if (name === "CURRENT" || name.startsWith("MANIFEST-")) await cp(join(before, name), join(directory, name));
    store = await openStore(optionsFor(directory, events));
    expect(events.map(({ kind }) => kind)).toEqual(["repaired"]);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it("mends a table of pages alone that is cut short, which nothing but the reading of pages would find", async () => {
    await fillAndClose();
    const behind = await openLevelDatabase(directory);
    const tables: string[] = [];
    for (let part = 0; part < 3; part++) {
      const before = new Set(await readdir(directory));
      await behind.batch(Array.from({ length: 200 }, (_, index) => ({ type: "put", key: pageKey(1, 0, part * 1_000 + index + 1), value: randomBytes(1_000) })));
      await behind.compactRange(Buffer.from([0]), Buffer.from([0])); // out of memory, and no further
      tables.push(...(await readdir(directory)).filter((name) => name.endsWith(".ldb") && !before.has(name)));
    }
    await behind.close();
    expect(tables).toHaveLength(3);
    const [, table = ""] = tables;
    await truncate(join(directory, table), 100_000);
    store = await openStore(optionsFor(directory, events));
    expect(events).toEqual([
      { kind: "damaged", detail: expect.stringContaining(table) as string },
      { kind: "repaired", detail: expect.stringContaining(table) as string },
    ]);
    const found = await store.read(pageKey(1, 0, 1_000), pageKey(1, 0, 2_000), 1e6);
    expect(found.length).toBeGreaterThan(90);
    expect(found.length).toBeLessThan(100);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  const beyondRepair = async (): Promise<never> => Promise.reject(Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" }));

  it("sets a store aside that is damaged beyond repair, and starts empty", async () => {
    await fillAndClose();
    let attempts = 0;
    store = await openStore({ ...optionsFor(directory, events), openDatabase: (at) => (++attempts <= 2 ? beyondRepair() : openLevelDatabase(at)) });
    expect(events.map(({ kind }) => kind)).toEqual(["setAside"]);
    expect(await readText(store, "r", "s")).toEqual([]);
    expect((await readdir(root)).sort()).toEqual(["store", expect.stringMatching(/^store\.corrupt-\d{14}$/)]);
  });

  it("refuses to start on it when strict", async () => {
    await fillAndClose();
    await expect(openStore({ ...optionsFor(directory, events), strict: true, openDatabase: beyondRepair })).rejects.toMatchObject({ code: "corrupt" });
    expect(await readdir(root)).toEqual(["store"]);
  });

  it("leaves a store alone that another program or version has written", async () => {
    await mkdir(directory);
    const foreign = await openLevelDatabase(directory);
    await foreign.put(Buffer.from("f"), Buffer.from('{"format":99}'));
    await foreign.close();
    await expect(openStore(optionsFor(directory))).rejects.toMatchObject({ code: "format" });
  });

  it.each([1, 2])("takes up a store of format %i, whose pages stood elsewhere", async (format) => {
    await mkdir(directory);
    const old = await openLevelDatabase(directory);
    const text = Buffer.from("kept");
    await old.put(Buffer.from("f"), Buffer.from(`{"format":${format}}`));
    await old.put(Buffer.from("s1"), format === 1 ? text : seal(Buffer.from("s1"), text));
    await old.put(Buffer.from("p1"), Buffer.from("page"));
    await old.put(Buffer.from("z0"), Buffer.from("moved before a kill"));
    await old.close();
    for (let start = 0; start < 2; start++) {
      const opened = await openStore(optionsFor(directory, events));
      expect(await readText(opened, "g", "{")).toEqual([["s1", "kept"], ["z0", "moved before a kill"], ["z1", "page"]]);
      await opened.close();
    }
    expect(events).toEqual([]);
  });

  it("leaves out a record with a flipped bit, and says so", async () => {
    const filled = await openStore(optionsFor(directory));
    const keeper = new TestKeeper();
    for (const key of ["s1", "s2", "s3"]) keeper.changes.set(key, "kept");
    await untilStored(filled, filled.touch(keeper, "synced"));
    await filled.close();
    const behind = await openLevelDatabase(directory);
    const value = await behind.get(Buffer.from("s2"));
    if (value === undefined) throw new Error("s2 is missing");
    value[1] = (value[1] ?? 0) ^ 1;
    await behind.put(Buffer.from("s2"), value);
    await behind.close();
    store = await openStore(optionsFor(directory, events));
    expect((await readText(store, "s", "t")).map(([key]) => key)).toEqual(["s1", "s3"]);
    expect(events.map(({ kind }) => kind)).toEqual(["damaged"]);
  });

  it("has what is queued taken up when a queue's progress record is damaged", async () => {
    await fillAndClose();
    const behind = await openLevelDatabase(directory);
    await behind.put(queueKey(1, 0), Buffer.from("no such CRC"));
    await behind.close();
    store = await openStore(optionsFor(directory, events));
    expect(store.wasRepaired).toBe(true);
  });

  it.each([
    ["failed", "IO error: Input/output error"],
    ["full", "IO error: No space left on device"],
  ])("calls nothing stored while batches fail (%s), then reopens and writes the same group", async (state, message) => {
    const { openDatabase, opened } = failingDatabase(2, message);
    const opening = await openStore({ ...optionsFor(directory, events), openDatabase });
    store = opening;
    const seen: (string | number)[] = [];
    opening.onState((to) => seen.push(to));
    opening.onStored((upTo) => seen.push(upTo));
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "kept");
    const group = opening.touch(keeper, "synced");
    await untilStored(opening, group);
    expect(seen).toEqual([state, "healthy", group]);
    expect(opened()).toBe(3);
    expect(keeper.asked).toBe(1);
    expect(events.map(({ kind }) => kind)).toEqual(["writeFailed", "writeRecovered"]);
    expect(await readText(opening, "r", "s")).toEqual([["r1", "kept"]]);
  });

  describe.each(causes)("whose writes fail with %s", (cause) => {
    it.each(["append", "sync"] as const)("on %s: calls nothing stored meanwhile, then all of it, in order, and has it after a kill", async (how) => {
      const faulty = new FaultyDatabase();
      const failing = await openStore({ ...optionsFor(directory, events), openDatabase: faulty.openDatabase });
      store = failing;
      const expected: [string, string][] = [];
      const stored: number[] = [];
      failing.onStored((upTo) => stored.push(upTo));
      const state = (wanted: string): Promise<void> => new Promise((resolve) => (failing.state === wanted ? resolve() : failing.onState((to) => to === wanted && resolve())));
      let group = 0;
      for (let round = 0; round < 3; round++) {
        for (let at = 0; at < 3; at++) {
          const keeper = new TestKeeper();
          const key = `r${round}${at}`;
          keeper.changes.set(key, `value of ${key}`);
          expected.push([key, `value of ${key}`]);
          if (at === 1) faulty.fail(how, cause);
          group = failing.touch(keeper, "synced");
          if (at === 0) await untilStored(failing, group);
          else if (at === 1) {
            await state(cause.startsWith("No space") ? "full" : "failed");
            expect(failing.stored).toBe(group - 1);
            // Reads go on, with the batch that failed or without it.
            expect((await readText(failing, "r", "s")).slice(0, expected.length - 1)).toEqual(expected.slice(0, -1));
          } else {
            faulty.failing = undefined;
            await untilStored(failing, group);
          }
        }
      }
      expect(failing.state).toBe("healthy");
      expect(stored).toEqual(Array.from({ length: group }, (_, index) => index + 1));
      expect(faulty.writesToSpoilt).toBe(0);
      expect(events.map(({ kind }) => kind)).toEqual(["writeFailed", "writeRecovered", "writeFailed", "writeRecovered", "writeFailed", "writeRecovered"]);
      // What a killed process leaves.
      const killed = join(root, "killed");
      await cp(directory, killed, { recursive: true });
      const after = await openStore(optionsFor(killed));
      expect(await readText(after, "r", "s")).toEqual(expected);
      await after.close();
    });
  });

  it.each(["append", "sync"] as const)("keeps what rides on pages through batches that fail on %s", async (how) => {
    const faulty = new FaultyDatabase();
    const growing = await openStore({ ...optionsFor(directory, events), openDatabase: faulty.openDatabase });
    store = growing;
    for (let seq = 1; seq <= 30; seq++) {
      const isFailing = seq % 5 === 0;
      if (isFailing) faulty.fail(how, causes[1]);
      const failed = new Promise<void>((resolve) => growing.onState((to) => to === "failed" && resolve()));
      // Every thirteenth ends the ride.
      const group = growing.touch({
        writeTo: (writer) => {
          writer.put(pageKey(1, 0, seq), Buffer.from(`page ${seq}`));
          writer.put(queueKey(1, 0), Buffer.from(`progress ${seq}`));
          writer.put(queueKey(seq, 1), Buffer.from(`progress ${seq}`));
          if (seq % 13 === 0) writer.put(sessionKey(seq), Buffer.from("session"));
        },
      }, "synced");
      if (isFailing) await failed;
      faulty.failing = undefined;
      await untilStored(growing, group);
      expect(faulty.writesToSpoilt).toBe(0);
    }
    const killed = join(root, "killed");
    await cp(directory, killed, { recursive: true });
    const after = await openStore(optionsFor(killed));
    expect((await after.read(Buffer.from("z"), Buffer.from("{"), 1 << 20)).map(([, value]) => value.toString())).toEqual(Array.from({ length: 30 }, (_, index) => `page ${index + 1}`));
    expect((await after.read(Buffer.from("q"), Buffer.from("r"), 1 << 20)).map(([, value]) => value.toString())).toEqual(["progress 30", ...Array.from({ length: 30 }, (_, index) => `progress ${index + 1}`)]);
    await after.close();
  });

  it("waits for a handle to read from while none can be opened, and keeps what waits to be written", async () => {
    const faulty = new FaultyDatabase();
    store = await openStore({ ...optionsFor(directory, events), openDatabase: faulty.openDatabase });
    faulty.reopenFails = true;
    faulty.fail("append", causes[1]);
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "kept");
    const group = store.touch(keeper, "synced");
    const opening = store;
    await new Promise<void>((resolve) => opening.onState((to) => to === "failed" && resolve()));
    setTimeout(() => (faulty.failing = undefined), 500);
    await untilStored(store, group);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  async function sizeOfTables(): Promise<number> {
    const sizes = (await readdir(directory)).filter((name) => name.endsWith(".ldb")).map(async (name) => (await stat(join(directory, name))).size);
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  /** Writes 400 pages of 60,000 bytes in all, and deletes them. */
  async function fillAndDrain(filled: LevelStore): Promise<void> {
    const pages = Array.from({ length: 400 }, (_, page) => pageKey(1, 0, page));
    for (let from = 0; from < pages.length; from += 40) {
      const some = pages.slice(from, from + 40);
      await untilStored(filled, filled.touch({ writeTo: (group) => some.forEach((key) => group.put(key, randomBytes(60_000))) }, "synced"));
    }
    await untilStored(filled, filled.touch({ writeTo: (group) => pages.forEach((key) => group.delete(key)) }, "synced"));
  }

  it("deletes the pages of a drain by and by, so that nobody waits for many, and all of them soon", async () => {
    const sizes: number[] = [];
    const drained = await openStore({ ...optionsFor(directory, events), openDatabase: countingBatches(sizes) });
    store = drained;
    const pages = Array.from({ length: 2_300 }, (_, page) => page + 1);
    await untilStored(drained, drained.touch({ writeTo: (group) => pages.forEach((page) => group.put(pageKey(1, 0, page), Buffer.from("page"))) }, "synced"));
    sizes.length = 0;
    const progress = { writeTo: (group: GroupWriter) => (group.discard(1, 0, pages, 2_300 * 4), group.put(queueKey(1, 0), Buffer.from("told"))) };
    await untilStored(drained, drained.touch(progress, "synced"));
    await expect.poll(() => drained.read(pageKey(1, 0, 0), pageKey(1, 0, 9_999), 1_000_000), { timeout: 3_000 }).toEqual([]);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(2_300);
    expect(Math.max(...sizes)).toBeLessThan(510);
  });

  it("makes small tables of pages that are added in order, since tables are mapped as they are", async () => {
    const growing = await openStore(optionsFor(directory, events));
    store = growing;
    const tables = async (): Promise<string[]> => (await readdir(directory)).filter((name) => name.endsWith(".ldb")).sort();
    let seq = 0;
    const add = async (pages: number): Promise<void> => {
      for (const last = seq + pages; seq < last; ) {
        const key = pageKey(1, 0, ++seq);
        await untilStored(growing, growing.touch({ writeTo: (group) => group.put(key, randomBytes(200_000)) }, "synced"));
      }
    };
    await add(60); // one full write buffer, and what it takes to see that pages come in order
    for (let round = 0; round < 4; round++) {
      const before = await tables();
      await add(7);
      await expect.poll(async () => (await tables()).length).toBeGreaterThan(before.length);
    }
    const [last = ""] = (await tables()).slice(-1);
    expect((await stat(join(directory, last))).size).toBeLessThan(3_000_000);
  });

  it("compacts what was deleted while the disk is full", async () => {
    let free = 1000;
    const room = await openStore({ ...optionsFor(directory, events), minFreeBytes: 1000, freeBytes: () => Promise.resolve(free) });
    store = room;
    await fillAndDrain(room);
    free = 999;
    await expect.poll(sizeOfTables, { timeout: 15_000 }).toBeLessThan(1_000_000);
  });

  it("compacts it once more when there is room for that, after a compaction that has found none", async () => {
    let free = 999;
    let aheadMs = 0;
    const laterClock = Object.assign(new SystemClock(), { nowMs: () => Date.now() + aheadMs });
    let isFilled = false;
    const openDatabase = async (path: string): Promise<Database> => {
      const database = await openLevelDatabase(path);
      const batch = database.batch.bind(database) as (...changes: unknown[]) => unknown;
      const compactRange = database.compactRange.bind(database) as (from: Buffer, to: Buffer) => Promise<void>;
      return Object.assign(database, {
        batch: (...changes: unknown[]) => (isFilled ? Promise.reject(new Error("IO error: No space left on device")) : batch(...changes)),
        // LevelDB tells of a compaction that fails with the next write alone.
        compactRange: (from: Buffer, to: Buffer) => (isFilled ? Promise.resolve() : compactRange(from, to)),
      });
    };
    const room = await openStore({ ...optionsFor(directory, events), clock: laterClock, minFreeBytes: 1000, freeBytes: () => Promise.resolve(free), openDatabase });
    store = room;
    await expect.poll(() => room.figures.compactions).toBe(1); // of all there was
    await fillAndDrain(room);
    isFilled = true;
    free = 0;
    await room.watchRoom();
    await expect.poll(() => room.figures.compactions).toBeGreaterThan(1);
    const stored = untilStored(room, room.touch({ writeTo: (group) => group.put(queueKey(1, 0), Buffer.from("progress")) }, "synced"));
    await expect.poll(() => room.figures.failures).toBeGreaterThan(0);
    expect(await sizeOfTables()).toBeGreaterThan(16_000_000);
    isFilled = false;
    free = 999;
    await stored;
    aheadMs = 60_000;
    await room.watchRoom();
    await expect.poll(sizeOfTables, { timeout: 15_000 }).toBeLessThan(1_000_000);
  });

  it("compacts what was deleted when much was and no more is, in slices, with room enough too", { timeout: 40_000 }, async () => {
    const draining = await openStore(optionsFor(directory, events));
    store = draining;
    await fillAndDrain(draining);
    await expect.poll(sizeOfTables).toBeGreaterThan(16_000_000);
    // It is looked at every five seconds.
    await expect.poll(sizeOfTables, { timeout: 30_000 }).toBeLessThan(1_000_000);
    await expect.poll(() => draining.figures.compactions).toBe(2);
  });

  it("does not call close done when the disk refuses to the end", async () => {
    const { openDatabase } = failingDatabase(100, "IO error: Input/output error");
    const failing = await openStore({ ...optionsFor(directory, events), openDatabase });
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "lost");
    failing.touch(keeper, "synced");
    await expect(failing.close()).rejects.toMatchObject({ code: "unwritable" });
    expect(failing.stored).toBe(0);
  });

  it("is full when there is too little room, and still written", async () => {
    store = await openStore({ ...optionsFor(directory, events), minFreeBytes: 1000, freeBytes: () => Promise.resolve(999) });
    expect(store.state).toBe("full");
    expect(events.map(({ kind }) => kind)).toEqual(["full"]);
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "progress");
    await untilStored(store, store.touch(keeper, "synced"));
    expect(await readText(store, "r", "s")).toEqual([["r1", "progress"]]);
  });

  it("is full without the room of a reserve as long as there is none, whatever is to be free", async () => {
    let free = 999;
    store = await openStore({ ...optionsFor(directory, events), reserveBytes: 1000, freeBytes: () => Promise.resolve(free) });
    expect(store.state).toBe("full");
    await store.close();

    free = 2000; // for a reserve, too
    store = await openStore({ ...optionsFor(directory, events), reserveBytes: 1000, freeBytes: () => Promise.resolve(free) });
    const { figures } = store;
    await expect.poll(() => figures.reserveBytes).toBe(1000);
    await store.close();

    free = 0;
    store = await openStore({ ...optionsFor(directory, events), reserveBytes: 1000, freeBytes: () => Promise.resolve(free) });
    expect(store.state).toBe("healthy");
  });

  it("collects for commit_interval_ms what shares one sync, and counts it", async () => {
    const collecting = await openStore({ ...optionsFor(directory), commitIntervalMs: 200 });
    store = collecting;
    const [first, second] = [new TestKeeper(), new TestKeeper()];
    first.changes.set("r1", "one");
    const startMs = performance.now();
    const group = collecting.touch(first, "synced");
    await new Promise((resolve) => setTimeout(resolve, 50));
    second.changes.set("s1", "two");
    expect(collecting.touch(second, "synced")).toBe(group);
    expect(first.asked).toBe(0);
    first.changes.set("r1", "one again");
    await untilStored(collecting, group);
    expect(performance.now() - startMs).toBeGreaterThan(190);
    expect(await readText(collecting, "r", "t")).toEqual([["r1", "one again"], ["s1", "two"]]);
    expect(collecting.figures).toMatchObject({ groups: 1, syncs: 1, failures: 0, loggedBytes: "r1one agains1two".length, storedBytes: "one again".length });
  });

  it("admits nothing in the room of a reserve that was given up, until it can be made again", async () => {
    const { openDatabase } = failingDatabase(1, "No space left on device");
    const events: StoreEvent[] = [];
    let free = 100_000;
    const options = { ...optionsFor(directory, events), reserveBytes: 4096, openDatabase, freeBytes: () => Promise.resolve(free) };
    const holding = await openStore(options);
    await expect.poll(() => holding.figures.reserveBytes).toBe(4096);
    free = 8_000;
    const keeper = new TestKeeper();
    keeper.changes.set("key", "value");
    await untilStored(holding, holding.touch(keeper, "synced"));
    await expect.poll(() => holding.state).toBe("full");
    expect(events.at(-1)).toEqual({ kind: "full", detail: "8000 bytes free, 8192 wanted" });
    free = 8_192;
    await holding.watchRoom();
    expect(holding.state).toBe("healthy");
    await expect.poll(() => holding.figures.reserveBytes).toBe(4096);
    await holding.close();
  });

  it("knows at a start that the reserve was given up before", async () => {
    const { openDatabase } = failingDatabase(1, "No space left on device");
    let free = 100_000;
    const options = { ...optionsFor(directory), reserveBytes: 4096, freeBytes: () => Promise.resolve(free) };
    const before = await openStore({ ...options, openDatabase });
    await expect.poll(() => before.figures.reserveBytes).toBe(4096);
    free = 8_000;
    const keeper = new TestKeeper();
    keeper.changes.set("key", "value");
    await untilStored(before, before.touch(keeper, "synced"));
    await before.close();
    const after = await openStore(options);
    expect(after.state).toBe("full");
    free = 8_192;
    await after.watchRoom();
    expect(after.state).toBe("healthy");
    await expect.poll(() => after.figures.reserveBytes).toBe(4096);
    await after.close();
  });

  it.each([["has none", 1, []], ["has one", 2, ["reserve"]], ["has one, and a table that no manifest names", 3, ["reserve", "000900.ldb"]]] as const)(
    "tries to open a database for which there is no room only as often as there is some to be made: it %s",
    async (_, tries, names) => {
      await (await openStore(optionsFor(directory))).close();
      for (const name of names) await writeFile(join(directory, name), "some");
      let opened = 0;
      const openDatabase = (): Promise<never> => {
        opened++;
        return Promise.reject(Object.assign(new Error("IO error: No space left on device"), { code: "LEVEL_IO_ERROR" }));
      };
      await expect(openStore({ ...optionsFor(directory), openDatabase })).rejects.toMatchObject({ code: "unavailable" });
      expect(opened).toBe(tries);
    },
  );

  it("holds a reserve", async () => {
    const reserving = await openStore({ ...optionsFor(directory), reserveBytes: 4096 });
    await reserving.close();
    expect((await stat(join(directory, "reserve"))).size).toBe(4096);
  });
});
