import { describe, expect, it } from "vitest";
import { accessOf, BrokerRig } from "./rig.ts";

const ALL = "topic #\n";
const ONLY_A = "topic a/#\n";
const ONLY_B = "topic b/#\n";

describe("what is queued for a client whose rights change", () => {
  it("is sent by the rights of the moment at which it goes out, what came before the change and what comes after it", async () => {
    const rig = await BrokerRig.start(undefined, { inflight: 2, access: accessOf(ALL) });
    const client = rig.connect("client");
    client.subscribe("#", { qos: 1 });
    for (const name of ["a/1", "b/1", "a/2", "b/2", "a/3"]) rig.publish(name, 1);
    expect(client.take()).toEqual(["a/1", "b/1"]);
    rig.broker.access = accessOf(ONLY_A);
    for (const name of ["a/4", "b/4"]) rig.publish(name, 1);
    client.acknowledge();
    expect(client.take()).toEqual(["a/2", "a/3"]);
    rig.broker.access = accessOf(ONLY_B);
    for (const name of ["a/5", "b/5"]) rig.publish(name, 1);
    client.acknowledge();
    expect(client.take()).toEqual(["b/5"]);
    client.acknowledge();
    expect(client.entry.session.queuedMessages).toBe(0);
  });

  it("is sent again after a reconnect only if it may still be read", async () => {
    const rig = await BrokerRig.start(undefined, { access: accessOf(ALL) });
    const client = rig.connect("client", { expiryMs: Infinity });
    client.subscribe("#", { qos: 1 });
    for (const name of ["a/1", "b/1"]) rig.publish(name, 1);
    await rig.settle();
    expect(client.take()).toEqual(["a/1", "b/1"]);
    client.leave();
    for (const name of ["a/2", "b/2"]) rig.publish(name, 1);
    rig.broker.access = accessOf(ONLY_A);
    for (const name of ["a/3", "b/3"]) rig.publish(name, 1);
    const back = rig.connect("client", { expiryMs: Infinity });
    await rig.settle();
    expect(back.take()).toEqual(["a/1", "a/2", "a/3"]);
  });

  it("and was sent with QoS 2 is not sent again when it may not be read any more, but its identifier is given up once that is on disk", async () => {
    const rig = await BrokerRig.start(undefined, { access: accessOf(ALL) });
    const client = rig.connect("client", { expiryMs: Infinity });
    client.subscribe("#", { qos: 2 });
    rig.publish("b/1", 1);
    for (const name of ["a/1", "b/2"]) rig.publish(name, 2);
    await rig.settle();
    expect(client.take()).toEqual(["b/1", "a/1", "b/2"]);
    client.leave();
    rig.publish("b/3", 2);
    const restarted = await rig.restart({ access: accessOf(ONLY_A) });
    const storedBefore = restarted.store.stored;
    const back = restarted.connect("client", { expiryMs: Infinity });
    await restarted.settle();
    expect(back.take()).toEqual(["a/1"]);
    const [released, ...others] = back.peer.lines;
    expect(released).toMatch(/^62020004 after [1-9]/); // b/2's
    expect(Number(released?.split(" ").at(-1))).toBeGreaterThan(storedBefore);
    expect(others).toEqual([]);
    const again = await restarted.restart({ access: accessOf(ALL) });
    const last = again.connect("client", { expiryMs: Infinity });
    await again.settle();
    expect(last.take()).toEqual(["a/1"]);
  });

  it("is asked about again after a restart with other rules", async () => {
    const rig = await BrokerRig.start(undefined, { access: accessOf(ALL) });
    const client = rig.connect("client", { expiryMs: Infinity });
    client.subscribe("#", { qos: 1 });
    client.leave();
    for (const name of ["a/1", "b/1"]) rig.publish(name, 1);
    const restarted = await rig.restart({ access: accessOf(ONLY_A) });
    for (const name of ["a/2", "b/2"]) restarted.publish(name, 1);
    const back = restarted.connect("client", { expiryMs: Infinity });
    await restarted.settle();
    expect(back.take()).toEqual(["a/1", "a/2"]);
  });

  it("is asked about again when the session comes below another mount point", async () => {
    const rig = await BrokerRig.start();
    const client = rig.connect("client", { expiryMs: Infinity });
    client.subscribe("#", { qos: 1 });
    client.leave();
    for (const name of ["a/1", "b/1"]) rig.publish(name, 1);
    client.entry.session.strippedPrefix = Buffer.from("a/");
    for (const name of ["a/2", "b/2"]) rig.publish(name, 1);
    expect(rig.connect("client", { expiryMs: Infinity }).take()).toEqual(["1", "2"]);
  });
});
