import { describe, expect, it } from "vitest";
import { messageOf } from "../../src/queue/message.ts";
import { BrokerRig, type Client } from "./rig.ts";

function will(rig: BrokerRig, client: Client, delayMs: number, expiryMs?: number, topic = `will/${client.id}`): void {
  const properties = Buffer.from("0101", "hex");
  const receivedMs = rig.clock.nowMs();
  const expiresAtMs = expiryMs === undefined ? 0 : receivedMs + delayMs + expiryMs;
  const message = messageOf(Buffer.from(topic), Buffer.from("gone"), { qos: 1, retain: false, receivedMs, properties, expiresAtMs });
  client.leave();
  rig.broker.delayWill(client.entry, message, delayMs);
}

async function watched(): Promise<{ rig: BrokerRig; watcher: Client }> {
  const rig = await BrokerRig.start();
  const watcher = rig.connect("watcher", { expiryMs: Infinity });
  watcher.subscribe("will/#", { qos: 1 });
  return { rig, watcher };
}

describe("a will with a delay", () => {
  it("is published when the delay is over, with its properties", async () => {
    const { rig, watcher } = await watched();
    will(rig, rig.connect("c", { expiryMs: 60_000 }), 5_000);
    await rig.settle(4_900);
    expect(watcher.take()).toEqual([]);
    await rig.settle(200);
    expect(watcher.peer.received.map(({ topic, properties }) => [topic, properties])).toEqual([["will/c", "0101"]]);
  });

  it("is not published when the client is back before [MQTT-3.1.3-9]", async () => {
    const { rig, watcher } = await watched();
    will(rig, rig.connect("c", { expiryMs: 60_000 }), 5_000);
    rig.connect("c", { expiryMs: 60_000 });
    await rig.settle(70_000);
    expect(watcher.take()).toEqual([]);
  });

  it("is published when the session ends, be it over or replaced by a clean start", async () => {
    const { rig, watcher } = await watched();
    will(rig, rig.connect("over", { expiryMs: 2_000 }), 50_000);
    will(rig, rig.connect("clean", { expiryMs: 60_000 }), 50_000);
    rig.connect("clean", { cleanStart: true });
    expect(watcher.take()).toEqual(["will/clean"]);
    await rig.settle(3_100);
    expect(watcher.take()).toEqual(["will/over"]);
  });

  it("lives as long as it says from when it is published, also when that is before its time", async () => {
    const { rig, watcher } = await watched();
    watcher.leave();
    for (const expiryMs of [4_000, 6_000]) will(rig, rig.connect(`for-${expiryMs}`, { expiryMs: 60_000 }), 50_000, expiryMs);
    for (const expiryMs of [4_000, 6_000]) rig.connect(`for-${expiryMs}`, { cleanStart: true });
    await rig.settle(5_000);
    const again = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle(100);
    expect(again.take()).toEqual(["will/for-6000"]);
  });

  it("outlives a restart, once", async () => {
    const { rig: before } = await watched();
    will(before, before.connect("c", { expiryMs: 60_000 }), 5_000);
    const rig = await before.restart();
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle(5_000);
    expect(watcher.take()).toEqual(["will/c"]);
    watcher.acknowledge();
    const after = await rig.restart();
    const again = after.connect("watcher", { expiryMs: Infinity });
    await after.settle(10_000);
    expect(again.take()).toEqual([]);
  });

  it("waits longer than a timer can", async () => {
    const { rig, watcher } = await watched();
    const days = 30 * 86_400_000;
    will(rig, rig.connect("c", { expiryMs: Infinity }), days);
    await rig.settle(days - 1_000);
    expect(watcher.take()).toEqual([]);
    await rig.settle(2_000);
    expect(watcher.take()).toEqual(["will/c"]);
  });

  it("is published after a restart that finds its session over", async () => {
    const { rig: before } = await watched();
    will(before, before.connect("c", { expiryMs: 60_000 }), 5_000);
    await before.settle();
    const disk = before.store.crash();
    await before.settle(90_000); // in vain
    const rig = await BrokerRig.start(disk, { clock: before.clock });
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle();
    expect(watcher.take()).toEqual(["will/c"]);
  });

  it("falls due while the store is full, and outlives a restart", async () => {
    const { rig: before } = await watched();
    will(before, before.connect("c", { expiryMs: 60_000 }), 5_000);
    await before.settle();
    before.store.isFull = true;
    await before.settle(6_000);
    const rig = await before.restart();
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle();
    expect(watcher.take()).toEqual(["will/c"]);
  });

  it("outlives a restart though its session is over while the store is full, and is published once when there is room", async () => {
    const { rig: before } = await watched();
    will(before, before.connect("c", { expiryMs: 5_000 }), 60_000);
    await before.settle();
    before.store.isFull = true;
    await before.settle(8_000);
    const rig = await BrokerRig.start(before.store.crash(), { clock: before.clock, prepare: (store) => (store.isFull = true) });
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle(2_000);
    expect(watcher.take()).toEqual([]);
    rig.store.isFull = false;
    await rig.settle(2_000);
    expect(watcher.take()).toEqual(["will/c"]);
    watcher.acknowledge();
    expect(rig.broker.sessions.get("client", "c")).toBeUndefined();
    const after = await rig.restart();
    const again = after.connect("watcher", { expiryMs: Infinity });
    await after.settle(70_000);
    expect(again.take()).toEqual([]);
  });

  it("falls due while the store is full, and is published once when there is room, though its client is back by then", async () => {
    const { rig, watcher } = await watched();
    will(rig, rig.connect("c", { expiryMs: 60_000 }), 5_000);
    rig.store.isFull = true;
    await rig.settle(6_000);
    rig.connect("c", { expiryMs: 60_000 });
    await rig.settle();
    expect(watcher.take()).toEqual([]);
    rig.store.isFull = false;
    await rig.settle();
    expect(watcher.take()).toEqual(["will/c"]);
    watcher.acknowledge();
    const after = await rig.restart();
    const again = after.connect("watcher", { expiryMs: Infinity });
    await after.settle(10_000);
    expect(again.take()).toEqual([]);
  });

  it.each([false, true])("falls due while the store is full, and is published though the client's next will is delayed meanwhile (restart: %s)", async (isRestarted) => {
    const { rig: before } = await watched();
    const leaveAgain = async (topic: string): Promise<void> => {
      will(before, before.connect("c", { expiryMs: 60_000 }), 5_000, undefined, topic);
      await before.settle(100);
    };
    await leaveAgain("will/first");
    before.store.isFull = true;
    await before.settle(6_000);
    await leaveAgain("will/second");
    await before.settle(6_000);
    await leaveAgain("will/taken back");
    await leaveAgain("will/third");
    const rig = isRestarted ? await before.restart() : before;
    rig.store.isFull = false;
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle();
    expect(watcher.take()).toEqual(["will/first", "will/second"]);
    await rig.settle(6_000);
    expect(watcher.take()).toEqual(["will/third"]);
    watcher.acknowledge();
    const after = await rig.restart();
    const again = after.connect("watcher", { expiryMs: Infinity });
    await after.settle(10_000);
    expect(again.take()).toEqual([]);
  });

  it("is the oldest of those of its client that goes when too many wait for room", async () => {
    const { rig: before } = await watched();
    before.store.isFull = true;
    for (let number = 1; number <= 260; number++) {
      will(before, before.connect("c", { expiryMs: 60_000 }), 1_000, undefined, `will/${number}`);
      await before.settle(1_100);
    }
    const rig = await before.restart();
    const watcher = rig.connect("watcher", { expiryMs: Infinity });
    await rig.settle();
    watcher.acknowledge();
    await rig.settle();
    expect(watcher.take()).toEqual(Array.from({ length: 16 }, (_, i) => `will/${i + 245}`));
  });
});
