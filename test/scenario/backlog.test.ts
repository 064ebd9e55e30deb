import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterEach, expect, it } from "vitest";
import { FrameSplitter, frameBody, mqttString, packet } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const messages = isLong ? 1_000_000 : 200_000;
const publishers = 4;
const windowEach = 500;
const payloadBytes = 100;
const maxResidentKiB = 150 * 1024;
const maxRestartMs = 2_000;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function memoryOf(pid: number): { residentKiB: number; anonymousKiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { residentKiB: field("VmRSS"), anonymousKiB: field("RssAnon") };
}

/** Publishes `count` numbered QoS 1 messages, `windowEach` of them unacknowledged at most. */
async function publishNumbered(port: number, publisher: number, count: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(Buffer.from(packet(0x10, Buffer.concat([mqttString("MQTT"), Buffer.from([4, 2, 0, 0]), mqttString(`flood${publisher}`)])), "hex"));
  const topic = mqttString(`flood/${publisher}`);
  let sent = 0;
  let acknowledged = 0;
  const splitter = new FrameSplitter();
  const send = (): void => {
    const frames: Buffer[] = [];
    for (; sent < count && sent - acknowledged < windowEach; sent++) {
      const payload = Buffer.alloc(payloadBytes, String(sent).padEnd(payloadBytes, "."));
      const body = Buffer.concat([topic, Buffer.from([((sent % 60_000) + 1) >> 8, ((sent % 60_000) + 1) & 0xff]), payload]);
      frames.push(Buffer.from(packet(0x32, body), "hex"));
    }
    if (frames.length > 0) socket.write(Buffer.concat(frames));
  };
  await new Promise<void>((resolve, reject) => {
    socket.on("close", () => reject(new Error(`publisher ${publisher} was closed after ${acknowledged} acknowledgements`)));
    socket.on("error", reject);
    socket.on("data", (bytes: Buffer) => {
      for (const frame of splitter.push(bytes)) if ((frame[0] ?? 0) >> 4 === 4) acknowledged++;
      if (acknowledged === count) resolve();
      else if (sent - acknowledged < windowEach / 2) send();
    });
    send();
  });
  socket.removeAllListeners("close");
  socket.destroy();
}

/** A remote broker that takes everything: the numbers it has got, by publisher. */
class Upstream {
  readonly next = new Array<number>(publishers).fill(0);
  readonly outOfOrder: string[] = [];
  received = 0;
  lastMs = 0;

  async listen(port: number): Promise<void> {
    const server = net.createServer((socket) => this.#serve(socket)).listen(port, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => void server.close());
  }

  #serve(socket: net.Socket): void {
    const splitter = new FrameSplitter();
    cleanups.push(() => void socket.destroy());
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      const answers: Buffer[] = [];
      for (const frame of splitter.push(bytes)) {
        const type = (frame[0] ?? 0) >> 4;
        if (type === 1) answers.push(Buffer.from([0x20, 2, 0, 0]));
        if (type === 12) answers.push(Buffer.from([0xd0, 0]));
        if (type === 3 && ((frame[0] ?? 0) & 6) === 2) answers.push(this.#take(frameBody(frame)));
      }
      socket.write(Buffer.concat(answers));
    });
  }

  #take(body: Buffer): Buffer {
    const topicEnd = 2 + body.readUInt16BE(0);
    const publisher = Number(body.toString("latin1", topicEnd - 1, topicEnd));
    const number = parseInt(body.toString("latin1", topicEnd + 2, topicEnd + 12), 10);
    const expected = this.next[publisher] ?? 0;
    // What was sent before a cut may come again (QoS 1); a gap may not.
    if (number > expected) this.outOfOrder.push(`${publisher}: ${number} for ${expected}`);
    if (number === expected) this.next[publisher] = expected + 1;
    this.received++;
    this.lastMs = performance.now();
    return Buffer.from([0x40, 2, body[topicEnd] ?? 0, body[topicEnd + 1] ?? 0]);
  }

  get isComplete(): boolean {
    return this.next.every((next) => next === messages / publishers);
  }
}

it(`keeps ${messages.toLocaleString("en")} messages for a dead upstream in little RAM, restarts at once, drains in order`, { timeout: 300_000 }, async () => {
  const [port = 0, upstreamPort = 0] = await freePorts(2);
  const daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
connection upstream
address 127.0.0.1:${upstreamPort}
notifications false
reconnect_interval 1
max_reconnect_interval 1
topic # out
`);
  cleanups.push(() => daemon.cleanup());
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: publishers }, (_, index) => publishNumbered(port, index, messages / publishers)));
  const storedMs = performance.now() - startedMs;
  const stored = memoryOf(daemon.pid);

  await daemon.kill("SIGKILL");
  const restartMs = performance.now();
  await daemon.start();
  const listeningMs = performance.now() - restartMs;
  const restarted = memoryOf(daemon.pid);

  const upstream = new Upstream();
  await upstream.listen(upstreamPort);
  const drainMs = performance.now();
  await expect.poll(() => upstream.isComplete, { timeout: 200_000, interval: 50 }).toBe(true);
  const drained = memoryOf(daemon.pid);
  const rate = Math.round(messages / ((upstream.lastMs - drainMs) / 1000));
  console.log(
    `${messages} messages: stored at ${Math.round(messages / (storedMs / 1000))}/s; RSS ${stored.residentKiB} KiB (RssAnon ${stored.anonymousKiB}); ` +
      `listening ${Math.round(listeningMs)} ms after a kill, RSS ${restarted.residentKiB} KiB (RssAnon ${restarted.anonymousKiB}); ` +
      `drained at ${rate}/s, RSS ${drained.residentKiB} KiB (RssAnon ${drained.anonymousKiB})`,
  );
  expect(upstream.outOfOrder).toEqual([]);
  expect(listeningMs).toBeLessThan(maxRestartMs);
  for (const { residentKiB } of [stored, restarted, drained]) expect(residentKiB).toBeLessThan(maxResidentKiB);
});
