import { once } from "node:events";
import net from "node:net";
import { bytesOf } from "../vectors/notation.ts";
import { FrameSplitter } from "./clients.ts";
import { within } from "./process.ts";

/** A packet that came, by its type, with what the script looks at. */
export interface Came {
  readonly type: number;
  readonly frame: Buffer;
  readonly hex: string;
}

/**
 * A remote broker that is written out in a test: answers CONNECT with `connack`, SUBSCRIBE and PINGREQ as they want to be, and the rest
 * as the test says. Packets are in the notation of `test/vectors`.
 */
export class ScriptedUpstream {
  readonly came: Came[] = [];
  /** Answers to CONNECT, the last for all further ones. */
  connacks: string[];
  /** Whether PUBLISH is answered, and PUBREL. */
  answers = true;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #watcher: (() => void) | undefined;

  private constructor(...connacks: string[]) {
    this.connacks = connacks;
    this.#server = net.createServer((socket) => this.#serve(socket));
  }

  static async start(...connacks: string[]): Promise<ScriptedUpstream> {
    const upstream = new ScriptedUpstream(...connacks);
    upstream.#server.listen(0, "127.0.0.1");
    await once(upstream.#server, "listening");
    return upstream;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** To all that are connected. */
  send(notation: string): void {
    for (const socket of this.#sockets) socket.write(bytesOf(notation));
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  of(type: number): Came[] {
    return this.came.filter((one) => one.type === type);
  }

  /** The first `count` packets of a type, waiting for them. */
  async wait(type: number, count = 1, timeoutMs = 10_000): Promise<Came[]> {
    const met = new Promise<void>((resolve) => {
      this.#watcher = () => {
        if (this.of(type).length >= count) resolve();
      };
      this.#watcher();
    });
    await within(met, timeoutMs, () => `${this.of(type).length} packets of type ${type} came of ${count}; all: ${this.came.map(({ hex }) => hex).join(" ")}`);
    return this.of(type).slice(0, count);
  }

  #serve(socket: net.Socket): void {
    const splitter = new FrameSplitter();
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (bytes: Buffer) => {
      for (const frame of splitter.push(bytes)) {
        const type = (frame[0] ?? 0) >> 4;
        this.came.push({ type, frame, hex: frame.toString("hex") });
        const answer = this.#answerTo(type, frame);
        if (answer !== undefined) socket.write(bytesOf(answer));
      }
      this.#watcher?.();
    });
  }

  #answerTo(type: number, frame: Buffer): string | undefined {
    const id = frame.toString("hex", 2, 4);
    switch (type) {
      case CONNECT:
        return this.connacks.length > 1 ? this.connacks.shift() : this.connacks[0];
      case PUBLISH: {
        const qos = ((frame[0] ?? 0) >> 1) & 3;
        const packetId = frame.toString("hex", 4 + frame.readUInt16BE(2), 6 + frame.readUInt16BE(2));
        return !this.answers || qos === 0 ? undefined : `${qos === 1 ? "40" : "50"} 02 ${packetId}`;
      }
      case PUBREL:
        return this.answers ? `70 02 ${id}` : undefined;
      case SUBSCRIBE:
        return `90 LL ${id} {} 02`;
      case PINGREQ:
        return "d0 00";
      default:
        return undefined;
    }
  }
}

export const CONNECT = 1;
export const PUBLISH = 3;
export const PUBACK = 4;
export const PUBREL = 6;
export const SUBSCRIBE = 8;
export const UNSUBSCRIBE = 10;
export const PINGREQ = 12;
export const DISCONNECT = 14;

/** A PUBLISH of MQTT 5, up to 127 bytes long. */
export function readPublish5({ frame }: Came): { qos: number; dup: boolean; retain: boolean; topic: string; id: number; properties: string; payload: string } {
  const first = frame[0] ?? 0;
  const qos = (first >> 1) & 3;
  const topicEnd = 4 + frame.readUInt16BE(2);
  const propertiesAt = topicEnd + (qos > 0 ? 2 : 0);
  const payloadAt = propertiesAt + 1 + (frame[propertiesAt] ?? 0);
  return {
    qos,
    dup: (first & 8) !== 0,
    retain: (first & 1) !== 0,
    topic: frame.toString("utf8", 4, topicEnd),
    id: qos > 0 ? frame.readUInt16BE(topicEnd) : 0,
    properties: frame.toString("hex", propertiesAt + 1, payloadAt),
    payload: frame.toString("utf8", payloadAt),
  };
}
