import { decodeAck, UNSUBACK_BYTE } from "../mqtt/acks.ts";
import { encodeConnack, encodeVersionRefusal } from "../mqtt/connack.ts";
import { decodeConnect, UnsupportedVersion, type Connect } from "../mqtt/connect.ts";
import { checkEmpty, PINGRESP } from "../mqtt/empty.ts";
import { PacketType, type Will } from "../mqtt/protocol.ts";
import { decodePublish, PublishView } from "../mqtt/publish.ts";
import { ConnackCode, Reason } from "../mqtt/reason.ts";
import { decodeSubscribe, encodeSuback } from "../mqtt/subscribe.ts";
import { decodeUnsubscribe } from "../mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { Entry, Holder } from "../broker/entry.ts";
import type { Timer } from "../clock/clock.ts";
import { acknowledgeDropped, receivePublish, receivePubrel } from "../broker/inbound.ts";
import type { CloseReason, Link, PacketHandler } from "../link/link.ts";
import { networkOfPeer } from "../link/network.ts";
import { Message, messageOf } from "../queue/message.ts";
import type { Access, Admission, Refusal } from "../access/access.ts";
import { identityText, type Identity } from "../access/identity.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { ListenerContext, MountPoint, OpenConnection } from "./mount-point.ts";
import { below } from "../topic/share.ts";
import { Subscriber } from "./subscriber.ts";

/** How a CONNECT is refused in the versions before 5. */
const REFUSALS: Readonly<Record<Refusal, { code: number; reason: string }>> = {
  credentials: { code: ConnackCode.badUserNameOrPassword, reason: "its user name or password is wrong" },
  anonymous: { code: ConnackCode.notAuthorized, reason: "it has no user name" },
  busy: { code: ConnackCode.serverUnavailable, reason: "too many passwords are being checked" },
  identifier: { code: ConnackCode.identifierRejected, reason: "its client identifier has none of the prefixes that are allowed" },
};

const MAX_LOGGED_DENIALS = 64;

/** One view and one message for all connections: both are valid only while a packet is handled. */
const view = new PublishView();
const message = new Message();

/** One accepted connection: CONNECT first, then the packets of a client. */
export class ClientConnection implements PacketHandler, Holder, OpenConnection {
  readonly connectedAtMs: number;
  isAuthenticating = false;
  keepAliveMs = 0;
  clientId = "";
  private will: Will | undefined;
  private source: Source | undefined;
  /** Topics whose denial has been logged: once a connection. */
  private readonly deniedTopics = new Set<string>();
  private subscriber: Subscriber | undefined;
  private entry: Entry | undefined;
  /** For a refusal that waits. */
  private answerTimer: Timer | undefined;
  private link!: Link; // set by the listener before a byte can come

  constructor(
    private readonly mount: MountPoint,
    private readonly context: ListenerContext,
    /** The user name that was proved before CONNECT: by a certificate or a key. */
    private readonly provenUser?: string,
  ) {
    this.connectedAtMs = context.clock.nowMs();
  }

  use(link: Link): void {
    this.link = link;
  }

  get isConnected(): boolean {
    return this.entry !== undefined;
  }

  silentMs(nowMs: number): number {
    return this.link.silentMs(nowMs);
  }

  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const entry = this.entry;
    if (!entry) return this.onFirstPacket(firstByte, bytes, bodyStart, bodyEnd);
    const { link, source } = this;
    if (!source) return;
    const { session } = entry;
    switch (firstByte >> 4) {
      case PacketType.PUBLISH:
        return this.onPublish(entry, source, firstByte, bytes, frameStart, bodyStart, bodyEnd);
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
      connect = decodeConnect(firstByte, bytes, bodyStart, bodyEnd, VERSIONS);
    } catch (error) {
      if (!(error instanceof UnsupportedVersion)) throw error;
      this.context.log.write("unsupportedVersion", { address: this.link.remoteAddress, level: error.level });
      this.link.send(encodeVersionRefusal(error.level));
      return this.close(`protocol level ${error.level} is not supported`);
    }
    this.context.strangers.delete(this);
    this.link.version = connect.version;
    const problem = this.problemWith(connect);
    if (problem) return this.refuse(problem.code, problem.text);
    if (connect.clientId === "") connect.clientId = this.newClientId();
    this.authenticate(connect, bodyEnd - bodyStart);
  }

  /** `bytes`: what the packet takes while it waits. */
  private authenticate(connect: Connect, bytes: number): void {
    const { access } = this.context.broker;
    if (this.provenUser !== undefined) return this.judge(connect, access.admitProven(connect.clientId, this.provenUser));
    const { logins } = this.context;
    const address = networkOfPeer(this.link.remoteAddress);
    const asker = { mayWait: () => logins.beginCheck(address, bytes), hasGone: () => this.link.isClosed };
    const admission = access.admit(connect.clientId, connect.username, connect.password, asker);
    if (!(admission instanceof Promise)) return this.judge(connect, admission);
    this.isAuthenticating = true;
    this.link.stopReading();
    admission
      .finally(() => logins.endCheck(address, bytes))
      .then(
        (verdict) => this.authenticated(connect, verdict, access, bytes),
        (error: unknown) => this.close(`the password can't be checked: ${String(error)}`),
      );
  }

  private authenticated(connect: Connect, admission: Admission, asked: Access, bytes: number): void {
    this.isAuthenticating = false;
    if (this.link.isClosed) return;
    if (this.context.broker.access !== asked) return this.authenticate(connect, bytes); // the rules have changed meanwhile
    this.judge(connect, admission);
  }

  private judge(connect: Connect, admission: Admission): void {
    if (typeof admission !== "string") return this.accept(connect, admission);
    const { code, reason } = REFUSALS[admission];
    const name = `client ${connect.clientId}${connect.username === undefined ? "" : ` (user ${connect.username})`}`;
    this.context.log.write("connectRefused", { client: name, address: this.link.remoteAddress, reason });
    const delayMs = admission === "credentials" ? this.context.logins.failed(networkOfPeer(this.link.remoteAddress)) : 0;
    if (delayMs === 0) this.refuse(code, reason);
    else this.refuseLater(delayMs, code, reason);
  }

  private refuseLater(delayMs: number, code: number, text: string): void {
    const { clock, strangers } = this.context;
    this.isAuthenticating = true;
    this.link.stopReading();
    strangers.add(this, () => this.giveWay());
    this.answerTimer = clock.after(delayMs, () => this.refuse(code, text));
  }

  /** To another that may say who it is. */
  giveWay(): void {
    this.link.drop({ kind: "local", text: "there are too many connections without CONNECT" });
  }

  private problemWith(connect: Connect): { code: number; text: string } | undefined {
    const idBytes = Buffer.byteLength(connect.clientId);
    if (idBytes === 0 && (connect.version === 3 || !connect.cleanStart || !this.context.settings.allowEmptyClientId)) {
      return { code: ConnackCode.identifierRejected, text: "an empty client identifier needs MQTT 3.1.1 and a clean session" };
    }
    return undefined;
  }

  private newClientId(): string {
    return this.context.settings.clientIdPrefix + this.context.newClientId();
  }

  private refuse(code: number, text: string): void {
    this.link.send(encodeConnack(this.link.version, false, code));
    this.link.close({ kind: "local", text });
  }

  private accept(connect: Connect, identity: Identity): void {
    const { broker, log } = this.context;
    if (!connect.cleanStart && broker.isStoreAbsent) return this.refuse(ConnackCode.serverUnavailable, "the store can't be opened");
    const holder = broker.sessions.get("client", connect.clientId)?.holder;
    const replacesOne = holder instanceof ClientConnection && holder.mount === this.mount;
    if (!replacesOne && !this.mount.admits()) {
      log.write("listenerFull", { port: this.mount.port, limit: this.mount.options.maxConnections });
      return this.refuse(ConnackCode.serverUnavailable, "the listener's max_connections is reached");
    }
    const { clientId } = connect;
    this.clientId = clientId;
    this.link.peerName = clientId;
    this.will = connect.will;
    this.mount.connected += 1;
    this.keepAliveMs = connect.keepAliveSeconds * 1500; // one and a half times [MQTT-3.1.2-24]
    this.link.endHandshake(this.context.linkLimits.maxPacketSizeBytes);
    if (holder) log.write("duplicateClientId", { client: clientId });
    if (this.context.settings.connectionMessages) {
      log.write("clientConnecting", { port: this.mount.port, client: clientId, address: this.link.remoteAddress });
    }
    const { entry, present, after } = broker.sessions.open(identity, { cleanStart: connect.cleanStart, expiryMs: connect.cleanStart ? 0 : Infinity }, this);
    this.entry = entry;
    this.source = { receiver: entry.session, identity };
    entry.session.strippedPrefix = this.mount.prefixBytes;
    broker.sessions.setPeerIsBridge(entry, connect.bridge);
    // Session present is a flag of 3.1.1; in 3.1 the byte is reserved.
    this.link.sendAfter(encodeConnack(connect.version, present && connect.version >= 4, ConnackCode.accepted), after);
    this.link.stopReading(); // nothing is answered before CONNACK [MQTT-3.2.0-1]
    this.link.whenReleased(() => {
      if (this.link.isClosed) return;
      entry.session.attach(this.link, this.context.settings.maxInflightMessages);
      this.link.resumeReading();
    });
  }

  private onPublish(entry: Entry, source: Source, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { link, context } = this;
    decodePublish(view, link.version, firstByte, bytes, bodyStart, bodyEnd);
    const topic = this.mount.topics.lookup(bytes, view.topicStart, view.topicEnd);
    if (!topic.valid) throw new ProtocolViolation(Reason.TopicNameInvalid, "PUBLISH with an invalid topic name [MQTT-3.3.2-2]");
    const { rights } = entry;
    if (topic.isSystem && !maySpeakForSystem(entry, topic.name)) return this.denyPublish(source.identity, SYSTEM);
    if (rights !== undefined && !rights.mayWrite(topic.name)) return this.denyPublish(source.identity, topic.name);
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
    receivePublish(context.broker, entry.session, source, link, topic, message, view.packetId);
  }

  /** The versions before 5 can't say no: the message is acknowledged and dropped. */
  private denyPublish(identity: Identity, topic: string): void {
    this.logDenial(identity, topic);
    acknowledgeDropped(this.context.broker, this.link, view.qos, view.packetId);
  }

  private logDenial(identity: Identity, topic: string): void {
    if (this.deniedTopics.has(topic) || this.deniedTopics.size >= MAX_LOGGED_DENIALS) return;
    this.deniedTopics.add(topic);
    this.context.log.write("publishDenied", { client: identityText(identity), topic });
  }

  private onSubscribe(entry: Entry, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { packetId, requests } = decodeSubscribe(this.link.version, firstByte, bytes, bodyStart, bodyEnd);
    this.subscriber ??= new Subscriber(this.mount, this.context);
    const { codes, after, owed } = this.subscriber.subscribe(entry, this.link.version, requests);
    this.link.sendAfter(encodeSuback(this.link.version, packetId, codes), after);
    // Behind SUBACK; a session that outlives its connection is owed them even if that ends before.
    this.link.whenReleased(() => {
      for (const filter of owed) this.context.broker.sendRetained(entry, filter);
    });
  }

  private onUnsubscribe(entry: Entry, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { packetId, filters } = decodeUnsubscribe(this.link.version, firstByte, bytes, bodyStart, bodyEnd);
    let after = 0;
    for (const filter of filters) after = Math.max(after, this.context.broker.sessions.unsubscribe(entry, below(this.mount.prefix, filter)) ?? 0);
    this.link.acknowledge(UNSUBACK_BYTE, packetId, after, 0);
  }

  private onDisconnect(): void {
    if (this.context.settings.connectionMessages) this.context.log.write("clientDisconnect", { client: this.clientId });
    this.will = undefined; // [MQTT-3.14.4-3]
    this.link.close({ kind: "local", text: "DISCONNECT" });
  }

  close(text: string): void {
    this.link.close({ kind: "local", text });
  }

  recheckAccess(before: Access): void {
    const { entry } = this;
    if (!entry || this.context.broker.access.stillAdmits(entry.identity, before)) return;
    this.context.log.write("accessRevoked", { client: identityText(entry.identity) });
    this.close("the rules of access have changed");
  }

  shutDown(): void {
    this.close("the daemon stops");
  }

  takenOver(): void {
    this.close("its client identifier connected again");
  }

  onDrain(): void {
    this.entry?.session.pump();
  }

  onClosed(reason: CloseReason): void {
    const { log, broker, strangers } = this.context;
    this.mount.open.delete(this);
    strangers.delete(this);
    this.answerTimer?.cancel();
    const { entry } = this;
    if (reason.kind === "internal") log.write("internalError", { name: this.clientId || this.link.remoteAddress, detail: reason.text });
    if (!entry) {
      if (reason.kind === "violation") log.write("badPacketUnknown", { address: this.link.remoteAddress, reason: reason.text });
      return;
    }
    this.entry = undefined;
    this.mount.connected -= 1;
    if (reason.kind === "violation") log.write("badPacket", { client: this.clientId, reason: reason.text });
    else if (reason.kind === "error" || reason.kind === "insecure" || (reason.kind === "peer" && this.context.settings.connectionMessages)) log.write("socketError", { client: this.clientId, reason: reason.text });
    broker.sessions.release(entry, this);
    this.publishWill(entry);
  }

  private publishWill(entry: Entry): void {
    const { will, source } = this;
    if (!will || !source) return;
    const topic = this.mount.topics.lookup(will.topic, 0, will.topic.length);
    if (!topic.valid) return;
    if (topic.isSystem && !maySpeakForSystem(entry, topic.name)) return this.logDenial(source.identity, SYSTEM);
    const { broker } = this.context;
    const rights = broker.access.rightsOf(source.identity);
    if (rights && !rights.mayWrite(topic.name)) return this.logDenial(source.identity, topic.name);
    const { qos, retain, payload } = will;
    broker.publishWill(source, topic, messageOf(topic.bytes, payload, { qos, retain, receivedMs: this.context.clock.nowMs() }));
  }
}

const VERSIONS = [3, 4] as const;

/** What stands in the log for every topic below it: one line a connection. */
const SYSTEM = "$SYS/";

/** Topics below `$SYS/` are the daemon's own, but for those in which the bridge of another daemon says that it is connected. */
function maySpeakForSystem({ peerIsBridge }: Entry, topicName: string): boolean {
  return peerIsBridge && topicName.startsWith("$SYS/broker/connection/");
}
