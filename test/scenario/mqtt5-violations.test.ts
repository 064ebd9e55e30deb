import { afterAll, beforeAll, expect, it } from "vitest";
import { Client5 } from "./clients5.ts";
import { mqttString, packet } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;

beforeAll(async () => {
  port = await freePort();
  daemon = await DaemonProcess.start(`max_packet_size 2000\nretain_available false\nlistener ${port} 127.0.0.1\nmax_qos 1`);
});

afterAll(() => daemon?.cleanup());

const body = (...parts: (string | number[])[]): Buffer => Buffer.concat(parts.map((part) => (typeof part === "string" ? mqttString(part) : Buffer.from(part))));
const connectHex = packet(0x10, body("MQTT", [5, 2, 0, 60, 0], "again"));

/** What is sent after CONNECT, and the reason of the DISCONNECT that it is answered with. */
const violations: readonly (readonly [name: string, hex: string, code: number])[] = [
  ["a second CONNECT [MQTT-3.1.0-2]", connectHex, 0x82],
  ["a packet that only servers send", "d000", 0x82],
  ["packet type 0", "0000", 0x82],
  ["a remaining length of five bytes", "30ffffffff01", 0x81],
  ["a remaining length that is longer than needed [MQTT-1.5.5-1]", "c08000", 0x81],
  ["a packet larger than our maximum [MQTT-3.2.2-15]", `30d11000${"00".repeat(10)}`, 0x95],
  ["PUBLISH with QoS 3 [MQTT-3.3.1-4]", packet(0x36, body("a", [0, 1, 0])), 0x81],
  ["PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2]", packet(0x38, body("a", [0])), 0x81],
  ["PUBLISH with a QoS above max_qos [MQTT-3.2.2-11]", packet(0x34, body("a", [0, 1, 0])), 0x9b],
  ["PUBLISH with RETAIN where nothing is retained [MQTT-3.2.2-14]", packet(0x31, body("a", [0])), 0x9a],
  ["PUBLISH to a topic with a wildcard [MQTT-3.3.2-2]", packet(0x30, body("a/+", [0])), 0x90],
  ["PUBLISH without topic and alias", packet(0x30, body("", [0])), 0x82],
  ["PUBLISH with an alias that stands for nothing [MQTT-3.3.2-7]", packet(0x30, body("", [3, 0x23, 0, 1])), 0x82],
  ["PUBLISH with an alias above our maximum [MQTT-3.3.2-9]", packet(0x30, body("a", [3, 0x23, 0, 11])), 0x94],
  ["PUBLISH with alias 0 [MQTT-3.3.2-8]", packet(0x30, body("a", [3, 0x23, 0, 0])), 0x94],
  ["PUBLISH with a subscription identifier [MQTT-3.3.4-6]", packet(0x30, body("a", [2, 0x0b, 1])), 0x82],
  ["PUBLISH with a response topic with a wildcard [MQTT-3.3.2-14]", packet(0x30, body("a", [5, 8], "#/")), 0x82],
  ["PUBLISH with a payload that is not the UTF-8 it says", packet(0x30, body("a", [2, 1, 1, 0xff])), 0x99],
  ["PUBLISH with a payload format indicator of 2", packet(0x30, body("a", [2, 1, 2])), 0x82],
  ["PUBLISH with one property twice", packet(0x30, body("a", [4, 1, 0, 1, 0])), 0x82],
  ["PUBLISH with a property that is not for it [MQTT 5.0 section 2.2.2.2]", packet(0x30, body("a", [5, 0x11, 0, 0, 0, 1])), 0x81],
  ["PUBLISH with an unknown property", packet(0x30, body("a", [2, 0x7f, 0])), 0x81],
  ["PUBLISH with properties longer than the packet", packet(0x30, body("a", [9, 1, 0])), 0x81],
  ["PUBLISH of QoS 1 with packet identifier 0 [MQTT-2.2.1-2]", packet(0x32, body("a", [0, 0, 0])), 0x82],
  ["PUBACK with a reason code that is not for it", packet(0x40, body([0, 1, 0x92])), 0x82],
  ["PUBREL with wrong flags [MQTT-3.6.1-1]", "60020001", 0x81],
  ["SUBSCRIBE without a filter [MQTT-3.8.3-2]", packet(0x82, body([0, 1, 0])), 0x82],
  ["SUBSCRIBE with no-local on a shared subscription [MQTT-3.8.3-4]", packet(0x82, body([0, 1, 0], "$share/g/a", [4])), 0x82],
  ["SUBSCRIBE with reserved option bits [MQTT-3.8.3-5]", packet(0x82, body([0, 1, 0], "a", [0x40])), 0x81],
  ["SUBSCRIBE with retain handling 3", packet(0x82, body([0, 1, 0], "a", [0x30])), 0x82],
  ["SUBSCRIBE with subscription identifier 0", packet(0x82, body([0, 1, 2, 0x0b, 0], "a", [0])), 0x82],
  ["UNSUBSCRIBE without a filter [MQTT-3.10.3-2]", packet(0xa2, body([0, 1, 0])), 0x82],
];

it.each(violations)("answers %s with its reason, and harms nobody else", async (_name, hex, code) => {
  const { client: witness } = await Client5.connect(port, "witness");
  const { client } = await Client5.connect(port, "offender");
  try {
    client.sendHex(hex);
    expect(await client.ended()).toBe(code);
    await witness.nothing();
  } finally {
    client.destroy();
    witness.destroy();
  }
});

it("refuses a will that is to be retained where nothing is with 0x9A [MQTT-3.2.2-13]", async () => {
  const { client, connack } = await Client5.connect(port, "wills", { will: { topic: "w", payload: Buffer.from("x"), qos: 0, retain: true } });
  expect(connack.reasonCode).toBe(0x9a);
  expect(await client.nextOfAny()).toBeUndefined();
});

it("answers AUTH with 0x8C: no method is known", async () => {
  const { client } = await Client5.connect(port, "offender");
  client.sendHex("f000");
  expect(await client.endedWithBytes()).toMatch(/^e0..8c/); // which the codec does not know
});

it("answers a message beyond our receive maximum with 0x93 [MQTT-3.3.4-8]", async () => {
  const quietPort = await freePort();
  const other = await DaemonProcess.start(`commit_interval_ms 60000\nlistener ${quietPort} 127.0.0.1`); // nothing is acknowledged for a while
  try {
    const { client: keeper } = await Client5.connect(quietPort, "keeper", { clean: true });
    const { client, connack } = await Client5.connect(quietPort, "quick");
    const most = connack.properties?.receiveMaximum ?? 0;
    for (let messageId = 1; messageId <= most; messageId++) client.publish("a", "x", { qos: 1, retain: true, messageId });
    await client.nothing();
    client.publish("a", "x", { qos: 1, retain: true, messageId: most + 1 });
    expect(await client.ended()).toBe(0x93);
    keeper.destroy();
  } finally {
    await other.cleanup();
  }
});
