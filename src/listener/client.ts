import { decodeAck, UNSUBACK_BYTE } from "../mqtt/acks.ts";
import { encodeConnack } from "../mqtt/connack.ts";
import { decodeConnect, UnsupportedVersion, type Connect } from "../mqtt/connect.ts";
import { checkEmpty, PINGRESP } from "../mqtt/empty.ts";
import { PacketType, type Will } from "../mqtt/protocol.ts";
import { decodePublish, PublishView } from "../mqtt/publish.ts";
import { ConnackCode, Reason } from "../mqtt/reason.ts";
import { decodeSubscribe, encodeSuback, SUBACK_FAILURE } from "../mqtt/subscribe.ts";
import { decodeUnsubscribe } from "../mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { Entry, Holder } from "../broker/sessions.ts";
import { receivePublish, receivePubrel } from "../broker/inbound.ts";
import type { CloseReason, Link, PacketHandler } from "../link/link.ts";
import { Message, messageOf } from "../queue/message.ts";
import { filterProblem } from "../topic/validity.ts";
import type { ListenerContext, MountPoint, OpenConnection } from "./mount-point.ts";

/** One view and one message for all connections: both are valid only while a packet is handled. */
const view = new PublishView();
const message = new Message();

/** One accepted connection: CONNECT first, then the packets of a client. */
export class ClientConnection implements PacketHandler, Holder, OpenConnection {
  readonly connectedAtMs: number;
  keepAliveMs = 0;
  clientId = "";
  private will: Will | undefined;
  private entry: Entry | undefined;
  private link!: Link; // set by the listener before a byte can come

  constructor(
    private readonly mount: MountPoint,
    private readonly context: ListenerContext,
  ) {
    this.connectedAtMs = context.clock.nowMs();
  }

  use(link: Link): void {
    this.link = link;
  }

  get isConnected(): boolean {
    return this.entry !== undefined;
  }

  get lastReceivedMs(): number {
    return this.link.lastReceivedMs;
  }

  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const entry = this.entry;
    if (!entry) return this.onFirstPacket(firstByte, bytes, bodyStart, bodyEnd);
    const { link } = this;
    const { session } = entry;
    switch (firstByte >> 4) {
      case PacketType.PUBLISH:
        return this.onPublish(entry, firstByte, bytes, frameStart, bodyStart, bodyEnd);
      case PacketType.PUBACK: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd);
        if (!session.onPuback(id)) this.context.log.write("ackUnknownId", { client: this.clientId, id });
        return;
      }
      case PacketType.PUBREC: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd);
        session.onPubrec(id);
        return;
      }
      case PacketType.PUBCOMP: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd);
        if (!session.onPubcomp(id)) this.context.log.write("ackUnknownId", { client: this.clientId, id });
        return;
      }
      case PacketType.PUBREL:
        return receivePubrel(session, link, decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBSCRIBE:
        return this.onSubscribe(entry, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.UNSUBSCRIBE:
        return this.onUnsubscribe(entry, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.PINGREQ:
        checkEmpty(link.version, firstByte, bodyStart, bodyEnd);
        return link.send(PINGRESP);
      case PacketType.DISCONNECT:
        checkEmpty(link.version, firstByte, bodyStart, bodyEnd);
        return this.onDisconnect();
      default:
        throw new ProtocolViolation(Reason.ProtocolError, `packet type ${firstByte >> 4} is not for a client to send now`);
    }
  }

  private onFirstPacket(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    if (firstByte >> 4 !== PacketType.CONNECT) {
      this.context.log.write("firstPacketNotConnect", { address: this.link.remoteAddress, type: firstByte >> 4 });
      return this.link.close({ kind: "violation", text: "the first packet was not CONNECT" });
    }
    let connect: Connect;
    try {
      connect = decodeConnect(firstByte, bytes, bodyStart, bodyEnd);
    } catch (error) {
      if (!(error instanceof UnsupportedVersion)) throw error;
      this.context.log.write("unsupportedVersion", { address: this.link.remoteAddress, level: error.level });
      return this.refuse(ConnackCode.unacceptableProtocolVersion, `protocol level ${error.level} is not supported`);
    }
    this.link.version = connect.version;
    const problem = this.problemWith(connect);
    if (problem) return this.refuse(problem.code, problem.text);
    this.accept(connect);
  }

  private problemWith(connect: Connect): { code: number; text: string } | undefined {
    const idBytes = Buffer.byteLength(connect.clientId);
    if (idBytes === 0 && (connect.version === 3 || !connect.cleanStart)) {
      return { code: ConnackCode.identifierRejected, text: "an empty client identifier needs MQTT 3.1.1 and a clean session" };
    }
    if (!this.mount.admits()) {
      this.context.log.write("listenerFull", { port: this.mount.port, limit: this.mount.maxConnections });
      return { code: ConnackCode.serverUnavailable, text: "the listener's max_connections is reached" };
    }
    return undefined;
  }

  private refuse(code: number, text: string): void {
    this.link.send(encodeConnack(false, code));
    this.link.close({ kind: "local", text });
  }

  private accept(connect: Connect): void {
    const { broker, log } = this.context;
    const clientId = connect.clientId === "" ? this.context.newClientId() : connect.clientId;
    this.clientId = clientId;
    this.will = connect.will;
    this.mount.connected += 1;
    this.keepAliveMs = connect.keepAliveSeconds * 1500; // one and a half times [MQTT-3.1.2-24]
    this.link.maxPacketBytes = this.context.maxPacketSizeBytes;
    const taken = broker.sessions.get("client", clientId)?.holder !== undefined;
    if (taken) log.write("duplicateClientId", { client: clientId });
    if (this.context.connectionMessages) {
      log.write("clientConnecting", { port: this.mount.port, client: clientId, address: this.link.remoteAddress });
    }
    const { entry, present, after } = broker.sessions.open("client", clientId, connect.cleanStart, this);
    this.entry = entry;
    entry.session.strippedPrefix = this.mount.prefixBytes;
    broker.sessions.setPeerIsBridge(entry, connect.bridge);
    // Session present is a flag of 3.1.1; in 3.1 the byte is reserved.
    this.link.sendAfter(encodeConnack(present && connect.version >= 4, ConnackCode.accepted), after);
    this.link.whenReleased(() => entry.session.attach(this.link, this.context.maxInflightMessages));
  }

  private onPublish(entry: Entry, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { link, context } = this;
    decodePublish(view, link.version, firstByte, bytes, bodyStart, bodyEnd);
    const topic = this.mount.topics.lookup(bytes, view.topicStart, view.topicEnd);
    if (!topic.valid) throw new ProtocolViolation(Reason.TopicNameInvalid, "PUBLISH with an invalid topic name [MQTT-3.3.2-2]");
    message.qos = view.qos;
    message.retain = view.retain;
    message.topic = topic.bytes;
    message.topicStart = 0;
    message.topicEnd = topic.bytes.length;
    message.payload = bytes;
    message.payloadStart = view.payloadStart;
    message.payloadEnd = view.payloadEnd;
    message.receivedMs = link.lastReceivedMs;
    message.frame = bytes;
    message.frameStart = frameStart;
    // Only without a mount point is the topic spelt the same for another peer.
    message.frameEnd = this.mount.prefixBytes.length === 0 && view.qos === 0 ? bodyEnd : frameStart;
    receivePublish(context.broker, entry.session, entry.session, link, topic, message, view.packetId);
  }

  private onSubscribe(entry: Entry, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { broker, log } = this.context;
    const { packetId, requests } = decodeSubscribe(this.link.version, firstByte, bytes, bodyStart, bodyEnd);
    let after = 0;
    // A bridge has what it has been sent: it gets the retained messages of new subscriptions only.
    const owed = requests.filter(({ filter }) => !(entry.peerIsBridge && entry.filters.has(this.mount.prefix + filter)));
    const codes = requests.map(({ filter, qos }) => {
      const problem = filterProblem(filter);
      if (problem) {
        log.write("invalidFilter", { client: this.clientId, filter, problem });
        return this.link.version >= 4 ? SUBACK_FAILURE : qos; // 3.1 knows no failure code
      }
      after = Math.max(after, broker.subscribe(entry, this.mount.prefix + filter, qos));
      return qos;
    });
    this.link.sendAfter(encodeSuback(packetId, codes), after);
    for (const { filter, qos } of owed) {
      if (!filterProblem(filter)) broker.sendRetained(entry, this.mount.prefix + filter, qos);
    }
  }

  private onUnsubscribe(entry: Entry, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { packetId, filters } = decodeUnsubscribe(this.link.version, firstByte, bytes, bodyStart, bodyEnd);
    let after = 0;
    for (const filter of filters) after = Math.max(after, this.context.broker.sessions.unsubscribe(entry, this.mount.prefix + filter));
    this.link.acknowledge(UNSUBACK_BYTE, packetId, after, 0);
  }

  private onDisconnect(): void {
    if (this.context.connectionMessages) this.context.log.write("clientDisconnect", { client: this.clientId });
    this.will = undefined; // [MQTT-3.14.4-3]
    this.link.close({ kind: "local", text: "DISCONNECT" });
  }

  close(text: string): void {
    this.link.close({ kind: "local", text });
  }

  shutDown(): void {
    this.will = undefined;
    this.close("the daemon stops");
  }

  takenOver(): void {
    this.close("its client identifier connected again");
  }

  onDrain(): void {
    this.entry?.session.pump();
  }

  onClosed(reason: CloseReason): void {
    const { log, broker } = this.context;
    this.mount.open.delete(this);
    const { entry } = this;
    if (!entry) {
      if (reason.kind === "violation") log.write("badPacketUnknown", { address: this.link.remoteAddress, reason: reason.text });
      return;
    }
    this.entry = undefined;
    this.mount.connected -= 1;
    if (reason.kind === "violation") log.write("badPacket", { client: this.clientId, reason: reason.text });
    else if (reason.kind === "error") log.write("socketError", { client: this.clientId, reason: reason.text });
    broker.sessions.release(entry, this);
    this.publishWill();
  }

  private publishWill(): void {
    const { will } = this;
    if (!will) return;
    const topic = this.mount.topics.lookup(will.topic, 0, will.topic.length);
    if (!topic.valid) return;
    const { qos, retain, payload } = will;
    this.context.broker.publish(undefined, topic, messageOf(topic.bytes, payload, { qos, retain, receivedMs: this.context.clock.nowMs() }));
  }
}
