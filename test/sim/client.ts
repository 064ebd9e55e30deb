import type { Clock, Rng } from "../../src/clock/clock.ts";
import { FrameReader } from "../../src/link/frames.ts";
import type { Transport, TransportListener } from "../../src/link/transport.ts";
import { decodeAck, encodeAck, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE } from "../../src/mqtt/acks.ts";
import { decodeConnack } from "../../src/mqtt/connack.ts";
import { encodeConnect } from "../../src/mqtt/connect.ts";
import { PacketType, type QoS } from "../../src/mqtt/protocol.ts";
import { decodePublish, encodePublish, publishSize, PublishView } from "../../src/mqtt/publish.ts";
import { encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import type { Network } from "./network.ts";

export interface Received {
  readonly topic: string;
  readonly payload: string;
  readonly qos: QoS;
  readonly dup: boolean;
}

const STRAY_PROBABILITY = 0.05;
/** Further than any window is wide, not so far that the simulation gets there: what stands there has not been sent. */
const STRAY_DISTANCE = 8192;
const IDS_PER_LANE = 16384;

interface Outgoing {
  readonly packetId: number;
  readonly topic: string;
  readonly payload: string;
  readonly qos: 1 | 2;
  state: "sent" | "received";
}

/**
 * A client that does what the standard asks of one: a persistent session, its state kept over connections, everything unacknowledged sent
 * again in order. It also watches the daemon: acknowledgements in the order of the packets [MQTT-4.6.0-2].
 */
export class SimulatedClient implements TransportListener {
  readonly received: Received[] = [];
  /** Payloads that the daemon has answered with PUBACK or PUBREC. */
  readonly acknowledged = new Set<string>();
  readonly violations: string[] = [];
  isSubscribed = false;
  isConnected = false;
  private readonly outgoing: Outgoing[] = [];
  private readonly incoming = new Set<number>();
  /** Packet identifier and payload of what came, as far as the daemon must know that it may have sent it. */
  private readonly known = new Set<string>();
  private isFromEarlierLife = false;
  private readonly awaitedAcks: string[] = [];
  private readonly view = new PublishView();
  private reader: FrameReader | undefined;
  private transport: Transport | undefined;
  private nextId = 1;

  constructor(
    readonly id: string,
    private readonly network: Network,
    private readonly port: number,
    private readonly clock: Clock,
    private readonly rng: Rng,
    private readonly maxReconnectMs: number,
    private readonly filter?: { readonly filter: string; readonly qos: QoS },
  ) {}

  start(): void {
    this.network.dial(
      this.id,
      this.port,
      (open) => {
        this.reader = new FrameReader((first, bytes, _start, from, to) => this.onPacket(first, bytes, from, to), Number.MAX_SAFE_INTEGER);
        this.transport = open(this);
        this.isFromEarlierLife = false;
        this.send(encodeConnect({ version: 4, bridge: false, clientId: this.id, cleanStart: false, keepAliveSeconds: 0 }));
      },
      () => this.again(),
    );
  }

  /** The daemon has crashed. What it has not on disk it may give to a new message, identifier and all: to that DUP does not belong. */
  daemonCrashed(onDisk: ReadonlySet<string>): void {
    this.isFromEarlierLife = true;
    for (const key of this.known) if (!onDisk.has(key)) this.known.delete(key);
  }

  private again(): void {
    this.clock.after(this.rng() * this.maxReconnectMs, () => this.start());
  }

  private send(packet: Buffer): void {
    this.transport?.write(packet, () => undefined);
  }

  private ack(firstByte: number, packetId: number): void {
    const packet = Buffer.alloc(4);
    encodeAck(packet, 0, firstByte, packetId);
    this.send(packet);
  }

  get unfinished(): number {
    return this.outgoing.length;
  }

  publish(topic: string, payload: string, qos: 1 | 2): void {
    const message: Outgoing = { packetId: this.nextId, topic, payload, qos, state: "sent" };
    this.nextId = (this.nextId % 65_535) + 1;
    this.outgoing.push(message);
    if (this.isConnected) this.sendMessage(message, false);
  }

  private sendMessage({ packetId, topic, payload, qos }: Outgoing, dup: boolean): void {
    const [name, content] = [Buffer.from(topic), Buffer.from(payload)];
    const packet = Buffer.alloc(publishSize(name.length, content.length, qos));
    encodePublish(packet, 0, (dup ? 8 : 0) | (qos << 1), name, 0, name.length, packetId, content, 0, content.length);
    this.awaitedAcks.push(`${qos === 1 ? "PUBACK" : "PUBREC"} ${packetId}`);
    this.send(packet);
  }

  onBytes(bytes: Buffer): void {
    this.reader?.read(bytes);
  }

  onDrain(): void {}

  onClose(): void {
    this.transport = undefined;
    this.isConnected = false;
    this.awaitedAcks.length = 0;
    this.again();
  }

  private onPacket(first: number, bytes: Buffer, from: number, to: number): boolean {
    switch (first >> 4) {
      case PacketType.CONNACK:
        this.onConnack(decodeConnack(4, first, bytes, from, to));
        return true;
      case PacketType.SUBACK:
        this.isSubscribed = true;
        return true;
      case PacketType.PUBLISH:
        this.onPublish(first, bytes, from, to);
        return true;
      case PacketType.PUBREL: {
        const packetId = decodeAck(4, first, bytes, from, to);
        this.incoming.delete(packetId);
        this.ack(PUBCOMP_BYTE, packetId);
        return true;
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        this.onAck(first >> 4, decodeAck(4, first, bytes, from, to));
        return true;
      default:
        this.violations.push(`${this.id} got a packet of type ${first >> 4}`);
        return false;
    }
  }

  private onConnack({ code, sessionPresent }: { code: number; sessionPresent: boolean }): void {
    if (code !== 0) this.violations.push(`${this.id}: CONNACK ${code}`);
    if (!sessionPresent && (this.isSubscribed || this.acknowledged.size > 0)) this.violations.push(`${this.id}: its session is gone`);
    this.isConnected = true;
    if (this.filter && !this.isSubscribed) this.send(encodeSubscribe(4, 1, [this.filter]));
    for (const message of this.outgoing) {
      if (message.state === "sent") this.sendMessage(message, true);
      else this.ack(PUBREL_BYTE, message.packetId);
    }
  }

  private onPublish(first: number, bytes: Buffer, from: number, to: number): void {
    const { view } = this;
    decodePublish(view, 4, first, bytes, from, to);
    const topic = bytes.toString("utf8", view.topicStart, view.topicEnd);
    const payload = bytes.toString("utf8", view.payloadStart, view.payloadEnd);
    if (view.qos > 0 && this.rng() < STRAY_PROBABILITY) this.sendStrayAck(view.packetId);
    this.watchDup(view.packetId, payload);
    if (view.qos === 2) {
      if (!this.incoming.has(view.packetId)) this.received.push({ topic, payload, qos: 2, dup: view.dup });
      this.incoming.add(view.packetId);
      this.ack(PUBREC_BYTE, view.packetId);
      return;
    }
    this.received.push({ topic, payload, qos: view.qos, dup: view.dup });
    if (view.qos === 1) this.ack(PUBACK_BYTE, view.packetId);
  }

  /** A message that comes again says so [MQTT-3.3.1-1], whatever happened between. */
  private watchDup(packetId: number, payload: string): void {
    if (this.isFromEarlierLife || this.view.qos === 0) return;
    const key = `${packetId} ${payload}`;
    if (this.known.has(key) && !this.view.dup) this.violations.push(`${this.id} got ${key.slice(0, 20)} again without DUP`);
    this.known.add(key);
  }

  /** Acknowledges what it never got: a message far behind one that is, or will be, in flight. */
  private sendStrayAck(packetId: number): void {
    const neighbour = packetId - 1 + Math.floor(this.rng() * 3);
    const first = [PUBACK_BYTE, PUBREC_BYTE, PUBCOMP_BYTE][Math.floor(this.rng() * 3)] ?? PUBACK_BYTE;
    this.ack(first, 1 + ((neighbour + STRAY_DISTANCE) % IDS_PER_LANE));
  }

  private onAck(type: number, packetId: number): void {
    const index = this.outgoing.findIndex((message) => message.packetId === packetId);
    const message = this.outgoing[index];
    if (type !== PacketType.PUBCOMP) {
      const name = `${type === PacketType.PUBACK ? "PUBACK" : "PUBREC"} ${packetId}`;
      const awaited = this.awaitedAcks.shift();
      if (awaited !== name) this.violations.push(`${this.id} awaited ${awaited ?? "nothing"}, got ${name}`);
    }
    if (!message) {
      this.violations.push(`${this.id}: acknowledgement of type ${type} for ${packetId}, which is not under way`);
      return;
    }
    this.acknowledged.add(message.payload);
    if (type === PacketType.PUBREC) {
      message.state = "received";
      this.ack(PUBREL_BYTE, packetId);
    } else {
      this.outgoing.splice(index, 1);
    }
  }
}
