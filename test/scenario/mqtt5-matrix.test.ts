import mqtt, { type IPublishPacket, type MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";

type Version = 3 | 4 | 5;
type QoS = 0 | 1 | 2;

const VERSIONS = [3, 4, 5] as const;
const QOS = [0, 1, 2] as const;
const PROPERTIES = {
  payloadFormatIndicator: true, contentType: "text/plain", responseTopic: "answers", correlationData: Buffer.from([1, 2]),
  userProperties: { a: ["1", "2"], b: "3" },
};

let daemon: DaemonProcess;
let port: number;
const open: MqttClient[] = [];

beforeAll(async () => {
  port = await freePort();
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
});

afterAll(async () => {
  for (const client of open) client.end(true);
  await daemon?.cleanup();
});

/** A connection and what it has received. */
class Peer {
  readonly received: IPublishPacket[] = [];

  private constructor(
    readonly client: MqttClient,
    readonly version: Version,
  ) {
    client.on("message", (_topic, _payload, packet) => this.received.push(packet));
  }

  static async connect(version: Version, clientId: string, isKept = false): Promise<Peer> {
    const client = mqtt.connect({
      host: "127.0.0.1", port, clientId, clean: !isKept, reconnectPeriod: 0, protocolVersion: version, protocolId: version === 3 ? "MQIsdp" : "MQTT",
      ...(version === 5 && isKept ? { properties: { sessionExpiryInterval: 600 } } : {}),
    });
    open.push(client);
    const peer = new Peer(client, version); // before CONNACK: what is queued may come with it
    await new Promise<void>((resolve, reject) => {
      client.once("connect", () => resolve());
      client.once("error", reject);
    });
    return peer;
  }

  publish(topic: string, qos: QoS, retain = false): Promise<unknown> {
    return this.client.publishAsync(topic, `from ${this.version}`, { qos, retain, ...(this.version === 5 ? { properties: PROPERTIES } : {}) });
  }

  async has(topics: readonly string[]): Promise<void> {
    await expect.poll(() => this.received.map(({ topic }) => topic).sort(), { timeout: 10_000 }).toEqual([...topics].sort());
  }

  /** What came, by topic: payload, QoS, RETAIN and properties. */
  get(topic: string): unknown {
    const packet = this.received.find((one) => one.topic === topic);
    return packet && { payload: packet.payload.toString(), qos: packet.qos, retain: packet.retain, properties: plain(packet.properties) };
  }
}

/** MQTT.js makes objects without a prototype. */
function plain(properties: IPublishPacket["properties"]): unknown {
  if (!properties) return undefined;
  return { ...properties, ...(properties.userProperties ? { userProperties: { ...properties.userProperties } } : {}) };
}

const expected = (from: Version, to: Version, qos: QoS, retain: boolean) => ({
  payload: `from ${from}`, qos, retain, properties: from === 5 && to === 5 ? PROPERTIES : undefined,
});
const topicOf = (path: string, from: Version, qos: QoS): string => `${path}/${from}/${qos}`;

async function publishAll(path: string, levels: readonly QoS[], retain = false): Promise<string[]> {
  const topics: string[] = [];
  for (const from of VERSIONS) {
    const publisher = await Peer.connect(from, `${path}-pub-${from}`);
    for (const qos of levels) {
      await publisher.publish(topicOf(path, from, qos), qos, retain);
      topics.push(topicOf(path, from, qos));
    }
    await publisher.client.endAsync();
  }
  return topics;
}

async function expectAll(subscriber: Peer, path: string, topics: readonly string[], levels: readonly QoS[], retain = false): Promise<void> {
  await subscriber.has(topics);
  for (const from of VERSIONS) {
    for (const qos of levels) expect([from, qos, subscriber.get(topicOf(path, from, qos))]).toEqual([from, qos, expected(from, subscriber.version, qos, retain)]);
  }
}

describe.each(VERSIONS)("a subscriber of version %i gets from publishers of 3, 4 and 5 each QoS, with the properties that its version has,", (version) => {
  it("live", async () => {
    const path = `live${version}`;
    const subscriber = await Peer.connect(version, path);
    await subscriber.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await expectAll(subscriber, path, await publishAll(path, QOS), QOS);
  });

  it.each([false, true])("queued, over a restart: %s", async (restarts) => {
    const path = `queued${version}${restarts}`;
    const first = await Peer.connect(version, path, true);
    await first.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await first.client.endAsync(true);
    const topics = await publishAll(path, [1, 2]);
    if (restarts) await daemon.restart("SIGKILL");
    await expectAll(await Peer.connect(version, path, true), path, topics, [1, 2]);
  });

  it.each([false, true])("retained, over a restart: %s", async (restarts) => {
    const path = `retained${version}${restarts}`;
    const topics = await publishAll(path, [1, 2], true);
    if (restarts) await daemon.restart("SIGKILL");
    const subscriber = await Peer.connect(version, path);
    await subscriber.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await expectAll(subscriber, path, topics, [1, 2], true);
  });

  it("live, queued for a session that returns with another version", async () => {
    const path = `switch${version}`;
    const first = await Peer.connect(version, path, true);
    await first.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await first.client.endAsync(true);
    const topics = await publishAll(path, [1, 2]);
    const other = version === 5 ? 4 : 5;
    await expectAll(await Peer.connect(other, path, true), path, topics, [1, 2]);
  });
});
