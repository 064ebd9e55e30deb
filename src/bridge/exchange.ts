import type { Rights } from "../access/acl.ts";
import { receivePubrel } from "../broker/inbound.ts";
import type { Entry } from "../broker/entry.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { ConnectionConfig } from "../config/config.ts";
import type { Link } from "../link/link.ts";
import { AckDetails, decodeAck } from "../mqtt/acks.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { Reason } from "../mqtt/reason.ts";
import { FIRST_ERROR, reasonText } from "../mqtt/reason-codes.ts";
import { decodeUnsuback } from "../mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import { addressText } from "./addresses.ts";
import { AnswerWatch } from "./answer-watch.ts";
import type { BridgeContext } from "./context.ts";
import { explain, type RemoteLimits } from "./handshake.ts";
import { Incoming } from "./incoming.ts";
import { RemotePeer } from "./remote-peer.ts";
import { RemoteSubscriptions } from "./remote-subscriptions.ts";
import { Suspicion } from "./suspicion.ts";
import type { TopicMap } from "./topic-lines.ts";

/** Used for each acknowledgement. */
const ack = new AckDetails();
/** A remote that has so many messages before it is busy for longer than its answers are left to come together, and one that answers few in a write pays for each. */
const MANY_IN_FLIGHT = 64;
const FEW_ANSWERS = 2;
const MAX_LARGE_TOPICS = 64;
const MAX_LOGGED_CHARACTERS = 200;

/** The remote that has accepted us. */
export interface AcceptedRemote {
  readonly link: Link;
  readonly sessionPresent: boolean;
  readonly limits: RemoteLimits;
  readonly address: string;
  /** It has been told that we are a bridge: before MQTT 5. */
  readonly knowsBridge: boolean;
}

/** What a connection and its remote say to each other after CONNACK: a session of the broker attached to the remote. */
export class Exchange {
  /** Whether the remote has sent anything since CONNACK. */
  hasHeard = false;
  private readonly incoming: Incoming;
  private readonly subscriptions: RemoteSubscriptions;
  private readonly suspicion = new Suspicion();
  private readonly answerWatch: AnswerWatch;
  private peer: RemotePeer | undefined;
  private address = "";
  private isFinishing = false;
  /** A message under suspicion is held back, and with it the queue; and the remote has been asked for the answer that lets it go. */
  private isHolding = false;
  private hasAsked = false;
  /** Messages that the remote has answered in the present read. */
  private answered = 0;
  /** What the remote takes unacknowledged. */
  private receiveMaximum = Infinity;
  /** Messages that remotes have refused, by reason code. */
  private readonly refused = new Map<number, number>();
  /** Topics of messages that were too large: a line for each. */
  private readonly largeTopics = new Set<string>();

  constructor(
    private readonly config: ConnectionConfig,
    private readonly entry: Entry,
    outTopics: TopicMap,
    inTopics: TopicMap,
    source: Source,
    private readonly context: BridgeContext,
    /** Asks the remote for a sign of life. */
    private readonly ping: () => void,
  ) {
    const { name } = config;
    const { broker, echoes, log } = context;
    const loopLines = (topic: string): string => `in by line ${inTopics.lineFrom(topic) ?? "?"}, out by line ${outTopics.lineTo(topic) ?? "?"}`;
    this.incoming = new Incoming(name, inTopics, entry.session, source, context, loopLines, config.maxTopicAlias);
    this.subscriptions = new RemoteSubscriptions(inTopics.subscriptions, entry, broker.sessions, config.tryPrivate, (filter, code) =>
      log.write("bridgeSubscribeRefused", { name, filter, reason: reasonText(code) }),
    );
    this.answerWatch = new AnswerWatch((lane) => entry.session.awaited(lane), ping);
    for (const address of config.addresses) echoes.at(addressText(address)).join(this, inTopics);
  }

  /** The connection is not configured any more. */
  leaveEchoes(): void {
    for (const address of this.config.addresses) this.context.echoes.at(addressText(address)).leave(this);
  }

  set rights(rights: Rights | undefined) {
    this.incoming.rights = rights;
  }

  begin(remote: AcceptedRemote): void {
    const { context, suspicion } = this;
    const { session } = this.entry;
    const { link, sessionPresent, limits, address } = remote;
    this.hasHeard = false;
    this.isFinishing = false;
    this.address = address;
    this.receiveMaximum = limits.receiveMaximum;
    this.subscriptions.ask(link, sessionPresent, context.clock.nowMs());
    const echoes = context.echoes.at(address);
    if (!echoes.isShared) {
      if (sessionPresent) echoes.resume();
      else echoes.clear();
    }
    this.incoming.begin(echoes, sessionPresent);
    const marks = link.version === 5 && this.config.tryPrivate;
    this.peer = new RemotePeer(link, {
      limits,
      echoes,
      mayEcho: !remote.knowsBridge && !marks,
      trail: marks ? context.trail : undefined,
      queuesQoS0: session.bounds.limits.queueQoS0,
      onTooLarge: (topic) => this.logTooLarge(topic, limits.maximumPacketBytes),
    });
    const nowMs = context.clock.nowMs();
    this.answerWatch.begin(nowMs);
    this.isHolding = suspicion.begin(nowMs);
    this.hasAsked = false;
    session.attach(this.peer, this.isHolding ? 0 : this.window, limits.maximumQoS);
    this.askIfDue(nowMs);
  }

  /** The suspect has been held back long enough: it follows the answer to PINGREQ. */
  private askIfDue(nowMs: number): void {
    if (!this.isHolding || this.hasAsked || !this.suspicion.isDue(nowMs)) return;
    this.hasAsked = true;
    this.ping();
  }

  /** Messages that may be on their way to the remote. */
  private get window(): number {
    return Math.min(this.context.settings.maxInflightMessages, this.receiveMaximum);
  }

  private logTooLarge(topic: string, limitBytes: number): void {
    if (this.largeTopics.has(topic) || this.largeTopics.size >= MAX_LARGE_TOPICS) return;
    this.largeTopics.add(topic);
    this.context.log.write("bridgeMessageTooLarge", { name: this.config.name, topic: topic.slice(0, MAX_LOGGED_CHARACTERS), address: this.address, bytes: limitBytes });
  }

  /** The remote is alive: the suspect goes out, alone, in its turn. */
  onPingresp(): void {
    const { suspicion } = this;
    const nowMs = this.context.clock.nowMs();
    this.hasHeard = true;
    this.answerWatch.answeredPing(nowMs);
    if (!this.isHolding || this.isFinishing || !suspicion.isDue(nowMs)) return;
    this.isHolding = false;
    this.answerWatch.begin(nowMs);
    this.sendSuspect();
  }

  private sendSuspect(): void {
    const { suspicion } = this;
    if (!suspicion.suspect) return this.entry.session.sender?.widen(this.window);
    suspicion.sent(this.context.clock.nowMs());
    this.entry.session.sender?.sendAlone(suspicion.suspect);
  }

  /** @throws ProtocolViolation */
  onPacket(link: Link, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { session } = this.entry;
    const { version } = link;
    this.hasHeard = true;
    switch (firstByte >> 4) {
      case PacketType.PUBLISH:
        return this.incoming.receive(link, firstByte, bytes, frameStart, bodyStart, bodyEnd);
      case PacketType.PUBACK:
        if (!session.sender?.onPuback(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd, ack), ack.reasonCode)) return;
        if (ack.reasonCode >= FIRST_ERROR) this.logRefused();
        return this.onAnswered();
      case PacketType.PUBREC: {
        const packetId = decodeAck(version, firstByte, bytes, bodyStart, bodyEnd, ack);
        if (ack.reasonCode < FIRST_ERROR) return void session.sender?.onPubrec(packetId);
        if (!session.sender?.onRefused(packetId)) return;
        this.logRefused();
        return this.onAnswered();
      }
      case PacketType.PUBCOMP:
        if (session.sender?.onPubcomp(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd))) this.onAnswered();
        return;
      case PacketType.PUBREL:
        return receivePubrel(this.context.broker, session, link, decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBACK:
        return this.subscriptions.onSuback(link, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.UNSUBACK:
        decodeUnsuback(version, firstByte, bytes, bodyStart, bodyEnd);
        return this.subscriptions.onUnsuback();
      default:
        throw new ProtocolViolation(Reason.ProtocolError, `packet type ${firstByte >> 4} is not for a server to send now`);
    }
  }

  /** The remote answers one by one and has many messages before it: its answers may come together before the next ones are sent. */
  onReadEnd(link: Link): void {
    const { answered } = this;
    this.answered = 0;
    if (answered > 0 && answered <= FEW_ANSWERS && this.entry.session.inFlightMessages >= MANY_IN_FLIGHT) link.gatherInput();
  }

  onDrain(): void {
    this.entry.session.pump();
  }

  /** The remote has answered that it does not take a message. A line for the 1st, 2nd, 4th and so on of each reason. */
  private logRefused(): void {
    const { reasonCode, properties } = ack;
    const count = (this.refused.get(reasonCode) ?? 0) + 1;
    this.refused.set(reasonCode, count);
    if ((count & (count - 1)) !== 0) return;
    this.context.log.write("bridgeMessageRefused", { name: this.config.name, address: this.address, reason: explain(reasonCode, properties), messages: count });
  }

  /** A message has been answered for good. */
  private onAnswered(): void {
    this.answered += 1;
    this.suspicion.taken();
    this.endSuspicion();
  }

  /** If the suspect is done, answered or passed by, the next one may go, or all. */
  private endSuspicion(): void {
    const { suspicion } = this;
    if (!suspicion.suspect || this.isFinishing || this.entry.session.isQueued(suspicion.suspect)) return;
    suspicion.acquit();
    if (!this.isHolding) this.sendSuspect();
  }

  /** Nothing new is sent; what is under way goes on. */
  finish(): void {
    this.isFinishing = true;
    this.entry.session.sender?.quiesce();
  }

  /** To be called now and then: what the remote owes us and does not give; undefined if nothing. */
  overdue(nowMs: number): string | undefined {
    this.endSuspicion();
    this.askIfDue(nowMs);
    if (this.subscriptions.isOverdue(nowMs)) return "SUBSCRIBE was not answered";
    return this.answerWatch.isOverdue(nowMs) ? "a message was not acknowledged" : undefined;
  }

  /** `isLost`: the connection broke, or the remote ended it. Returns when the newest message that the queue took and that went out had been received. */
  end(isLost: boolean): number {
    const { session } = this.entry;
    const { newestSentMs = 0 } = this.peer ?? {};
    this.subscriptions.reset();
    this.incoming.end();
    session.detach();
    this.peer = undefined;
    if (this.suspicion.ended(session.unanswered, isLost, this.context.clock.nowMs())) this.park();
    return newestSentMs;
  }

  /** The remote ends each connection on which it is sent this message, and takes others: it is put aside, so that the queue goes on. */
  private park(): void {
    const { config, context, address } = this;
    const { session } = this.entry;
    const packet = session.unanswered[0]?.isNoted ? "PUBREL" : "PUBLISH";
    session.parkHead().then(
      (parked) => {
        if (parked) context.log.write("bridgeParked", { name: config.name, address, packet, topic: parked.topic, bytes: parked.bytes });
      },
      () => undefined, // the store tells of its own failure; the message stays where it is
    );
  }
}
