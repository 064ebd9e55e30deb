import { once } from "node:events";
import net from "node:net";
import { FrameSplitter } from "./clients.ts";
import { within } from "./process.ts";

/** The first bytes of an answer as text, its body as bytes. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A connection on which anything can be sent and everything that comes back is kept. */
export class RawConnection {
  received: Buffer = Buffer.alloc(0);
  ended = false;
  #waiting: (() => void) | undefined;

  protected constructor(readonly socket: net.Socket) {
    socket.setNoDelay(true);
    socket.on("data", (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.#waiting?.();
    });
    socket.on("error", () => undefined); // a reset is one way to close
    for (const event of ["end", "close"]) {
      socket.on(event, () => {
        this.ended = true;
        this.#waiting?.();
      });
    }
  }

  static async dial(port: number, host = "127.0.0.1", localAddress?: string): Promise<RawConnection> {
    return new RawConnection(await dialled(port, host, localAddress));
  }

  write(bytes: Buffer | string): void {
    this.socket.write(bytes);
  }

  async until(condition: () => boolean, what: string, timeoutMs = 5_000): Promise<void> {
    const met = new Promise<void>((resolve) => {
      this.#waiting = () => {
        if (condition()) resolve();
      };
      this.#waiting();
    });
    await within(met, timeoutMs, () => `${what}; received ${JSON.stringify(this.received.toString("latin1").slice(0, 300))}`);
  }

  async closed(timeoutMs = 5_000): Promise<void> {
    await this.until(() => this.ended, "the connection was not closed", timeoutMs);
  }

  /** The next HTTP answer; its body as far as it has a Content-Length. */
  async answer(timeoutMs = 5_000, { hasBody = true } = {}): Promise<HttpAnswer> {
    const text = (): string => this.received.toString("latin1");
    await this.until(() => text().includes("\r\n\r\n") || this.ended, "no answer", timeoutMs);
    const [head = ""] = text().split("\r\n\r\n", 1);
    const [first = "", ...lines] = head.split("\r\n");
    const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
    const bodyBytes = hasBody ? Number(headers.get("content-length") ?? 0) : 0;
    const start = head.length + 4;
    await this.until(() => this.received.length >= start + bodyBytes || this.ended, "no whole answer", timeoutMs);
    const body = this.received.subarray(start, start + bodyBytes).toString();
    this.received = this.received.subarray(start + bodyBytes);
    return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(first)?.[1] ?? 0), headers, body };
  }

  destroy(): void {
    this.socket.destroy();
  }
}

async function dialled(port: number, host: string, localAddress?: string): Promise<net.Socket> {
  const socket = net.connect({ port, host, ...(localAddress === undefined ? {} : { localAddress }) });
  await once(socket, "connect");
  return socket;
}

export interface UpgradeOptions {
  readonly path?: string;
  /** Undefined: none is offered. */
  readonly subprotocol?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The request that opens a WebSocket; its key is that of RFC 6455, section 1.3. */
export function upgradeRequest({ path = "/mqtt", headers = {}, ...rest }: UpgradeOptions = {}): string {
  const subprotocol = "subprotocol" in rest ? rest.subprotocol : "mqtt";
  const all: Record<string, string> = {
    Host: "localhost",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    ...(subprotocol === undefined ? {} : { "Sec-WebSocket-Protocol": subprotocol }),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === "" ? [] : [`${name}: ${value}`]));
  return [`GET ${path} HTTP/1.1`, ...lines, "", ""].join("\r\n");
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** A client's frame: masked, final and binary unless told otherwise. `rsv`: reserved bits, 0x40 to 0x10. */
export function frame(payload: Buffer | string, options: { opcode?: number; isFinal?: boolean; isMasked?: boolean; rsv?: number; length?: number } = {}): Buffer {
  const { opcode = OPCODE.binary, isFinal = true, isMasked = true, rsv = 0 } = options;
  const bytes = Buffer.from(payload);
  const length = options.length ?? bytes.length;
  const extended = length < 126 ? [] : length < 65_536 ? [length >> 8, length & 255] : [...Buffer.from(BigInt(length).toString(16).padStart(16, "0"), "hex")];
  const short = length < 126 ? length : length < 65_536 ? 126 : 127;
  const head = Buffer.from([(isFinal ? 0x80 : 0) | rsv | opcode, (isMasked ? 0x80 : 0) | short, ...extended]);
  return isMasked ? Buffer.concat([head, MASK, bytes.map((byte, i) => byte ^ (MASK[i % 4] ?? 0))]) : Buffer.concat([head, bytes]);
}

/** A WebSocket that sends whatever it is told to. */
export class RawWebSocket extends RawConnection {
  readonly #splitter = new FrameSplitter();
  readonly #packets: string[] = [];
  /** Control frames that have come, as hex of opcode and payload. */
  readonly control: string[] = [];
  /** Opcodes of the data frames that have come. */
  readonly opcodes = new Set<number>();

  static async open(port: number, options: UpgradeOptions & { host?: string } = {}): Promise<RawWebSocket> {
    return RawWebSocket.over(await dialled(port, options.host ?? "127.0.0.1"), options);
  }

  /** On a socket that is connected. */
  static async over(socket: net.Socket, options: UpgradeOptions = {}): Promise<RawWebSocket> {
    const webSocket = new RawWebSocket(socket);
    webSocket.write(upgradeRequest(options));
    const { status } = await webSocket.answer();
    if (status !== 101) throw new Error(`the upgrade was answered with ${status}`);
    return webSocket;
  }

  /** MQTT packets as hex, in one frame. */
  send(...hex: string[]): void {
    this.write(frame(Buffer.from(hex.join("").replaceAll(/\s/g, ""), "hex")));
  }

  /** The next MQTT packet as hex. */
  async packet(timeoutMs = 5_000): Promise<string> {
    await this.until(() => this.#read() || this.ended, "no packet came", timeoutMs);
    const packet = this.#packets.shift();
    if (packet === undefined) throw new Error("the connection was closed while a packet was awaited");
    return packet;
  }

  /** The next control frame. */
  async controlFrame(timeoutMs = 5_000): Promise<string> {
    await this.until(() => this.#read() && this.control.length > 0 || this.control.length > 0, "no control frame came", timeoutMs);
    return this.control.shift() ?? "";
  }

  /** Takes frames apart. Returns whether a packet is there. */
  #read(): boolean {
    for (;;) {
      const bytes = this.received;
      if (bytes.length < 2) break;
      const short = (bytes[1] ?? 0) & 0x7f;
      const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < headBytes) break;
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < headBytes + length) break;
      const opcode = (bytes[0] ?? 0) & 15;
      const payload = bytes.subarray(headBytes, headBytes + length);
      this.received = bytes.subarray(headBytes + length);
      if (opcode >= OPCODE.close) {
        this.control.push(Buffer.concat([Buffer.from([opcode]), payload]).toString("hex"));
      } else {
        this.opcodes.add(opcode);
        for (const packet of this.#splitter.push(payload)) this.#packets.push(packet.toString("hex"));
      }
    }
    return this.#packets.length > 0;
  }
}
