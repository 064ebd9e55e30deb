import { afterEach, describe, expect, it } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, PUBREL, readPublish5, ScriptedUpstream, SUBSCRIBE } from "./scripted-upstream.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function upstreamThat(...connacks: string[]): Promise<ScriptedUpstream> {
  const upstream = await ScriptedUpstream.start(...connacks);
  cleanups.push(() => upstream.close());
  return upstream;
}

const connection = (port: number, ...lines: string[]): string =>
  ["connection up", `address 127.0.0.1:${port}`, "reconnect_interval 1 1", "bridge_protocol_version mqttv50", "notifications false", ...lines].join("\n");

/** A daemon with a connection to `upstream`, and a local client. */
async function bridged(upstream: ScriptedUpstream, ...lines: string[]): Promise<{ daemon: DaemonProcess; client: TestClient }> {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\n${connection(upstream.port, ...lines)}`);
  cleanups.push(() => daemon.cleanup());
  const client = await connect311(port);
  cleanups.push(() => client.end());
  return { daemon, client };
}

const ACCEPTED = "20 LL 00 00 {}";
/** The user property by which the daemon knows its messages again. */
const VIA = /^26000a616d717464642d7669610008[0-9a-f]{16}$/;

describe("CONNECT of an MQTT 5 bridge", () => {
  it("says how long our session is to be kept, and what we take", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    await bridged(upstream, "clientid me", "bridge_session_expiry_interval 3600", "bridge_receive_maximum 7", "keepalive_interval 30", "try_private false", "topic # out 1");
    const [purge, connect] = await upstream.wait(CONNECT, 2);
    expect(purge?.hex).toBe(bytesOf("10 LL <MQTT> 05 02 001e {21 0007 22 000a 27 00100000} <me>").toString("hex"));
    expect(connect?.hex).toBe(bytesOf("10 LL <MQTT> 05 00 001e {11 00000e10 21 0007 22 000a 27 00100000} <me>").toString("hex"));
  });

  it("asks for ever by default, marks us for a bridge, and may have a password without user name", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    await bridged(upstream, "clientid me", "password secret", "topic # out 1");
    const connect = (await upstream.wait(CONNECT, 2))[1]?.hex ?? "";
    expect(connect).toContain(bytesOf("11 ffffffff 21 03e8 22 000a 26 <amqtdd-via>").toString("hex"));
    expect(connect.endsWith(bytesOf("<me> <secret>").toString("hex"))).toBe(true);
  });

  it("with cleansession true asks for nothing to be kept", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    await bridged(upstream, "clientid me", "cleansession true", "try_private false", "topic # out 1");
    const [connect] = await upstream.wait(CONNECT);
    expect(connect?.hex).toBe(bytesOf("10 LL <MQTT> 05 02 003c {21 03e8 22 000a 27 00100000} <me>").toString("hex"));
  });

  it.each(["20 02 00 01", "20 LL 00 84 {}"])("is followed by one of 3.1.1 when it is answered with %s", async (refusal) => {
    const upstream = await upstreamThat(refusal, "20 02 00 00");
    const { daemon } = await bridged(upstream, "clientid me", "topic # out 1");
    await daemon.waitForLine(/CWNAN0133I/);
    expect((await upstream.wait(CONNECT, 2)).map(({ frame }) => frame[8])).toEqual([5, 0x84]);
  });

  it("keeps the server's keep alive", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {13 0001}");
    await bridged(upstream, "topic # out 1");
    await upstream.wait(CONNECT);
    const connectedMs = performance.now();
    await upstream.wait(PINGREQ, 1, 5_000);
    expect(performance.now() - connectedMs).toBeLessThan(1_300);
  });

  it("that is refused is logged with the server's words", async () => {
    const upstream = await upstreamThat("20 LL 00 9c {1f <too many here> 1c <other:1883>}");
    const { daemon } = await bridged(upstream, "topic # out 1");
    expect(await daemon.waitForLine(/CWNAN0132W/)).toContain("Use another server (0x9c): too many here; use other:1883");
    await daemon.waitForLine(/CWNAN0154I/);
  });
});

describe("SUBSCRIBE of an MQTT 5 bridge", () => {
  it.each([["try_private true", "0e"], ["try_private false", "0a"]])("keeps retain flags, and with %s asks for options %s", async (line, options) => {
    const upstream = await upstreamThat(ACCEPTED);
    await bridged(upstream, line, "topic cmd/# in 2");
    const [subscribe] = await upstream.wait(SUBSCRIBE);
    expect(subscribe?.hex).toBe(bytesOf(`82 LL c001 {} <cmd/#> ${options}`).toString("hex"));
  });
});

describe("the limits of the remote", () => {
  it("no more messages are on their way than its receive maximum", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {21 0002}");
    upstream.answers = false;
    const { client } = await bridged(upstream, "topic # out 2");
    for (let i = 0; i < 5; i++) await client.publish("a", String(i), { qos: 2 });
    const first = (await upstream.wait(PUBLISH, 2)).map(readPublish5);
    upstream.send(`50 02 ${first[0]?.id.toString(16).padStart(4, "0")}`); // PUBREC ends nothing [MQTT-4.9.0-1]
    await upstream.wait(PUBREL);
    expect(upstream.of(PUBLISH)).toHaveLength(2);
    upstream.send(`70 02 ${first[0]?.id.toString(16).padStart(4, "0")}`);
    expect((await upstream.wait(PUBLISH, 3)).map((one) => readPublish5(one).payload)).toEqual(["0", "1", "2"]);
    upstream.answers = true;
    for (const { id } of upstream.of(PUBLISH).map(readPublish5).slice(1)) upstream.send(`50 02 ${id.toString(16).padStart(4, "0")}`);
    await upstream.wait(PUBLISH, 5);
  });

  it("a receive maximum that has become smaller holds for what is sent again, too", async () => {
    const upstream = await upstreamThat(ACCEPTED, ACCEPTED, "20 LL 01 00 {21 0001}");
    upstream.answers = false;
    const { client } = await bridged(upstream, "topic # out 2");
    for (let i = 0; i < 4; i++) await client.publish("a", String(i), { qos: i % 2 === 0 ? 1 : 2 });
    await upstream.wait(PUBLISH, 4);
    upstream.cut();
    await upstream.wait(PUBLISH, 5);
    await client.publish("a", "not queued", { qos: 0 }); // a second repeat would stand before it
    expect((await upstream.wait(PUBLISH, 6)).map((one) => readPublish5(one).payload)[5]).toBe("not queued");
    upstream.answers = true;
    upstream.cut();
    await upstream.wait(PUBLISH, 10);
    expect(upstream.of(PUBLISH).slice(-4).map((one) => readPublish5(one)).map(({ payload, dup }) => `${payload} ${dup}`)).toEqual(["0 true", "1 true", "2 true", "3 true"]);
  });

  it("a message that is larger than it takes is dropped, logged once for its topic, and holds up nothing", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {27 00000040}");
    const { daemon, client } = await bridged(upstream, "topic # out 2");
    await client.publish("big", "x".repeat(100), { qos: 1 });
    await client.publish("big", "x".repeat(100), { qos: 2 });
    await client.publish("big", "x".repeat(100), { qos: 0 });
    await client.publish("nearly", "x".repeat(50), { qos: 1 }); // fits without our mark
    await client.publish("small", "y", { qos: 1 });
    const came = (await upstream.wait(PUBLISH, 2)).map(readPublish5);
    expect(came.map(({ topic }) => topic)).toEqual(["nearly", "small"]);
    expect(came.map(({ properties }) => VIA.test(properties))).toEqual([false, true]);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0371W"))).toHaveLength(1);
    expect(daemon.lines.find((line) => line.includes("CWNAN0371W"))).toContain("a message on big is larger than the 64 bytes");
  });

  it.each(["mqttv50", "mqttv311"])("bridge_max_packet_size is our own, with %s", async (version) => {
    const upstream = await upstreamThat(version === "mqttv50" ? ACCEPTED : "20 02 00 00");
    const { daemon, client } = await bridged(upstream, `bridge_protocol_version ${version}`, "bridge_max_packet_size 64", "topic # out 2");
    await client.publish("big", "x".repeat(100), { qos: 1 });
    await client.publish("small", "y", { qos: 1 });
    const [came] = await upstream.wait(PUBLISH);
    expect(came?.frame.toString()).toContain("small");
    await daemon.waitForLine(/CWNAN0371W.*big.*64 bytes/);
  });

  it.each([[0, [0, 0, 0]], [1, [0, 1, 1]]])("with maximum QoS %i no message goes with more", async (maximum, expected) => {
    const upstream = await upstreamThat(`20 LL 00 00 {24 0${maximum}}`);
    const { daemon, client } = await bridged(upstream, "topic # out 2");
    await daemon.waitForLine(/CWNAN0133I/);
    for (const qos of [0, 1, 2] as const) await client.publish("a", `${qos}`, { qos });
    const came = (await upstream.wait(PUBLISH, 3)).map(readPublish5);
    expect(came.map(({ qos }) => qos)).toEqual(expected);
    // All are done: nothing comes again.
    await client.publish("a", "last", { qos: 2 });
    await upstream.wait(PUBLISH, 4);
    upstream.cut();
    await upstream.wait(CONNECT, 3);
    await client.publish("a", "after", { qos: 1 });
    await expect.poll(() => upstream.of(PUBLISH).map((one) => readPublish5(one).payload)).toEqual(["0", "1", "2", "last", "after"]);
  });

  it("nothing is retained where retained messages are not available", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {25 00}");
    const { daemon, client } = await bridged(upstream, "topic # out 2");
    await daemon.waitForLine(/CWNAN0133I/);
    await client.publish("a", "1", { qos: 1, retain: true });
    expect((await upstream.wait(PUBLISH)).map(readPublish5)[0]).toMatchObject({ retain: false, payload: "1" });
  });

  it("a will that is refused because it is retained is given up for one that is not", async () => {
    const upstream = await upstreamThat("20 LL 00 9a {}", "20 LL 00 00 {25 00}");
    const { daemon } = await bridged(upstream, "notifications true", "cleansession true", "topic # out 2");
    await daemon.waitForLine(/CWNAN0133I/);
    expect((await upstream.wait(CONNECT, 2)).map(({ frame }) => frame[9])).toEqual([0x26, 0x06]);
    expect((await upstream.wait(PUBLISH)).map(readPublish5)[0]).toMatchObject({ retain: false, payload: "1" });
  });

  it("topics get aliases as far as it takes them", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {22 0001}");
    const { client } = await bridged(upstream, "try_private false", "topic # out 1");
    for (const payload of ["1", "2"]) await client.publish("long/enough", payload, { qos: 1 });
    const came = (await upstream.wait(PUBLISH, 2)).map(readPublish5);
    expect(came.map(({ topic, properties }) => [topic, properties])).toEqual([["long/enough", "230001"], ["", "230001"]]);
  });
});

describe("what the remote answers", () => {
  it("a message that is refused is done: counted and logged, with QoS 2 no PUBREL follows", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    upstream.answers = false;
    const { daemon, client } = await bridged(upstream, "topic # out 2");
    await client.publish("a", "1", { qos: 1 });
    await client.publish("a", "2", { qos: 2 });
    const [one, two] = (await upstream.wait(PUBLISH, 2)).map(readPublish5);
    upstream.send(`40 LL ${one?.id.toString(16).padStart(4, "0")} 97 {1f <full>}`);
    upstream.send(`50 03 ${two?.id.toString(16).padStart(4, "0")} 87`);
    expect(await daemon.waitForLine(/CWNAN0370W.*0x97/)).toContain("Quota exceeded (0x97): full; 1 for this reason");
    await daemon.waitForLine(/CWNAN0370W.*Not authorized \(0x87\)/);
    upstream.cut();
    upstream.connacks = ["20 LL 01 00 {}"];
    await upstream.wait(CONNECT, 3);
    await client.publish("a", "3", { qos: 1 });
    await upstream.wait(PUBLISH, 3);
    expect(upstream.of(PUBLISH).map((packet) => readPublish5(packet).payload)).toEqual(["1", "2", "3"]);
    expect(upstream.of(PUBREL)).toEqual([]);
  });

  it("a DISCONNECT is logged with its reason, and the connection comes back", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    const { daemon } = await bridged(upstream, "topic # out 2");
    await daemon.waitForLine(/CWNAN0133I/);
    upstream.send("e0 LL 9d {1c <other:1883>}");
    expect(await daemon.waitForLine(/CWNAN0310W/)).toContain("DISCONNECT, Server moved (0x9d); use other:1883");
    await daemon.waitForLine(/CWNAN0154I/);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    expect(upstream.of(DISCONNECT)).toHaveLength(1); // our own, after the clean start
  });

  it("that our session is kept for less time than we asked is said", async () => {
    const upstream = await upstreamThat("20 LL 00 00 {11 0000003c}");
    const { daemon } = await bridged(upstream, "topic # out 2");
    expect(await daemon.waitForLine(/CWNAN0373I/)).toContain("for 60 seconds only");
  });
});

describe("topic aliases of the remote", () => {
  it("stand for the topics that they were given to, and for others when they are given anew", async () => {
    const upstream = await upstreamThat(ACCEPTED);
    const { client } = await bridged(upstream, "bridge_max_topic_alias 2", "topic cmd/# in 2");
    await client.subscribe("cmd/#", 1);
    await upstream.wait(SUBSCRIBE);
    for (const packet of ["<cmd/a> {23 0001} 31", "<> {23 0001} 32", "<cmd/b> {23 0002} 33", "<cmd/c> {23 0001} 34", "<> {23 0001} 35", "<> {23 0002} 36"]) upstream.send(`30 LL ${packet}`);
    const messages = await client.waitForMessages(6);
    expect(messages.map(({ topic, payload }) => `${topic} ${payload}`)).toEqual(["cmd/a 1", "cmd/a 2", "cmd/b 3", "cmd/c 4", "cmd/c 5", "cmd/b 6"]);
  });

  it.each([["above our maximum", "<cmd/a> {23 0003} 31"], ["that stands for nothing", "<> {23 0002} 31"]])("%s end the connection", async (what, packet) => {
    const upstream = await upstreamThat(ACCEPTED);
    const { daemon } = await bridged(upstream, "bridge_max_topic_alias 2", "topic cmd/# in 2");
    await upstream.wait(SUBSCRIBE);
    upstream.send("30 LL <cmd/a> {23 0002} 31");
    upstream.cut();
    await upstream.wait(SUBSCRIBE, 2);
    upstream.send(`30 LL ${packet}`);
    expect((await upstream.wait(DISCONNECT, 2))[1]?.hex).toBe(what === "above our maximum" ? "e00194" : "e00182"); // the first was our own, after the clean start
    expect(await daemon.waitForLine(/CWNAN0310W.*topic alias/)).toContain(what);
  });
});

describe("messages between two remotes", () => {
  /** A second connection that takes what the first brings. */
  const onward = (port: number): string => `connection on\naddress 127.0.0.1:${port}\nreconnect_interval 1 1\nbridge_protocol_version 5\nnotifications false\ntopic cmd/# out 2`;

  it("keep their properties in order, and the time they have left", async () => {
    const [from, to] = [await upstreamThat(ACCEPTED), await upstreamThat(ACCEPTED)];
    const { daemon } = await bridged(from, `topic cmd/# in 2\n${onward(to.port)}`);
    await from.wait(SUBSCRIBE);
    const properties = "01 01 26 <b> <1> 03 <text/plain> 26 <a> <2> 08 <re/ply> 09 <id>";
    from.send(`32 LL <cmd/x> 0001 {02 0000003c ${properties}} 6869`);
    const came = (await to.wait(PUBLISH)).map(readPublish5)[0];
    expect(came).toMatchObject({ topic: "cmd/x", qos: 1, payload: "hi" });
    const expiry = /^02([0-9a-f]{8})/.exec(came?.properties ?? "");
    expect(parseInt(expiry?.[1] ?? "", 16)).toBeGreaterThanOrEqual(55);
    expect(parseInt(expiry?.[1] ?? "", 16)).toBeLessThanOrEqual(60);
    const rest = came?.properties.slice(10) ?? "";
    const forwarded = bytesOf(properties).toString("hex");
    expect(rest.slice(0, forwarded.length)).toBe(forwarded);
    expect(rest.slice(forwarded.length)).toMatch(VIA);
    expect((await from.wait(PUBACK))[0]?.hex).toBe("40020001");
    expect(daemon.lines.filter((line) => line.includes("CWNAN0372W"))).toEqual([]);
  });

  it("whose time runs out in the backlog are not sent; the others are, over a restart", async () => {
    const [from, to] = [await upstreamThat(ACCEPTED), await upstreamThat("20 LL 00 88 {}")];
    const { daemon } = await bridged(from, `topic cmd/# in 2\n${onward(to.port)}`);
    await from.wait(SUBSCRIBE);
    from.send("32 LL <cmd/x> 0001 {02 00000002} 31");
    from.send("32 LL <cmd/x> 0002 {02 0000003c 26 <k> <v>} 32");
    from.send("32 LL <cmd/x> 0003 {} 33");
    await from.wait(PUBACK, 3);
    await daemon.kill("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 2_100)); // its time runs
    to.connacks = [ACCEPTED];
    await daemon.start();
    const came = (await to.wait(PUBLISH, 2)).map(readPublish5);
    expect(came.map(({ payload }) => payload)).toEqual(["2", "3"]);
    expect(came[0]?.properties).toContain(bytesOf("26 <k> <v>").toString("hex"));
    expect(parseInt(came[0]?.properties.slice(2, 10) ?? "", 16)).toBeLessThanOrEqual(58);
  });

  it("that have gone out from here are dropped when they come back by another way", async () => {
    const [from, to] = [await upstreamThat(ACCEPTED), await upstreamThat(ACCEPTED)];
    const { daemon, client } = await bridged(from, `topic cmd/# in 2\n${onward(to.port)}`);
    await from.wait(SUBSCRIBE);
    await client.publish("cmd/x", "once", { qos: 1 });
    const sent = (await to.wait(PUBLISH)).map(readPublish5)[0];
    expect(sent?.properties).toMatch(VIA);
    for (const id of ["0001", "0002"]) from.send(`32 LL <cmd/x> ${id} {26 <k> <v> ${sent?.properties}} 6f6e6365`);
    from.send("32 LL <cmd/x> 0003 {} 6f74686572");
    expect((await to.wait(PUBLISH, 2)).map((one) => readPublish5(one).payload)).toEqual(["once", "other"]);
    expect(await from.wait(PUBACK, 3)).toHaveLength(3);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0372W"))).toHaveLength(1);
  });
});
