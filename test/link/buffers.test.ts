import { expect, it } from "vitest";
import { giveBack, takeBuffer, takeInputBuffer } from "../../src/link/buffers.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

it("uses a buffer of a large packet again for one of about that size", () => {
  const buffer = takeBuffer(100_000);
  expect(buffer.length).toBe(128 * KIB);
  giveBack(buffer);
  expect(takeBuffer(60_000) === buffer).toBe(false);
  expect(takeBuffer(200_000) === buffer).toBe(false);
  expect(takeBuffer(130_000) === buffer).toBe(true);
  expect(takeBuffer(130_000) === buffer).toBe(false);
});

it("keeps 4 MiB of them, of the sizes that were used last", () => {
  const taken = Array.from({ length: 10 }, () => takeBuffer(MIB));
  for (const buffer of taken) giveBack(buffer);
  const again = taken.map(() => takeBuffer(MIB));
  expect(again.filter((buffer) => taken.includes(buffer))).toHaveLength(4);
  for (const buffer of again) giveBack(buffer);
  const smaller = takeBuffer(500 * KIB);
  giveBack(smaller);
  expect(takeBuffer(500 * KIB) === smaller).toBe(true);
});

it("makes those beyond 2 MiB to measure, and keeps none", () => {
  const buffer = takeBuffer(2 * MIB + 1);
  expect(buffer.length).toBe(2 * MIB + 1);
  giveBack(buffer);
  expect(takeBuffer(2 * MIB + 1) === buffer).toBe(false);
});

it("makes those for a little input to measure: thousands may have some", () => {
  expect([1, 300, 32 * KIB, 32 * KIB + 1].map((bytes) => takeInputBuffer(bytes).length)).toEqual([1, 300, 32 * KIB, 64 * KIB]);
});
