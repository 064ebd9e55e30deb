import { describe, expect, it } from "vitest";
import { decodeOptions, encodeOptions, plainOptions } from "../../src/broker/subscription-options.ts";
import { BrokerRig } from "./rig.ts";

describe("options of a subscription", () => {
  it("are read as they were written, also those of earlier versions", () => {
    const all = { qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2, identifier: 268_435_455 } as const;
    expect(decodeOptions(encodeOptions(all))).toEqual(all);
    expect(encodeOptions(plainOptions(2))).toEqual(Buffer.from([2]));
    expect(decodeOptions(Buffer.from([1]))).toEqual(plainOptions(1));
  });

  it("outlive a restart", async () => {
    const before = await BrokerRig.start();
    const client = before.connect("c", { expiryMs: Infinity });
    client.subscribe("a", { qos: 1, noLocal: true, identifier: 7 });
    const rig = await before.restart();
    const again = rig.connect("c", { expiryMs: Infinity });
    rig.publish("a", 1, again);
    rig.publish("a", 1);
    expect(again.take()).toEqual(["a 7"]);
  });
});

describe("overlapping subscriptions", () => {
  it("give one copy with all identifiers that match and the highest QoS [MQTT-3.3.4-2] [MQTT-3.3.4-3]", async () => {
    const rig = await BrokerRig.start();
    const client = rig.connect("c");
    client.subscribe("a/#", { qos: 0, identifier: 1 });
    client.subscribe("a/+", { qos: 1, identifier: 2 });
    client.subscribe("a/b", { qos: 0 });
    client.subscribe("other", { qos: 2, identifier: 9 });
    rig.publish("a/b", 2);
    expect(client.take().map((line) => line.split(" ").sort())).toEqual([["1", "2", "a/b"]]);
    expect(client.peer.unacknowledged).toHaveLength(1);
  });

  it("of which some are no-local give the publisher what the others give [MQTT-3.8.3-3]", async () => {
    const rig = await BrokerRig.start();
    const client = rig.connect("c");
    client.subscribe("a/#", { qos: 1, identifier: 1, noLocal: true });
    rig.publish("a/b", 0, client);
    expect(client.take()).toEqual([]);
    client.subscribe("a/b", { qos: 0, identifier: 2 });
    rig.publish("a/b", 0, client);
    rig.publish("a/c", 0, client);
    expect(client.take()).toEqual(["a/b 2"]);
    rig.publish("a/c", 0);
    expect(client.take()).toEqual(["a/c 1"]);
  });
});

it("the RETAIN flag of live messages is kept where the subscription says so", async () => {
  const rig = await BrokerRig.start();
  const [keeps, clears] = [rig.connect("keeps"), rig.connect("clears")];
  keeps.subscribe("a", { qos: 0, retainAsPublished: true });
  clears.subscribe("a", { qos: 0 });
  rig.publish("a", 0, undefined, { retain: true });
  expect([...keeps.peer.received, ...clears.peer.received].map(({ retain }) => retain)).toEqual([true, false]);
});
