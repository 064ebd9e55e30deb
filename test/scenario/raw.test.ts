import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, mqttString, packet, RawClient, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;
let witness: TestClient;

beforeAll(async () => {
  port = await freePort();
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  witness = await connect311(port, { clientId: "witness" });
  await witness.subscribe("witness");
});

afterAll(async () => {
  await witness?.end();
  await daemon?.cleanup();
});

const connect311Hex = (clientId: string): string => packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 2, 0, 60]), mqttString(clientId)]));
const connect31Hex = (clientId: string): string => packet(0x10, Buffer.concat([mqttString("MQIsdp"), Buffer.from([3, 2, 0, 60]), mqttString(clientId)]));

async function withRaw(use: (raw: RawClient) => Promise<void>): Promise<void> {
  const raw = await RawClient.open(port);
  try {
    await use(raw);
  } finally {
    raw.destroy();
  }
}

it("takes a hand-made MQTT 3.1 CONNECT and answers PINGREQ C000 with D000", () =>
  withRaw(async (raw) => {
    raw.send(connect31Hex("old"));
    expect(await raw.frame()).toBe("20020000");
    raw.send("c000");
    expect(await raw.frame()).toBe("d000");
  }));

it("takes packets that come byte by byte", () =>
  withRaw(async (raw) => {
    for (const byte of Buffer.from(`${connect311Hex("slow")}c000`, "hex")) raw.send(byte.toString(16).padStart(2, "0"));
    expect(await raw.frame()).toBe("20020000");
    expect(await raw.frame()).toBe("d000");
  }));

it("answers an unknown protocol level with return code 1 and closes [MQTT-3.1.2-2]", () =>
  withRaw(async (raw) => {
    raw.send(packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([9, 2, 0, 60]), mqttString("future")])));
    expect(await raw.frame()).toBe("20020001");
    await raw.closed();
  }));

// Each is sent after a good CONNECT, unless it begins with "instead".
const malformed: readonly (readonly [name: string, hex: string])[] = [
  ["instead of CONNECT: a PINGREQ [MQTT-3.1.0-1]", "c000"],
  ["instead of CONNECT: an unknown protocol name", packet(0x10, Buffer.concat([mqttString("HTTP"), Buffer.from([4, 2, 0, 60]), mqttString("x")]))],
  ["instead of CONNECT: the reserved flag set [MQTT-3.1.2-3]", packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 3, 0, 60]), mqttString("x")]))],
  ["a second CONNECT [MQTT-3.1.0-2]", connect311Hex("again")],
  ["a remaining length of five bytes", "30ffffffff01"],
  ["packet type 0", "0000"],
  ["PUBLISH with QoS 3 [MQTT-3.3.1-4]", packet(0x36, Buffer.concat([mqttString("a"), Buffer.from([0, 1])]))],
  ["PUBLISH to a topic with a wildcard [MQTT-3.3.2-2]", packet(0x30, mqttString("a/+"))],
  ["PUBLISH to the empty topic [MQTT-4.7.3-1]", packet(0x30, mqttString(""))],
  ["PUBLISH with a topic longer than the packet", packet(0x30, Buffer.from([0, 9, 0x61]))],
  ["PUBLISH with a topic that is not UTF-8 [MQTT-1.5.3-1]", packet(0x30, Buffer.from([0, 2, 0xc3, 0x28]))],
  ["PUBLISH with NUL in its topic [MQTT-1.5.3-2]", packet(0x30, mqttString("a\0b"))],
  ["PUBLISH of QoS 1 with packet id 0 [MQTT-2.3.1-1]", packet(0x32, Buffer.concat([mqttString("a"), Buffer.from([0, 0])]))],
  ["SUBSCRIBE with wrong flags [MQTT-3.8.1-1]", packet(0x80, Buffer.concat([Buffer.from([0, 1]), mqttString("a"), Buffer.from([0])]))],
  ["SUBSCRIBE without a filter [MQTT-3.8.3-3]", packet(0x82, Buffer.from([0, 1]))],
  ["SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]", packet(0x82, Buffer.concat([Buffer.from([0, 1]), mqttString("a"), Buffer.from([3])]))],
  ["PUBREL with wrong flags [MQTT-3.6.1-1]", "60020001"],
];

describe("closes only the connection that sent", () => {
  it.each(malformed)("%s", async (name, hex) => {
    await withRaw(async (raw) => {
      if (!name.startsWith("instead")) {
        raw.send(connect311Hex("offender"));
        expect(await raw.frame()).toBe("20020000");
      }
      raw.send(hex);
      await raw.closed();
    });
    await witness.publish("witness", name);
    await witness.waitFor("witness", name);
    expect(witness.client.connected).toBe(true);
  });
});

it("answers a bad filter in SUBSCRIBE with failure and goes on [MQTT-4.7.1-2]", () =>
  withRaw(async (raw) => {
    raw.send(connect311Hex("odd"));
    expect(await raw.frame()).toBe("20020000");
    raw.send(packet(0x82, Buffer.concat([Buffer.from([0, 1]), mqttString("a/#/b"), Buffer.from([0]), mqttString("a/b"), Buffer.from([1])])));
    expect(await raw.frame()).toBe("900400018001");
  }));

it("survives random bytes before and after CONNECT", async () => {
  // A fixed generator (Park and Miller), so that a failure replays.
  let seed = 20_121_115;
  const random = (): number => (seed = (seed * 48_271) % 2_147_483_647);
  for (let round = 0; round < 100; round++) {
    await withRaw(async (raw) => {
      if (round % 2 === 0) raw.send(connect311Hex(`random${round}`));
      if (round % 2 === 0) expect(await raw.frame()).toBe("20020000");
      raw.send(Buffer.from(Array.from({ length: 200 }, () => random() & 0xff)).toString("hex"));
    });
  }
  await witness.publish("witness", "after random bytes");
  await witness.waitFor("witness", "after random bytes");
});
