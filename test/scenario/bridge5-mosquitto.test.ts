import type { IPublishPacket } from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "./mosquitto.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function mosquitto(extra = "", persistence = false): Promise<MosquittoProcess> {
  const process = await MosquittoProcess.start({ extra, persistence });
  cleanups.push(() => process.cleanup());
  return process;
}

async function daemonWith(...lines: string[]): Promise<{ port: number; daemon: DaemonProcess }> {
  const port = await freePort();
  const daemon = await DaemonProcess.start([`listener ${port} 127.0.0.1`, ...lines].join("\n"));
  cleanups.push(() => daemon.cleanup());
  return { port, daemon };
}

const connection = (name: string, port: number, ...lines: string[]): string =>
  [`connection ${name}`, `address 127.0.0.1:${port}`, "reconnect_interval 1 1", "bridge_protocol_version mqttv50", ...lines].join("\n");

async function client(port: number, version: 4 | 5, ...filters: string[]): Promise<TestClient> {
  const made = await connect311(port, { protocolVersion: version });
  cleanups.push(() => made.end());
  for (const filter of filters) await made.subscribe(filter, 2);
  return made;
}

/** The properties of each message that comes. */
function propertiesOf({ client: mqttClient }: TestClient): IPublishPacket["properties"][] {
  const all: IPublishPacket["properties"][] = [];
  mqttClient.on("message", (_topic, _payload, packet) => all.push(packet.properties));
  return all;
}

const payloads = (received: TestClient, topic: string): string[] => received.messages.filter((message) => message.topic === topic).map(({ payload }) => payload);

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "an MQTT 5 bridge to mosquitto" : mosquittoMissing, () => {
  it.each(["try_private true", "try_private false"])("brings each message once to each side, retained ones retained, %s", async (line) => {
    const upstream = await mosquitto();
    const { port, daemon } = await daemonWith(connection("up", upstream.port, line, "topic # both 2"));
    await daemon.waitForLine(/CWNAN0133I/);
    await upstream.waitForLine(/p5, c1|p5, c0/); // MQTT 5 it is
    const [here, there] = [await client(port, 4, "#"), await client(upstream.port, 5, "#")];
    for (let i = 0; i < 3; i++) await here.publish("a", "same", { qos: 2 });
    for (let i = 0; i < 3; i++) await there.publish("b", "same", { qos: 2 });
    await here.publish("kept/here", "1", { qos: 1, retain: true });
    await there.publish("kept/there", "2", { qos: 1, retain: true });
    for (const side of [here, there]) {
      await side.waitFor("kept/here", "1");
      await side.waitFor("kept/there", "2");
      await side.publish("end", "x", { qos: 2 });
    }
    for (const side of [here, there]) await side.waitUntil(() => payloads(side, "end").length === 2);
    // An echo would come before these.
    for (const side of [here, there]) await side.publish("after", "x", { qos: 2 });
    for (const side of [here, there]) await side.waitUntil(() => payloads(side, "after").length === 2);
    for (const side of [here, there]) for (const [topic, count] of [["a", 3], ["b", 3], ["end", 2], ["kept/here", 1], ["kept/there", 1]] as const) expect([topic, payloads(side, topic).length]).toEqual([topic, count]);
    expect((await (await client(upstream.port, 5, "kept/#")).waitFor("kept/here", "1")).retain).toBe(true);
    expect((await (await client(port, 4, "kept/#")).waitFor("kept/there", "2")).retain).toBe(true);
  });

  it("carries properties from one mosquitto to another, in order", async () => {
    const [from, to] = [await mosquitto(), await mosquitto()];
    const { daemon } = await daemonWith(connection("from", from.port, "topic cmd/# in 2"), connection("to", to.port, "topic cmd/# out 2"));
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    const there = await client(to.port, 5, "cmd/#");
    const properties = propertiesOf(there);
    const here = await client(from.port, 5);
    await here.client.publishAsync("cmd/x", "hi", {
      qos: 2,
      properties: {
        payloadFormatIndicator: true,
        messageExpiryInterval: 60,
        contentType: "text/plain",
        responseTopic: "re/ply",
        correlationData: Buffer.from("id"),
        userProperties: { b: "1", a: ["2", "3"] },
      },
    });
    await there.waitFor("cmd/x", "hi");
    expect(properties[0]).toMatchObject({ payloadFormatIndicator: true, contentType: "text/plain", responseTopic: "re/ply", correlationData: Buffer.from("id") });
    expect(properties[0]?.userProperties).toMatchObject({ b: "1", a: ["2", "3"], "amqtdd-via": expect.stringMatching(/^[0-9a-f]{8}$/) as unknown });
    expect(properties[0]?.messageExpiryInterval).toBeGreaterThan(50);
  });

  it("is spoken to by mosquitto's own limits, and keeps them", async () => {
    const upstream = await mosquitto("max_packet_size 300\nmax_inflight_messages 3\nmax_qos 1\nmax_keepalive 10");
    const { port, daemon } = await daemonWith("max_inflight_messages 50", connection("up", upstream.port, "topic # out 2"));
    await daemon.waitForLine(/CWNAN0133I/);
    const [here, there] = [await client(port, 4), await client(upstream.port, 5, "#")];
    for (let i = 0; i < 50; i++) await here.publish("n", String(i), { qos: 2 });
    await here.publish("n", "x".repeat(400), { qos: 2 });
    await here.publish("n", "last", { qos: 2 });
    await there.waitFor("n", "last");
    expect(payloads(there, "n")).toEqual([...Array.from({ length: 50 }, (_, i) => String(i)), "last"]);
    await daemon.waitForLine(/CWNAN0371W/);
    expect(daemon.lines.filter((line) => /CWNAN0310W/.test(line))).toEqual([]);
  });

  it("where nothing is retained sends nothing retained", async () => {
    const upstream = await mosquitto("retain_available false");
    const { port, daemon } = await daemonWith(connection("up", upstream.port, "topic # out 2"));
    await daemon.waitForLine(/CWNAN0133I/);
    const [here, there] = [await client(port, 4), await client(upstream.port, 5, "#")];
    await here.publish("r", "1", { qos: 1, retain: true });
    await there.waitFor("r", "1");
    expect(daemon.lines.filter((line) => /CWNAN0310W/.test(line))).toEqual([]);
  });

  it("finds at the remote what was published while it was away, over a restart of both", async () => {
    const upstream = await mosquitto("", true);
    const { port, daemon } = await daemonWith(connection("up", upstream.port, "bridge_session_expiry_interval 3600", "topic cmd/# in 2", "topic s/# out 2"));
    await daemon.waitForLine(/CWNAN0133I/);
    await upstream.waitForLine(/Sending SUBACK/);
    const stays = { clientId: "stays", clean: false };
    const here = await connect311(port, stays);
    await here.subscribe("cmd/#", 1);
    await here.end();
    await daemon.kill("SIGKILL");
    await (await client(upstream.port, 5)).publish("cmd/x", "while away", { qos: 1 });
    await upstream.restart();
    await daemon.start();
    const again = await connect311(port, stays);
    cleanups.push(() => again.end());
    await again.waitFor("cmd/x", "while away");
  });

  it("ends a loop through two mosquittos that are bridged to one another", async () => {
    const first = await mosquitto();
    const second = await mosquitto(`connection onward\naddress 127.0.0.1:${first.port}\nbridge_protocol_version mqttv50\nnotifications false\ntopic # in 2`);
    const { port, daemon } = await daemonWith(connection("to", first.port, "notifications false", "topic # out 2"), connection("from", second.port, "notifications false", "topic # in 2"));
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    await first.waitForLine(/Sending SUBACK/);
    const [here, beyond] = [await client(port, 4, "#"), await client(second.port, 5, "#")];
    await here.publish("round", "once", { qos: 1 });
    await daemon.waitForLine(/CWNAN0372W.*round/);
    await here.publish("round", "end", { qos: 1 });
    await beyond.waitUntil(() => payloads(beyond, "round").includes("end"));
    await new Promise((resolve) => setTimeout(resolve, 500)); // a second round would be back by now
    expect(payloads(here, "round")).toEqual(["once", "end"]);
    expect(payloads(beyond, "round")).toEqual(["once", "end"]);
  });
});
