import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase } from "../../src/store/database.ts";
import { formatKey, incomingKey, isPageKey, pageKey, queueKey, ridersKey, sessionKey, timeKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import { loadPage, recordsOf, ridersOf } from "../../src/store/page-load.ts";
import { Riders } from "../../src/store/riders.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { type Change, groupOf, page, progress } from "./changes.ts";

/** What LevelDB gets of so many groups that add a page each. */
function grow(riders: Riders, from: number, to: number): string[][] {
  const written: string[][] = [];
  for (let seq = from; seq <= to; seq++) {
    const { operations } = riders.batchOf(groupOf([page(seq), progress(seq)]), 0);
    written.push(operations.map(({ key }) => (isPageKey(key) ? "page" : key.equals(ridersKey) ? "riders" : "other")));
  }
  return written;
}

describe("records that ride on pages", () => {
  let directory: string;
  let database: Database;
  let store: LevelStore | undefined;
  let events: StoreEvent[];

  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), "amqtdd-riders-")), "store");
    store = undefined;
    events = [];
    await (await open()).close();
    database = await openLevelDatabase(directory);
  });

  afterEach(async () => {
    await store?.close();
    await database.close();
    await rm(join(directory, ".."), { recursive: true });
  });

  const open = (): Promise<LevelStore> =>
    openStore({ directory, durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event) });

  async function write(riders: Riders, changes: readonly Change[]): Promise<void> {
    await database.batch(riders.batchOf(groupOf(changes), 0).operations);
  }

  /** What a start finds. */
  async function found(): Promise<Map<string, string>> {
    await database.close();
    store = await open();
    const records = await store.read(Buffer.from([0]), Buffer.from([0xff]), 1 << 20);
    return new Map(records.filter(([key]) => !key.equals(formatKey)).map(([key, value]) => [key.toString("latin1"), value.toString()]));
  }

  it("do not begin to while queues take turns: each time one ended it there would be a sync", () => {
    const riders = new Riders();
    const batches = Array.from({ length: 60 }, (_, at) => riders.batchOf(groupOf([page(at + 1, 1 + (at % 3)), progress(at + 1, 1 + (at % 3))]), 0));
    expect(batches.filter(({ mustSync }) => mustSync)).toEqual([]);
    expect(batches.flatMap(({ operations }) => operations.filter(({ key }) => key.equals(ridersKey)))).toEqual([]);
  });

  it("leave the tables to pages while a queue grows", () => {
    const riders = new Riders();
    const written = grow(riders, 1, 12);
    expect(written.slice(0, 7)).toEqual(Array.from({ length: 7 }, () => ["page", "other"]));
    expect(written[7]).toEqual(["page", "other", "riders"]);
    expect(written.slice(8)).toEqual(Array.from({ length: 4 }, () => ["page"]));
  });

  it.each<[string, Change]>([
    ["deletes a page", [pageKey(1, 0, 1), undefined]],
    ["ends a queue", [queueKey(2, 0), undefined]],
    ["changes anything else", [sessionKey(2), "session"]],
  ])("are written by themselves, synced, with the group that %s", (_, change) => {
    const riders = new Riders();
    grow(riders, 1, 12);
    const { operations, mustSync } = riders.batchOf(groupOf([page(13), change]), 0);
    expect(mustSync).toBe(true);
    expect(operations.map(({ type, key }) => `${type} ${key.toString("latin1")}`)).toEqual([
      `put ${queueKey(1, 0).toString("latin1")}`, "del j", `put ${pageKey(1, 0, 13).toString("latin1")}`, `${change[1] === undefined ? "del" : "put"} ${change[0].toString("latin1")}`,
    ]);
    expect(riders.batchOf(groupOf([page(14), progress(14)]), 0)).toMatchObject({ mustSync: false });
  });

  it("are few: what does not fit is written", () => {
    const riders = new Riders();
    grow(riders, 1, 12);
    const many = Array.from({ length: 256 }, (_, block): Change => [incomingKey(1, block), "x".repeat(20)]);
    expect(riders.batchOf(groupOf([page(13), ...many]), 0).operations.length).toBeGreaterThan(many.length);
  });

  it("are more on a larger group, as many queues have", () => {
    const riders = new Riders();
    grow(riders, 1, 12);
    const many = Array.from({ length: 200 }, (_, session): Change => [queueKey(1 + session, 0), "x".repeat(60)]);
    const large: Change = [pageKey(1, 0, 13), "x".repeat(240_000)];
    expect(riders.batchOf(groupOf([large, ...many]), 0)).toMatchObject({ growth: "inOrder", operations: { length: 1 } });
    expect(riders.batchOf(groupOf([page(14), progress(14)]), 0)).toMatchObject({ growth: undefined, mustSync: true });
  });

  it("are found by a start, whatever came before and whenever the daemon was killed", { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = seededRng(seed);
      const riders = new Riders();
      const model = new Map<string, string>();
      const next = [1, 1, 1];
      const first = [1, 1, 1];
      for (let left = Math.floor(rng() * 120); left > 0; left--) {
        const session = rng() < 0.9 ? 1 : 2;
        const changes: Change[] = [];
        if (rng() < 0.9) {
          const at = next[session] ?? 0;
          changes.push(page(at, session), progress(at, session));
          if (rng() < 0.2) changes.push(page(at + 1, session), [timeKey, `time ${at}`]);
          next[session] = at + 2;
        }
        if (rng() < 0.1) changes.push(progress(1000 + left, 2));
        if (rng() < 0.2) changes.push([incomingKey(session, 0), `incoming ${left}`]);
        if (rng() < 0.04) changes.push([sessionKey(session), `session ${left}`]);
        if (rng() < 0.06) {
          for (let from = first[session] ?? 1; from < (next[session] ?? 1) - 2; from++) changes.push([pageKey(session, 0, from), undefined]);
          first[session] = Math.max(first[session] ?? 1, (next[session] ?? 1) - 2);
        }
        await write(riders, changes);
        for (const [key, value] of changes) {
          if (value === undefined) model.delete(key.toString("latin1"));
          else model.set(key.toString("latin1"), value);
        }
      }
      expect(Object.fromEntries(await found()), `seed ${seed}`).toEqual(Object.fromEntries(model));
      expect(store?.wasRepaired).toBe(false);
      await store?.close();
      database = await openLevelDatabase(directory);
      await database.clear({ gt: formatKey });
    }
    expect(events).toEqual([]);
  });

  it("hold what a synced group held, whichever unsynced groups a power cut takes", { timeout: 60_000 }, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const rng = seededRng(seed);
      const riders = new Riders();
      /** By key: the number of the last synced group that put it, and whether that group deleted it. */
      const surely = new Map<string, number>();
      let firstPage = 1;
      let nextPage = 1;
      const surviving = 1 + Math.floor(rng() * 100);
      for (let number = 1; number <= surviving; number++) {
        const at = String(number).padStart(6, "0");
        const changes: Change[] = [[queueKey(rng() < 0.8 ? 1 : 2, 0), at]];
        const isAppend = rng() < 0.9;
        if (isAppend) changes.push([pageKey(1, 0, nextPage++), at]);
        else if (rng() < 0.5) while (firstPage < nextPage - 1) changes.push([pageKey(1, 0, firstPage++), undefined]);
        if (rng() < 0.05) changes.push([sessionKey(1), at]);
        const { operations, mustSync } = riders.batchOf(groupOf(changes), 0);
        const isSynced = isAppend || mustSync;
        if (isSynced || rng() < 0.5) await database.batch(operations);
        if (isSynced) for (const [key, value] of changes) surely.set(key.toString("latin1"), value === undefined ? -1 : number);
        else for (const [key, value] of changes) if (value === undefined) surely.delete(key.toString("latin1"));
      }
      const records = await found();
      for (const [key, number] of surely) {
        if (number < 0) expect(records.has(key), `seed ${seed}`).toBe(false);
        else expect(Number(records.get(key)), `seed ${seed}, ${JSON.stringify(key)}`).toBeGreaterThanOrEqual(number);
      }
      await store?.close();
      database = await openLevelDatabase(directory);
      await database.clear({ gt: formatKey });
    }
  });

  it("that are damaged are told, and looked for on the page before; its messages are kept", async () => {
    const riders = new Riders();
    for (let seq = 1; seq <= 12; seq++) await write(riders, [page(seq), progress(seq)]);
    const value = (await database.get(pageKey(1, 0, 12))) ?? expect.fail("no page 12");
    value[value.length - 6]! ^= 1; // within the progress record
    await database.put(pageKey(1, 0, 12), value);
    const records = await found();
    expect(records.get(queueKey(1, 0).toString("latin1"))).toBe("progress 1 11");
    expect(records.get(pageKey(1, 0, 12).toString("latin1"))).toBe("page 1 12");
    expect(events.map(({ kind }) => kind)).toEqual(["damaged"]);
    // So that what lies behind the older record is taken up.
    expect(store?.wasRepaired).toBe(true);
  });

  it("do not make a page say something else, whatever byte is wrong", () => {
    const key = pageKey(1, 0, 1);
    const loaded = loadPage(key, Buffer.from("\0\0\0\x05records"), [{ key: timeKey, value: Buffer.from("time") }]);
    expect(recordsOf(loaded).toString()).toBe("\0\0\0\x05records");
    expect(ridersOf(key, loaded)).toEqual([{ key: timeKey, value: Buffer.from("time") }]);
    expect(ridersOf(pageKey(1, 0, 2), loaded)).toBeUndefined();
    for (let at = 0; at < loaded.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Buffer.from(loaded);
        damaged[at]! ^= 1 << bit;
        const isRecord = at >= 4 && at < loaded.length - 4 - 10;
        expect(ridersOf(key, damaged) !== undefined).toBe(isRecord);
        if (at >= 4 && !isRecord) expect(recordsOf(damaged)).toEqual(recordsOf(loaded));
      }
    }
    for (let length = 0; length < loaded.length; length++) expect(ridersOf(key, loaded.subarray(0, length))).toBeUndefined();
  });
});
