import mqtt, { type IPublishPacket, type MqttClient } from "mqtt";
import { expect } from "vitest";

export type Version = 3 | 4 | 5;
type QoS = 0 | 1 | 2;

export const VERSIONS = [3, 4, 5] as const;
export const QOS = [0, 1, 2] as const;
const PROPERTIES = {
  payloadFormatIndicator: true, contentType: "text/plain", responseTopic: "answers", correlationData: Buffer.from([1, 2]),
  userProperties: { a: ["1", "2"], b: "3" },
};
/** The mark of a bridge, which subscribers see. */
const MARK = "amqtdd-via";
const open: MqttClient[] = [];

/** Ends all connections that were made. */
export function endPeers(): void {
  for (const client of open.splice(0)) client.end(true);
}

/** A connection and what it has received. */
export class Peer {
  readonly received: IPublishPacket[] = [];

  private constructor(
    readonly client: MqttClient,
    readonly version: Version,
  ) {
    client.on("message", (_topic, _payload, packet) => this.received.push(packet));
  }

  static async connect(port: number, version: Version, clientId: string, isKept = false): Promise<Peer> {
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

  /** What came, by topic: payload, QoS, RETAIN and properties, without the mark of a bridge. */
  get(topic: string): unknown {
    const packet = this.received.find((one) => one.topic === topic);
    return packet && { payload: packet.payload.toString(), qos: packet.qos, retain: packet.retain, properties: plain(packet.properties) };
  }
}

/** MQTT.js makes objects without a prototype. */
function plain(properties: IPublishPacket["properties"]): unknown {
  if (!properties) return undefined;
  const { userProperties, ...others } = properties;
  const users = Object.entries(userProperties ?? {}).filter(([name]) => name !== MARK);
  const shown = { ...others, ...(users.length > 0 ? { userProperties: Object.fromEntries(users) } : {}) };
  return Object.keys(shown).length === 0 ? undefined : shown;
}

const topicOf = (path: string, from: Version, qos: QoS): string => `${path}/${from}/${qos}`;

/** Publishes with each version and QoS; the topics, which begin with `path`, are returned. */
export async function publishAll(port: number, path: string, levels: readonly QoS[], retain = false): Promise<string[]> {
  const topics: string[] = [];
  for (const from of VERSIONS) {
    const publisher = await Peer.connect(port, from, `${path}-pub-${from}`);
    for (const qos of levels) {
      await publisher.publish(topicOf(path, from, qos), qos, retain);
      topics.push(topicOf(path, from, qos));
    }
    await publisher.client.endAsync();
  }
  return topics;
}

/** What `publishAll` published has come, with its properties where all know them. `hopVersion`: of a bridge between. */
export async function expectAll(
  subscriber: Peer, path: string, topics: readonly string[], levels: readonly QoS[], { retain = false, hopVersion = 5 }: { retain?: boolean; hopVersion?: Version } = {},
): Promise<void> {
  await subscriber.has(topics);
  for (const from of VERSIONS) {
    const properties = Math.min(from, subscriber.version, hopVersion) === 5 ? PROPERTIES : undefined;
    for (const qos of levels) expect([from, qos, subscriber.get(topicOf(path, from, qos))]).toEqual([from, qos, { payload: `from ${from}`, qos, retain, properties }]);
  }
}
