import { once } from "node:events";
import net from "node:net";
import mqtt, { type MqttClient } from "mqtt";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { connectPacket, DISCONNECT, makePacket, publishPacket, subscribePacket } from "./packets.ts";
import { mqttString } from "./clients.ts";

// Many packets of QoS 0 in one write: the daemon takes those of one topic together. Nobody may notice.

let daemon: DaemonProcess;
let port: number;
let mountedPort: number;
const open: MqttClient[] = [];
let readers = 0;

beforeAll(async () => {
  [port = 0, mountedPort = 0] = await freePorts(2);
  daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
listener ${mountedPort} 127.0.0.1
mount_point mounted/
`);
});

afterAll(async () => {
  for (const client of open) client.end(true);
  await daemon?.cleanup();
});

/** What a subscriber gets, as "TOPIC PAYLOAD". */
async function subscriber(options: { version?: 3 | 4 | 5; to?: number; filter: string; id?: number }): Promise<string[]> {
  const { version = 4, to = port, filter, id } = options;
  const client = await mqtt.connectAsync({
    host: "127.0.0.1", port: to, protocolVersion: version, protocolId: version === 3 ? "MQIsdp" : "MQTT", clientId: `reader${readers++}`, reconnectPeriod: 0,
  });
  open.push(client);
  const lines: string[] = [];
  client.on("message", (topic, payload) => lines.push(`${topic} ${summary(payload)}`));
  await client.subscribeAsync(filter, { qos: 0, ...(id === undefined ? {} : { properties: { subscriptionIdentifier: id } }) });
  return lines;
}

/** Its beginning and length tell a payload. */
const summary = (payload: Buffer): string => `${payload.subarray(0, 8).toString()}:${payload.length}`;

/** A connection of 3.1.1, or 5, that is logged in. */
async function rawClient(version: 4 | 5, clientId: string): Promise<net.Socket> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(version === 4 ? connectPacket(clientId) : makePacket(0x10, mqttString("MQTT"), Buffer.from([5, 2, 0, 0, 0]), mqttString(clientId)));
  await once(socket, "data");
  return socket;
}

const plain = (topic: string, payload: Buffer): Buffer => publishPacket(topic, payload);
const ofFive = (topic: string, payload: Buffer): Buffer => makePacket(0x30, mqttString(topic), Buffer.from([0]), payload);

/** Payloads whose packets have lengths of one, two and three bytes, in runs of several topics. */
function mixed(prefix: string): { topic: string; payload: Buffer }[] {
  const sizes = [8, 100, 120, 128, 129, 500, 9, 16_400, 10];
  return Array.from({ length: 400 }, (_, i) => ({
    topic: `${prefix}/${["a", "a2", "b"][Math.floor(i / 7) % 3] ?? ""}`,
    payload: Buffer.alloc(sizes[i % sizes.length] ?? 8, 0x78).fill(String(i).padStart(8, "0"), 0, 8),
  }));
}

it.each([4, 5] as const)("everybody gets each message of a burst of MQTT %s, once and in order", async (version) => {
  const prefix = `of${version}`;
  const all = await Promise.all([
    subscriber({ version: 3, filter: `${prefix}/#` }),
    subscriber({ version: 4, filter: `${prefix}/#` }),
    subscriber({ version: 5, filter: `${prefix}/#` }),
    subscriber({ version: 5, filter: `${prefix}/#`, id: 7 }),
  ]);
  const shared = await Promise.all([subscriber({ version: 5, filter: `$share/group/${prefix}/#` }), subscriber({ version: 5, filter: `$share/group/${prefix}/#` })]);
  const messages = mixed(prefix);
  const publisher = await rawClient(version, `burst${version}`);
  publisher.write(Buffer.concat(messages.map(({ topic, payload }) => (version === 4 ? plain : ofFive)(topic, payload))));
  const expected = messages.map(({ topic, payload }) => `${topic} ${summary(payload)}`);
  for (const lines of all) await expect.poll(() => lines).toEqual(expected);
  await expect.poll(() => shared.flat().sort()).toEqual([...expected].sort());
  for (const lines of shared) expect(lines).toEqual(expected.filter((line) => lines.includes(line)));
  publisher.destroy();
});

it("a burst crosses mount points in both directions", async () => {
  const below = await subscriber({ to: mountedPort, filter: "t" });
  const above = await subscriber({ filter: "mounted/t" });
  const publisher = await rawClient(4, "into-mount");
  publisher.write(Buffer.concat(Array.from({ length: 50 }, (_, i) => plain("mounted/t", Buffer.from(String(i))))));
  await expect.poll(() => below).toEqual(Array.from({ length: 50 }, (_, i) => `t ${summary(Buffer.from(String(i)))}`));
  await expect.poll(() => above).toHaveLength(50);
  publisher.destroy();
});

it("what stands between the packets of a burst keeps its place", async () => {
  const watcher = await subscriber({ filter: "order" });
  const publisher = await rawClient(4, "between");
  let echoed = Buffer.alloc(0);
  publisher.on("data", (bytes: Buffer) => (echoed = Buffer.concat([echoed, bytes])));
  const message = (text: string): Buffer => plain("order", Buffer.from(text));
  publisher.write(
    Buffer.concat([
      message("1"), message("2"), publishPacket("order", "3", { retain: true }), message("4"), publishPacket("order", "5", { qos: 1, id: 9 }), message("6"),
      message("7"), subscribePacket(3, "order", 0), message("8"), message("9"), DISCONNECT,
    ]),
  );
  await expect.poll(() => watcher.map((line) => line.slice(6, 7)).join("")).toBe("123456789");
  // PUBACK, SUBACK, then the retained value, and what was published behind the SUBSCRIBE.
  await expect.poll(() => echoed.toString("latin1").replace(/[^\x20-\x7e]/g, "")).toMatch(/^@.*3.*8.*9/);
  expect(echoed.includes("order7")).toBe(false);
});

it("what came before a malformed packet is delivered", async () => {
  const watcher = await subscriber({ filter: "before/fault" });
  const publisher = await rawClient(4, "faulty");
  publisher.write(Buffer.concat([plain("before/fault", Buffer.from("1")), plain("before/fault", Buffer.from("2")), Buffer.from("360400016178", "hex")]));
  await once(publisher, "close");
  await expect.poll(() => watcher).toHaveLength(2);
});
