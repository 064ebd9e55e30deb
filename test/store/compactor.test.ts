import { expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { Compactor } from "../../src/store/compactor.ts";
import type { Database } from "../../src/store/database.ts";
import { StoreFigures } from "../../src/store/figures.ts";
import { Generations } from "../../src/store/generations.ts";
import { keyIn, pageKey } from "../../src/store/keys.ts";

const MIB = 1024 * 1024;
const iteratorOf = (keys: Buffer[]): object => ({ nextv: () => Promise.resolve(keys.splice(0, 1)), close: () => Promise.resolve() });

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
  const generations = new Generations({ places: [], records: new Map(), unused: 2000 }, Buffer.from("{}"));
  const compactor = new Compactor({
    clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => (hasFailed ? undefined : database),
    isAwaited: () => false, onCompacted: () => undefined,
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
    const generations = new Generations({ places: [], records: new Map(), unused: 7 }, Buffer.from("{}"));
    const compactor = new Compactor({
      clock: new SystemClock(), figures: new StoreFigures(), generations, cutBytes: undefined, database: () => database, isAwaited: () => false, onCompacted: () => undefined,
    });
    generations.place(Array.from({ length: queues }, (_, queue) => ({ type: "put", key: pageKey(queue + 1, 0, 1), value: Buffer.alloc(1) })));
    const alone = { isCarried: false, isInOrder: false };
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
