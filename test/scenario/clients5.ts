import { once } from "node:events";
import net from "node:net";
import { generate, parser, type IConnackPacket, type IDisconnectPacket, type IPublishPacket, type Packet } from "mqtt-packet";
import { within } from "./process.ts";

const opened: Client5[] = [];

/** Ends all connections that were made. */
export function destroyClients5(): void {
  for (const client of opened.splice(0)) client.destroy();
}

/** Speaks MQTT 5 packet by packet, with a codec that is not ours, and has no opinion about what comes. */
export class Client5 {
  readonly packets: Packet[] = [];
  private readonly parser = parser({ protocolVersion: 5 });
  private readonly waiting: (() => void)[] = [];
  private isOver = false;
  private lastBytes: Buffer = Buffer.alloc(0);

  private constructor(private readonly socket: net.Socket) {
    this.parser.on("packet", (packet) => {
      this.packets.push(packet);
      for (const wake of this.waiting.splice(0)) wake();
    });
    this.parser.on("error", () => undefined);
    socket.on("data", (bytes) => {
      this.lastBytes = bytes;
      this.parser.parse(bytes);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.isOver = true;
      for (const wake of this.waiting.splice(0)) wake();
    });
  }

  static async open(port: number): Promise<Client5> {
    const socket = net.connect(port, "127.0.0.1");
    await once(socket, "connect");
    const client = new Client5(socket);
    opened.push(client);
    return client;
  }

  /** A connection with its CONNACK, which is taken. */
  static async connect(port: number, clientId: string, fields: Record<string, unknown> = {}): Promise<{ client: Client5; connack: IConnackPacket }> {
    const client = await Client5.open(port);
    client.send({ cmd: "connect", protocolId: "MQTT", protocolVersion: 5, clean: true, keepalive: 60, clientId, ...fields });
    return { client, connack: (await client.next("connack")) as IConnackPacket };
  }

  /** Anything that the codec can write, in its words. */
  send(packet: Record<string, unknown>): void {
    this.socket.write(generate(packet as unknown as Packet, { protocolVersion: 5 }));
  }

  sendHex(hex: string): void {
    this.socket.write(Buffer.from(hex, "hex"));
  }

  subscribe(filter: string, options: Record<string, unknown> = {}, properties: Record<string, unknown> = {}, messageId = 1): Promise<Packet> {
    this.send({ cmd: "subscribe", messageId, properties, subscriptions: [{ topic: filter, qos: 0, ...options }] });
    return this.next("suback");
  }

  publish(topic: string, payload: string, fields: Record<string, unknown> = {}): void {
    this.send({ cmd: "publish", topic, payload, qos: 0, retain: false, dup: false, ...fields });
  }

  /** Takes the next packet of this kind, passing none by. */
  async next(cmd: Packet["cmd"], timeoutMs = 5_000): Promise<Packet> {
    const packet = await this.nextOfAny(timeoutMs);
    if (packet?.cmd !== cmd) throw new Error(`wanted ${cmd}, got ${packet ? JSON.stringify(packet) : "the end"}`);
    return packet;
  }

  async nextOfAny(timeoutMs = 5_000): Promise<Packet | undefined> {
    while (this.packets.length === 0 && !this.isOver) {
      await within(new Promise<void>((resolve) => void this.waiting.push(resolve)), timeoutMs, () => "no packet came");
    }
    return this.packets.shift();
  }

  async message(): Promise<IPublishPacket> {
    return (await this.next("publish")) as IPublishPacket;
  }

  /** Nothing more has come before the answer to a PINGREQ. */
  async nothing(): Promise<void> {
    this.send({ cmd: "pingreq" });
    await this.next("pingresp");
  }

  /** The reason of the DISCONNECT that comes next and last; undefined if the connection just ends. */
  async ended(): Promise<number | undefined> {
    const packet = await this.nextOfAny();
    if (packet === undefined) return undefined;
    if (packet.cmd !== "disconnect") throw new Error(`wanted disconnect, got ${JSON.stringify(packet)}`);
    if ((await this.nextOfAny()) !== undefined) throw new Error("something came behind DISCONNECT");
    return (packet as IDisconnectPacket).reasonCode;
  }

  /** The bytes that came last, in hex, once the connection has ended. */
  async endedWithBytes(): Promise<string> {
    while ((await this.nextOfAny()) !== undefined);
    return this.lastBytes.toString("hex");
  }

  destroy(): void {
    this.socket.destroy();
  }
}
