import { randomBytes } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
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
  /** A table that no manifest names. */
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

  it("is not taken for one where a repair was broken off: its tables are what that has made", async () => {
    rmSync(path.join(disk.storeFolder, "CURRENT"));
    disk.fill();
    await expect(open()).rejects.toMatchObject({ code: "unavailable" });
    expect(existsSync(unfinished())).toBe(true);
  });
});
