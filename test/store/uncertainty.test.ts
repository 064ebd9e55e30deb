import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type OpenDatabase, openLevelDatabase } from "../../src/store/database.ts";
import { formatKey, pageKey, queueKey, ridersKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent, type StoreOptions } from "../../src/store/open.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";
import { noSmallDisk, SmallDisk } from "../scenario/small-disk.ts";
import { readText, TestKeeper, untilStored } from "./contract.ts";

const corruption = (): Error => Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" });

let folder: string;
let directory: string;
let store: LevelStore | undefined;
let events: StoreEvent[];

beforeEach(async () => {
  folder = makeFolder("uncertain");
  directory = path.join(folder, "store");
  events = [];
  store = await open();
  await put("r1", "kept");
  await store.close();
});

afterEach(async () => {
  await store?.close().catch(() => undefined);
  removeFolder(folder);
});

const open = (options: Partial<StoreOptions> = {}): Promise<LevelStore> =>
  openStore({
    directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event), ...options,
  });

async function put(key: string, value: string): Promise<void> {
  const keeper = new TestKeeper();
  keeper.changes.set(key, value);
  const written = store ?? expect.fail("no store");
  await untilStored(written, written.touch(keeper, "synced"));
}

/** What a start that takes everything up does at last, and that it is stored. */
async function recover(): Promise<void> {
  const recovering = store ?? expect.fail("no store");
  recovering.recovered();
  await put("r2", "later");
}

/** The process is killed; and started again. */
async function kill(options: Partial<StoreOptions> = {}): Promise<void> {
  const killed = path.join(folder, "killed");
  cpSync(directory, killed, { recursive: true });
  await store?.close().catch(() => undefined);
  rmSync(directory, { recursive: true });
  cpSync(killed, directory, { recursive: true });
  removeFolder(killed);
  store = await open(options);
}

function damageManifest(): void {
  const name = readdirSync(directory).find((entry) => entry.startsWith("MANIFEST")) ?? expect.fail("no manifest");
  writeFileSync(path.join(directory, name), "damaged");
}

const marker = (): string => path.join(directory, "uncertain");

/** A database whose second batch fails; the next opening finds damage, if `isDamaged`. */
function failingOnce(isDamaged: () => boolean): OpenDatabase {
  let opened = 0;
  return async (at) => {
    opened++;
    if (opened > 1 && isDamaged()) throw corruption();
    const database = await openLevelDatabase(at);
    if (opened > 1) return database;
    const { batch } = database;
    let writes = 0;
    return Object.assign(database, { batch: (...changes: unknown[]) => (++writes === 2 ? Promise.reject(new Error("IO error")) : (Reflect.apply(batch, database, changes) as unknown)) });
  };
}

/** Damaged at the first look. */
function damagedOnce(): () => boolean {
  let looks = 0;
  return () => ++looks === 1;
}

describe("a store whose records may be older than others that they go with", () => {
  it("is none that nothing has happened to, killed or stopped", async () => {
    store = await open();
    expect(store.wasRepaired).toBe(false);
    await put("r1", "kept");
    await kill();
    expect(store.wasRepaired).toBe(false);
    expect(existsSync(marker())).toBe(false);
  });

  it.each(["power", "process"] as const)("stays so over kills until what was taken up is stored (durability %s)", async (durability) => {
    damageManifest();
    store = await open({ durability });
    expect(store.wasRepaired).toBe(true);
    await kill({ durability });
    expect(store.wasRepaired).toBe(true);
    await put("r1", "kept"); // other groups do not make up for it
    await kill({ durability });
    expect(store.wasRepaired).toBe(true);
    const { syncs } = store.figures;
    await recover();
    expect(store.figures.syncs).toBeGreaterThan(syncs);
    await kill({ durability });
    expect(store.wasRepaired).toBe(false);
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"], ["r2", "later"]]);
  });

  it("stays so over a kill right after what rode on a damaged page was unloaded", async () => {
    store = await open();
    for (let seq = 1; seq <= 12; seq++) {
      const growing = store;
      await untilStored(growing, growing.touch({
        writeTo: (group) => {
          group.put(pageKey(1, 0, seq), Buffer.from(`\0\0\0page ${seq}`));
          group.put(queueKey(1, 0), Buffer.from(`progress ${seq}`));
        },
      }, "synced"));
    }
    const killed = path.join(folder, "riding");
    cpSync(directory, killed, { recursive: true });
    await store.close();
    directory = killed;
    const database = await openLevelDatabase(directory);
    const last = (await database.get(pageKey(1, 0, 12))) ?? expect.fail("no page");
    last[last.length - 6]! ^= 1; // within what rides
    await database.put(pageKey(1, 0, 12), last);
    expect(await database.get(ridersKey)).toBeDefined();
    await database.close();
    store = await open();
    expect(store.wasRepaired).toBe(true);
    await kill();
    expect(store.wasRepaired).toBe(true);
  });

  it("stays so when a repair has lost the format record and the start was killed", async () => {
    const database = await openLevelDatabase(directory);
    await database.del(formatKey);
    await database.close();
    writeFileSync(marker(), "");
    store = await open();
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it("is one that was repaired while it was open: the next start has to take up what is behind its records", async () => {
    store = await open({ openDatabase: failingOnce(damagedOnce()) });
    expect(store.wasRepaired).toBe(false);
    await put("r1", "first");
    await put("r1", "second"); // fails once, and finds damage
    expect(events.map(({ kind }) => kind)).toContain("repaired");
    await store.close();
    store = await open();
    expect(store.wasRepaired).toBe(true);
  });

  it("stays so when it is repaired once more before what the start took up is stored", async () => {
    damageManifest();
    store = await open();
    await store.close();
    let isDamaged = false;
    store = await open({ openDatabase: failingOnce(() => isDamaged && !(isDamaged = false)) });
    await put("r1", "first");
    isDamaged = true;
    await recover();
    expect(events.filter(({ kind }) => kind === "repaired")).toHaveLength(2);
    await kill();
    expect(store.wasRepaired).toBe(true);
  });

  it("is one whose log has lost a part while it was open", async () => {
    const openFailing = failingOnce(() => false);
    let opened = 0;
    store = await open({
      openDatabase: async (at) => {
        const database = await openFailing(at);
        if (++opened === 2) writeFileSync(path.join(at, "LOG"), "000003.log: dropping 100 bytes; Corruption: checksum mismatch\n");
        return database;
      },
    });
    await put("r1", "first");
    await put("r1", "second");
    expect(events.map(({ kind }) => kind)).toContain("damaged");
    await recover();
    await store.close();
    store = await open();
    expect(store.wasRepaired).toBe(true);
  });

  it("is repaired again where a repair was broken off while it was open, not taken for a new one", async () => {
    let attempts = 0;
    store = await open({
      openDatabase: async (at) => {
        if (++attempts === 2) rmSync(path.join(at, "CURRENT"));
        if (attempts === 2) throw new Error("IO error: No space left on device");
        const database = await openLevelDatabase(at);
        if (attempts > 1) return database;
        return Object.assign(database, { batch: () => Promise.reject(new Error("IO error")) });
      },
    });
    await put("r2", "later");
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"], ["r2", "later"]]);
    expect(events.map(({ kind }) => kind)).toContain("repaired");
  });
});

describe("when it can't be noted that a store is uncertain", () => {
  const contents = (): string[] => readdirSync(directory).filter((name) => /^(CURRENT|MANIFEST|\d)/.test(name)).map((name) => `${name} ${readFileSync(path.join(directory, name), "hex")}`);

  it("a start repairs nothing", async () => {
    damageManifest();
    mkdirSync(marker());
    const before = contents();
    await expect(open()).rejects.toMatchObject({ code: "unwritable" });
    expect(contents()).toEqual(before);
    rmdirSync(marker());
    store = await open();
    expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
  });

  it("nothing is repaired while it is open, nor called stored, until that works", async () => {
    let isDamaged = true;
    store = await open({ openDatabase: failingOnce(() => isDamaged) });
    const failing = store;
    await put("r1", "first");
    mkdirSync(marker());
    const failed = new Promise<void>((resolve) => failing.onState((state) => state === "failed" && resolve()));
    const stored = put("r1", "second");
    await failed;
    const before = failing.stored;
    await expect.poll(() => failing.figures.failures, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(failing.stored).toBe(before);
    expect(events.map(({ kind }) => kind)).toEqual(["writeFailed"]);
    rmdirSync(marker());
    isDamaged = false;
    await stored;
    expect(await readText(failing, "r", "s")).toEqual([["r1", "second"]]);
  });

  const problem = noSmallDisk();
  it.skipIf(problem !== undefined).each(["read-only", "full"] as const)(
    problem === undefined ? "on a %s disk the store is left as it is, and repaired later" : `skipped: no small disk can be made here (${problem})`,
    async (how) => {
      const disk = new SmallDisk(8);
      try {
        damageManifest();
        cpSync(directory, disk.storeFolder, { recursive: true });
        directory = disk.storeFolder;
        if (how === "full") disk.fill();
        else disk.remount("ro");
        await expect(open()).rejects.toMatchObject({ code: "unavailable" });
        if (how === "full") disk.clear();
        else disk.remount("rw");
        store = await open();
        expect(store.wasRepaired).toBe(true);
        expect(await readText(store, "r", "s")).toEqual([["r1", "kept"]]);
        await store.close();
      } finally {
        disk.remove();
      }
    },
  );
});
