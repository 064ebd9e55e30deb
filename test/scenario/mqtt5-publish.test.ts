import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { IPubackPacket, IPubcompPacket, IPublishPacket, IPubrecPacket, IPubrelPacket } from "mqtt-packet";
import { connect311 } from "./clients.ts";
import { Client5, destroyClients5 } from "./clients5.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;
let mountedPort: number;
let sparingPort: number;

beforeAll(async () => {
  [port = 0, mountedPort = 0, sparingPort = 0] = await freePorts(3);
  daemon = await DaemonProcess.start(`max_queued_messages 2\nlistener ${port} 127.0.0.1\nlistener ${mountedPort} 127.0.0.1\nmount_point m/\nlistener ${sparingPort} 127.0.0.1\nmax_topic_alias_broker 3`);
});

afterEach(destroyClients5);

afterAll(() => daemon?.cleanup());

async function connect(clientId: string, fields: Record<string, unknown> = {}, at = port): Promise<Client5> {
  return (await Client5.connect(at, clientId, fields)).client;
}

const kept = { clean: false, properties: { sessionExpiryInterval: 600 } };
const ALL = {
  payloadFormatIndicator: true, contentType: "text/plain", responseTopic: "answers/1", correlationData: Buffer.from([0, 1, 255]),
  userProperties: { first: ["1", "2"], second: "3" },
};

async function ack(client: Client5, cmd: "puback" | "pubrec"): Promise<number | undefined> {
  return ((await client.next(cmd)) as IPubackPacket | IPubrecPacket).reasonCode;
}

/** Takes the next message and finishes its exchange. */
async function take(client: Client5): Promise<IPublishPacket> {
  const message = await client.message();
  const { qos, messageId } = message;
  if (qos === 1) client.send({ cmd: "puback", messageId, reasonCode: 0 });
  if (qos === 2) {
    client.send({ cmd: "pubrec", messageId, reasonCode: 0 });
    await client.next("pubrel");
    client.send({ cmd: "pubcomp", messageId, reasonCode: 0 });
  }
  return message;
}

describe("properties of a message", () => {
  it.each([0, 1, 2] as const)("reach a receiver as they were sent, QoS %i [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-20]", async (qos) => {
    const [subscriber, publisher] = [await connect("all-sub"), await connect("all-pub")];
    await subscriber.subscribe("all", { qos });
    publisher.publish("all", "x", { qos, properties: ALL, ...(qos > 0 ? { messageId: 1 } : {}) });
    if (qos === 2) {
      await publisher.next("pubrec");
      publisher.send({ cmd: "pubrel", messageId: 1, reasonCode: 0 });
    }
    expect((await take(subscriber)).properties).toEqual(ALL);
  });

  it("are dropped for a receiver of 3.1.1; what one of 3.1.1 sends has none", async () => {
    const old = await connect311(port, { clientId: "old" });
    const subscriber = await connect("new");
    try {
      await old.subscribe("mixed", 1);
      await subscriber.subscribe("mixed", { qos: 1 });
      (await connect("mixed-pub")).publish("mixed", "five", { qos: 1, messageId: 1, properties: { ...ALL, messageExpiryInterval: 60 } });
      await old.waitFor("mixed", "five");
      expect((await take(subscriber)).properties).toEqual({ ...ALL, messageExpiryInterval: 60 });
      await old.publish("mixed", "four", { qos: 1 });
      const { payload, properties } = await take(subscriber);
      expect([payload.toString(), properties]).toEqual(["four", undefined]);
    } finally {
      await old.end();
    }
  });

  it("are kept below a mount point, for QoS 0 too", async () => {
    const [inside, outside] = [await connect("inside", {}, mountedPort), await connect("outside")];
    await inside.subscribe("t");
    await outside.subscribe("m/t");
    outside.publish("m/t", "x", { properties: ALL });
    for (const [client, topic] of [[inside, "t"], [outside, "m/t"]] as const) {
      const message = await client.message();
      expect([message.topic, message.properties]).toEqual([topic, ALL]);
    }
  });
});

describe("message expiry", () => {
  it("is decremented by the time that a message has waited, and a message whose time is over is not sent [MQTT-3.3.2-5] [MQTT-3.3.2-6]", async () => {
    const away = await connect("away", kept);
    await away.subscribe("e/#", { qos: 1 });
    away.destroy();
    const publisher = await connect("e-pub");
    publisher.publish("e/short", "x", { qos: 1, messageId: 1, properties: { messageExpiryInterval: 1 } });
    publisher.publish("e/long", "x", { qos: 1, messageId: 2, properties: { messageExpiryInterval: 100 } });
    expect([await ack(publisher, "puback"), await ack(publisher, "puback")]).toEqual([0, 0]);
    publisher.publish("r/short", "x", { qos: 1, messageId: 3, retain: true, properties: { messageExpiryInterval: 1 } });
    publisher.publish("r/long", "x", { qos: 1, messageId: 4, retain: true, properties: { messageExpiryInterval: 100 } });
    await publisher.next("puback");
    await publisher.next("puback");
    await new Promise((resolve) => setTimeout(resolve, 2_100)); // that is what expiry is about
    const back = await connect("away", kept);
    const queued = await take(back);
    expect([queued.topic, queued.properties?.messageExpiryInterval]).toEqual(["e/long", expect.closeTo(98, -1)]);
    expect(queued.properties?.messageExpiryInterval).toBeLessThan(99);
    await back.nothing();
    await back.subscribe("r/#", { qos: 0 });
    const retained = await back.message();
    expect([retained.topic, retained.retain]).toEqual(["r/long", true]);
    expect(retained.properties?.messageExpiryInterval).toBeLessThan(99);
    await back.nothing();
  });
});

describe("topic aliases", () => {
  it("of a client stand for a topic until it gives them another, on one connection [MQTT-3.3.2-12]", async () => {
    const [subscriber, publisher] = [await connect("alias-sub"), await connect("alias-pub")];
    await subscriber.subscribe("alias/#");
    const publish = (topic: string, topicAlias: number): void => publisher.publish(topic, "x", { properties: { topicAlias } });
    publish("alias/one", 1);
    publish("alias/ten", 10);
    publish("", 1);
    publish("alias/new", 1);
    publish("", 1);
    publish("", 10);
    const topics: string[] = [];
    for (let i = 0; i < 6; i++) {
      const message = await subscriber.message();
      expect(message.properties).toBeUndefined();
      topics.push(message.topic);
    }
    expect(topics).toEqual(["alias/one", "alias/ten", "alias/one", "alias/new", "alias/new", "alias/ten"]);
  });

  it.each([
    ["the client's maximum [MQTT-3.1.2-26]", 3, () => port],
    ["max_topic_alias_broker", 10, () => sparingPort],
  ])("of ours stay within %s, and stand for the topic that they were sent with", async (_, topicAliasMaximum, at) => {
    const subscriber = await connect("short-sub", { properties: { topicAliasMaximum } }, at());
    await subscriber.subscribe("long/#");
    const publisher = await connect("short-pub");
    const names = Array.from({ length: 8 }, (_, i) => `long/topic/${i}`);
    const sent = Array.from({ length: 60 }, (_, i) => names[(i * i) % names.length] ?? "");
    sent.forEach((topic, i) => publisher.publish(topic, String(i)));
    const topics = new Map<number, string>();
    let short = 0;
    for (const expected of sent) {
      const { topic, properties } = await subscriber.message();
      const alias = properties?.topicAlias ?? 0;
      expect(alias).toBeLessThanOrEqual(3);
      if (topic === "") short += 1;
      else if (alias > 0) topics.set(alias, topic);
      expect(topic === "" ? topics.get(alias) : topic).toBe(expected);
    }
    expect(short).toBeGreaterThan(5);
  });
});

describe("the client's receive maximum", () => {
  it("bounds what is on its way to it, of QoS 1 and 2 together, and not QoS 0 [MQTT-3.3.4-9]", async () => {
    const subscriber = await connect("narrow", { properties: { receiveMaximum: 2 } });
    await subscriber.subscribe("n/#", { qos: 2 });
    const publisher = await connect("n-pub");
    for (let messageId = 1; messageId <= 4; messageId++) publisher.publish(`n/${messageId}`, "x", { qos: 1, messageId });
    publisher.publish("n/0", "x");
    const first = await subscriber.message();
    await subscriber.message();
    expect((await subscriber.message()).topic).toBe("n/0");
    await subscriber.nothing();
    subscriber.send({ cmd: "puback", messageId: first.messageId, reasonCode: 0 });
    expect((await subscriber.message()).topic).toBe("n/3");
    await subscriber.nothing();
  });
});

describe("the client's maximum packet size", () => {
  it("leaves a message out that is larger, for that client alone, as if it had been delivered [MQTT-3.1.2-24] [MQTT-3.1.2-25]", async () => {
    const small = await connect("small", { ...kept, properties: { ...kept.properties, maximumPacketSize: 60 } });
    const large = await connect("large");
    for (const client of [small, large]) await client.subscribe("size/#", { qos: 1 });
    const publisher = await connect("size-pub");
    publisher.publish("size/1", "x".repeat(60), { qos: 1, messageId: 1 });
    publisher.publish("size/2", "x", { qos: 1, messageId: 2, properties: { contentType: "x".repeat(60) } });
    publisher.publish("size/3", "x".repeat(60));
    publisher.publish("size/4", "fits", { qos: 1, messageId: 3 });
    expect((await take(small)).topic).toBe("size/4");
    await small.nothing();
    for (const topic of ["size/1", "size/2", "size/3", "size/4"]) expect((await take(large)).topic).toBe(topic);
    small.destroy();
    await (await connect("small", kept)).nothing();
  });
});

describe("reason codes", () => {
  it("say that nobody has subscribed (0x10), or that all queues are full (0x97)", async () => {
    const publisher = await connect("r-pub");
    publisher.publish("nobody", "x", { qos: 1, messageId: 1 });
    expect(await ack(publisher, "puback")).toBe(0x10);
    publisher.publish("nobody", "x", { qos: 2, messageId: 2 });
    expect(await ack(publisher, "pubrec")).toBe(0x10);
    const away = await connect("full", kept);
    await away.subscribe("full", { qos: 2 });
    away.destroy();
    const codes: (number | undefined)[] = [];
    for (let messageId = 1; messageId <= 3; messageId++) {
      publisher.publish("full", "x", { qos: 1, messageId });
      codes.push(await ack(publisher, "puback"));
    }
    publisher.publish("full", "x", { qos: 2, messageId: 4 });
    expect([...codes, await ack(publisher, "pubrec")]).toEqual([0, 0, 0x97, 0x97]);
    publisher.send({ cmd: "pubrel", messageId: 4, reasonCode: 0 });
    expect(((await publisher.next("pubcomp")) as IPubcompPacket).reasonCode).toBe(0x92);
  });

  it("answer PUBREL and PUBREC of an unknown packet identifier with 0x92", async () => {
    const client = await connect("unknown");
    client.send({ cmd: "pubrel", messageId: 77, reasonCode: 0 });
    expect(((await client.next("pubcomp")) as IPubcompPacket).reasonCode).toBe(0x92);
    client.send({ cmd: "pubrec", messageId: 78, reasonCode: 0 });
    expect(((await client.next("pubrel")) as IPubrelPacket).reasonCode).toBe(0x92);
  });

  it("of an error from a subscriber end a message: it is not sent again [MQTT-4.4.0-2]", async () => {
    const subscriber = await connect("refuses", { ...kept, properties: { ...kept.properties, receiveMaximum: 1 } });
    await subscriber.subscribe("refused", { qos: 2 });
    const publisher = await connect("refused-pub");
    for (const [messageId, qos] of [[1, 1], [2, 2], [3, 1]] as const) {
      publisher.publish("refused", String(messageId), { qos, messageId });
      await ack(publisher, qos === 1 ? "puback" : "pubrec");
    }
    for (const cmd of ["puback", "pubrec"]) {
      const { messageId } = await subscriber.message();
      subscriber.send({ cmd, messageId, reasonCode: 0x83 });
    }
    expect((await subscriber.message()).payload.toString()).toBe("3");
    subscriber.destroy();
    const again = await connect("refuses", kept);
    expect((await again.message()).payload.toString()).toBe("3");
    await again.nothing();
  });

  it("refuse a QoS 1 message whose payload is not the UTF-8 that it says with 0x99", async () => {
    const publisher = await connect("utf");
    publisher.publish("utf", "", { qos: 1, messageId: 1, payload: Buffer.from([0xc3, 0x28]), properties: { payloadFormatIndicator: true } });
    expect(await ack(publisher, "puback")).toBe(0x99);
    await publisher.nothing();
  });
});

it("a session that returns with a smaller receive maximum gets the rest of its window as there is room", async () => {
  const first = await connect("shrinks", kept);
  await first.subscribe("s/#", { qos: 1 });
  const publisher = await connect("shrinks-pub");
  for (let messageId = 1; messageId <= 4; messageId++) publisher.publish(`s/${messageId}`, "x", { qos: 1, messageId });
  for (let i = 0; i < 4; i++) await first.message();
  first.destroy();
  const again = await connect("shrinks", { ...kept, properties: { ...kept.properties, receiveMaximum: 1 } });
  for (let i = 1; i <= 4; i++) {
    const { topic, dup, messageId } = await again.message();
    expect([topic, dup]).toEqual([`s/${i}`, true]);
    await again.nothing();
    again.send({ cmd: "puback", messageId, reasonCode: 0 });
  }
});
