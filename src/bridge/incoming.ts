import type { Rights } from "../access/acl.ts";
import { identityText } from "../access/identity.ts";
import { acknowledgeDropped, receivePublish } from "../broker/inbound.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { Link } from "../link/link.ts";
import { decodePublish, PublishView } from "../mqtt/publish.ts";
import { Reason } from "../mqtt/reason.ts";
import { isValidTopicName, topicNameViolation } from "../mqtt/topic-name.ts";
import { protocolError, ProtocolViolation } from "../mqtt/violation.ts";
import { Message } from "../queue/message.ts";
import type { Session } from "../session/session.ts";
import type { BridgeContext } from "./context.ts";
import { digest, type EchoGuard } from "./echo-guard.ts";
import type { TopicMap } from "./topic-lines.ts";

/** One view and one message for all connections: both are valid only while a packet is handled. */
const view = new PublishView("server");
const message = new Message();

const MAX_SWALLOWED = 4_096;
/** An answer that has been on its way for so long has come. */
const ANSWER_MS = 5_000;
const MAX_LOGGED_CHARACTERS = 200;

/** Names the topic lines by which a message goes out under a remote name, and comes in again. */
export type LoopLines = (remoteName: string) => string;

/** What a connection takes from its remote: each message under the local name that an `in` line gives it. */
export class Incoming {
  /** What an ACL lets the connection publish here; undefined: everything. */
  rights: Rights | undefined;
  private echoes: EchoGuard | undefined;
  /** Topic names of the present connection by alias. */
  private aliases: string[] = [];
  /** Messages of ours by the packet identifiers with which they came back: they come again if our answer is lost. */
  private readonly swallowed = new Map<number, { readonly key: string; readonly atMs: number }>();
  /** Messages that had gone out from here and came back by other brokers. */
  returned = 0;

  constructor(
    private readonly name: string,
    private readonly topics: TopicMap,
    private readonly session: Session,
    /** Where the messages come from, so that they don't go back there. */
    private readonly from: Source,
    private readonly context: BridgeContext,
    private readonly lines: LoopLines,
    private readonly maxTopicAlias: number,
  ) {}

  /** A connection begins; `echoes` is its address's. */
  begin(echoes: EchoGuard, sessionPresent: boolean): void {
    if (!sessionPresent || echoes !== this.echoes) this.swallowed.clear();
    this.echoes = echoes;
    this.aliases = [];
  }

  /** The connection has ended; answers of its last seconds may be lost. */
  end(): void {
    if (this.echoes?.isShared === false) this.echoes.pause();
    const sinceMs = this.context.clock.nowMs() - ANSWER_MS;
    for (const [packetId, { atMs }] of this.swallowed) if (atMs < sinceMs) this.swallowed.delete(packetId);
  }

  /** @throws ProtocolViolation */
  receive(link: Link, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { broker, log, trail } = this.context;
    decodePublish(view, link.version, firstByte, bytes, bodyStart, bodyEnd);
    const { properties } = view;
    const remoteName = this.remoteName(bytes);
    if (this.isEcho(remoteName, bytes)) {
      if (this.echoes?.swallowed === 1) log.write("bridgeEcho", { name: this.name, topic: remoteName, lines: this.lines(remoteName) });
      return this.skip(link);
    }
    if (trail.isOn(properties.block, properties.blockStart, properties.blockEnd)) {
      this.returned += 1;
      if (this.returned === 1) log.write("bridgeLoop", { name: this.name, topic: remoteName });
      return this.skip(link);
    }
    const mapped = this.topics.map(remoteName);
    const topic = mapped && broker.topics.lookup(mapped.name, 0, mapped.name.length);
    if (!mapped || !topic?.valid) {
      log.writeSome("bridgeUnmatchedIn", { name: this.name, topic: remoteName.slice(0, MAX_LOGGED_CHARACTERS) });
      return this.skip(link);
    }
    const isOurs = topic.name.startsWith("$SYS/") && !topic.name.startsWith("$SYS/broker/connection/");
    if (isOurs || (this.rights && !this.rights.mayWrite(topic.name))) {
      log.writeSome("publishDenied", { client: identityText(this.from.identity), topic: topic.name.slice(0, MAX_LOGGED_CHARACTERS) });
      return this.skip(link);
    }
    message.layOver(view, topic.bytes, link.lastReceivedMs);
    message.properties = properties.block;
    message.propertiesStart = properties.blockStart;
    message.propertiesEnd = properties.blockEnd;
    message.expiresAtMs = properties.expirySeconds < 0 ? 0 : link.lastReceivedMs + properties.expirySeconds * 1000;
    message.frameStart = message.frameEnd = frameStart;
    receivePublish(broker, this.session, this.from, link, topic, message, view.packetId);
  }

  /** Whether the message is one of ours that comes back, for the first time or, its answer lost, again. */
  private isEcho(remoteName: string, bytes: Buffer): boolean {
    const { qos, dup, packetId, payloadStart, payloadEnd } = view;
    const { echoes, swallowed, session } = this;
    const before = dup ? swallowed.get(packetId) : undefined;
    if (qos > 0 && !dup) swallowed.delete(packetId);
    if (!echoes || (!echoes.isWaiting && !before)) return false;
    const key = digest(remoteName, bytes, payloadStart, payloadEnd);
    if (before?.key === key) return true;
    if (dup && qos === 2 && session.incoming.has(packetId)) return false; // judged when it came first
    if (!echoes.swallows(key)) return false;
    if (qos > 0) this.noteSwallowed(packetId, key);
    return true;
  }

  private noteSwallowed(packetId: number, key: string): void {
    const { swallowed } = this;
    swallowed.delete(packetId); // the last one is the newest
    swallowed.set(packetId, { key, atMs: this.context.clock.nowMs() });
    const [oldest] = swallowed.keys();
    if (swallowed.size > MAX_SWALLOWED && oldest !== undefined) swallowed.delete(oldest);
  }

  /** The topic name as it came, or as its alias stands for it [MQTT 5.0 section 3.3.2.3.4]. @throws ProtocolViolation */
  private remoteName(bytes: Buffer): string {
    const { topicStart, topicEnd } = view;
    const { topicAlias } = view.properties;
    if (topicAlias > this.maxTopicAlias) throw new ProtocolViolation(Reason.TopicAliasInvalid, "PUBLISH with a topic alias above our maximum [MQTT-3.3.2-9]");
    if (topicAlias > 0 && topicStart === topicEnd) {
      const known = this.aliases[topicAlias];
      if (known === undefined) throw protocolError("PUBLISH with a topic alias that stands for nothing [MQTT-3.3.2-7]");
      return known;
    }
    if (!isValidTopicName(bytes, topicStart, topicEnd)) throw topicNameViolation("PUBLISH with a topic name", bytes, topicStart, topicEnd);
    const name = bytes.toString("utf8", topicStart, topicEnd);
    if (topicAlias > 0) this.aliases[topicAlias] = name;
    return name;
  }

  /** The message is dropped, yet acknowledged: the remote would send it for ever. */
  private skip(link: Link): void {
    acknowledgeDropped(this.context.broker, link, view.qos, view.packetId);
  }
}
