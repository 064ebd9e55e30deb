import { describe, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { storeContract, TestKeeper, untilStored } from "./contract.ts";

const clock = new SystemClock();

storeContract("SimulatedStore", async () => {
  let disk: Disk = new Map();
  let last: SimulatedStore | undefined;
  return {
    open: async () => {
      disk = last?.crash() ?? disk;
      last = new SimulatedStore(clock, Math.random, disk);
      return last;
    },
    remove: async () => undefined,
  };
});

describe("SimulatedStore after a crash", () => {
  const losing = (): number => 0.9;

  it("keeps synced groups, loses unsynced ones and the one in flight", async () => {
    const store = new SimulatedStore(clock, losing);
    const keeper = new TestKeeper();
    keeper.changes.set("a", "unsynced");
    await untilStored(store, store.touch(keeper, "soon"));
    keeper.changes.set("b", "synced");
    await untilStored(store, store.touch(keeper, "synced"));
    keeper.changes.set("c", "in flight");
    store.touch(keeper, "synced");
    expect([...store.crash().keys()]).toEqual(["b"]);
  });
});

describe("MemoryStore", () => {
  it("asks nobody, keeps nothing and lets nobody wait", async () => {
    const store = new MemoryStore();
    const keeper = new TestKeeper();
    expect(store.touch(keeper, "synced")).toBe(0);
    await store.close();
    expect(keeper.asked).toBe(0);
    expect(await store.read(Buffer.from("a"), Buffer.from("z"), 100)).toEqual([]);
  });
});
