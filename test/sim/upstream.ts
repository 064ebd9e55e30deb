import type { Clock, Rng } from "../../src/clock/clock.ts";
import { FrameReader } from "../../src/link/frames.ts";
import type { Transport, TransportListener } from "../../src/link/transport.ts";
import { decodeAck, encodeAck, encodeReasonAck, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE, PUBREL_BYTE } from "../../src/mqtt/acks.ts";
import { encodeConnack } from "../../src/mqtt/connack.ts";
import { decodeConnect } from "../../src/mqtt/connect.ts";
import { PINGRESP } from "../../src/mqtt/empty.ts";
import { PacketType, type ProtocolVersion, type QoS } from "../../src/mqtt/protocol.ts";
import { decodePublish, PublishView } from "../../src/mqtt/publish.ts";
import { Reason } from "../../src/mqtt/reason.ts";
import { decodeSubscribe, encodeSuback, SUBACK_FAILURE } from "../../src/mqtt/subscribe.ts";
import { decodeUnsubscribe, encodeUnsuback } from "../../src/mqtt/unsubscribe.ts";
import type { Network } from "./network.ts";
import { encodeMessage, propertyProblem, type Published } from "./packets.ts";

/** An answer to CONNECT: a return code, or something that no broker should answer. */
export type ConnectAnswer = number | "silence" | "garbage" | "close";

export interface UpstreamEvents {
  onMessage(topic: string, payload: string, qos: QoS, retain: boolean): void;
  /** A message of MQTT 5 that is not taken. */
  onRefused?(payload: string): void;
  onViolation(text: string): void;
}

interface Outgoing extends Published {
  readonly packetId: number;
  state: "sent" | "received";
}

/** What the upstream keeps for the bridge between connections. */
interface RemoteSession {
  readonly incoming: Set<number>;
  readonly outgoing: Outgoing[];
  nextId: number;
  isSubscribed: boolean;
}

/** Reason codes of MQTT 5 for the return codes of CONNACK. */
const REASONS = [
  Reason.Success, Reason.UnsupportedProtocolVersion, Reason.ClientIdentifierNotValid, Reason.ServerUnavailable, Reason.BadUserNameOrPassword, Reason.NotAuthorized,
] as const;
const TOPIC_ALIAS_MAXIMUM = 3;
const GARBAGE = ["9003000180", "200200", "2002ff00", "20020099", "d00130", "ffffffffff", "485454502f312e3120343030", "4002000120020000"];

class Connection implements TransportListener {
  readonly transport: Transport;
  version: ProtocolVersion = 4;
  /** Of MQTT 5: messages without an answer that it takes at a time, and those that there are; topics of the bridge's aliases. */
  receiveMaximum = Infinity;
  readonly unanswered = new Set<number>();
  readonly aliases = new Map<number, string>();
  isEstablished = false;
  isClosed = false;
  /** The process that dialled it has died. */
  isFromEarlierLife = false;
  private writtenBytes = 0;
  private readonly reader: FrameReader;

  constructor(open: (listener: TransportListener) => Transport, private readonly upstream: Upstream) {
    this.reader = new FrameReader({ onFrame: (first, bytes, _start, from, to) => upstream.onPacket(this, first, bytes, from, to) }, Number.MAX_SAFE_INTEGER);
    this.transport = open(this);
  }

  onBytes(bytes: Buffer): void {
    this.reader.read(bytes);
  }

  /** Returns where in the stream the packet ends. */
  write(packet: Buffer): number {
    this.transport.write(packet, () => undefined);
    return (this.writtenBytes += packet.length);
  }

  /** Whether the bridge has read so far. */
  hasRead(offset: number): boolean {
    return this.transport.progressMark >= offset;
  }

  onDrain(): void {}

  onClose(): void {
    this.isClosed = true;
    this.upstream.onClosed(this);
  }
}

/** On which connection a message came last, and where in its stream the answer ends; Infinity without an answer. */
interface Seen {
  readonly connection: Connection;
  answeredAt: number;
}

/**
 * The broker that a bridge connects to, as fickle as it is told to be. It watches the bridge: nothing twice on one connection, DUP on what comes
 * again, nothing again whose answer it has read.
 */
export class Upstream {
  answer: ConnectAnswer = 0;
  suback: "granted" | "refused" | "silence" = "granted";
  answersPings = true;
  /** So many of the next PUBACK, PUBREC and PUBCOMP are not sent. */
  swallow = 0;
  hasSwallowed = false;
  /** So many of the next messages below `site/s/` are refused, on a connection of MQTT 5. */
  refuses = 0;
  /** Messages are taken and answered when this is over. */
  isSulking = false;
  /** Payloads that it answers by closing the connection. */
  closesOn: RegExp | undefined;
  /** Or the PUBREL of whose messages. */
  closesOnReleaseOf: RegExp | undefined;
  private readonly poisonousIds = new Set<number>();
  connection: Connection | undefined;
  connects = 0;
  private readonly owed: (() => void)[] = [];
  private session: RemoteSession | undefined;
  private readonly seen = new Map<string, Seen>();
  private readonly view = new PublishView();

  constructor(
    private readonly port: number,
    private readonly network: Network,
    private readonly clock: Clock,
    private readonly rng: Rng,
    private readonly events: UpstreamEvents,
  ) {}

  start(): void {
    this.network.listen("upstream", this.port, (open) => void new Connection(open, this));
  }

  /** Nobody listens; what is connected stays. */
  stopListening(): void {
    this.network.close(this.port);
  }

  get isConnected(): boolean {
    return this.connection !== undefined;
  }

  get isSubscribed(): boolean {
    return this.session?.isSubscribed ?? false;
  }

  get unfinished(): number {
    return this.session?.outgoing.length ?? 0;
  }

  /** Loses what it knows of the bridge. Returns its own messages that are lost with it. */
  forget(): Published[] {
    const lost = this.session?.outgoing ?? [];
    this.session = undefined;
    this.seen.clear();
    this.connection?.transport.destroy();
    return lost;
  }

  sulk(ms: number): void {
    this.isSulking = true;
    this.clock.after(ms, () => {
      this.isSulking = false;
      for (const answer of this.owed.splice(0)) answer();
    });
  }

  /** The bridge has crashed: what it has not on disk it may give to a new message, identifier and all; what was answered may be sent again. */
  bridgeCrashed(onDisk: ReadonlySet<string>): void {
    for (const [key, seen] of this.seen) {
      if (!onDisk.has(key)) this.seen.delete(key);
      seen.answeredAt = Infinity;
    }
    if (this.connection) this.connection.isFromEarlierLife = true;
  }

  publish(message: Published): void {
    const { session, connection } = this;
    if (!session) return;
    if (message.qos === 0) {
      if (connection) this.send(connection, { ...message, packetId: 0, state: "sent" }, false);
      return;
    }
    const outgoing: Outgoing = { ...message, packetId: session.nextId, state: "sent" };
    session.nextId = (session.nextId % 65_535) + 1;
    session.outgoing.push(outgoing);
    if (connection) this.send(connection, outgoing, false);
  }

  /** Sends what is under way again, on the same connection, as brokers of the past do. */
  repeat(): void {
    const { connection } = this;
    if (connection) this.resend(connection);
  }

  private resend(connection: Connection): void {
    for (const message of this.session?.outgoing ?? []) {
      if (message.state === "sent") this.send(connection, message, true);
      else this.send4(connection, PUBREL_BYTE, message.packetId);
    }
  }

  private send(connection: Connection, message: Outgoing, dup: boolean): void {
    connection.write(encodeMessage(connection.version, message, message.packetId, dup));
  }

  private send4(connection: Connection, firstByte: number, packetId: number): number {
    const packet = Buffer.allocUnsafe(4);
    encodeAck(packet, 0, firstByte, packetId);
    return connection.write(packet);
  }

  private acknowledge(connection: Connection, firstByte: number, packetId: number, seen?: Seen): void {
    if (this.isSulking) return void this.owed.push(() => this.acknowledge(connection, firstByte, packetId, seen));
    if (connection !== this.connection) return;
    if (firstByte !== PUBREC_BYTE) connection.unanswered.delete(packetId);
    if (this.swallow > 0) {
      this.swallow -= 1;
      this.hasSwallowed = true;
      return;
    }
    const end = this.send4(connection, firstByte, packetId);
    if (seen) seen.answeredAt = end;
  }

  onClosed(connection: Connection): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
  }

  onPacket(connection: Connection, first: number, bytes: Buffer, from: number, to: number): boolean {
    const type = first >> 4;
    if (type === PacketType.CONNECT) {
      this.onConnect(connection, bytes, first, from, to);
      return true;
    }
    const { session } = this;
    if (!connection.isEstablished || !session) return false;
    switch (type) {
      case PacketType.PUBLISH:
        this.onPublish(connection, session, first, bytes, from, to);
        return true;
      case PacketType.PUBREL: {
        const packetId = decodeAck(connection.version, first, bytes, from, to);
        if (this.poisonousIds.has(packetId)) {
          connection.transport.destroy();
          return true;
        }
        session.incoming.delete(packetId);
        this.acknowledge(connection, PUBCOMP_BYTE, packetId);
        return true;
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBCOMP:
        this.onAck(connection, session, type, decodeAck(connection.version, first, bytes, from, to));
        return true;
      case PacketType.SUBSCRIBE:
        this.onSubscribe(connection, session, first, bytes, from, to);
        return true;
      case PacketType.UNSUBSCRIBE:
        this.onUnsubscribe(connection, first, bytes, from, to);
        return true;
      case PacketType.PINGREQ:
        if (this.answersPings) connection.write(PINGRESP);
        return true;
      default:
        return true; // DISCONNECT
    }
  }

  private onConnect(connection: Connection, bytes: Buffer, first: number, from: number, to: number): void {
    const { answer } = this;
    this.connects += 1;
    if (answer === "silence") return;
    if (answer === "close") return connection.transport.destroy();
    if (answer === "garbage") return void connection.write(Buffer.from(GARBAGE[Math.floor(this.rng() * GARBAGE.length)] ?? "", "hex"));
    const connect = decodeConnect(first, bytes, from, to);
    const { version } = connect;
    connection.version = version;
    if (answer > 0) {
      connection.write(encodeConnack(version, false, version === 5 ? (REASONS[answer] ?? Reason.UnspecifiedError) : answer));
      return connection.transport.end();
    }
    if (connect.cleanStart) {
      this.session = undefined;
      this.seen.clear();
    }
    const isPresent = this.session !== undefined;
    this.session ??= { incoming: new Set(), outgoing: [], nextId: 1, isSubscribed: false };
    this.connection?.transport.destroy();
    this.connection = connection;
    connection.isEstablished = true;
    connection.receiveMaximum = version === 5 && this.rng() < 0.5 ? 1 + Math.floor(this.rng() * 5) : Infinity;
    const { receiveMaximum } = connection;
    const limits = { topicAliasMaximum: TOPIC_ALIAS_MAXIMUM, ...(receiveMaximum < Infinity ? { receiveMaximum } : {}) };
    connection.write(encodeConnack(version, isPresent && version > 3, 0, limits));
    this.resend(connection);
  }

  private onSubscribe(connection: Connection, session: RemoteSession, first: number, bytes: Buffer, from: number, to: number): void {
    if (this.suback === "silence") return;
    const { packetId, requests } = decodeSubscribe(connection.version, first, bytes, from, to);
    const isGranted = this.suback === "granted";
    session.isSubscribed = isGranted;
    connection.write(encodeSuback(connection.version, packetId, requests.map(({ qos }) => (isGranted ? qos : SUBACK_FAILURE))));
  }

  private onUnsubscribe({ version, transport }: Connection, first: number, bytes: Buffer, from: number, to: number): void {
    const { packetId, filters } = decodeUnsubscribe(version, first, bytes, from, to);
    transport.write(encodeUnsuback(version, packetId, filters.map(() => 0)), () => undefined);
  }

  private onPublish(connection: Connection, session: RemoteSession, first: number, bytes: Buffer, from: number, to: number): void {
    const { view } = this;
    decodePublish(view, connection.version, first, bytes, from, to);
    const { qos, retain, packetId, properties } = view;
    const { topicAlias } = properties;
    const { aliases, unanswered, receiveMaximum } = connection;
    const name = bytes.toString("utf8", view.topicStart, view.topicEnd);
    if (name !== "" && topicAlias > 0) aliases.set(topicAlias, name);
    const topic = name === "" ? (aliases.get(topicAlias) ?? "an alias that stands for nothing") : name;
    const payload = bytes.toString("utf8", view.payloadStart, view.payloadEnd);
    if (topic.startsWith("$SYS/")) return;
    const problem = propertyProblem(properties, payload);
    if (problem !== undefined) this.events.onViolation(`${payload.slice(0, 20)} ${problem}`);
    if (qos > 0) unanswered.add(packetId);
    if (unanswered.size > receiveMaximum) this.events.onViolation(`the bridge sent ${unanswered.size} messages at a time, the receive maximum is ${receiveMaximum}`);
    if (this.closesOn?.test(payload)) return connection.transport.destroy();
    if (this.closesOnReleaseOf?.test(payload)) this.poisonousIds.add(packetId);
    const seen = qos === 0 ? undefined : this.watchRepeat(connection, packetId, topic, payload);
    const isKnown = qos === 2 && session.incoming.has(packetId);
    if (this.refuses > 0 && qos > 0 && !isKnown && connection.version === 5 && topic.startsWith("site/s/")) return this.refuse(connection, qos, packetId, payload);
    if (!isKnown) this.events.onMessage(topic, payload, qos, retain);
    if (qos === 2) session.incoming.add(packetId);
    if (qos > 0) this.acknowledge(connection, qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId, seen);
  }

  private refuse(connection: Connection, qos: QoS, packetId: number, payload: string): void {
    this.refuses -= 1;
    connection.unanswered.delete(packetId);
    this.events.onRefused?.(payload);
    connection.write(encodeReasonAck(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId, Reason.QuotaExceeded));
  }

  private watchRepeat(connection: Connection, packetId: number, topic: string, payload: string): Seen {
    const key = `${packetId} ${payload}`;
    const before = this.seen.get(key);
    const seen: Seen = { connection, answeredAt: Infinity };
    if (connection.isFromEarlierLife) return seen;
    this.seen.set(key, seen);
    if (!before || payload === "") return seen;
    const text = `the bridge sent ${topic} ${key.slice(0, 20)}`;
    if (before.connection === connection) this.events.onViolation(`${text} twice on one connection`);
    if (!this.view.dup) this.events.onViolation(`${text} again without DUP`);
    if (before.connection.hasRead(before.answeredAt)) this.events.onViolation(`${text} again, though it has read the answer`);
    return seen;
  }

  private onAck(connection: Connection, session: RemoteSession, type: number, packetId: number): void {
    const index = session.outgoing.findIndex((message) => message.packetId === packetId);
    const message = session.outgoing[index];
    if (!message) return; // an answer to what was repeated
    if (type === PacketType.PUBREC) {
      message.state = "received";
      this.send4(connection, PUBREL_BYTE, packetId);
      return;
    }
    session.outgoing.splice(index, 1);
  }
}
