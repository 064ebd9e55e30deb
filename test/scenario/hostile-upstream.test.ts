import { once } from "node:events";
import net from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, FrameSplitter, mqttString, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makePacket } from "./packets.ts";

/*
 * The other broker is hostile: what the classes of test/scenario/cve.test.ts become where we are the client. The connection ends or goes on, is made
 * again, and everybody else is served.
 */

const CONNACK = "20020000";

const publish = (topic: string | Buffer, rest = ""): string => makePacket(0x30, typeof topic === "string" ? mqttString(topic) : topic, Buffer.from(rest)).toString("hex");
const rows: readonly (readonly [name: string, answers: Readonly<Record<number, string>>])[] = [
  ["nanomq#2145: a CONNACK with a code that there is none of", { 1: "200200ff" }],
  ["nanomq#2145: a CONNACK that is too short", { 1: "200100" }],
  ["nanomq#2145: a CONNACK that is too long", { 1: "20050000000000" }],
  ["nanomq#2145: a CONNACK with flags", { 1: "2002ff00" }],
  ["nanomq#2145: a CONNACK that never ends", { 1: "20ffffff7f" }],
  ["nanomq#2145: two CONNACKs", { 1: CONNACK + CONNACK }],
  ["nanomq#2145: a CONNECT for an answer", { 1: "100c00044d5154540402003c0000" }],
  ["nanomq#2145: PUBLISH before CONNACK", { 1: publish("remote/x", "early") }],
  ["mosquitto 2.0.19: a SUBACK without reason codes", { 1: CONNACK, 8: "9002c001" }],
  ["mosquitto 2.0.19: a SUBACK with too many", { 1: CONNACK, 8: "9005c001000102" }],
  ["mosquitto 2.0.19: a SUBACK for nothing", { 1: `${CONNACK}9003000100` }],
  ["mosquitto 2.0.19: a topic shorter than the prefix that is taken off", { 1: CONNACK + publish("rem", "x") + publish("remote", "x") + publish("remote/", "x") + publish("", "x") }],
  ["mosquitto 2.0.19: a topic that is too long with the prefix that is put on", { 1: CONNACK + publish(`remote/${"x".repeat(65_528)}`, "x") }],
  ["CVE-2017-10910: a PUBLISH with a wildcard", { 1: CONNACK + publish("remote/+/#", "x") }],
  ["CVE-2017-10910: a PUBLISH that is no UTF-8", { 1: CONNACK + publish(Buffer.from("0009ff6d6f74652f780000", "hex"), "x") }],
  ["CVE-2017-10910: a PUBLISH that ends within its topic", { 1: `${CONNACK}3004ffff7265` }],
  ["CVE-2017-10910: a PUBLISH of QoS 3", { 1: `${CONNACK}3605000161000` + "1" }],
  ["CVE-2017-10910: acknowledgements for nothing", { 1: `${CONNACK}4002000150020002620200037002000440020000` }],
  ["CVE-2021-28166: what only a client may send", { 1: `${CONNACK}820600010001230` + "0" }],
  ["CVE-2026-21888: a remaining length of five bytes", { 1: `${CONNACK}30ffffffffff` }],
];

let upstreams: readonly net.Server[] = [];
let daemon: DaemonProcess;
let witness: TestClient;

let subscribed: () => void;
/** Nothing is answered before somebody hears what comes of it. */
const whenSubscribed = new Promise<void>((resolve) => (subscribed = resolve));

/** Answers the first connection as the row says, those after it well. */
async function upstreamOf(hostile: Readonly<Record<number, string>>): Promise<net.Server> {
  const good = { 1: CONNACK + publish("remote/after", "good") };
  let connections = 0;
  const server = net.createServer((socket) => {
    const answers: Readonly<Record<number, string>> = connections++ === 0 ? hostile : good;
    const splitter = new FrameSplitter();
    socket.on("error", () => undefined);
    // Who is kept waiting for ever says nothing of what comes after: the first connection ends.
    void whenSubscribed.then(() => {
      if (answers === hostile) setTimeout(() => socket.destroy(), 2_000).unref();
      socket.on("data", (bytes) => {
        for (const packet of splitter.push(bytes)) socket.write(Buffer.from(answers[(packet[0] ?? 0) >> 4] ?? "", "hex"));
      });
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

beforeAll(async () => {
  upstreams = await Promise.all(rows.map(([, answers]) => upstreamOf(answers)));
  const port = await freePort();
  const bridges = upstreams.map((server, i) => `
connection up${i}
address 127.0.0.1:${(server.address() as net.AddressInfo).port}
reconnect_interval 1
max_reconnect_interval 1
connect_timeout 5
notifications false
try_private false
topic # in 2 local${i}/ remote/
topic out/# out 1
`);
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\n${bridges.join("")}`);
  witness = await connect311(port, { clientId: "witness" });
  await witness.subscribe("#", 1);
  subscribed();
});

afterAll(async () => {
  await witness?.end();
  await daemon?.cleanup();
  for (const server of upstreams) server.close();
});

describe("an upstream broker that answers with", () => {
  it.each(rows.map(([name], i) => [name, i] as const))("%s", async (_name, i) => {
    await witness.waitFor(`local${i}/after`, "good", 20_000); // whatever became of the first connection
    await witness.publish(`served/${i}`, "yes", { qos: 1 });
    await witness.waitFor(`served/${i}`, "yes");
  });

  it("all that, without an internal error or a topic that is none", () => {
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]|CWNAN0013/.test(line))).toEqual([]);
    expect(witness.messages.filter(({ topic }) => /[+#]/.test(topic) || topic.length > 65_535)).toEqual([]);
    expect(witness.messages.some(({ topic, payload }) => topic.endsWith("/x") && payload === "early")).toBe(false);
  });
});
