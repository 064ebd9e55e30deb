import { once } from "node:events";
import net from "node:net";
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from "mqtt";
import { within } from "./process.ts";

/** Cuts a byte stream into MQTT control packets. */
export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** The packets that are complete with these bytes. */
  push(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: Buffer[] = [];
    for (;;) {
      const length = frameLength(this.#rest);
      if (length === undefined || this.#rest.length < length) return frames;
      frames.push(this.#rest.subarray(0, length));
      this.#rest = this.#rest.subarray(length);
    }
  }
}

function frameLength(bytes: Buffer): number | undefined {
  let remaining = 0;
  for (let i = 1; i < Math.min(bytes.length, 5); i++) {
    const byte = bytes[i] ?? 0;
    remaining += (byte & 0x7f) * 128 ** (i - 1);
    if (byte < 0x80) return 1 + i + remaining;
  }
  return undefined;
}

/** The variable header and payload of a packet, without its fixed header. */
export function frameBody(frame: Buffer): Buffer {
  let i = 1;
  while ((frame[i] ?? 0) >= 0x80) i++;
  return frame.subarray(i + 1);
}

/** Hex of a packet, from its first byte and body. */
export function packet(firstByte: number, body: Buffer): string {
  const header = [firstByte];
  let length = body.length;
  do {
    const byte = length % 128;
    length = Math.floor(length / 128);
    header.push(length > 0 ? byte | 0x80 : byte);
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), body]).toString("hex");
}

/** An MQTT string: two bytes of length, then UTF-8. */
export function mqttString(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** Sends hand-made bytes and reads packets, with no opinion about either. */
export class RawClient {
  readonly #socket: net.Socket;
  readonly #frames: string[] = [];
  readonly #splitter = new FrameSplitter();
  #waiting: (() => void) | undefined;
  #ended = false;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes) => {
      for (const frame of this.#splitter.push(bytes)) this.#frames.push(frame.toString("hex"));
      this.#waiting?.();
    });
    // A reset is one way for the other side to close.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#ended = true;
      this.#waiting?.();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.#waiting?.();
    });
  }

  /** At a port of the loopback address, or at a Unix socket. */
  static async open(place: number | string): Promise<RawClient> {
    const socket = typeof place === "string" ? net.connect(place) : net.connect(place, "127.0.0.1");
    await once(socket, "connect");
    return new RawClient(socket);
  }

  /** Hex digits; blanks are ignored. */
  send(hex: string): void {
    this.#socket.write(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"));
  }

  /** The next packet as hex in lower case; rejects when the connection ends first. */
  async frame(timeoutMs = 5_000): Promise<string> {
    await this.#until(() => this.#frames.length > 0 || this.#ended, timeoutMs, "no packet came");
    const frame = this.#frames.shift();
    if (frame === undefined) throw new Error("the connection was closed while a packet was awaited");
    return frame;
  }

  /** Resolves when the other side has closed; packets that came before are left to read. */
  async closed(timeoutMs = 5_000): Promise<void> {
    await this.#until(() => this.#ended, timeoutMs, "the connection was not closed");
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #until(condition: () => boolean, timeoutMs: number, what: string): Promise<void> {
    const met = new Promise<void>((resolve) => {
      this.#waiting = () => {
        if (condition()) resolve();
      };
      this.#waiting();
    });
    await within(met, timeoutMs, () => what);
  }
}

export interface Received {
  topic: string;
  payload: string;
  qos: number;
  retain: boolean;
  dup: boolean;
}

/** MQTT.js with everything it received kept; listening starts before CONNECT, so that nothing queued is missed. */
export class TestClient {
  readonly messages: Received[] = [];
  readonly #watchers = new Set<() => void>();
  /** Whether the server had the session at the last CONNACK. */
  sessionPresent = false;

  constructor(readonly client: MqttClient) {
    client.on("message", (topic: string, payload: Buffer, received: IPublishPacket) => {
      this.messages.push({ topic, payload: payload.toString(), qos: received.qos, retain: received.retain, dup: received.dup });
      this.#wake();
    });
    client.on("connect", (connack) => {
      this.sessionPresent = connack.sessionPresent;
    });
    // Every loss of the connection is told as an error too; tests look at `close`.
    client.on("error", () => undefined);
  }

  async subscribe(filter: string, qos: 0 | 1 | 2 = 0): Promise<void> {
    const granted = await this.client.subscribeAsync(filter, { qos });
    for (const one of granted) if (one.qos > 2) throw new Error(`SUBSCRIBE ${filter} was refused`);
  }

  /** Resolves with the acknowledgement (QoS 0: with the write). */
  async publish(topic: string, payload: string, options: { qos?: 0 | 1 | 2; retain?: boolean } = {}): Promise<void> {
    await this.client.publishAsync(topic, payload, { qos: options.qos ?? 0, retain: options.retain ?? false });
  }

  /** The first `count` messages, waiting for them. */
  async waitForMessages(count: number, timeoutMs = 10_000): Promise<Received[]> {
    await this.waitUntil(() => this.messages.length >= count, timeoutMs);
    return this.messages.slice(0, count);
  }

  async waitFor(topic: string, payload: string, timeoutMs = 10_000): Promise<Received> {
    const find = (): Received | undefined => this.messages.find((message) => message.topic === topic && message.payload === payload);
    await this.waitUntil(() => find() !== undefined, timeoutMs);
    const found = find();
    if (found === undefined) throw new Error("unreachable: waitUntil resolved without it");
    return found;
  }

  /** Resolves once `condition` holds; it is tried with each message. */
  async waitUntil(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
    let watcher: (() => void) | undefined;
    const met = new Promise<void>((resolve) => {
      watcher = () => {
        if (condition()) resolve();
      };
      this.#watchers.add(watcher);
      watcher();
    });
    try {
      await within(met, timeoutMs, () => `received ${this.messages.length}: ${JSON.stringify(this.messages.slice(-10))}`);
    } finally {
      if (watcher !== undefined) this.#watchers.delete(watcher);
    }
  }

  /** Resolves when the connection is gone. */
  async closed(timeoutMs = 5_000): Promise<void> {
    if (!this.client.connected) return;
    await within(new Promise<void>((resolve) => this.client.once("close", resolve)), timeoutMs, () => "the connection was not closed");
  }

  /** DISCONNECT and close. */
  async end(): Promise<void> {
    await this.client.endAsync(!this.client.connected);
  }

  /** Closes the socket without DISCONNECT. */
  drop(): void {
    this.client.stream.destroy();
  }

  #wake(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

/** Connects MQTT.js with protocol 3.1.1 (or what `options` says) and waits for CONNACK. It does not reconnect unless asked to. */
export async function connect311(port: number, options: IClientOptions = {}): Promise<TestClient> {
  const client = mqtt.connect({
    host: "127.0.0.1",
    port,
    protocol: "mqtt",
    protocolVersion: 4,
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    ...options,
  });
  const tested = new TestClient(client);
  let refuse: ((error: Error) => void) | undefined;
  const refused = new Promise<never>((_resolve, reject) => {
    refuse = reject;
    client.once("error", reject);
    client.once("close", () => reject(new Error("closed before CONNACK")));
  });
  try {
    await within(Promise.race([new Promise<void>((resolve) => client.once("connect", () => resolve())), refused]), 10_000, () => `no CONNACK from port ${port}`);
  } catch (error) {
    client.end(true);
    throw error;
  } finally {
    // The connection's later end must not become an unhandled rejection.
    refused.catch(() => undefined);
    if (refuse !== undefined) client.off("error", refuse);
  }
  return tested;
}
