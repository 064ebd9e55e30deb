import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { openLevelDatabase } from "../../src/store/database.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent, type StoreOptions } from "../../src/store/open.ts";
import { noSmallDisk, SmallDisk } from "../scenario/small-disk.ts";
import { readText, TestKeeper, untilStored } from "./contract.ts";

const MIB = 1024 * 1024;
const problem = noSmallDisk();

describe.skipIf(problem !== undefined)(problem === undefined ? "a compaction that a kill has ended on a full disk" : `skipped: no small disk: ${problem}`, () => {
  let disk: SmallDisk;
  let store: LevelStore | undefined;
  let events: StoreEvent[];

  const open = (options: Partial<StoreOptions> = {}): Promise<LevelStore> =>
    openStore({
      directory: disk.storeFolder, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event), ...options,
    });
  /** A table that the manifest does not name. */
  const unfinished = (): string => path.join(disk.storeFolder, "000900.ldb");

  beforeEach(async () => {
    disk = new SmallDisk(24);
    events = [];
    store = await open();
    const keeper = new TestKeeper();
    keeper.changes.set("r1", "kept");
    await untilStored(store, store.touch(keeper, "synced"));
    await store.close();
    writeFileSync(unfinished(), randomBytes(4 * MIB));
    disk.fill();
  });

  afterEach(async () => {
    await store?.close().catch(() => undefined);
    disk.remove();
  });

  it("has left tables, whose room a start takes that finds no other", async () => {
    store = await open();
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
    expect(existsSync(unfinished())).toBe(false);
  });

  it("has left tables, whose room is taken when the reserve's is not enough", async () => {
    disk.clear();
    store = await open({ reserveBytes: 4096 });
    await store.close();
    writeFileSync(unfinished(), randomBytes(4 * MIB));
    disk.fill();
    store = await open({ reserveBytes: 4096 });
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
    expect(existsSync(unfinished())).toBe(false);
  });

  it("has left what it had made anew, whose room a start takes that finds no other", async () => {
    disk.clear();
    rmSync(unfinished());
    const tables = (): string[] => readdirSync(disk.storeFolder).filter((name) => name.endsWith(".ldb")).sort();
    const database = await openLevelDatabase(disk.storeFolder);
    await database.put(Buffer.from("x"), randomBytes(4 * MIB));
    await database.compactRange(Buffer.from([0]), Buffer.from([255]));
    await database.put(Buffer.from("x"), Buffer.from([1]));
    const before = tables().map((name) => ({ at: path.join(disk.storeFolder, name), bytes: readFileSync(path.join(disk.storeFolder, name)) }));
    await database.compactRange(Buffer.from([0]), Buffer.from([255]));
    await database.del(Buffer.from("x"));
    await database.close();
    const gone = before.filter(({ at }) => !existsSync(at));
    expect(gone.reduce((sum, { bytes }) => sum + bytes.length, 0)).toBeGreaterThan(4 * MIB);
    const needed = tables();
    // LevelDB removes them at the next start, after it has written what there is no room for.
    for (const { at, bytes } of gone) writeFileSync(at, bytes);
    disk.fill();
    store = await open();
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
    expect(gone.filter(({ at }) => existsSync(at))).toEqual([]);
    expect(tables()).toEqual(expect.arrayContaining(needed));
  });

  it("is not taken for one where a repair was broken off: its tables are what that has made", async () => {
    rmSync(path.join(disk.storeFolder, "CURRENT"));
    disk.fill();
    await expect(open()).rejects.toMatchObject({ code: "unavailable" });
    expect(existsSync(unfinished())).toBe(true);
  });
});
