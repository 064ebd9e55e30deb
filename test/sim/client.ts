import type { Clock, Rng } from "../../src/clock/clock.ts";
import { FrameReader } from "../../src/link/frames.ts";
import type { Transport, TransportListener } from "../../src/link/transport.ts";
import { AckDetails, decodeAck, encodeAck, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE } from "../../src/mqtt/acks.ts";
import { type Connack, decodeConnack } from "../../src/mqtt/connack.ts";
import { encodeConnect } from "../../src/mqtt/connect.ts";
import { decodeDisconnect } from "../../src/mqtt/disconnect.ts";
import { PINGREQ } from "../../src/mqtt/empty.ts";
import { PacketType, type ProtocolVersion, type QoS } from "../../src/mqtt/protocol.ts";
import { decodePublish, PublishView } from "../../src/mqtt/publish.ts";
import { FIRST_ERROR, reasonText } from "../../src/mqtt/reason-codes.ts";
import { Reason } from "../../src/mqtt/reason.ts";
import { decodeSuback, encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import type { Network } from "./network.ts";
import { type Alias, encodeMessage, propertyProblem, type Published } from "./packets.ts";

const STRAY_PROBABILITY = 0.05;
/** Further than any window is wide, not so far that the simulation gets there: what stands there has not been sent. */
const STRAY_DISTANCE = 8192;
const IDS_PER_LANE = 16384;
/** A client that hears nothing for so long tries a new connection. */
const SILENCE_MS = 4_000;

const FOR_EVER_SECONDS = 0xffff_ffff;
/** Why a daemon may end a connection of MQTT 5. */
const FAREWELLS: ReadonlySet<number> = new Set([Reason.SessionTakenOver, Reason.ServerShuttingDown, Reason.KeepAliveTimeout, Reason.QuotaExceeded]);

export interface ClientOptions {
  readonly id: string;
  readonly port: number;
  /** One of them for each connection. */
  readonly versions: readonly ProtocolVersion[];
  readonly filters: readonly { readonly filter: string; readonly qos: QoS }[];
  readonly maxReconnectMs: number;
  /** 0: the daemon is to trust it for ever. */
  readonly keepAliveSeconds: number;
  /** Hears of each message once for each time that the protocol delivers it. */
  readonly onMessage: (topic: string, payload: string, qos: QoS, retain: boolean) => void;
  /** Hears of a message that the daemon has not taken, and may never have taken. */
  readonly onRefused?: (message: Published, mayBeThere: boolean) => void;
  /** Hears of a message that may be refused, which the client need never hear of: it comes behind others then. */
  readonly onRefusable?: (message: Published, isRepeated: boolean) => void;
  /** Hears of what the daemon must not do. */
  readonly onViolation: (text: string) => void;
}

interface Outgoing extends Published {
  readonly packetId: number;
  state: "sent" | "received";
  sendings: number;
  /** It has been sent on a connection of MQTT 5. */
  isRefusable: boolean;
}

/** One connection of a client; what comes from an earlier one is not listened to. */
class Connection implements TransportListener {
  transport: Transport | undefined;
  /** Of MQTT 5: messages without an answer that the client takes at a time, and those that there are. */
  readonly receiveMaximum: number;
  readonly unanswered = new Set<number>();
  /** Topics of the daemon's aliases, and ours by topic. */
  readonly aliasesIn = new Map<number, string>();
  readonly aliasesOut = new Map<string, number>();
  topicAliasMaximum = 0;
  private readonly reader: FrameReader;

  constructor(private readonly client: SimulatedClient, readonly version: ProtocolVersion, rng: Rng) {
    this.receiveMaximum = version === 5 && rng() < 0.5 ? 1 + Math.floor(rng() * 5) : Infinity;
    this.reader = new FrameReader({ onFrame: (first, bytes, _start, from, to) => client.onPacket(this, first, bytes, from, to) }, Number.MAX_SAFE_INTEGER);
  }

  onBytes(bytes: Buffer): void {
    this.reader.read(bytes);
  }

  /** The alias for a topic, if there is one left. */
  aliasFor(topic: string): Alias | undefined {
    const known = this.aliasesOut.get(topic);
    if (known !== undefined) return { number: known, isKnown: true };
    if (this.aliasesOut.size >= this.topicAliasMaximum) return undefined;
    const number = this.aliasesOut.size + 1;
    this.aliasesOut.set(topic, number);
    return { number, isKnown: false };
  }

  onDrain(): void {}

  onClose(): void {
    this.client.onClose(this);
  }
}

/**
 * A client that does what the standard asks of one: a persistent session, its state kept over connections, everything unacknowledged sent
 * again in order. It also watches the daemon: acknowledgements in the order of the packets [MQTT-4.6.0-2], no message twice on one
 * connection, DUP on what comes again.
 */
export class SimulatedClient {
  /** Payloads that the daemon has answered with PUBACK or PUBREC. */
  readonly acknowledged = new Set<string>();
  isSubscribed = false;
  isConnected = false;
  /** Takes messages and answers none of them until this is over. */
  private isSulking = false;
  private readonly owedAcks: (readonly [firstByte: number, packetId: number])[] = [];
  private readonly outgoing: Outgoing[] = [];
  private readonly incoming = new Set<number>();
  /** What came with QoS 1 and 2, by packet identifier and payload, and on which connection: as far as the daemon must know that it may have sent it. */
  private readonly known = new Map<string, Connection>();
  private isFromEarlierLife = false;
  private readonly awaitedAcks: string[] = [];
  private readonly view = new PublishView("server");
  private readonly details = new AckDetails();
  private connection: Connection | undefined;
  private dialled: { cancel(): void } | undefined;
  private isStopped = false;
  private heardMs = 0;
  private nextId = 1;

  constructor(
    private readonly options: ClientOptions,
    private readonly network: Network,
    private readonly clock: Clock,
    private readonly rng: Rng,
  ) {}

  get id(): string {
    return this.options.id;
  }

  start(): void {
    this.heardMs = this.clock.nowMs();
    this.connect();
    this.tick();
  }

  /** Ends for good. */
  stop(): void {
    this.isStopped = true;
    this.connection?.transport?.destroy();
  }

  private connect(): void {
    const { versions } = this.options;
    const connection = new Connection(this, versions[Math.floor(this.rng() * versions.length)] ?? 4, this.rng);
    this.connection = connection;
    this.dialled?.cancel();
    this.dialled = this.network.dial(
      this.id,
      this.options.port,
      (open) => {
        connection.transport = open(connection);
        if (this.connection !== connection) return connection.transport.destroy();
        this.isFromEarlierLife = false;
        this.greet(connection);
      },
      () => this.onClose(connection),
    );
  }

  private greet({ version, receiveMaximum }: Connection): void {
    const properties = {
      sessionExpirySeconds: FOR_EVER_SECONDS,
      ...(receiveMaximum < Infinity ? { receiveMaximum } : {}),
      ...(this.rng() < 0.5 ? { topicAliasMaximum: 3 } : {}),
    };
    const { keepAliveSeconds } = this.options;
    this.send(encodeConnect({ version, bridge: false, clientId: this.id, cleanStart: false, keepAliveSeconds, ...(version === 5 ? { properties } : {}) }));
  }

  private tick(): void {
    this.clock.after(SILENCE_MS / 4, () => {
      if (this.isStopped) return;
      if (this.clock.nowMs() - this.heardMs > SILENCE_MS) this.reconnect();
      else if (this.isConnected) this.send(PINGREQ);
      this.tick();
    });
  }

  /** Comes again, perhaps while the daemon thinks the old connection alive: a take-over. */
  reconnect(): void {
    const { connection } = this;
    const leaves = this.rng() < 0.5;
    if (connection) this.lose(connection);
    this.connect();
    if (leaves) connection?.transport?.destroy();
  }

  /** For a while it answers no message. */
  sulk(ms: number): void {
    this.isSulking = true;
    this.clock.after(ms, () => {
      this.isSulking = false;
      for (const [firstByte, packetId] of this.owedAcks.splice(0)) this.ack(firstByte, packetId);
    });
  }

  /** For a while it reads nothing. */
  stopReading(ms: number): void {
    const transport = this.connection?.transport;
    transport?.pause();
    this.clock.after(ms, () => transport?.resume());
  }

  /** The daemon has crashed. What it has not on disk it may give to a new message, identifier and all: to that DUP does not belong. */
  daemonCrashed(onDisk: ReadonlySet<string>): void {
    this.isFromEarlierLife = true;
    for (const key of this.known.keys()) if (!onDisk.has(key)) this.known.delete(key);
  }

  private lose(connection: Connection): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    this.heardMs = this.clock.nowMs();
    this.isConnected = false;
    this.awaitedAcks.length = 0;
    this.owedAcks.length = 0;
  }

  onClose(connection: Connection): void {
    if (this.connection !== connection) return;
    this.lose(connection);
    this.clock.after(this.rng() * this.options.maxReconnectMs, () => {
      if (!this.connection && !this.isStopped) this.connect();
    });
  }

  private send(packet: Buffer): void {
    this.connection?.transport?.write(packet, () => undefined);
  }

  private send4(firstByte: number, packetId: number): void {
    const packet = Buffer.allocUnsafe(4);
    encodeAck(packet, 0, firstByte, packetId);
    this.send(packet);
  }

  private ack(firstByte: number, packetId: number): void {
    if (this.isSulking) return void this.owedAcks.push([firstByte, packetId]);
    if (firstByte !== PUBREC_BYTE) this.connection?.unanswered.delete(packetId);
    this.send4(firstByte, packetId);
  }

  get unfinished(): number {
    return this.outgoing.length;
  }

  publish(published: Published): void {
    if (published.qos === 0) {
      if (this.isConnected) this.sendMessage(published, 0, false);
      return;
    }
    const message: Outgoing = { ...published, packetId: this.nextId, state: "sent", sendings: 0, isRefusable: false };
    this.nextId = (this.nextId % 65_535) + 1;
    this.outgoing.push(message);
    if (this.isConnected) this.sendAcknowledged(message, false);
  }

  private sendAcknowledged(message: Outgoing, dup: boolean): void {
    const { qos, packetId } = message;
    message.sendings += 1;
    message.isRefusable ||= this.connection?.version === 5;
    if (message.isRefusable) this.options.onRefusable?.(message, message.sendings > 1);
    this.awaitedAcks.push(`${qos === 1 ? "PUBACK" : "PUBREC"} ${packetId}`);
    this.sendMessage(message, packetId, dup);
  }

  private sendMessage(message: Published, packetId: number, dup: boolean): void {
    const { connection } = this;
    if (connection) this.send(encodeMessage(connection.version, message, packetId, dup, connection.aliasFor(message.topic)));
  }

  onPacket(connection: Connection, first: number, bytes: Buffer, from: number, to: number): boolean {
    if (this.connection !== connection) return false;
    this.heardMs = this.clock.nowMs();
    switch (first >> 4) {
      case PacketType.CONNACK:
        this.onConnack(connection, decodeConnack(connection.version, first, bytes, from, to));
        return true;
      case PacketType.SUBACK:
        this.isSubscribed = decodeSuback(connection.version, first, bytes, from, to).codes.every((code) => code < FIRST_ERROR);
        return true;
      case PacketType.PINGRESP:
        return true;
      case PacketType.PUBLISH:
        this.onPublish(connection, first, bytes, from, to);
        return true;
      case PacketType.PUBREL: {
        const packetId = decodeAck(connection.version, first, bytes, from, to);
        this.incoming.delete(packetId);
        this.ack(PUBCOMP_BYTE, packetId);
        return true;
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        this.onAck(first >> 4, decodeAck(connection.version, first, bytes, from, to, this.details), this.details.reasonCode);
        return true;
      case PacketType.DISCONNECT: {
        const { reasonCode } = decodeDisconnect(connection.version, "server", first, bytes, from, to);
        if (connection.version < 5 || !FAREWELLS.has(reasonCode)) this.violated(`was disconnected: ${reasonText(reasonCode)}`);
        return true;
      }
      default:
        this.violated(`got a packet of type ${first >> 4}`);
        return false;
    }
  }

  private violated(text: string): void {
    this.options.onViolation(`${this.id}: ${text}`);
  }

  private onConnack(connection: Connection, { code, sessionPresent, properties }: Connack): void {
    const { version } = connection;
    if (code !== 0) this.violated(`CONNACK ${code}`);
    connection.topicAliasMaximum = this.rng() < 0.5 ? (properties.topicAliasMaximum ?? 0) : 0;
    // CONNACK of 3.1 does not tell of the session.
    if (version > 3 && !sessionPresent && (this.isSubscribed || this.acknowledged.size > 0)) this.violated("its session is gone");
    this.isConnected = true;
    const { filters } = this.options;
    if (filters.length > 0 && !this.isSubscribed) this.send(encodeSubscribe(version, 1, filters));
    for (const message of this.outgoing) {
      if (message.state === "sent") this.sendAcknowledged(message, true);
      else this.send4(PUBREL_BYTE, message.packetId);
    }
  }

  private onPublish(connection: Connection, first: number, bytes: Buffer, from: number, to: number): void {
    const { view } = this;
    decodePublish(view, connection.version, first, bytes, from, to);
    const { qos, retain, packetId, properties } = view;
    const topic = this.topicOf(connection, bytes.toString("utf8", view.topicStart, view.topicEnd));
    const payload = bytes.toString("utf8", view.payloadStart, view.payloadEnd);
    const problem = propertyProblem(properties, payload);
    if (problem !== undefined) this.violated(`${payload.slice(0, 20)} ${problem}`);
    if (qos > 0) connection.unanswered.add(packetId);
    if (connection.unanswered.size > connection.receiveMaximum) this.violated(`got ${connection.unanswered.size} messages at a time, its receive maximum is ${connection.receiveMaximum}`);
    if (qos > 0 && this.rng() < STRAY_PROBABILITY) this.sendStrayAck(packetId);
    if (qos > 0) this.watchRepeat(connection, packetId, payload);
    if (qos < 2 || !this.incoming.has(packetId)) this.options.onMessage(topic, payload, qos, retain);
    if (qos === 2) this.incoming.add(packetId);
    if (qos > 0) this.ack(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId);
  }

  private topicOf({ aliasesIn }: Connection, name: string): string {
    const { topicAlias } = this.view.properties;
    if (name !== "" && topicAlias > 0) aliasesIn.set(topicAlias, name);
    if (name !== "") return name;
    if (!aliasesIn.has(topicAlias)) this.violated(`got the alias ${topicAlias}, which stands for nothing`);
    return aliasesIn.get(topicAlias) ?? "";
  }

  /** A message that comes again says so [MQTT-3.3.1-1], whatever happened between; and it comes again on another connection only. */
  private watchRepeat(connection: Connection, packetId: number, payload: string): void {
    if (this.isFromEarlierLife) return;
    const key = `${packetId} ${payload}`;
    const before = this.known.get(key);
    this.known.set(key, connection);
    if (before === connection) this.violated(`got ${key.slice(0, 20)} twice on one connection`);
    if (before && !this.view.dup) this.violated(`got ${key.slice(0, 20)} again without DUP`);
  }

  /** Acknowledges what it never got: a message far behind one that is, or will be, in flight. */
  private sendStrayAck(packetId: number): void {
    const neighbour = packetId - 1 + Math.floor(this.rng() * 3);
    const first = [PUBACK_BYTE, PUBREC_BYTE, PUBCOMP_BYTE][Math.floor(this.rng() * 3)] ?? PUBACK_BYTE;
    this.send4(first, 1 + ((neighbour + STRAY_DISTANCE) % IDS_PER_LANE));
  }

  private onAck(type: number, packetId: number, reasonCode: number): void {
    const index = this.outgoing.findIndex((message) => message.packetId === packetId);
    const message = this.outgoing[index];
    if (type !== PacketType.PUBCOMP) {
      const name = `${type === PacketType.PUBACK ? "PUBACK" : "PUBREC"} ${packetId}`;
      const awaited = this.awaitedAcks.shift();
      if (awaited !== name) this.violated(`awaited ${awaited ?? "nothing"}, got ${name}`);
    }
    if (!message) return this.violated(`acknowledgement of type ${type} for ${packetId}, which is not under way`);
    if (type !== PacketType.PUBCOMP && reasonCode >= FIRST_ERROR) {
      this.outgoing.splice(index, 1);
      return this.options.onRefused?.(message, message.sendings > 1);
    }
    this.acknowledged.add(message.payload);
    if (type === PacketType.PUBREC) {
      message.state = "received";
      this.send4(PUBREL_BYTE, packetId);
    } else {
      this.outgoing.splice(index, 1);
    }
  }
}
