import type * as nodeFs from "node:fs";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type OpenDatabase, openLevelDatabase } from "../../src/store/database.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";

/** Which folders were opened, by file, and which of them were synced. */
const opened = new Map<number, string>();
const synced: string[] = [];
/** A folder on a file system that can't sync folders. */
let unsyncable: string | undefined;

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof nodeFs>();
  return {
    ...fs,
    openSync: (...given: Parameters<typeof fs.openSync>) => {
      const file = fs.openSync(...given);
      opened.set(file, String(given[0]));
      return file;
    },
    fsyncSync: (file: number) => {
      if (unsyncable !== undefined && opened.get(file) === unsyncable) throw Object.assign(new Error("EINVAL: invalid argument, fsync"), { code: "EINVAL" });
      synced.push(opened.get(file) ?? "");
      fs.fsyncSync(file);
    },
  };
});

let folder: string;
let events: StoreEvent[];

beforeEach(() => {
  folder = makeFolder("made");
  synced.length = 0;
  unsyncable = undefined;
  events = [];
});
afterEach(() => removeFolder(folder));

async function openAndClose(directory: string, openDatabase: OpenDatabase = openLevelDatabase): Promise<void> {
  const store = await openStore({
    directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event), openDatabase,
  });
  await store.close();
}

it("syncs the names of the folders that it makes, in those above", async () => {
  await openAndClose(path.join(folder, "a", "b", "store"));
  expect(synced).toEqual(expect.arrayContaining([folder, path.join(folder, "a"), path.join(folder, "a", "b")]));
});

it("syncs the store's name where an earlier start was killed before it made a database", async () => {
  const directory = path.join(folder, "store");
  mkdirSync(directory);
  await openAndClose(directory);
  expect(synced).toContain(folder);
});

it("makes a store in a folder whose file system can't sync names, as where another one is mounted on a read-only one", async () => {
  unsyncable = folder;
  await openAndClose(path.join(folder, "store"));
  expect(events).toEqual([]);
});

it("syncs no name where there is a database", async () => {
  const directory = path.join(folder, "store");
  await openAndClose(directory);
  synced.length = 0;
  await openAndClose(directory);
  expect(synced).not.toContain(folder);
});

it("syncs the names of a store that it sets aside, and of the new one", async () => {
  const directory = path.join(folder, "store");
  await openAndClose(directory);
  synced.length = 0;
  let attempts = 0;
  const damaged = async (): Promise<never> => Promise.reject(Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" }));
  await openAndClose(directory, (at) => (++attempts <= 2 ? damaged() : openLevelDatabase(at)));
  expect(events.map(({ kind }) => kind)).toEqual(["setAside"]);
  expect(synced).toContain(folder);
});
