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
