import { afterEach, beforeEach, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { fileStatus } from "../../src/store/file-status.ts";
import { StoreFigures } from "../../src/store/figures.ts";
import { Room } from "../../src/store/room.ts";
import { StoreDirectory } from "../../src/store/store-directory.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";

const MIB = 1024 * 1024;

let folder: string;

beforeEach(() => {
  folder = makeFolder("room");
});

afterEach(() => removeFolder(folder));

it.each([0, 1])("a reserve of which %i MiB or more are written is given up all the same: none with holes is taken for whole", async (begun) => {
  const directory = new StoreDirectory(folder, 64 * MIB);
  const room = new Room({
    directory, clock: new SystemClock(), minFreeBytes: 0, minFreeUnreservedBytes: 0, freeBytes: () => directory.freeBytes(), figures: new StoreFigures(), isReserveGiven: false, report: () => undefined,
    onInspected: () => undefined,
  });
  await room.inspect();
  room.makeReserve();
  await expect.poll(() => fileStatus(`${folder}/reserve`)?.size ?? 0, { interval: 1 }).toBeGreaterThanOrEqual(begun * MIB);
  await room.giveUpReserve();
  await room.settled();
  expect(directory.isReserveGiven).toBe(true);
});
