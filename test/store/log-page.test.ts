import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase, WRITE_BUFFER_BYTES, type WriteOperation } from "../../src/store/database.ts";
import { pageKey, queueKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { fillLogPage } from "../../src/store/log-page.ts";
import { openStore, type StoreOptions } from "../../src/store/open.ts";
import { loadPage, recordsOf, ridersOf } from "../../src/store/page-load.ts";
import type { GroupWriter } from "../../src/store/store.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { untilStored } from "./contract.ts";

const LOG_PAGE = 4096;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "amqtdd-log-page-"));
});

afterEach(() => rm(folder, { recursive: true }));

/** Size of LevelDB's newest log. */
async function logBytes(): Promise<number> {
  const logs = (await readdir(folder)).filter((name) => name.endsWith(".log")).sort();
  return (await stat(join(folder, logs.at(-1) ?? ""))).size;
}

const put = (key: Buffer, bytes: number): WriteOperation => ({ type: "put", key, value: Buffer.alloc(bytes, 1) });

it("is as it was, or ends with a page of the log, however many bytes the lengths in it take", () => {
  const key = pageKey(1, 0, 1);
  for (const length of [100, 127, 16_369, 16_370, 16_376, 16_383]) {
    const added = new Set<number>();
    for (let from = 0; from < LOG_PAGE; from++) {
      const operations = [put(queueKey(1, 0), 600), put(key, length)];
      const bytes = fillLogPage(operations, from);
      const [, page] = operations;
      expect(page?.type === "put" && page.value.length).toBe(length + bytes);
      added.add(bytes);
    }
    expect(Math.min(...[...added].filter((bytes) => bytes > 0))).toBe(14);
  }
});

describe("a batch", () => {
  let database: Database;

  beforeEach(async () => {
    database = await openLevelDatabase(folder);
  });

  afterEach(() => database.close());

  it("ends with a page of LevelDB's log if it is padded, wherever it begins and whatever is in it", { timeout: 60_000 }, async () => {
    const rng = seededRng(1);
    const below = (limit: number): number => Math.floor(rng() * limit);
    let padded = 0;
    let seq = 1;
    for (let left = 1500; left > 0; left--) {
      const from = await logBytes();
      const scale = [500, 5000, 20_000][below(3)] ?? 0;
      const key = pageKey(1, 0, seq++);
      const page = put(key, 1 + below(scale));
      const operations: WriteOperation[] = [put(queueKey(1, 0), 50 + below(100)), { type: "del", key: pageKey(2, 0, seq) }, page, put(Buffer.alloc(1 + below(300), "r"), 20)];
      if (page.type === "put" && rng() < 0.5) operations[2] = { ...page, value: loadPage(key, page.value, [{ key: queueKey(1, 0), value: randomBytes(60) }]) };
      const added = fillLogPage(operations, from);
      await database.batch(operations);
      const to = await logBytes();
      if (added > 0) {
        padded++;
        expect(to % LOG_PAGE, `${from} to ${to}`).toBe(0);
        // A page saved for half a page, and never more than half of the group.
        expect(added).toBeLessThanOrEqual(Math.min(LOG_PAGE / 2, (to - from) / 3 + 20));
      }
      const [found] = await database.getMany([key]);
      expect(recordsOf(found ?? expect.fail()).equals(page.type === "put" ? page.value : Buffer.alloc(0))).toBe(true);
    }
    expect(padded).toBeGreaterThan(300);
  });

  it("is as it was where padding would be too much, or there is no message page", () => {
    const small = [put(pageKey(1, 0, 1), 335), put(queueKey(1, 0), 60)];
    expect(fillLogPage(small, 0)).toBe(0);
    expect(fillLogPage([put(queueKey(1, 0), 3500)], 0)).toBe(0);
    expect(fillLogPage([put(pageKey(1, 0, 1), 4096)], 0)).toBe(0);
    expect(fillLogPage([put(pageKey(1, 0, 1), 1_000_000)], 0)).toBe(0);
    expect(small.map((operation) => (operation.type === "put" ? operation.value.length : 0))).toEqual([335, 60]);
  });

  it("keeps what rides on the page that is padded, and nothing else rides there", () => {
    const key = pageKey(1, 0, 1);
    const riders = [{ key: queueKey(1, 0), value: randomBytes(60) }];
    const records = randomBytes(3300);
    for (const carried of [[], riders]) {
      const operations: WriteOperation[] = [{ type: "put", key, value: loadPage(key, records, carried) }];
      expect(fillLogPage(operations, 0)).toBeGreaterThan(0);
      const [page] = operations;
      if (page?.type !== "put") return expect.fail();
      expect(ridersOf(key, page.value)).toEqual(carried);
      expect(recordsOf(page.value).equals(records)).toBe(true);
    }
  });
});

describe("a store", () => {
  const page = (seq: number, bytes = 3350): readonly [Buffer, Buffer] => [pageKey(1, 0, seq), Buffer.alloc(bytes, seq)];
  let store: LevelStore | undefined;

  afterEach(() => store?.close());

  const open = (options: Partial<StoreOptions> = {}): Promise<LevelStore> =>
    openStore({ directory: folder, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: () => undefined, ...options });

  /** A group of one page. */
  async function add(seq: number, bytes?: number): Promise<void> {
    const writeTo = (group: GroupWriter): void => {
      group.put(...page(seq, bytes));
      group.put(queueKey(1, 0), Buffer.alloc(60, seq));
    };
    await untilStored(store ?? expect.fail(), store?.touch({ writeTo }, "synced") ?? 0);
  }

  it("writes one page of its log a group of ten messages, and gives back what it was given", async () => {
    store = await open();
    for (let seq = 1; seq <= 20; seq++) {
      await add(seq);
      expect(await logBytes()).toBe(seq * LOG_PAGE);
    }
    expect(store.figures.loggedBytes).toBeGreaterThan(19 * 4000);
    expect(store.figures.storedBytes).toBe(20 * 3350);
    await store.close();
    store = await open();
    const records = await store.read(Buffer.from([0]), Buffer.from([0xff]), 1 << 20);
    expect(records.map(([key]) => key.toString("latin1", 0, 1)).join("")).toBe(`fq${"z".repeat(20)}`);
    for (let seq = 1; seq <= 20; seq++) expect(records[seq + 1]?.[1].equals(page(seq)[1])).toBe(true);
  });

  it("does so again when LevelDB has begun another log", async () => {
    store = await open();
    await add(1, 1.1 * WRITE_BUFFER_BYTES);
    await add(2); // begins it
    expect(await logBytes()).toBeLessThan(3 * LOG_PAGE);
    for (let seq = 3; seq <= 10; seq++) {
      await add(seq);
      expect((await logBytes()) % LOG_PAGE).toBe(0);
    }
  });

  it("pads nothing on a disk with too little room, or where nothing is synced", async () => {
    for (const options of [{ minFreeBytes: 1, freeBytes: () => Promise.resolve(0) }, { durability: "process" as const }]) {
      store = await open(options);
      await add(1);
      expect(store.figures.loggedBytes).toBeLessThan(3600);
      await store.close();
    }
  });
});
