import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { GoneSessions } from "../../src/broker/gone-sessions.ts";
import { Records } from "../../src/broker/records.ts";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { goneKey, pageKey, pagesOf } from "../../src/store/keys.ts";
import { openStore, StoreError } from "../../src/store/open.ts";
import { countingBatches } from "../store/batches.ts";
import { untilStored } from "../store/contract.ts";

const PAGES = 3_000;
/** Handed to LevelDB at once, more would keep others waiting for milliseconds. */
const MOST_OPERATIONS = 510;

it.each([
  ["a session that ends", Buffer.alloc(0)],
  ["one that was a member of shared subscriptions, without messages of those", Buffer.from("where its messages stood")],
])("removes the thousands of small pages that %s has left so that nobody waits for it", async (_who, where) => {
  const directory = await mkdtemp(join(tmpdir(), "amqtdd-gone-"));
  const sizes: number[] = [];
  const clock = new SystemClock();
  const store = await openStore({
    directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report: () => undefined, openDatabase: countingBatches(sizes),
  });
  try {
    await untilStored(store, store.touch({ writeTo: (group) => Array.from({ length: PAGES }, (_, page) => group.put(pageKey(1, page % 2, page + 1), Buffer.from("page"))) }, "synced"));
    const records = new Records(store);
    const gone = new GoneSessions(store, clock, records, () => false);
    sizes.length = 0;
    gone.removePages(1, records.put(goneKey(1), where, "synced"), where);
    const { from, to } = pagesOf(1);
    const left = async (): Promise<number> => (await store.read(from, to, 1e6)).length + (await store.read(goneKey(1), goneKey(2), 100)).length;
    await expect.poll(left, { timeout: 10_000 }).toBe(0);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(PAGES);
    expect(Math.max(...sizes)).toBeLessThan(MOST_OPERATIONS);
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});

it("removes what many sessions have left one after the other, and all of it", async () => {
  const sessions = Array.from({ length: 200 }, (_, index) => index + 1);
  const directory = await mkdtemp(join(tmpdir(), "amqtdd-gone-"));
  const clock = new SystemClock();
  const store = await openStore({ directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report: () => undefined });
  try {
    await untilStored(store, store.touch({ writeTo: (group) => sessions.forEach((session) => group.put(pageKey(session, 0, 1), Buffer.from("page"))) }, "synced"));
    const records = new Records(store);
    let reads = 0;
    let most = 0;
    const read = store.read.bind(store);
    store.read = async (...range) => {
      most = Math.max(most, ++reads);
      return read(...range).finally(() => reads--);
    };
    const gone = new GoneSessions(store, clock, records, () => false);
    for (const session of sessions) gone.removePages(session, records.put(goneKey(session), Buffer.alloc(0), "synced"));
    const left = async (): Promise<number> => (await read(pagesOf(1).from, pagesOf(200).to, 100)).length + (await read(goneKey(1), goneKey(201), 100)).length;
    await expect.poll(left, { timeout: 10_000 }).toBe(0);
    expect(most).toBe(1);
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});

it("goes on with what can't be read for a moment", async () => {
  const directory = await mkdtemp(join(tmpdir(), "amqtdd-gone-"));
  const clock = Object.assign(new SystemClock(), { after: (ms: number, task: () => void) => new SystemClock().after(ms / 100, task) });
  const store = await openStore({ directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report: () => undefined });
  try {
    await untilStored(store, store.touch({ writeTo: (group) => [1, 2, 3].forEach((session) => group.put(pageKey(session, 0, 1), Buffer.from("page"))) }, "synced"));
    const records = new Records(store);
    const read = store.read.bind(store);
    let failures = 0;
    store.read = (...range) => (failures++ < 4 ? Promise.reject(new StoreError("unwritable", "too many open files")) : read(...range));
    const gone = new GoneSessions(store, clock, records, () => false);
    for (const session of [1, 2, 3]) gone.removePages(session, records.put(goneKey(session), Buffer.alloc(0), "synced"));
    await expect.poll(async () => (await read(pagesOf(1).from, pagesOf(3).to, 100)).length + (await read(goneKey(1), goneKey(4), 100)).length).toBe(0);
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});

/** So many promises behind it. */
function laterThan(promise: Promise<unknown>, later: number): Promise<unknown> {
  return later === 0 ? promise : laterThan(promise.then(() => undefined), later - 1);
}

it.concurrent.each([0, 1, 2, 3])("hands on what a session has left once, though it ends in the moment when the removal of another one is over (or %i promises behind it)", async (later) => {
  const directory = await mkdtemp(join(tmpdir(), "amqtdd-gone-"));
  const clock = new SystemClock();
  const store = await openStore({ directory, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, reserveBytes: 0, report: () => undefined });
  try {
    const pages = [pageKey(2, 0, 1), pageKey(2, 0, 2), pageKey(3, 0, 1)];
    await untilStored(store, store.touch({ writeTo: (group) => pages.forEach((page) => group.put(page, Buffer.from(page))) }, "synced"));
    const records = new Records(store);
    const moved: string[] = [];
    const gone = new GoneSessions(store, clock, records, (page) => moved.push(page.toString("hex")) > 0);
    const end = (session: number): void => gone.removePages(session, records.put(goneKey(session), Buffer.from("where"), "synced"), Buffer.from("where"));
    const read = store.read.bind(store);
    let hasEnded = false;
    store.read = (...range) => {
      const reading = read(...range);
      // Behind what is done when it was read, before anything else.
      if (!hasEnded) queueMicrotask(() => void laterThan(reading, later).then(() => [2, 3].forEach(end)));
      hasEnded = true;
      return reading;
    };
    end(1);
    const left = async (): Promise<number> => (await read(pagesOf(1).from, pagesOf(3).to, 100)).length + (await read(goneKey(1), goneKey(4), 100)).length;
    await expect.poll(() => hasEnded, { timeout: 10_000 }).toBe(true);
    await expect.poll(left, { timeout: 10_000 }).toBe(0);
    expect(moved).toEqual(pages.map((page) => page.toString("hex")));
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});
