import { generate, parser, type Packet } from "mqtt-packet";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";

const program = path.join(import.meta.dirname, "..", "..", "scripts", "benchmark", "load", "main.mjs");
const servers: net.Server[] = [];

afterEach(() => servers.splice(0).forEach((server) => server.close()));

/** A broker for one subscriber that passes on what `copies` makes of each message, the n-th one beginning with 0. */
async function broker(copies: (message: Packet, n: number) => Packet[]): Promise<number> {
  let subscriber: net.Socket | undefined;
  let published = 0;
  const server = net.createServer((socket) => {
    const packets = parser();
    const answer = (packet: Packet, to = socket): void => void to.write(generate(packet));
    packets.on("packet", (packet) => {
      if (packet.cmd === "connect") answer({ cmd: "connack", returnCode: 0, sessionPresent: false });
      if (packet.cmd === "subscribe") {
        subscriber = socket;
        answer({ cmd: "suback", messageId: packet.messageId ?? 0, granted: [1] });
      }
      if (packet.cmd !== "publish") return;
      answer({ cmd: "puback", messageId: packet.messageId ?? 0 });
      for (const copy of copies(packet, published++)) answer(copy, subscriber);
    });
    socket.on("data", (bytes) => packets.parse(bytes));
    socket.on("error", () => socket.destroy());
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as net.AddressInfo).port;
}

/** Publishes 100 messages of QoS 1 from two publishers to one subscriber. */
async function load(port: number): Promise<{ code: number; output: string }> {
  const job = {
    kind: "traffic", publishers: 2, subscribers: 1, qos: 1, messages: 100, stuckMs: 500, pid: process.pid,
    place: { port, user: "bench", password: "a password" },
  };
  const child = spawn(process.execPath, [program, JSON.stringify(job)], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += String(text)));
  const [code] = (await once(child, "close")) as [number];
  return { code, output };
}

describe("the load of scripts/bench", () => {
  it("tells the figures of a broker that delivers every message once and in order", async () => {
    const { code, output } = await load(await broker((message) => [message]));
    expect(code, output).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ deliveries: 100 });
  });

  let held: Packet[] = [];
  it.each<[string, (message: Packet, n: number) => Packet[], RegExp]>([
    ["loses a message", (message, n) => (n === 50 ? [] : [message]), /came twice or out of order, or one before them is lost/],
    ["loses the last message", (message, n) => (n === 99 ? [] : [message]), /nothing goes on: 99 delivered of 100 published/],
    ["delivers a message twice", (message, n) => (n === 50 ? [message, message] : [message]), /1 of \d+ messages came twice/],
    ["delivers the last message twice", (message, n) => (n === 99 ? [message, message] : [message]), /came twice|wrong/],
    ["exchanges two messages", (message, n) => {
      if (n === 50) held = [message];
      return n === 50 ? [] : n === 51 ? [message, ...held] : [message];
    }, /came twice or out of order/],
  ])("fails when the broker %s", async (_what, copies, reason) => {
    const { code, output } = await load(await broker(copies));
    expect(code).toBe(1);
    expect(output).toMatch(reason);
  });
});
