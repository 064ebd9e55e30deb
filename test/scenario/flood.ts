import { fork, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { FrameSplitter, frameBody } from "./clients.ts";
import { connectPacket, publishPacket } from "./packets.ts";

export interface Memory {
  readonly residentKiB: number;
  readonly anonymousKiB: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { residentKiB: field("VmRSS"), anonymousKiB: field("RssAnon") };
}

export const memoryText = ({ residentKiB, anonymousKiB }: Memory): string => `RSS ${Math.round(residentKiB / 1024)} MiB (RssAnon ${Math.round(anonymousKiB / 1024)})`;

/** Size of the store in a daemon's folder, without the reserve. */
export function storeMiB(folder: string): number {
  const store = path.join(folder, "amqtdd-store");
  const bytes = readdirSync(store).filter((name) => name !== "reserve").reduce((sum, name) => sum + (statSync(path.join(store, name), { throwIfNoEntry: false })?.size ?? 0), 0);
  return Math.round(bytes / 1024 ** 2);
}

/** A connection to a remote on that port, for what a flood brings. */
export const bridgeTo = (upstreamPort: number): string => `
connection upstream
address 127.0.0.1:${upstreamPort}
notifications false
reconnect_interval 1
max_reconnect_interval 1
topic flood/# out
`;

const NUMBER_DIGITS = 10;
const WINDOW = 500;
/** Payloads are cut out of these bytes: nothing compresses them. */
const noise = randomBytes(1024 * 1024);

/** Publishes `count` numbered QoS 1 messages, at most `window` of them unacknowledged; message n goes to the topic that `topicOf` gives, all as long. */
export async function publishNumbered(port: number, clientId: string, count: number, payloadBytes: number, topicOf: (number: number) => string, window = WINDOW): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(connectPacket(clientId));
  const template = publishPacket(topicOf(0), Buffer.alloc(payloadBytes), { qos: 1 });
  const payloadAt = template.length - payloadBytes;
  const topicBytes = topicOf(0).length;
  let sent = 0;
  let acknowledged = 0;
  const splitter = new FrameSplitter();
  const send = (): void => {
    const many = Math.min(count - sent, window - (sent - acknowledged));
    if (many <= 0) return;
    const bytes = Buffer.allocUnsafe(template.length * many);
    for (let at = 0; at < bytes.length; at += template.length, sent++) {
      template.copy(bytes, at);
      bytes.write(topicOf(sent), at + payloadAt - 2 - topicBytes, "latin1");
      bytes.writeUInt16BE((sent % 60_000) + 1, at + payloadAt - 2);
      const noiseAt = (sent * 997) % (noise.length - payloadBytes);
      noise.copy(bytes, at + payloadAt, noiseAt, noiseAt + payloadBytes);
      bytes.write(String(sent).padEnd(NUMBER_DIGITS, " "), at + payloadAt, "latin1");
    }
    socket.write(bytes);
  };
  await new Promise<void>((resolve, reject) => {
    socket.on("close", () => reject(new Error(`${clientId} was closed after ${acknowledged} acknowledgements`)));
    socket.on("error", reject);
    socket.on("data", (bytes: Buffer) => {
      for (const frame of splitter.push(bytes)) if ((frame[0] ?? 0) >> 4 === 4) acknowledged++;
      if (acknowledged === count) resolve();
      else if (sent - acknowledged < window / 2) send();
    });
    send();
  });
  socket.removeAllListeners("close");
  socket.destroy();
}

/** A remote broker that takes everything, and knows what has come of each topic: the numbers must rise one by one. */
export class Upstream {
  readonly next = new Map<string, number>();
  readonly outOfOrder: string[] = [];
  received = 0;
  lastMs = 0;
  readonly #sockets = new Set<net.Socket>();
  #server: net.Server | undefined;

  async listen(port: number): Promise<void> {
    this.#server = net.createServer((socket) => this.#serve(socket)).listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #serve(socket: net.Socket): void {
    const splitter = new FrameSplitter();
    this.#sockets.add(socket);
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
    const topic = body.toString("latin1", 2, topicEnd);
    const number = parseInt(body.toString("latin1", topicEnd + 2, topicEnd + 2 + NUMBER_DIGITS), 10);
    const expected = this.next.get(topic) ?? 0;
    // What was sent before a cut may come again (QoS 1); a gap may not.
    if (number > expected) this.outOfOrder.push(`${topic}: ${number} for ${expected}`);
    if (number === expected) this.next.set(topic, expected + 1);
    this.received++;
    this.lastMs = performance.now();
    return Buffer.from([0x40, 2, body[topicEnd] ?? 0, body[topicEnd + 1] ?? 0]);
  }

  /** Different messages that have come. */
  get distinct(): number {
    let sum = 0;
    for (const next of this.next.values()) sum += next;
    return sum;
  }
}

export interface Latency {
  readonly phase: string;
  readonly messages: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export const latencyText = ({ phase, messages, medianMs, p99Ms, maxMs }: Latency): string =>
  `QoS 0 ${phase}: median ${medianMs.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, max ${maxMs.toFixed(1)} ms of ${messages}`;

/** Measures how long a message of QoS 0 takes, beside whatever else goes on. */
export class LatencyProbe {
  private constructor(private readonly child: ChildProcess) {}

  static async start(port: number): Promise<LatencyProbe> {
    const child = fork(path.join(import.meta.dirname, "latency-probe.mjs"), [String(port)]);
    await once(child, "message");
    return new LatencyProbe(child);
  }

  begin(phase: string): void {
    this.child.send({ phase });
  }

  /** How it was, phase by phase. */
  async stop(): Promise<readonly Latency[]> {
    const results = once(this.child, "message");
    this.child.send({ stop: true });
    const [latencies] = (await results) as [readonly Latency[]];
    return latencies;
  }

  kill(): void {
    this.child.kill("SIGKILL");
  }
}
