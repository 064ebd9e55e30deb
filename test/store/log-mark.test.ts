import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";
import { LogMark } from "../../src/store/log-mark.ts";
import { StoreDirectory } from "../../src/store/store-directory.ts";
import { untilStored } from "./contract.ts";

class ShiftedClock extends SystemClock {
  shiftMs = 0;

  override nowMs(): number {
    return super.nowMs() + this.shiftMs;
  }
}

let folder: string;
let clock: ShiftedClock;
let events: StoreEvent[];
let store: LevelStore;

const open = (directory: string): Promise<LevelStore> =>
  openStore({ directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event) });

const put = (text: string): Promise<void> =>
  untilStored(store, store.touch({ writeTo: (group) => group.put(Buffer.from("c" + text), Buffer.alloc(1000)) }, "synced"));

const logOf = (directory: string): string => path.join(directory, readdirSync(directory).find((name) => name.endsWith(".log")) ?? expect.fail("no log"));
const place = (name: string): string => path.join(folder, name);

/** What a kill leaves, with the log cut to so many bytes; what its start tells. */
async function toldAfterCut(bytes: number, name: string): Promise<readonly string[]> {
  cpSync(place("store"), place(name), { recursive: true });
  if (bytes < statSync(logOf(place(name))).size) truncateSync(logOf(place(name)), bytes);
  events = [];
  await (await open(place(name))).close();
  return events.filter(({ kind }) => kind === "damaged").map(({ detail }) => detail);
}

beforeEach(async () => {
  folder = makeFolder("log");
  clock = new ShiftedClock();
  events = [];
  store = await open(place("store"));
});

afterEach(async () => {
  await store.close();
  removeFolder(folder);
});

it("tells a log that was cut short after a kill, but not what was written after the last note", async () => {
  await put("first");
  clock.shiftMs += 5_000;
  await put("second");
  const noted = statSync(logOf(place("store"))).size;
  await expect.poll(() => readFileSync(path.join(place("store"), "logged"), "latin1").trim().endsWith(String(noted))).toBe(true);
  await put("third");
  expect(await toldAfterCut(Infinity, "whole")).toEqual([]);
  expect(await toldAfterCut(noted, "third")).toEqual([]);
  const [told = "nothing"] = await toldAfterCut(noted - 1, "second");
  expect(told).toMatch(new RegExp(`^log \\d+\\.log ends after ${noted - 1} bytes, of which there were ${noted}: what followed is lost$`));
});

it("tells one that was cut short after a stop, once", async () => {
  await put("first");
  await store.close();
  const size = statSync(logOf(place("store"))).size;
  expect(await toldAfterCut(Infinity, "whole")).toEqual([]);
  expect(await toldAfterCut(size - 1, "cut")).toHaveLength(1);
  events = [];
  await (await open(place("cut"))).close();
  expect(events).toEqual([]);
});

it("notes how far the log is as soon as the disk takes it, though it did not at first", async () => {
  const directory = place("later");
  const mark = new LogMark(directory);
  await mark.note("000003.log", 10, 0);
  mkdirSync(directory);
  await mark.note("000003.log", 20, 5_000);
  await mark.close();
  expect(readFileSync(path.join(directory, "logged"), "latin1").trim()).toBe("000003.log 20");
});

it("takes a disk that does not answer for one whose log can't be told", async () => {
  const directory = new StoreDirectory(place("store"), 0);
  await directory.syncNames();
  expect(directory.logBytes()).toBeDefined();
  cpSync(place("store"), place("moved"), { recursive: true });
  await store.close();
  removeFolder(place("store"));
  writeFileSync(place("store"), "");
  expect(directory.logBytes()).toBeUndefined();
  store = await open(place("moved"));
});
