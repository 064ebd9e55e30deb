import type { Rights } from "../access/acl.ts";
import { receivePubrel } from "../broker/inbound.ts";
import type { Entry } from "../broker/entry.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { ConnectionConfig } from "../config/config.ts";
import type { Link } from "../link/link.ts";
import { decodeAck } from "../mqtt/acks.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { Reason } from "../mqtt/reason.ts";
import { decodeUnsuback } from "../mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { Peer } from "../session/peer.ts";
import { addressText } from "./addresses.ts";
import { AnswerWatch } from "./answer-watch.ts";
import type { BridgeContext } from "./context.ts";
import { GuardedPeer } from "./echo-guard.ts";
import { Incoming } from "./incoming.ts";
import { RemoteSubscriptions } from "./remote-subscriptions.ts";
import { Suspicion } from "./suspicion.ts";
import type { TopicMap } from "./topic-lines.ts";

/** The remote that has accepted us. */
export interface AcceptedRemote {
  readonly link: Link;
  readonly sessionPresent: boolean;
  readonly address: string;
  /** It has been told that we are a bridge. */
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
  private peer: Peer | undefined;
  private address = "";
  private isFinishing = false;

  constructor(
    private readonly config: ConnectionConfig,
    private readonly entry: Entry,
    private readonly outTopics: TopicMap,
    inTopics: TopicMap,
    source: Source,
    private readonly context: BridgeContext,
    /** Asks the remote for a sign of life. */
    private readonly ping: () => void,
  ) {
    const { name } = config;
    const { broker, echoes, log } = context;
    const loopLines = (topic: string): string => `in by line ${inTopics.lineFrom(topic) ?? "?"}, out by line ${outTopics.lineTo(topic) ?? "?"}`;
    this.incoming = new Incoming(name, inTopics, entry.session, source, context, loopLines);
    this.subscriptions = new RemoteSubscriptions(inTopics.subscriptions, entry, broker.sessions, (filter) => log.write("bridgeSubscribeRefused", { name, filter }));
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
    const { link, sessionPresent, address, knowsBridge } = remote;
    this.hasHeard = false;
    this.isFinishing = false;
    this.address = address;
    this.subscriptions.ask(link, sessionPresent, context.clock.nowMs());
    if (!sessionPresent) session.forgetPeer();
    const echoes = context.echoes.at(address);
    if (!echoes.isShared) echoes.clear();
    this.incoming.echoes = echoes;
    this.peer = this.outTopics.subscriptions.length > 0 ? new GuardedPeer(link, echoes, !knowsBridge) : link;
    this.answerWatch.begin(context.clock.nowMs());
    if (suspicion.begin()) this.ping();
    else session.attach(this.peer, context.settings.maxInflightMessages);
  }

  /** The remote is alive: the suspect goes out, alone, in its turn. */
  onPingresp(): void {
    this.hasHeard = true;
    this.answerWatch.answeredPing(this.context.clock.nowMs());
    const { peer, suspicion, entry } = this;
    if (!peer || entry.session.isAttached) return;
    suspicion.answeredPing();
    entry.session.attach(peer, 1);
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
        if (session.onPuback(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd))) this.onAnswered();
        return;
      case PacketType.PUBREC:
        session.onPubrec(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
        return;
      case PacketType.PUBCOMP:
        if (session.onPubcomp(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd))) this.onAnswered();
        return;
      case PacketType.PUBREL:
        return receivePubrel(session, link, decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBACK:
        return this.subscriptions.onSuback(link, firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.UNSUBACK:
        decodeUnsuback(version, firstByte, bytes, bodyStart, bodyEnd);
        return;
      default:
        throw new ProtocolViolation(Reason.ProtocolError, `packet type ${firstByte >> 4} is not for a server to send now`);
    }
  }

  onDrain(): void {
    this.entry.session.pump();
  }

  /** A message has been answered for good. */
  private onAnswered(): void {
    const { suspicion } = this;
    const { session } = this.entry;
    suspicion.taken();
    if (!suspicion.suspect || this.isFinishing || session.isQueued(suspicion.suspect)) return;
    suspicion.acquit();
    session.widen(this.context.settings.maxInflightMessages);
  }

  /** Nothing new is sent; what is under way goes on. */
  finish(): void {
    this.isFinishing = true;
    this.entry.session.quiesce();
  }

  /** What the remote owes us and does not give; undefined if nothing. */
  overdue(nowMs: number): string | undefined {
    if (this.subscriptions.isOverdue(nowMs)) return "SUBSCRIBE was not answered";
    return this.answerWatch.isOverdue(nowMs) ? "a message was not acknowledged" : undefined;
  }

  /** `isLost`: the connection broke, or the remote ended it. */
  end(isLost: boolean): void {
    const { session } = this.entry;
    this.subscriptions.reset();
    session.detach();
    this.peer = undefined;
    if (this.suspicion.ended(session.firstUnanswered, isLost)) this.park();
  }

  /** The remote ends each connection on which it is sent this message, and takes others: it is put aside, so that the queue goes on. */
  private park(): void {
    const { config, context, address } = this;
    this.entry.session.parkHead().then(
      (parked) => {
        if (parked) context.log.write("bridgeParked", { name: config.name, address, topic: parked.topic, bytes: parked.bytes });
      },
      () => undefined, // the store tells of its own failure; the message stays where it is
    );
  }
}
