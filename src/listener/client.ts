import type { Access } from "../access/access.ts";
import { identityText, type Identity } from "../access/identity.ts";
import type { Entry, Holder } from "../broker/entry.ts";
import { receivePubrel } from "../broker/inbound.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { CloseReason } from "../link/close-reason.ts";
import type { Link } from "../link/link.ts";
import type { PacketHandler } from "../link/packet-handler.ts";
import { AckDetails, decodeAck } from "../mqtt/acks.ts";
import { encodeConnack } from "../mqtt/connack.ts";
import type { Connect } from "../mqtt/connect.ts";
import { decodeAuth, decodeDisconnect, encodeDisconnect } from "../mqtt/disconnect.ts";
import { checkEmpty, PINGRESP } from "../mqtt/empty.ts";
import { NO_PROPERTIES, type Properties } from "../mqtt/properties.ts";
import { PacketType, type Will } from "../mqtt/protocol.ts";
import { ConnackCode, Reason, type ReasonCode } from "../mqtt/reason.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import { decodeSubscribe, encodeSuback } from "../mqtt/subscribe.ts";
import { decodeUnsubscribe, encodeUnsuback } from "../mqtt/unsubscribe.ts";
import { ProtocolViolation, protocolError } from "../mqtt/violation.ts";
import { Handshake } from "./handshake.ts";
import { Incoming } from "./incoming.ts";
import { whatIsFull } from "./capacity.ts";
import { publishWill } from "./last-will.ts";
import type { ListenerContext, MountPoint, OpenConnection } from "./mount-point.ts";
import { Subscriber } from "./subscriber.ts";
import { expiryMs, type Terms } from "./terms.ts";

/** For all connections: valid only while a packet is handled. */
const details = new AckDetails();

/** What an admitted client has from its CONNACK on. */
interface Admitted {
  readonly terms: Terms;
  readonly entry: Entry;
  readonly source: Source;
  readonly incoming: Incoming;
}

/** One accepted connection: CONNECT first, then the packets of a client. */
export class ClientConnection implements PacketHandler, Holder, OpenConnection {
  readonly connectedAtMs: number;
  keepAliveMs = 0;
  clientId = "";
  private will: Will | undefined;
  private admitted: Admitted | undefined;
  private link!: Link; // set by the listener before a byte can come
  /** Answers have come behind which nothing has been sent yet: see `Sender.settle`. */
  private hasAnswered = false;
  /** Until the client is admitted. */
  private handshake: Handshake | undefined;
  /** From the first SUBSCRIBE or UNSUBSCRIBE on. */
  private subscriber: Subscriber | undefined;

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
    this.handshake = new Handshake(this, link, this.mount, this.context, this.provenUser, (connect, identity, terms) => this.admit(connect, identity, terms));
  }

  get isConnected(): boolean {
    return this.admitted !== undefined;
  }

  get isAuthenticating(): boolean {
    return this.handshake?.isAuthenticating === true;
  }

  /** To another that may say who it is. */
  giveWay(): void {
    this.handshake?.giveWay();
  }

  silentMs(nowMs: number): number {
    return this.link.silentMs(nowMs);
  }

  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { admitted, link } = this;
    if (!admitted) return this.handshake?.onPacket(firstByte, bytes, bodyStart, bodyEnd);
    const isAnswer = isAnswerToUs(firstByte >> 4);
    if (this.hasAnswered && !isAnswer) this.settle(admitted);
    this.hasAnswered = isAnswer;
    if (firstByte >> 4 === PacketType.PUBLISH) return admitted.incoming.receive(firstByte, bytes, frameStart, bodyStart, bodyEnd);
    admitted.incoming.endBurst();
    const { session } = admitted.entry;
    switch (firstByte >> 4) {
      case PacketType.PUBACK: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd, details);
        if (!session.sender?.onPuback(id, details.reasonCode)) this.context.log.writeSome("ackUnknownId", { client: this.clientId, id });
        return;
      }
      case PacketType.PUBREC: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd, details);
        if (details.reasonCode >= FIRST_ERROR) session.sender?.onRefused(id);
        else session.sender?.onPubrec(id);
        return;
      }
      case PacketType.PUBCOMP: {
        const id = decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd);
        if (!session.sender?.onPubcomp(id)) this.context.log.writeSome("ackUnknownId", { client: this.clientId, id });
        return;
      }
      case PacketType.PUBREL:
        return receivePubrel(this.context.broker, session, link, decodeAck(link.version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBSCRIBE:
        return this.onSubscribe(admitted, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.UNSUBSCRIBE:
        return this.onUnsubscribe(admitted, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.PINGREQ:
        checkEmpty(link.version, firstByte, bodyStart, bodyEnd);
        return link.send(PINGRESP);
      case PacketType.DISCONNECT:
        return this.onDisconnect(admitted, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.AUTH:
        if (link.version < 5) break;
        decodeAuth(firstByte, bytes, bodyStart, bodyEnd);
        throw new ProtocolViolation(Reason.BadAuthenticationMethod, "AUTH without an authentication method that is known here");
    }
    throw protocolError(`packet type ${firstByte >> 4} is not for a client to send now`);
  }

  onReadEnd(): void {
    const { admitted } = this;
    if (!admitted) return;
    admitted.incoming.endBurst();
    if (this.hasAnswered) this.settle(admitted);
  }

  /** What the client's answers make room for leaves before the answer to anything that came behind them. */
  private settle({ entry }: Admitted): void {
    this.hasAnswered = false;
    entry.session.sender?.settle();
  }

  /** What a stranger announces is not waited for if it is no CONNECT [MQTT-3.1.0-1]. */
  mayBegin(firstByte: number): boolean {
    return this.handshake?.mayBegin(firstByte) !== false;
  }

  private admit(connect: Connect, identity: Identity, terms: Terms): void {
    const { link, mount, context } = this;
    const { broker, log } = context;
    const needsStore = !connect.cleanStart || terms.sessionExpiryMs > 0;
    if (needsStore && broker.isStoreAbsent) {
      return this.handshake?.refuse({ code: ConnackCode.serverUnavailable, reason: Reason.ServerUnavailable, text: "the store can't be opened" });
    }
    const known = broker.sessions.get("client", connect.clientId);
    const holder = known?.holder;
    const full = whatIsFull(mount, context, known, holder instanceof ClientConnection ? holder.mount : undefined);
    if (full !== undefined) return this.handshake?.refuse({ code: ConnackCode.serverUnavailable, reason: Reason.ServerBusy, text: `${full} is reached` });
    const { clientId } = connect;
    this.clientId = clientId;
    link.peerName = clientId;
    this.will = connect.will;
    mount.connected += 1;
    context.connected.clients += 1;
    this.keepAliveMs = terms.keepAliveSeconds * 1500; // one and a half times [MQTT-3.1.2-24]
    link.endHandshake(context.linkLimits.maxPacketSizeBytes);
    link.takeLimits(terms.maxPacketBytes, terms.topicAliasMaximum);
    if (holder) log.write("duplicateClientId", { client: clientId });
    if (context.settings.connectionMessages) log.write("clientConnecting", { port: mount.port, client: clientId, address: link.remoteAddress });
    const { entry, present, after } = broker.sessions.open(identity, { cleanStart: connect.cleanStart, expiryMs: terms.sessionExpiryMs }, this);
    const source = { receiver: entry.session, identity, isBridge: connect.bridge };
    const incoming = new Incoming(link, mount, context, terms, entry, source);
    this.admitted = { terms, entry, source, incoming };
    this.handshake = undefined;
    broker.sessions.mount(entry, mount.prefixBytes);
    broker.sessions.setPeerIsBridge(entry, connect.bridge);
    // Session present is a flag of 3.1.1; in 3.1 the byte is reserved.
    const connack = encodeConnack(terms.version, present && terms.version >= 4, ConnackCode.accepted, terms.told);
    if (connack.length > terms.maxPacketBytes) return this.close("its maximum packet size leaves no room for CONNACK");
    link.sendAfter(connack, after);
    link.stopReading(); // nothing is answered before CONNACK [MQTT-3.2.0-1]
    link.whenReleased(() => {
      if (link.isClosed) return;
      entry.session.attach(link, Math.min(context.settings.maxInflightMessages, terms.receiveMaximum));
      link.resumeReading();
    });
  }

  private get subscribing(): Subscriber {
    return (this.subscriber ??= new Subscriber(this.mount, this.context));
  }

  private onSubscribe({ entry, terms }: Admitted, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { link, context } = this;
    const { packetId, requests, properties } = decodeSubscribe(link.version, firstByte, bytes, bodyStart, bodyEnd);
    const { codes, after, owed, problem } = this.subscribing.subscribe(entry, link.version, requests, properties.subscriptionIdentifiers?.[0]);
    link.sendAfter(fitting(terms, encodeSuback(link.version, packetId, codes, explained(terms, problem, codes.length))), after);
    // Behind SUBACK; a session that outlives its connection is owed them even if that ends before.
    link.whenReleased(() => {
      for (const filter of owed) context.broker.sendRetained(entry, filter);
    });
    link.restIfLong();
  }

  private onUnsubscribe({ entry, terms }: Admitted, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { packetId, filters } = decodeUnsubscribe(this.link.version, firstByte, bytes, bodyStart, bodyEnd);
    const { codes, after } = this.subscribing.unsubscribe(entry, filters);
    this.link.sendAfter(fitting(terms, encodeUnsuback(this.link.version, packetId, codes)), after);
    this.link.restIfLong();
  }

  private onDisconnect({ entry, terms }: Admitted, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { context, link } = this;
    const { reasonCode, properties } = decodeDisconnect(link.version, "client", firstByte, bytes, bodyStart, bodyEnd);
    if (properties.sessionExpirySeconds !== undefined) {
      if (terms.sessionExpiryMs === 0 && properties.sessionExpirySeconds > 0) throw protocolError("DISCONNECT that would keep a session which ends with its connection [MQTT-3.1.2-23]");
      const { maxSessionExpiryMs } = context.settings;
      context.broker.sessions.setExpiry(entry, Math.min(expiryMs(properties.sessionExpirySeconds), maxSessionExpiryMs));
    }
    if (context.settings.connectionMessages) context.log.write("clientDisconnect", { client: this.clientId });
    if (reasonCode === Reason.Success) this.will = undefined; // [MQTT-3.14.4-3]
    link.close({ kind: "local", text: "DISCONNECT" });
  }

  close(text: string, code?: ReasonCode): void {
    this.link.close({ kind: "local", text, ...(code === undefined ? {} : { code }) });
  }

  recheckAccess(before: Access): void {
    const { admitted } = this;
    if (!admitted || this.context.broker.access.stillAdmits(admitted.entry.identity, before, this.mount.options.allowAnonymous)) return;
    this.context.log.write("accessRevoked", { client: identityText(admitted.entry.identity) });
    this.close("the rules of access have changed", Reason.NotAuthorized);
  }

  shutDown(): void {
    this.close("the daemon stops", Reason.ServerShuttingDown);
  }

  takenOver(): void {
    this.close("its client identifier connected again", Reason.SessionTakenOver);
  }

  onDrain(): void {
    this.admitted?.entry.session.pump();
  }

  /** MQTT 5 has a word for the end: in DISCONNECT, or in CONNACK before that was sent [MQTT-4.13.1-1]. */
  onClosing({ kind, code, text }: CloseReason): void {
    const { link, admitted } = this;
    if (link.version !== 5 || code === undefined) return;
    const properties = explained(admitted?.terms, kind === "internal" ? undefined : text);
    link.send(admitted ? encodeDisconnect(5, code, properties) : encodeConnack(5, false, code, properties));
  }

  onClosed(reason: CloseReason): void {
    const { log, broker, settings } = this.context;
    const { admitted, will, mount, clientId } = this;
    mount.open.delete(this);
    this.handshake?.over();
    if (reason.kind === "internal") log.write("internalError", { name: clientId || this.link.remoteAddress, detail: reason.text });
    if (!admitted) {
      if (reason.kind === "violation") log.write("badPacketUnknown", { address: this.link.remoteAddress, reason: reason.text });
      return;
    }
    this.admitted = undefined;
    mount.connected -= 1;
    this.context.connected.clients -= 1;
    if (reason.kind === "violation") log.write("badPacket", { client: clientId, reason: reason.text });
    else if (reason.kind === "error" || reason.kind === "insecure" || (reason.kind === "peer" && settings.connectionMessages)) log.write("socketError", { client: clientId, reason: reason.text });
    const { entry, source, incoming } = admitted;
    broker.sessions.release(entry, this);
    if (will) publishWill(will, entry, source, incoming, mount, this.context);
  }
}

/** The answer, which has a code for each of many filters. @throws ProtocolViolation if it is larger than the client takes [MQTT-3.1.2-24]. */
function fitting({ maxPacketBytes }: Terms, answer: Buffer): Buffer {
  if (answer.length > maxPacketBytes) throw new ProtocolViolation(Reason.PacketTooLarge, "a request whose answer is larger than its maximum packet size");
  return answer;
}

/** A Reason String, if there is something to say, and the client wants it and has room for it [MQTT-3.1.2-29] [MQTT-3.2.2-19]. */
function explained(terms: Terms | undefined, text: string | undefined, otherBytes = 0): Properties {
  if (text === undefined || terms?.explains === false) return NO_PROPERTIES;
  return Buffer.byteLength(text) + otherBytes + ROOM_BESIDE_TEXT_BYTES > (terms?.maxPacketBytes ?? Infinity) ? NO_PROPERTIES : { reasonString: text };
}

const ROOM_BESIDE_TEXT_BYTES = 32;

const isAnswerToUs = (type: number): boolean => type === PacketType.PUBACK || type === PacketType.PUBREC || type === PacketType.PUBCOMP;
