import { describe, expect, it } from "vitest";
import { IncomingIds } from "../../src/session/incoming.ts";
import { incomingKey } from "../../src/store/keys.ts";
import { SimulatedStore } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";
import { message } from "./rig.ts";

function place(durable = true, total = { count: 0 }): { ids: IncomingIds; store: SimulatedStore; settle: () => void } {
  const clock = new VirtualClock();
  const store = new SimulatedStore(clock, seededRng(1));
  const settle = (): void => {
    while (clock.step());
  };
  return { ids: new IncomingIds(7, store, durable, total), store, settle };
}

describe("IncomingIds", () => {
  it("knows a repeated PUBLISH until PUBREL [MQTT-4.3.3-2]", () => {
    const { ids } = place();
    expect(ids.isRepeat(5, message("a"))).toBe(false);
    ids.add(5, message("a"));
    expect(ids.isRepeat(5, message("a"))).toBe(true);
    expect(ids.isRepeat(6, message("a"))).toBe(false);
    expect(ids.size).toBe(1);
    ids.remove(5);
    expect(ids.isRepeat(5, message("a"))).toBe(false);
    expect(ids.size).toBe(0);
  });

  it.each([["topic", message("b", "x")], ["payload", message("a", "y")], ["border of the two", message("ax", "")]])(
    "takes another message under a known identifier for new when its %s differs: the device has begun its identifiers anew",
    (_, other) => {
      const { ids } = place();
      ids.add(5, message("a", "x"));
      expect(ids.isRepeat(5, other)).toBe(false);
      ids.add(5, other);
      expect(ids.isRepeat(5, other)).toBe(true);
      expect(ids.isRepeat(5, message("a", "x"))).toBe(false);
      expect(ids.size).toBe(1);
    },
  );

  it("has room for a share when all sessions together have very many, and for more when they have fewer again", () => {
    const total = { count: 0 };
    const places = Array.from({ length: 8 }, () => place(false, total));
    for (const { ids } of places) for (let id = 1; id <= 65_535 && ids.hasRoom; id++) ids.add(id, message("a"));
    expect(places.map(({ ids }) => ids.size)).toEqual([...Array.from({ length: 7 }, () => 65_535), 500_000 - 7 * 65_535]);
    const { ids } = place(false, total);
    for (let id = 1; ids.hasRoom; id++) ids.add(id, message("a"));
    expect(ids.size).toBe(1_024);
    places[0]?.ids.end();
    expect(ids.hasRoom).toBe(true);
  });

  it("looks at the identifier alone where the session ends with the connection, and writes nothing", () => {
    const { ids, store, settle } = place(false);
    expect(ids.add(5, message("a"))).toBe(0);
    expect(ids.isRepeat(5, message("b"))).toBe(true);
    expect(ids.remove(5)).toBe(0);
    settle();
    expect(store.written.size).toBe(0);
  });

  it("tells the group of each change, and of the last one for a repeat or a second PUBREL", () => {
    const { ids, store, settle } = place();
    const added = ids.add(5, message("a"));
    expect(added).toBeGreaterThan(store.stored);
    settle();
    const repeated = ids.touch();
    expect(repeated).toBeGreaterThan(added);
    const removed = ids.remove(5);
    expect(ids.remove(5)).toBe(removed);
    expect(removed).toBeGreaterThan(store.stored);
    settle();
    expect(store.stored).toBeGreaterThanOrEqual(removed);
  });

  it("survives a power cut once its group is stored, and goes when it is empty", () => {
    const { ids, store, settle } = place();
    for (const id of [1, 500, 65535]) ids.add(id, message(`t${id}`));
    ids.remove(500);
    settle();
    const restored = new IncomingIds(7, store, true, { count: 0 });
    for (const record of store.written.values()) restored.recover(record);
    expect(restored.size).toBe(2);
    for (const id of [1, 500, 65535]) expect(restored.isRepeat(id, message(`t${id}`))).toBe(id !== 500);
    expect(restored.isRepeat(1, message("another"))).toBe(false);
    ids.clear();
    settle();
    expect([...store.crash().keys()]).toEqual([]);
  });

  it("lies on disk as entries of an identifier and eight bytes of digest, 256 identifiers a record", () => {
    const { ids, store, settle } = place();
    ids.add(0x0102, message("a"));
    ids.add(0x01ff, message("b"));
    ids.add(0x0200, message("c"));
    settle();
    const recordOf = (block: number): Buffer => store.written.get(incomingKey(7, block).toString("latin1")) ?? expect.fail("no record");
    const record = recordOf(1);
    expect([record.length, record.readUInt16BE(0), record.readUInt16BE(10)]).toEqual([20, 0x0102, 0x01ff]);
    expect(record.subarray(2, 10).equals(record.subarray(12, 20))).toBe(false);
    expect([recordOf(2).length, recordOf(2).readUInt16BE(0)]).toEqual([10, 0x0200]);
  });

  it("writes only what has changed, and removes all of it when the session ends, in whatever order", () => {
    const { ids, store, settle } = place();
    for (let id = 1; id <= 65535; id++) ids.add(id, message("a"));
    settle();
    expect([ids.size, store.written.size]).toEqual([65535, 256]);
    ids.remove(1);
    ids.end();
    settle();
    expect(store.written.size).toBe(0);
  });

  it("has nothing to wait for when nothing was to be cleared", () => {
    const { ids } = place();
    expect(ids.clear()).toBe(0);
    ids.add(1, message("a"));
    expect(ids.clear()).toBeGreaterThan(0);
    expect(ids.size).toBe(0);
  });
});
