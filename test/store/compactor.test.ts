import { expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { Compactor } from "../../src/store/compactor.ts";
import type { Database } from "../../src/store/database.ts";
import { StoreFigures } from "../../src/store/figures.ts";
import { Generations, REPEATED_EVERY } from "../../src/store/generations.ts";
import { GroupRecords } from "../../src/store/group.ts";
import { firstPageOf, generationKey, generationOf, isPageKey, keyIn, pageKey, retainedKey, riderKeyIn } from "../../src/store/keys.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const MIB = 1024 * 1024;
const iteratorOf = (keys: Buffer[]): object => ({ all: () => Promise.resolve(keys) });

it("leaves off looking for generations that are empty when a batch has failed: the database is to be opened anew", async () => {
  let looks = 0;
  let hasFailed = false;
  const keysOf = (): Buffer[] => {
    hasFailed = ++looks === 3;
    return looks < 1000 ? [keyIn(looks, pageKey(1, 0, looks))] : [];
  };
  const database = {
    approximateSize: () => Promise.resolve(5 * MIB), compactRange: () => Promise.resolve(), keys: () => iteratorOf(keysOf()),
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 2000, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => (hasFailed ? undefined : database),
    isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
  });
  compactor.noteDeleted(pageKey(1, 0, 1));
  compactor.compact(false);
  await compactor.settled();
  expect(looks).toBe(3);
  await compactor.close();
});

it("ends a generation to which a thousand queues have come when there was something to compact, so that those that are gone can be forgotten", async () => {
  const database = {
    approximateSize: () => Promise.resolve(5 * MIB), compactRange: () => Promise.resolve(), keys: () => iteratorOf([]),
  } as unknown as Database;
  for (const [queues, ends] of [[1023, false], [1024, true]] as const) {
    const generations = new Generations({ places: [], records: new Map(), unused: 7, ridesFrom: 0 }, Buffer.from("{}"));
    const compactor = new Compactor({
      clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
    });
    generations.place(Array.from({ length: queues }, (_, queue) => ({ type: "put", key: pageKey(queue + 1, 0, 1), value: Buffer.alloc(1) })));
    const alone = { growth: undefined };
    compactor.noteWritten(1, alone);
    expect(generations.current).toBe(7);
    compactor.noteDeleted(pageKey(1, 0, 1));
    compactor.compact(false);
    await compactor.settled();
    compactor.noteWritten(1, alone);
    expect(generations.current).toBe(ends ? 8 : 7);
    await compactor.close();
  }
});

it("deletes what many generations without pages have left by and by, also when nothing more is compacted", async () => {
  const GENERATIONS = 40;
  const RECORDS = 1000;
  const clock = new VirtualClock();
  const database = {
    approximateSize: () => Promise.resolve(5 * MIB), compactRange: () => Promise.resolve(),
    // Pages are looked for two keys at a time.
    keys: ({ gte, limit }: { gte: Buffer; limit: number }) => iteratorOf(limit === 2 ? [] : Array.from({ length: RECORDS }, (_, record) => generationKey(generationOf(gte), record))),
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 1, ridesFrom: 0 }, Buffer.from("{}"));
  for (let seq = 1; seq <= GENERATIONS + REPEATED_EVERY; seq++) {
    generations.begin();
    generations.place([{ type: "put", key: pageKey(1, 0, seq), value: Buffer.alloc(1) }]);
  }
  const slices: number[] = [];
  const onCompacted = (): void => {
    const group = new GroupRecords();
    generations.writeTo(group);
    slices.push(group.count);
  };
  const compactor = new Compactor({ clock, figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted });
  compactor.noteDeleted(pageKey(1, 0, 1));
  for (let look = 0; look < 20; look++) {
    compactor.compact(false);
    await compactor.settled();
    clock.after(10_000, () => undefined);
    clock.step();
  }
  expect(slices.reduce((sum, count) => sum + count, 0)).toBe(GENERATIONS * RECORDS);
  expect(Math.max(...slices)).toBeLessThan(12_000);
  await compactor.close();
});

it("compacts the whole store again after a failure, while there is too little room, but not at once each time", async () => {
  const clock = new VirtualClock();
  const wholes: number[] = [];
  const beganMs = clock.nowMs();
  const database = {
    approximateSize: () => Promise.resolve(0), keys: () => iteratorOf([]),
    compactRange: (from: Buffer, to: Buffer) => Promise.resolve(void (from.equals(to) || wholes.push((clock.nowMs() - beganMs) / 1000))),
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 1, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({ clock, figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined });
  for (let second = 0; second <= 150; second += 5) {
    compactor.compact(second < 130);
    await compactor.settled();

    if (second >= 20) compactor.noteFailure();
    clock.after(5_000, () => undefined);
    clock.step();
  }
  expect(wholes).toEqual([0, 60, 120]);
  await compactor.close();
});

it("deletes what has ridden beside the pages of a slice before that is compacted, but for what still rides", async () => {
  const GENERATIONS = 20;
  const did: string[] = [];
  const ridden = (generation: number): Buffer => riderKeyIn(generation, retainedKey(Buffer.from("topic")));
  const database = {
    // Nothing lies between generations, nor before their pages.
    approximateSize: (from: Buffer, to: Buffer) => Promise.resolve(generationOf(from) === generationOf(to) && !from.equals(firstPageOf(generationOf(from))) ? MIB / 2 : 0),
    compactRange: (from: Buffer) => Promise.resolve(void (isPageKey(from) && did.push(`compacts from ${generationOf(from)}`))),
    keys: ({ gte, limit }: { gte: Buffer; limit: number }) => iteratorOf(limit === 2 ? [] : [ridden(generationOf(gte))]),
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 1, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onCompacted: () => undefined,
    onLeft: () => {
      const group = new GroupRecords();
      generations.writeTo(group);
      did.push(`deletes in ${group.keys.map(generationOf).join(" ")}`);
    },
  });
  for (let seq = 1; seq <= GENERATIONS; seq++) {
    generations.place([{ type: "put", key: pageKey(1, 0, seq), value: Buffer.alloc(1) }]);
    compactor.noteDeleted(keyIn(generations.current, pageKey(1, 0, seq)));
    if (seq < GENERATIONS) generations.begin();
  }
  compactor.compact(false);
  await compactor.settled();
  expect(did.slice(0, 2)).toEqual(["deletes in 1 2 3 4 5 6 7 8 9 10 11 12", "compacts from 1"]);
  await compactor.close();
});

it("looks for generations without pages another time when it could not", async () => {
  const clock = new VirtualClock();
  let hasFailed = false;
  const database = {
    approximateSize: () => Promise.resolve(5 * MIB), compactRange: () => Promise.resolve(),
    keys: ({ limit }: { limit: number }) => {
      if (!hasFailed) {
        hasFailed = true;
        throw new Error("IO error");
      }
      return iteratorOf(limit === 2 ? [] : [generationKey(1, 0)]);
    },
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 1, ridesFrom: 0 }, Buffer.from("{}"));
  for (let seq = 1; seq <= 1 + REPEATED_EVERY; seq++) {
    generations.place([{ type: "put", key: pageKey(1, 0, seq), value: Buffer.alloc(1) }]);
    generations.begin();
  }
  const compactor = new Compactor({
    clock, figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
  });
  compactor.noteDeleted(pageKey(1, 0, 1));
  for (const forgets of [false, true]) {
    compactor.compact(false);
    await compactor.settled();
    expect(hasFailed).toBe(true);
    expect(generations.hasLeft).toBe(forgets);
    clock.after(10_000, () => undefined);
    clock.step();
  }
  await compactor.close();
});

it("does not look for them again and again on a full disk while it can't", async () => {
  let looks = 0;
  const database = {
    approximateSize: () => Promise.resolve(5 * MIB), compactRange: () => Promise.resolve(),
    keys: () => {
      looks++;
      throw new Error("IO error");
    },
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map([[1, 1]]), unused: 2, ridesFrom: 0 }, Buffer.from("{}"));
  let compacted = 0;
  const compactor = new Compactor({
    clock: new VirtualClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => compacted++,
  });
  compactor.noteDeleted(pageKey(1, 0, 1));
  // The store looks at the free room whenever there may be more, and then compacts again.
  let told = -1;
  for (let look = 0; look < 20 && told < compacted; look++) {
    told = compacted;
    compactor.compact(true);
    await compactor.settled();
  }
  expect(looks).toBeLessThan(4);
  await compactor.close();
});

it("begins a generation with each table once there are generations, also for one queue: its small records ride there", async () => {
  const database = { compactRange: () => Promise.resolve() } as unknown as Database;
  for (const [unused, ends] of [[0, 0], [7, 8]] as const) {
    const generations = new Generations({ places: [], records: new Map(), unused, ridesFrom: 0 }, Buffer.from("{}"));
    const compactor = new Compactor({
      clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: 1000, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
    });
    compactor.noteWritten(1000, { growth: "inOrder" });
    expect(generations.current).toBe(ends);
    await compactor.close();
  }
});

it("makes no table of what is written without pages, however much that is, nor lets it keep one from being made", async () => {
  let tables = 0;
  const database = { compactRange: () => Promise.resolve(void tables++) } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 7, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: 1000, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
  });
  compactor.noteWritten(999, { growth: "inOrder" });
  compactor.noteWritten(64 * MIB, { growth: "none" });
  expect(tables).toBe(0);
  compactor.noteWritten(1, { growth: "inOrder" });
  expect(tables).toBe(1);
  await compactor.close();
});

it("goes on with the next generation though some groups do more than add pages, but not if each table has such groups", async () => {
  const database = { compactRange: () => Promise.resolve() } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 7, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
  });
  const begunBy = async (bytes: number, growth: "ofSeveral" | undefined): Promise<number> => {
    const before = generations.current;
    compactor.noteWritten(bytes, { growth });
    await compactor.settled();
    return generations.current - before;
  };
  expect(await begunBy(8 * MIB, "ofSeveral")).toBe(1);
  for (let others = 1; others <= 4; others++) {
    expect(await begunBy(MIB / 2, undefined)).toBe(0);
    expect(await begunBy(MIB / 2, "ofSeveral")).toBe(1);
  }
  expect(await begunBy(MIB, "ofSeveral")).toBe(1);
  for (let others = 1; others <= 4; others++) expect(await begunBy(MIB, undefined)).toBe(1);
  expect(await begunBy(MIB, undefined)).toBe(0);
  expect(await begunBy(7 * MIB, "ofSeveral")).toBe(0);
  expect(await begunBy(MIB, "ofSeveral")).toBe(1);
  await compactor.close();
});

it("forgets what LevelDB has compacted by itself while pages are still being deleted, and compacts the rest when that is over", async () => {
  const clock = new VirtualClock();
  let asked = 0;
  const compacted: Buffer[] = [];
  const kept = pageKey(1, 0, 1);
  const database = {
    approximateSize: (from: Buffer) => Promise.resolve(++asked > 0 && from.equals(kept) ? 5 * MIB : 0),
    compactRange: (from: Buffer) => Promise.resolve(void compacted.push(from)),
    keys: () => iteratorOf([]),
  } as unknown as Database;
  const generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock, figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onLeft: () => undefined, onCompacted: () => undefined,
  });
  const look = async (): Promise<number> => {
    asked = 0;
    clock.after(60_000, () => undefined);
    clock.step();
    compactor.compact(false);
    await compactor.settled();
    return asked;
  };
  compactor.noteDeleted(kept);
  for (let generation = 1; generation <= 5_000; generation++) compactor.noteDeleted(keyIn(generation, pageKey(1, 0, generation)));
  compactor.noteWritten(64 * MIB, { growth: undefined });
  expect(await look()).toBeGreaterThan(5_000);
  expect(compacted).toEqual([]);
  expect(await look()).toBe(1);
  expect(compacted).toContainEqual(kept);
  await compactor.close();
});
