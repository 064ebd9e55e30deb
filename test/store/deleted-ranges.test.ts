import { expect, it } from "vitest";
import { DeletedRanges } from "../../src/store/deleted-ranges.ts";
import { pageKey, pageSeq, sessionNumberOf, type KeyRange } from "../../src/store/keys.ts";

const MIB = 1024 * 1024;

/** Tables that hold `bytesEach` for each sequence number, and for nothing else. */
const sizes = (bytesEach: number, between = 0) => ({ from, to }: KeyRange): Promise<number> =>
  Promise.resolve(sessionNumberOf(from) === sessionNumberOf(to) ? (pageSeq(to) - pageSeq(from)) * bytesEach : between);

const text = ({ from, to }: KeyRange): string => `${sessionNumberOf(from)}:${pageSeq(from)}-${sessionNumberOf(to)}:${pageSeq(to)}`;

function deleted(...queues: readonly (readonly [session: number, first: number, last: number])[]): DeletedRanges {
  const ranges = new DeletedRanges();
  for (const [session, first, last] of queues) for (let seq = first; seq <= last; seq++) ranges.note(pageKey(session, 0, seq));
  return ranges;
}

it("cuts what was deleted of a long queue into slices", async () => {
  const slices = await deleted([7, 1, 41]).takeSlices(sizes(MIB), MIB);
  expect(slices.map(text)).toEqual(["7:1-7:14", "7:14-7:27", "7:27-7:41"]);
});

it("takes neighbouring queues together while little lies between them", async () => {
  const ranges = deleted([9, 1, 4], [1, 1, 4], [5, 1, 4]);
  expect((await ranges.takeSlices(sizes(MIB), MIB)).map(text)).toEqual(["1:1-9:4"]);
  expect(ranges.isEmpty).toBe(true);
});

it("does not go over a queue that is full of what is still needed", async () => {
  const slices = await deleted([1, 1, 4], [9, 1, 4]).takeSlices(sizes(MIB, 5 * MIB), MIB);
  expect(slices.map(text)).toEqual(["1:1-1:4", "9:1-9:4"]);
});

it("leaves what is too small, until it has grown", async () => {
  const ranges = deleted([1, 1, 4], [2, 1, 100]);
  const far = sizes(MIB / 8, 5 * MIB);
  expect((await ranges.takeSlices(far, MIB)).map(text)).toEqual(["2:1-2:100"]);
  expect(await ranges.takeSlices(far, MIB)).toEqual([]);
  for (let seq = 5; seq <= 20; seq++) ranges.note(pageKey(1, 0, seq));
  expect((await ranges.takeSlices(far, MIB)).map(text)).toEqual(["1:1-1:20"]);
});

it("knows nothing of other records", () => {
  const ranges = new DeletedRanges();
  ranges.note(Buffer.from("r/a/topic"));
  expect(ranges.isEmpty).toBe(true);
});
