import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Client5, destroyClients5 } from "./clients5.ts";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;
let limitedPort: number;

beforeAll(async () => {
  [port = 0, limitedPort = 0] = await freePorts(2);
  daemon = await DaemonProcess.start(
    `max_packet_size 5000\nmax_session_expiry_interval 100\nlistener ${port} 127.0.0.1\nlistener ${limitedPort} 127.0.0.1\nmax_qos 1\nmax_topic_alias 0\naccept_protocol_versions 4,5`,
  );
});

afterAll(async () => {
  destroyClients5();
  await daemon?.cleanup();
});

const connect = (clientId: string, fields: Record<string, unknown> = {}, at = port) => Client5.connect(at, clientId, fields);

const will = (fields: Record<string, unknown> = {}) => ({ topic: "will", payload: Buffer.from("gone"), qos: 0, retain: false, ...fields });

describe("CONNACK", () => {
  it("tells what holds: receive maximum, packet size, topic aliases; nothing that is unlimited", async () => {
    const { connack } = await connect("plain");
    expect(connack).toMatchObject({ reasonCode: 0, sessionPresent: false });
    expect(connack.properties).toEqual({ receiveMaximum: 1024, maximumPacketSize: 5000, topicAliasMaximum: 10 });
  });

  it("tells max_qos and that there are no aliases, of another listener", async () => {
    const { connack } = await connect("limited", {}, limitedPort);
    expect(connack.properties).toEqual({ receiveMaximum: 1024, maximumPacketSize: 5000, maximumQoS: 1 });
  });

  it("assigns a client identifier, also for a session that is kept [MQTT-3.1.3-6]", async () => {
    const { connack } = await connect("", { properties: { sessionExpiryInterval: 50 } });
    const assigned = connack.properties?.assignedClientIdentifier ?? "";
    expect(assigned).toMatch(/^auto-/);
    const again = await connect(assigned, { clean: false, properties: { sessionExpiryInterval: 50 } });
    expect(again.connack.sessionPresent).toBe(true);
  });

  it("cuts the session expiry interval to max_session_expiry_interval", async () => {
    for (const [asked, told] of [[99, undefined], [101, 100], [0xffffffff, 100]] as const) {
      const { connack } = await connect("cut", { properties: { sessionExpiryInterval: asked } });
      expect(connack.properties?.sessionExpiryInterval).toBe(told);
    }
  });

  const refused: readonly { name: string; code: number; fields: Record<string, unknown>; at?: () => number }[] = [
    { name: "an authentication method that is not known [MQTT-4.12.0-1]", code: 0x8c, fields: { properties: { authenticationMethod: "SCRAM", authenticationData: Buffer.from("x") } } },
    { name: "a will of a QoS above max_qos [MQTT-3.2.2-12]", code: 0x9b, fields: { will: will({ qos: 2 }) }, at: () => limitedPort },
    { name: "a will topic with a wildcard", code: 0x90, fields: { will: will({ topic: "a/+" }) } },
    { name: "an authentication data without a method", code: 0x82, fields: { properties: { authenticationData: Buffer.from("x") } } },
    { name: "a receive maximum of 0", code: 0x82, fields: { properties: { receiveMaximum: 0 } } },
    { name: "a maximum packet size of 0", code: 0x82, fields: { properties: { maximumPacketSize: 0 } } },
  ];
  it.each(refused)("refuses $name with $code", async ({ code, fields, at }) => {
    const { connack, client } = await connect("refused", fields, at?.());
    expect(connack.reasonCode).toBe(code);
    expect(connack.properties?.reasonString).toBeTypeOf("string");
    expect(await client.nextOfAny()).toBeUndefined();
  });

  it("is not larger than the client takes: then the connection just ends [MQTT-3.1.2-24]", async () => {
    const client = await Client5.open(port);
    client.send({ cmd: "connect", protocolId: "MQTT", protocolVersion: 5, clean: true, keepalive: 0, clientId: "tiny", properties: { maximumPacketSize: 5 } });
    expect(await client.nextOfAny()).toBeUndefined();
  });
});

describe("accept_protocol_versions", () => {
  it("refuses 3.1 where it is not named, and 5 with 0x84 where that is not", async () => {
    await expect(connect311(limitedPort, { clientId: "old", protocolId: "MQIsdp", protocolVersion: 3 })).rejects.toThrow(/protocol version|Refused/);
    const only4 = await freePort();
    const other = await DaemonProcess.start(`listener ${only4} 127.0.0.1\naccept_protocol_versions 4`);
    try {
      const { connack } = await connect("new", {}, only4);
      expect(connack.reasonCode).toBe(0x84);
      await (await connect311(only4, { clientId: "mid" })).end();
    } finally {
      await other.cleanup();
    }
  });
});

describe("clientid_prefixes and allow_zero_length_clientid false", () => {
  it("refuse other client identifiers with 0x85 [MQTT-3.1.3-8]", async () => {
    const strictPort = await freePort();
    const other = await DaemonProcess.start(`clientid_prefixes sensor-\nallow_zero_length_clientid false\nlistener ${strictPort} 127.0.0.1`);
    try {
      for (const [clientId, code] of [["sensor-1", 0], ["other", 0x85], ["", 0x85]] as const) expect((await connect(clientId, {}, strictPort)).connack.reasonCode).toBe(code);
    } finally {
      await other.cleanup();
    }
  });
});

describe("max_keepalive", () => {
  it("is told to a client of MQTT 5, which is held to it; others are refused [MQTT-3.1.2-21]", async () => {
    const shortPort = await freePort();
    const other = await DaemonProcess.start(`max_keepalive 1\nlistener ${shortPort} 127.0.0.1`);
    try {
      for (const keepalive of [0, 60]) {
        const { connack, client } = await connect(`k${keepalive}`, { keepalive }, shortPort);
        expect(connack.properties?.serverKeepAlive).toBe(1);
        if (keepalive === 0) expect(await client.ended()).toBe(0x8d);
      }
      const { connack } = await connect("kept", { keepalive: 1 }, shortPort);
      expect(connack.properties).not.toHaveProperty("serverKeepAlive");
      await expect(connect311(shortPort, { clientId: "old", keepalive: 60 })).rejects.toThrow(/rejected|Refused/i);
    } finally {
      await other.cleanup();
    }
  });
});

describe("a session", () => {
  const kept = { clean: false, properties: { sessionExpiryInterval: 60 } };

  it("is kept with an expiry, also after a clean start, and ends with the connection without one", async () => {
    for (const [first, present] of [[{ ...kept, clean: true }, true], [{ clean: false }, false]] as const) {
      const { client } = await connect("s1", first);
      await client.subscribe("s/1", { qos: 1 });
      client.send({ cmd: "disconnect", reasonCode: 0 });
      expect(await client.nextOfAny()).toBeUndefined();
      const again = await connect("s1", kept);
      expect(again.connack.sessionPresent).toBe(present);
      again.client.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
      expect(await again.client.nextOfAny()).toBeUndefined();
      expect((await connect("s1", { clean: false })).connack.sessionPresent).toBe(false);
    }
  });

  it("ends when its time is over, and not before, also over a restart", async () => {
    for (const [clientId, seconds] of [["brief", 1], ["long", 60]] as const) {
      const { client } = await connect(clientId, { clean: false, properties: { sessionExpiryInterval: seconds } });
      client.send({ cmd: "disconnect", reasonCode: 0 });
      expect(await client.nextOfAny()).toBeUndefined();
    }
    await daemon.waitForLine(/CWNAN0328I .*brief/);
    await daemon.restart();
    expect((await connect("long", kept)).connack.sessionPresent).toBe(true);
    expect((await connect("brief", kept)).connack.sessionPresent).toBe(false);
  });

  it("may have its expiry changed by DISCONNECT, but not be made one that is kept [MQTT-3.1.2-23]", async () => {
    const { client } = await connect("never", { clean: true });
    client.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 5 } });
    expect(await client.ended()).toBe(0x82);
  });
});

describe("DISCONNECT from the daemon", () => {
  it("says 0x8E to a connection that is taken over [MQTT-3.1.4-3]", async () => {
    const { client } = await connect("twice");
    await connect("twice");
    expect(await client.ended()).toBe(0x8e);
  });

  it("says 0x8B when the daemon stops", async () => {
    const { client } = await connect("witness");
    await daemon.kill();
    expect(await client.ended()).toBe(0x8b);
    await daemon.start();
  });

  it("has a reason string unless the client does not want one", async () => {
    for (const [wants, told] of [[true, true], [false, false]] as const) {
      const { client } = await connect("why", { properties: { requestProblemInformation: wants } });
      client.sendHex("d000"); // PINGRESP
      const packet = await client.next("disconnect");
      expect("properties" in packet && packet.properties !== undefined && "reasonString" in packet.properties).toBe(told);
    }
  });
});

describe("a will", () => {
  it("is published with its properties, and not after DISCONNECT 0, but after 4 [MQTT-3.14.4-3]", async () => {
    const { client: watcher } = await connect("will-watcher");
    await watcher.subscribe("wills/#", { qos: 1 });
    for (const [reasonCode, comes] of [[0, false], [4, true]] as const) {
      const properties = { contentType: "text", messageExpiryInterval: 30, userProperties: { a: "b" }, payloadFormatIndicator: true };
      const { client } = await connect(`leaves${reasonCode}`, { will: will({ topic: `wills/${reasonCode}`, qos: 1, properties }) });
      client.send({ cmd: "disconnect", reasonCode });
      expect(await client.nextOfAny()).toBeUndefined();
      if (!comes) await watcher.nothing();
      else expect((await watcher.message()).properties).toEqual({ ...properties, userProperties: { a: "b" } });
    }
  });

  it("with a delay waits for it, is held back by the client's return, and comes with the end of the session [MQTT-3.1.3-9]", async () => {
    const { client: watcher } = await connect("delay-watcher");
    await watcher.subscribe("delayed/#");
    const leave = async (clientId: string, willDelayInterval: number, sessionExpiryInterval: number): Promise<void> => {
      const { client } = await connect(clientId, {
        clean: false, properties: { sessionExpiryInterval }, will: will({ topic: `delayed/${clientId}`, properties: { willDelayInterval } }),
      });
      client.destroy();
    };
    await leave("back", 1, 60);
    await connect("back", { clean: false, properties: { sessionExpiryInterval: 60 } });
    await leave("ends", 60, 1);
    await leave("waits", 2, 60);
    await leave("none", 60, 0);
    const names = [(await watcher.message()).topic, (await watcher.message()).topic, (await watcher.message()).topic];
    expect(names).toEqual(["delayed/none", "delayed/ends", "delayed/waits"]);
    await watcher.nothing();
  });
});
