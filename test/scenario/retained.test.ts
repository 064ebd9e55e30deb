import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { connect311, RawClient, type Received, type TestClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { connectPacket, publishPacket, readPublish, subscribePacket, type QoS } from "./packets.ts";

let daemon: DaemonProcess;
let port: number;
/** The port of the listener with the mount point `plant/`. */
let mountedPort: number;
const cleanups: (() => Promise<unknown> | void)[] = [];

beforeAll(async () => {
  [port = 0, mountedPort = 0] = await freePorts(2);
  daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
listener ${mountedPort} 127.0.0.1
mount_point plant/
`);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  await daemon?.cleanup();
});

async function client(options: Parameters<typeof connect311>[1] = {}, at = port): Promise<TestClient> {
  const connected = await connect311(at, options);
  cleanups.push(() => connected.end());
  return connected;
}

/** The retained messages that a new client gets for the filter, with those that follow before the marker. */
async function retainedFor(filter: string, options: { qos?: QoS; at?: number } = {}): Promise<Received[]> {
  const { qos = 1, at = port } = options;
  const subscriber = await client({}, at);
  await subscriber.subscribe(filter, qos);
  // The marker is routed behind SUBSCRIBE; what was retained goes out before it.
  await subscriber.subscribe("marker", qos);
  await subscriber.publish("marker", "end", { qos: 1 });
  await subscriber.waitFor("marker", "end");
  return subscriber.messages.filter(({ topic }) => topic !== "marker");
}

const valuesOf = (messages: readonly Received[]): string[] => messages.map(({ topic, payload }) => `${topic}=${payload}`).sort();

describe("a retained message", () => {
  // [MQTT-3.3.1-8, MQTT-3.3.1-9]
  it.each([0, 1, 2] as const)("of QoS %i goes to a new subscriber with RETAIN 1, to a present one with RETAIN 0", async (qos) => {
    const live = await client();
    await live.subscribe(`flag/${qos}`, 2);
    await live.publish(`flag/${qos}`, "value", { qos, retain: true });
    expect(await live.waitFor(`flag/${qos}`, "value")).toMatchObject({ qos, retain: false });
    expect(await retainedFor(`flag/${qos}`, { qos: 2 })).toMatchObject([{ payload: "value", qos, retain: true }]);
  });

  it.each([
    [2, 1],
    [1, 0],
  ] as const)("of QoS %i goes out with the subscription's QoS %i", async (qos, granted) => {
    const publisher = await client();
    await publisher.publish("downgrade", "value", { qos, retain: true });
    expect(await retainedFor("downgrade", { qos: granted })).toMatchObject([{ payload: "value", qos: granted, retain: true }]);
  });

  it("is replaced by the next one, left alone by a plain one, and sent again for each SUBSCRIBE [MQTT-3.8.4-3]", async () => {
    const subscriber = await client();
    await subscriber.publish("replaced", "first", { qos: 1, retain: true });
    await subscriber.publish("replaced", "second", { qos: 1, retain: true });
    await subscriber.publish("replaced", "not kept", { qos: 1 });
    for (let i = 0; i < 2; i++) await subscriber.subscribe("replaced", 1);
    await subscriber.waitForMessages(2);
    expect(subscriber.messages).toMatchObject([
      { payload: "second", retain: true },
      { payload: "second", retain: true },
    ]);
  });

  it.each([0, 1, 2] as const)("is cleared by an empty one of QoS %i, which goes to subscribers as any message does [MQTT-3.3.1-10]", async (qos) => {
    const live = await client();
    const topic = `cleared/${qos}`;
    await live.publish(topic, "value", { qos: 1, retain: true });
    await live.subscribe(topic, 2);
    await live.waitFor(topic, "value");
    await live.publish(topic, "", { qos, retain: true });
    expect(await live.waitFor(topic, "")).toMatchObject({ retain: false });
    expect(await retainedFor(topic)).toEqual([]);
  });

  it("may be the will of a client that vanished", async () => {
    const observer = await client();
    await observer.subscribe("last/words");
    const vanished = await client({ will: { topic: "last/words", payload: Buffer.from("gone"), qos: 1, retain: true } });
    vanished.drop();
    await observer.waitFor("last/words", "gone");
    expect(await retainedFor("last/words")).toMatchObject([{ payload: "gone", qos: 1, retain: true }]);
  });
});

it.each([
  ["w/a/b", ["w/a/b"]],
  ["w/+", ["w/", "w/a", "w/x"]],
  ["w/+/b", ["w/a/b", "w/x/b"]],
  ["w/+/+", ["w/a/b", "w/x/b"]],
  ["w/a/#", ["w/a", "w/a/b"]],
  ["w/#", ["w", "w/", "w/a", "w/a/b", "w/x", "w/x/b"]],
  ["+/a", ["w/a"]],
])("the filter %s finds the retained messages of its topics", async (filter, topics) => {
  const publisher = await client();
  for (const topic of ["w", "w/", "w/a", "w/a/b", "w/x", "w/x/b"]) await publisher.publish(topic, "1", { qos: 1, retain: true });
  expect(valuesOf(await retainedFor(filter))).toEqual(topics.map((topic) => `${topic}=1`).sort());
});

it("topics that begin with $ are found by their name, not by # or +/... [MQTT-4.7.2-1]", async () => {
  const publisher = await client();
  await publisher.publish("$own/value", "1", { qos: 1, retain: true });
  await publisher.publish("visible/value", "1", { qos: 1, retain: true });
  for (const filter of ["#", "+/value"]) {
    const topics = (await retainedFor(filter)).map(({ topic }) => topic);
    expect(topics).toContain("visible/value");
    expect(topics.filter((topic) => topic.startsWith("$"))).toEqual([]);
  }
  expect(valuesOf(await retainedFor("$own/+"))).toEqual(["$own/value=1"]);
  expect((await retainedFor("$SYS/#")).map(({ topic }) => topic)).toContain("$SYS/broker/version");
});

it("a mount point is put before retained topics and taken off again, over a restart too", async () => {
  const inside = await client({}, mountedPort);
  await inside.publish("meter", "from inside", { qos: 1, retain: true });
  const outside = await client();
  await outside.publish("plant/valve", "from outside", { qos: 1, retain: true });
  await outside.publish("meter", "not for the plant", { qos: 1, retain: true });
  for (const signal of ["none", "SIGKILL"] as const) {
    if (signal !== "none") await daemon.restart(signal);
    expect(valuesOf(await retainedFor("#", { at: mountedPort }))).toEqual(["meter=from inside", "valve=from outside"]);
    expect(valuesOf(await retainedFor("plant/#"))).toEqual(["plant/meter=from inside", "plant/valve=from outside"]);
    expect(await retainedFor("$SYS/#", { at: mountedPort })).toEqual([]);
  }
  const again = await client({}, mountedPort);
  await again.publish("meter", "", { qos: 1, retain: true });
  expect(valuesOf(await retainedFor("plant/#"))).toEqual(["plant/valve=from outside"]);
});

describe("over a restart", () => {
  it.each(["SIGTERM", "SIGKILL"] as const)("by %s, what was acknowledged is kept, replaced and cleared", async (signal) => {
    const publisher = await client();
    for (const qos of [1, 2] as const) {
      await publisher.publish(`${signal}/kept/${qos}`, "kept", { qos, retain: true });
      await publisher.publish(`${signal}/replaced/${qos}`, "old", { qos, retain: true });
      await publisher.publish(`${signal}/cleared/${qos}`, "old", { qos, retain: true });
    }
    await daemon.restart(signal);
    const second = await client();
    for (const qos of [1, 2] as const) {
      await second.publish(`${signal}/replaced/${qos}`, "new", { qos, retain: true });
      await second.publish(`${signal}/cleared/${qos}`, "", { qos, retain: true });
    }
    await daemon.restart(signal);
    const expected = [1, 2].flatMap((qos) => [`${signal}/kept/${qos}=kept`, `${signal}/replaced/${qos}=new`]);
    const found = await retainedFor(`${signal}/#`, { qos: 2 });
    expect(valuesOf(found)).toEqual(expected.sort());
    for (const { topic, qos, retain } of found) expect({ qos, retain }).toEqual({ qos: Number(topic.at(-1)), retain: true });
  });

  it("by SIGTERM, retained messages of QoS 0 are kept, replaced and cleared", async () => {
    const publisher = await client();
    for (const topic of ["kept", "replaced", "cleared"]) await publisher.publish(`lazy/${topic}`, "old", { retain: true });
    await publisher.publish("behind", "1", { qos: 1 });
    await daemon.restart("SIGTERM");
    expect(valuesOf(await retainedFor("lazy/#"))).toEqual(["lazy/cleared=old", "lazy/kept=old", "lazy/replaced=old"]);
    const second = await client();
    await second.publish("lazy/replaced", "new", { retain: true });
    await second.publish("lazy/cleared", "", { retain: true });
    await second.publish("behind", "1", { qos: 1 });
    await daemon.restart("SIGTERM");
    expect(valuesOf(await retainedFor("lazy/#"))).toEqual(["lazy/kept=old", "lazy/replaced=new"]);
  });

  it.each(["SIGTERM", "SIGKILL"] as const)("by %s, a value of QoS 0 does not come back over a later one of QoS 1", async (signal) => {
    const publisher = await client();
    const topic = `mixed/${signal}`;
    await publisher.publish(`${topic}/set`, "lazy", { retain: true });
    await publisher.publish(`${topic}/set`, "durable", { qos: 1, retain: true });
    await publisher.publish(`${topic}/cleared`, "lazy", { retain: true });
    await publisher.publish(`${topic}/cleared`, "", { qos: 1, retain: true });
    await daemon.restart(signal);
    expect(valuesOf(await retainedFor(`${topic}/#`))).toEqual([`${topic}/set=durable`]);
  });
});

describe("a persistent session", () => {
  it.each(["SIGTERM", "SIGKILL"] as const)("keeps its subscriptions over a restart by %s, as they were last acknowledged", async (signal) => {
    const session = { clientId: `subscriber-${signal}`, clean: false };
    const before = await client(session);
    expect(before.sessionPresent).toBe(false);
    await before.subscribe(`kept/${signal}`, 1);
    await before.subscribe(`lowered/${signal}`, 2);
    await before.subscribe(`lowered/${signal}`, 0);
    await before.subscribe(`gone/${signal}`, 1);
    await before.client.unsubscribeAsync(`gone/${signal}`);
    await daemon.restart(signal);

    const after = await client(session);
    expect(after.sessionPresent).toBe(true);
    const publisher = await client();
    for (const topic of ["gone", "lowered", "kept"]) await publisher.publish(`${topic}/${signal}`, "1", { qos: 1 });
    await after.waitFor(`kept/${signal}`, "1");
    expect(after.messages.map(({ topic, qos }) => [topic, qos])).toEqual([
      [`lowered/${signal}`, 0],
      [`kept/${signal}`, 1],
    ]);
  });

  it("gets no retained message again when it comes back, only for a new SUBSCRIBE", async () => {
    const session = { clientId: "returning", clean: false };
    const before = await client(session);
    await before.publish("returning/value", "1", { qos: 1, retain: true });
    await before.subscribe("returning/value", 1);
    await before.waitForMessages(1);
    await before.end();
    await daemon.restart("SIGTERM");
    const after = await client(session);
    await after.publish("returning/value", "2", { qos: 1 });
    await after.waitFor("returning/value", "2");
    expect(after.messages.map(({ payload }) => payload)).toEqual(["2"]);
    await after.subscribe("returning/value", 1);
    expect((await after.waitForMessages(2))[1]).toMatchObject({ payload: "1", retain: true });
  });

  it("that was ended by a clean CONNECT is not back after SIGKILL, nor are its messages", async () => {
    const session = { clientId: "ended", clean: false };
    const before = await client(session);
    await before.subscribe("ended/#", 1);
    await before.end();
    const publisher = await client();
    await publisher.publish("ended/1", "missed", { qos: 1 });
    const clean = await client({ clientId: "ended", clean: true });
    expect(clean.sessionPresent).toBe(false);
    await daemon.restart("SIGKILL");
    const again = await client(session);
    expect(again.sessionPresent).toBe(false);
    await again.subscribe("ended/marker", 1);
    await again.publish("ended/1", "not subscribed", { qos: 1 });
    await again.publish("ended/marker", "1", { qos: 1 });
    await again.waitFor("ended/marker", "1");
    expect(again.messages.map(({ topic }) => topic)).toEqual(["ended/marker"]);
  });

  it("exists from its CONNACK on, also when the daemon is killed then", async () => {
    const session = { clientId: "just-born", clean: false };
    await client(session);
    await daemon.restart("SIGKILL");
    expect((await client(session)).sessionPresent).toBe(true);
  });

  // A client may send SUBSCRIBE before it has seen CONNACK [MQTT-3.1.4-5].
  it("that is new gets retained messages of QoS 0 for a SUBSCRIBE sent together with its CONNECT [MQTT-3.3.1-6]", async () => {
    const publisher = await client();
    for (const qos of [0, 1] as const) await publisher.publish(`hasty/${qos}`, "1", { qos, retain: true });
    const raw = await RawClient.open(port);
    cleanups.push(() => raw.destroy());
    raw.send(Buffer.concat([connectPacket("hasty", { clean: false }), subscribePacket(1, "hasty/+", 1)]).toString("hex"));
    expect(await raw.frame()).toBe("20020000");
    expect(await raw.frame()).toBe("9003000101");
    raw.send(publishPacket("hasty/marker", "1", { qos: 1, id: 1 }).toString("hex"));
    const topics: string[] = [];
    while (!topics.includes("hasty/marker")) {
      const frame = Buffer.from(await raw.frame(), "hex");
      if ((frame[0] ?? 0) >> 4 === 3) topics.push(readPublish(frame).topic);
    }
    expect(topics.sort()).toEqual(["hasty/0", "hasty/1", "hasty/marker"]);
  });
});

// More than max_queued_messages (1,000) and the in-flight window (10) together.
describe("all of 1,500 retained messages of QoS 1 reach a new subscriber [MQTT-3.3.1-6]", () => {
  const topics = Array.from({ length: 1_500 }, (_, i) => `numerous/${i}`);
  const distinct = (messages: readonly Received[]): number => new Set(messages.map(({ topic }) => topic)).size;

  beforeAll(async () => {
    const publisher = await RawClient.open(port);
    publisher.send(connectPacket("numerous").toString("hex"));
    publisher.send(Buffer.concat(topics.map((topic, i) => publishPacket(topic, "1", { qos: 1, id: i + 1, retain: true }))).toString("hex"));
    for (let i = 0; i <= topics.length; i++) await publisher.frame();
    publisher.destroy();
  });

  it("with a clean session, while live messages go on", async () => {
    const subscriber = await client();
    await subscriber.subscribe("numerous/+", 1);
    await subscriber.subscribe("marker", 1);
    await subscriber.publish("marker", "between", { qos: 1 });
    await subscriber.waitUntil(() => distinct(subscriber.messages) === topics.length + 1);
    expect(subscriber.messages.length).toBe(topics.length + 1);
  });

  it("with a persistent session, also when it has gone by then and the daemon is killed", async () => {
    const session = { clientId: "numerous-later", clean: false };
    const raw = await RawClient.open(port);
    raw.send(connectPacket(session.clientId, { clean: false }).toString("hex"));
    raw.send(subscribePacket(1, "numerous/+", 1).toString("hex"));
    expect(await raw.frame()).toBe("20020000");
    expect(await raw.frame()).toBe("9003000101");
    raw.destroy();
    const behind = await client();
    // Behind a dozen groups of the store: the replay, which goes on meanwhile, is on disk.
    for (let i = 0; i < 12; i++) await behind.publish("behind", String(i), { qos: 1, retain: true });
    await daemon.restart("SIGKILL");
    const subscriber = await client(session);
    await subscriber.waitUntil(() => distinct(subscriber.messages) === topics.length);
  });
});

// More than the system's buffers and the 4 MiB that may wait for a connection: the subscriber reads, but has had no time to.
it("all of 30 MB of retained messages of QoS 0 reach a new subscriber [MQTT-3.3.1-6]", async () => {
  const publisher = await client();
  for (let i = 0; i < 150; i++) await publisher.publish(`large/${i}`, "x".repeat(200_000), { retain: true });
  await publisher.publish("behind", "1", { qos: 1 });
  const subscriber = await client();
  await subscriber.subscribe("large/+");
  await subscriber.subscribe("marker", 1);
  // Live messages of QoS 0 find room beside them.
  await subscriber.subscribe("live");
  await publisher.publish("live", "now");
  await subscriber.waitFor("live", "now");
  await subscriber.waitUntil(() => subscriber.messages.length === 151);
  await publisher.publish("marker", "end", { qos: 1 });
  await subscriber.waitFor("marker", "end");
  expect(subscriber.messages.length).toBe(152);
});
