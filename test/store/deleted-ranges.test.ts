import { describe, expect, it } from "vitest";
import { DeletedRanges, type SizeOf } from "../../src/store/deleted-ranges.ts";
import { keyIn, pageKey, pageSeq, queueKey, retainedKey, riderKeyIn, ridersIn, sessionNumberOf, type KeyRange } from "../../src/store/keys.ts";

const MIB = 1024 * 1024;

/** Tables that hold `bytesEach` for each sequence number, and for nothing else. */
const sizes = (bytesEach: number, between = 0) => ({ from, to }: KeyRange): Promise<number> =>
  Promise.resolve(sessionNumberOf(from) === sessionNumberOf(to) ? (pageSeq(to) - pageSeq(from)) * bytesEach : between);

const text = ({ from, to }: KeyRange): string => `${sessionNumberOf(from)}:${pageSeq(from)}-${sessionNumberOf(to)}:${pageSeq(to)}`;

function deleted(...queues: readonly (readonly [session: number, first: number, last: number])[]): DeletedRanges {
  const ranges = new DeletedRanges();
  for (const [session, first, last] of queues) for (let seq = first; seq <= last; seq++) ranges.note(pageKey(session, 0, seq), 0);
  return ranges;
}

it("cuts what was deleted of a long queue into slices", async () => {
  const slices = await deleted([7, 1, 41]).takeSlices(sizes(MIB), MIB, 0);
  expect(slices.map(text)).toEqual(["7:1-7:14", "7:14-7:27", "7:27-7:41"]);
});

it("takes neighbouring queues together while little lies between them", async () => {
  const ranges = deleted([9, 1, 4], [1, 1, 4], [5, 1, 4]);
  expect((await ranges.takeSlices(sizes(MIB), MIB, 0)).map(text)).toEqual(["1:1-9:4"]);
  expect(ranges.size).toBe(0);
});

it("does not go over a queue that is full of what is still needed", async () => {
  const slices = await deleted([1, 1, 4], [9, 1, 4]).takeSlices(sizes(MIB, 5 * MIB), MIB, 0);
  expect(slices.map(text)).toEqual(["1:1-1:4", "9:1-9:4"]);
});

it("leaves what lies thinly among what is still needed, until it must be had", async () => {
  const ranges = deleted([1, 1, 8], [5, 1, 8], [9, 1, 8]);
  // 21 MiB deleted, and as much or more between.
  const thin = sizes(MIB, 11 * MIB);
  const dense = sizes(MIB, 10 * MIB);
  const among = (sizeOf: SizeOf): SizeOf => (range) => sizeOf(range).then((bytes) => bytes / 12);
  expect(await ranges.takeSlices(among(thin), 0.1 * MIB, 0)).toEqual([]);
  expect((await ranges.takeSlices(among(dense), 0.1 * MIB, 0)).map(text)).toEqual(["1:1-9:8"]);
  const others = deleted([1, 1, 8], [5, 1, 8], [9, 1, 8]);
  expect((await others.takeSlices(among(thin), 0, 0)).map(text)).toEqual(["1:1-9:8"]);
});

it("leaves what is too small, until it has grown", async () => {
  const ranges = deleted([1, 1, 4], [2, 1, 100]);
  const far = sizes(MIB / 8, 5 * MIB);
  expect((await ranges.takeSlices(far, MIB, 0)).map(text)).toEqual(["2:1-2:100"]);
  expect(await ranges.takeSlices(far, MIB, 0)).toEqual([]);
  for (let seq = 5; seq <= 20; seq++) ranges.note(pageKey(1, 0, seq), 0);
  expect((await ranges.takeSlices(far, MIB, 0)).map(text)).toEqual(["1:1-1:20"]);
});

it("knows nothing of other records", () => {
  const ranges = new DeletedRanges();
  ranges.note(Buffer.from("r/a/topic"), 0);
  ranges.note(riderKeyIn(3, queueKey(1, 0)), 0);
  expect(ranges.size).toBe(0);
});

/** Tables that hold, in each of these generations, `ridingBytes` of what rides and `pageBytes` of pages. */
const sizesIn = (generations: number, ridingBytes: number, pageBytes: number): SizeOf => ({ from, to }) => {
  let bytes = 0;
  for (let generation = 1; generation <= generations; generation++) {
    const riding = ridersIn(generation);
    if (from.compare(riding.to) < 0 && to.compare(riding.from) > 0) bytes += ridingBytes;
    const page = keyIn(generation, pageKey(1, 0, generation));
    if (from.compare(page) <= 0 && to.compare(page) > 0) bytes += pageBytes;
  }
  return Promise.resolve(bytes);
};

it("does not take what has ridden in generations for what is still needed, however much that is", async () => {
  const ranges = new DeletedRanges();
  for (let generation = 1; generation <= 8; generation++) ranges.note(keyIn(generation, pageKey(1, 0, generation)), 0);
  const slices = await ranges.takeSlices(sizesIn(8, 2 * MIB, MIB), 4 * MIB, 0);
  expect(slices).toEqual([{ from: keyIn(1, pageKey(1, 0, 1)), to: keyIn(8, pageKey(1, 0, 8)) }]);
});

it("has what retained messages leave that rode in generations compacted as well", async () => {
  const ranges = new DeletedRanges();
  const riderOf = (generation: number, topic: string): Buffer => riderKeyIn(generation, retainedKey(Buffer.from(topic)));
  for (let generation = 1; generation <= 8; generation++) for (const topic of ["", "a", "a/longer/topic"]) ranges.note(riderOf(generation, topic), 0);
  expect(await ranges.takeSlices(sizesIn(8, MIB, 0), 9 * MIB, 0)).toEqual([]);
  const slices = await ranges.takeSlices(sizesIn(8, MIB, 0), 4 * MIB, 0);
  expect(slices).toEqual([{ from: riderOf(1, ""), to: riderOf(8, "a/longer/topic") }]);
  expect(ranges.size).toBe(0);
});

it("takes pages and the retained messages that rode behind them together, however short a topic is", async () => {
  const ranges = new DeletedRanges();
  const page = keyIn(3, pageKey(1, 0, 5));
  const rider = riderKeyIn(4, retainedKey(Buffer.from("a")));
  ranges.note(page, 0);
  ranges.note(rider, 0);
  expect(await ranges.takeSlices(() => Promise.resolve(1_000), 0, 0)).toEqual([{ from: page, to: rider }]);
});

describe("what LevelDB has compacted by itself", () => {
  const gone = (): Promise<number> => Promise.resolve(0);

  it("is forgotten when nothing of it can be in memory any more", async () => {
    const ranges = deleted([1, 1, 4], [2, 1, 100]);
    expect(await ranges.takeSlices(gone, MIB, 32 * MIB - 1)).toEqual([]);
    expect(ranges.size).toBeGreaterThan(0);
    ranges.note(pageKey(2, 0, 101), 10 * MIB);
    await ranges.takeSlices(gone, MIB, 32 * MIB);
    expect((await ranges.takeSlices(sizes(MIB), MIB, 32 * MIB)).map(text).slice(0, 1)).toEqual(["2:1-2:15"]);
    expect(ranges.size).toBe(0);
  });

  it("is not what is too small to be worth it", async () => {
    const ranges = deleted([1, 1, 4]);
    await ranges.takeSlices(sizes(1), MIB, 1000 * MIB);
    expect(ranges.size).toBeGreaterThan(0);
  });

  it("does not pile up, however many generations are drained while new ones come: a thousand times the ranges at a time", async () => {
    const QUEUES = 20;
    const ranges = new DeletedRanges();
    let most = 0;
    for (let generation = 1; generation <= 10_000; generation++) {
      for (let session = 1; session <= QUEUES; session++) ranges.note(keyIn(generation, pageKey(session, 0, generation)), generation * MIB);
      if (ranges.areMany) await ranges.takeSlices(gone, Infinity, generation * MIB);
      most = Math.max(most, ranges.size);
    }
    expect(most).toBeLessThan(5_000);
  });
});
