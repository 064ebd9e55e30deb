import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase } from "../../src/store/database.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent, type StoreOptions } from "../../src/store/open.ts";
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
    await foreign.put(Buffer.from("f"), Buffer.from('{"format":2}'));
    await foreign.close();
    await expect(openStore(optionsFor(directory))).rejects.toMatchObject({ code: "format" });
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

  it("holds a reserve", async () => {
    const reserving = await openStore({ ...optionsFor(directory), reserveBytes: 4096 });
    await reserving.close();
    expect((await stat(join(directory, "reserve"))).size).toBe(4096);
  });
});
