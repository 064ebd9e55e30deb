import { expect, it } from "vitest";
import type { SimulatedStore } from "../sim/simulated-store.ts";
import { BrokerRig } from "./rig.ts";

it("tells a store that was repaired that all is taken up when that is so for each session, not before", async () => {
  const rig = await BrokerRig.start();
  for (const id of ["a", "b"]) {
    const client = rig.connect(id, { expiryMs: Infinity });
    client.subscribe("#", { qos: 1 });
    client.leave();
  }
  for (const topic of ["one", "two"]) rig.publish(topic, 1);
  await rig.settle();
  await rig.store.close();
  const disk = rig.store.crash();
  for (const key of [...disk.keys()]) if (key.startsWith("q")) disk.delete(key);
  const order: string[] = [];
  const prepare = (store: SimulatedStore): void => {
    const touch = store.touch.bind(store);
    store.touch = (keeper, need) => {
      if (need === "synced") order.push("taken up");
      return touch(keeper, need);
    };
    Object.assign(store, { wasRepaired: true, recovered: () => order.push("recovered") });
  };
  const again = await BrokerRig.start(disk, { clock: rig.clock, prepare });
  expect(order).toEqual(["taken up", "taken up", "recovered"]);
  for (const id of ["a", "b"]) {
    const client = again.connect(id, { expiryMs: Infinity });
    await again.settle();
    expect(client.take()).toEqual(["one", "two"]);
  }
});

it("goes on with the later of two sessions of one client, of which a repair has brought the earlier one back", async () => {
  const rig = await BrokerRig.start();
  const first = rig.connect("a", { expiryMs: Infinity });
  first.subscribe("old", { qos: 1 });
  await rig.settle();
  const before = new Map(rig.store.crash());
  first.leave();
  const second = rig.connect("a", { expiryMs: Infinity, cleanStart: true });
  second.subscribe("new", { qos: 1 });
  second.leave();
  await rig.settle(5_000);
  await rig.store.close();
  const disk = rig.store.crash();
  for (const [key, value] of before) if (/^[su]/.test(key)) disk.set(key, value);
  for (const key of [...disk.keys()]) if (key.startsWith("g")) disk.delete(key);
  const again = await BrokerRig.start(disk, { clock: rig.clock });
  expect(again.broker.sessions.clients).toBe(1);
  for (const topic of ["old", "new"]) again.publish(topic, 1);
  const client = again.connect("a", { expiryMs: Infinity });
  await again.settle(5_000);
  expect(client.present).toBe(true);
  expect(client.take()).toEqual(["new"]);
  expect([...again.store.crash().keys()].filter((key) => /^[su]/.test(key)).map((key) => key.charCodeAt(4))).toEqual([2, 2]);
});
