import { expect, it } from "vitest";
import { BrokerRig, type Client } from "./rig.ts";

const properties = Buffer.from("0101", "hex");
const seconds = ({ peer }: Client): number[] => peer.received.splice(0).map(({ expirySeconds }) => expirySeconds);

function publish(rig: BrokerRig, name: string, forMs: number, { retain = false } = {}): void {
  rig.publish(name, 1, undefined, { expiresAtMs: rig.clock.nowMs() + forMs, properties, retain });
}

it("a queued message is delivered with the time that is left of it, and not when none is, also after a restart", async () => {
  const before = await BrokerRig.start();
  const client = before.connect("c", { expiryMs: Infinity });
  client.subscribe("#", { qos: 1, identifier: 3 });
  client.leave();
  publish(before, "short", 5_000);
  publish(before, "long", 60_000);
  before.publish("ever", 1);
  await before.settle(2_000);
  const rig = await before.restart();
  await rig.settle(8_000);
  const again = rig.connect("c", { expiryMs: Infinity });
  await rig.settle();
  expect(again.peer.received.map(({ topic, expirySeconds, ids, properties: rest }) => [topic, expirySeconds, ids, rest])).toEqual([
    ["long", 50, [3], "0101"],
    ["ever", -1, [3], ""],
  ]);
  expect(again.entry.session.bounds.expired).toBe(1);
});

it("a message whose sending has begun is finished after its time", async () => {
  const rig = await BrokerRig.start();
  const client = rig.connect("c", { expiryMs: Infinity });
  client.subscribe("#", { qos: 1 });
  publish(rig, "a", 5_000);
  expect(seconds(client)).toEqual([5]);
  client.leave();
  await rig.settle(10_000);
  const again = rig.connect("c", { expiryMs: Infinity });
  await rig.settle();
  expect(again.peer.received.map(({ dup, expirySeconds }) => [dup, expirySeconds])).toEqual([[true, 0]]);
});

it("a retained message is sent with the time that is left of it, and is gone afterwards, in RAM and on disk", async () => {
  const before = await BrokerRig.start();
  publish(before, "short", 5_000, { retain: true });
  publish(before, "long", 60_000, { retain: true });
  publish(before, "renewed", 5_000, { retain: true });
  before.publish("renewed", 1, undefined, { retain: true });
  await before.settle(2_000);
  const rig = await before.restart();
  const early = rig.connect("early");
  early.subscribe("#", { qos: 0 });
  early.askForRetained("#");
  expect(seconds(early).sort((a, b) => a - b)).toEqual([-1, 3, 58]);
  await rig.settle(5_000); // nobody has removed it yet
  const late = rig.connect("late");
  late.subscribe("#", { qos: 0 });
  late.askForRetained("#");
  expect(late.peer.received.map(({ topic }) => topic).sort()).toEqual(["long", "renewed"]);
  await rig.settle(10_000);
  expect(rig.broker.retained.count).toBe(2);
  expect([...(await rig.restart()).store.written.keys()].filter((key) => key.startsWith("r")).sort()).toEqual(["rlong", "rrenewed"]);
});

it("messages whose time is over give way to new ones in a full queue", async () => {
  const rig = await BrokerRig.start();
  const client = rig.connect("c", { expiryMs: Infinity });
  client.subscribe("#", { qos: 1 });
  client.leave();
  for (let i = 0; i < 1_000; i++) publish(rig, "old", 1_000);
  rig.publish("refused", 1);
  await rig.settle(2_000);
  client.entry.session.leaveToDisk();
  rig.publish("has them read", 1);
  await rig.settle();
  for (let i = 0; i < 10; i++) rig.publish("new", 1);
  await rig.settle();
  const again = rig.connect("c", { expiryMs: Infinity });
  await rig.settle();
  expect(again.take()).toEqual(Array<string>(10).fill("new"));
  expect(again.entry.session.bounds.expired).toBe(1_000);
});
