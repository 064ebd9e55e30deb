import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../../src/store/store.ts";

/** One place in which a store can be opened, closed and opened again. */
export interface StorePlace {
  open(): Promise<Store>;
  remove(): Promise<void>;
}

/** Holds what is to be written until it is asked, and counts how often it was. */
export class TestKeeper implements Keeper {
  readonly changes = new Map<string, string | undefined>();
  asked = 0;

  writeTo(group: GroupWriter): void {
    this.asked++;
    for (const [key, value] of this.changes) {
      if (value === undefined) group.delete(Buffer.from(key));
      else group.put(Buffer.from(key), Buffer.from(value));
    }
    this.changes.clear();
  }
}

export function untilStored(store: Store, group: GroupNumber): Promise<void> {
  if (store.stored >= group) return Promise.resolve();
  return new Promise((resolve) => store.onStored((upTo) => upTo >= group && resolve()));
}

export async function readText(store: Store, from: string, to: string, maxBytes = 1 << 20): Promise<[string, string][]> {
  const records = await store.read(Buffer.from(from), Buffer.from(to), maxBytes);
  return records.map(([key, value]) => [key.toString(), value.toString()]);
}

/** What every durable store promises. */
export function storeContract(name: string, makePlace: () => Promise<StorePlace>): void {
  describe(name, () => {
    let place: StorePlace;
    let store: Store;
    beforeEach(async () => {
      place = await makePlace();
      store = await place.open();
    });
    afterEach(async () => {
      await store.close();
      await place.remove();
    });

    it("asks a touched keeper once per group", async () => {
      const keeper = new TestKeeper();
      keeper.changes.set("r1", "one");
      const group = store.touch(keeper, "synced");
      expect(store.touch(keeper, "synced")).toBe(group);
      expect(keeper.asked).toBe(0);
      await untilStored(store, group);
      expect(keeper.asked).toBe(1);
      expect(await readText(store, "r", "s")).toEqual([["r1", "one"]]);
    });

    it("numbers groups from 1 and stores them in order", async () => {
      const seen: number[] = [];
      store.onStored((upTo) => seen.push(upTo));
      const keeper = new TestKeeper();
      for (let round = 1; round <= 5; round++) {
        keeper.changes.set("r", String(round));
        const group = store.touch(keeper, "synced");
        expect(group).toBe(round);
        await untilStored(store, group);
      }
      expect(seen).toEqual([1, 2, 3, 4, 5]);
      expect(store.stored).toBe(5);
    });

    it("collects the next group while one is being written", async () => {
      const [first, second] = [new TestKeeper(), new TestKeeper()];
      first.changes.set("ra", "1");
      let nextGroup = 0;
      const writeFirst = first.writeTo.bind(first);
      first.writeTo = (group) => {
        writeFirst(group);
        second.changes.set("rb", "2");
        nextGroup = store.touch(second, "synced");
      };
      const group = store.touch(first, "synced");
      await untilStored(store, group);
      expect(nextGroup).toBe(group + 1);
      await untilStored(store, nextGroup);
      expect(await readText(store, "r", "s")).toEqual([["ra", "1"], ["rb", "2"]]);
    });

    it("does not write what came and went within one group", async () => {
      const keeper = new TestKeeper();
      keeper.changes.set("r1", "one");
      const group = store.touch(keeper, "synced");
      keeper.changes.delete("r1");
      await untilStored(store, group);
      expect(await readText(store, "a", "z")).not.toContainEqual(["r1", "one"]);
    });

    it("stores a change that nobody waits for", async () => {
      const keeper = new TestKeeper();
      keeper.changes.set("r1", "soon");
      await untilStored(store, store.touch(keeper, "soon"));
      expect(await readText(store, "r", "s")).toEqual([["r1", "soon"]]);
    });

    it("reads a range in key order, without its end, at least one record and then up to the limit", async () => {
      const keeper = new TestKeeper();
      for (const key of ["r3", "r1", "r2", "s1"]) keeper.changes.set(key, "12345");
      await untilStored(store, store.touch(keeper, "synced"));
      expect((await readText(store, "r", "s")).map(([key]) => key)).toEqual(["r1", "r2", "r3"]);
      expect((await readText(store, "r", "s", 1)).map(([key]) => key)).toEqual(["r1"]);
      expect((await readText(store, "r", "s", 10)).map(([key]) => key)).toEqual(["r1", "r2"]);
      expect((await readText(store, "r2", "r3")).map(([key]) => key)).toEqual(["r2"]);
      expect(await readText(store, "x", "y")).toEqual([]);
    });

    it("keeps what was touched, deletes what was deleted, across close and reopening", async () => {
      const keeper = new TestKeeper();
      keeper.changes.set("r1", "one").set("r2", "two");
      await untilStored(store, store.touch(keeper, "synced"));
      keeper.changes.set("r1", undefined).set("r3", "three");
      store.touch(keeper, "soon");
      await store.close();
      store = await place.open();
      expect(await readText(store, "r", "s")).toEqual([["r2", "two"], ["r3", "three"]]);
    });
  });
}
