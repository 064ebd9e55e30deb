import { isUtf8 } from "node:buffer";
import { identityText } from "../access/identity.ts";
import { Burst } from "../broker/burst.ts";
import type { Entry } from "../broker/entry.ts";
import { acknowledgeDropped, receivePublish } from "../broker/inbound.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { Link } from "../link/link.ts";
import { decodePublish, PublishView } from "../mqtt/publish.ts";
import { isValidTopicName, topicNameViolation } from "../mqtt/topic-name.ts";
import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import { protocolError, ProtocolViolation } from "../mqtt/violation.ts";
import { Message } from "../queue/message.ts";
import { sameBytes } from "../topic/byte-table.ts";
import type { Topic } from "../topic/topic.ts";
import { MAX_LEVELS } from "../topic/validity.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";
import { RECEIVE_MAXIMUM, type Terms } from "./terms.ts";

/** What stands in the log for every topic below it: one line a connection. */
export const SYSTEM = "$SYS/";
const MAX_LOGGED_DENIALS = 64;
const MAX_LOGGED_CHARACTERS = 200;

/**
 * One view and two messages for all connections: valid only while a packet is handled; and one burst, while a read is. What comes before MQTT 5 never has properties, so that
 * its message is not asked for them.
 */
const view = new PublishView();
const plainMessage = new Message();
const message5 = new Message();
message5.frameIs5 = true;
const burst = new Burst();

/** What one client publishes. */
export class Incoming {
  /** Topics whose denial has been logged: once a connection. */
  private deniedTopics: Set<string> | undefined;
  private hasLoggedDepth = false;
  /** The topic of the last PUBLISH, where there is no mount point. */
  private lastTopic: Topic | undefined;
  /** By topic alias [MQTT 5.0 section 3.3.2.3.4]. */
  private aliases: (Topic | undefined)[] | undefined;

  constructor(
    private readonly link: Link,
    private readonly mount: MountPoint,
    private readonly context: ListenerContext,
    private readonly terms: Terms,
    private readonly entry: Entry,
    private readonly source: Source,
  ) {}

  /** @throws ProtocolViolation */
  receive(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    if (burst.takes(this.source, firstByte, bytes, frameStart, bodyStart, bodyEnd)) return;
    const { link, context, entry, terms } = this;
    this.endBurst();
    const is5 = terms.version === 5;
    decodePublish(view, terms.version, firstByte, bytes, bodyStart, bodyEnd);
    const topic = is5 ? this.topicOf(bytes) : this.namedTopic(bytes);
    if (is5 && view.qos > 0) this.countUnacknowledged();
    if (!topic.valid) return this.refuseName(topic, bytes);
    if (view.qos > terms.maxQoS) throw new ProtocolViolation(Reason.QoSNotSupported, "PUBLISH with a QoS above max_qos [MQTT-3.2.2-11]");
    if (view.retain && !terms.retainAvailable) return this.refuseRetain();
    const { rights } = entry;
    if (topic.isSystem && !maySpeakForSystem(entry, topic.name)) return this.deny(SYSTEM);
    if (rights !== undefined && !rights.mayWriteTo(topic)) return this.deny(topic.name);
    const message = is5 ? message5 : plainMessage;
    message.layOver(view, topic.bytes, link.lastReceivedMs);
    message.frame = bytes;
    message.frameStart = frameStart;
    // Only without a mount point is the topic spelt the same for another peer.
    message.frameEnd = this.mount.prefixBytes.length === 0 && view.qos === 0 ? bodyEnd : frameStart;
    if (is5 && !this.takeProperties(message)) return;
    if (message.frameEnd > message.frameStart && !view.retain && message.propertiesStart === message.propertiesEnd) return burst.begin(this.source, topic, message, bodyStart);
    receivePublish(context.broker, entry.session, this.source, link, topic, message, view.packetId);
  }

  /** Routes what has been collected: something else comes. */
  endBurst(): void {
    if (burst.packets > 0) this.context.broker.publishBurst(burst);
  }

  /** By its name or its alias. @throws ProtocolViolation */
  private topicOf(bytes: Buffer): Topic {
    const { topicAlias } = view.properties;
    if (topicAlias > this.terms.topicAliasesTaken) throw new ProtocolViolation(Reason.TopicAliasInvalid, "PUBLISH with a Topic Alias above our maximum [MQTT-3.3.2-9]");
    if (view.topicStart === view.topicEnd) {
      const known = this.aliases?.[topicAlias];
      if (!known) throw protocolError("PUBLISH with a Topic Alias that stands for nothing [MQTT-3.3.2-7]");
      return known;
    }
    const topic = this.namedTopic(bytes);
    if (topicAlias > 0 && topic.valid) (this.aliases ??= [])[topicAlias] = topic;
    return topic;
  }

  /** A name with too many levels is refused, or the message acknowledged and dropped before MQTT 5. @throws ProtocolViolation for one that is none. */
  private refuseName({ name }: Topic, bytes: Buffer): void {
    if (!isValidTopicName(bytes, view.topicStart, view.topicEnd)) throw topicNameViolation("PUBLISH with a topic name", bytes, view.topicStart, view.topicEnd);
    if (!this.hasLoggedDepth) this.context.log.write("topicTooDeep", { client: identityText(this.source.identity), topic: name.slice(0, MAX_LOGGED_CHARACTERS), limit: MAX_LEVELS });
    this.hasLoggedDepth = true;
    this.answer(this.terms.version === 5 ? Reason.TopicNameInvalid : Reason.Success);
  }

  /** Most connections publish to the same topic as before. */
  private namedTopic(bytes: Buffer): Topic {
    const { topicStart, topicEnd } = view;
    const last = this.lastTopic;
    if (last !== undefined && sameBytes(last.bytes, bytes, topicStart, topicEnd)) return last;
    const topic = this.mount.topics.lookup(bytes, topicStart, topicEnd);
    if (this.mount.prefixBytes.length === 0) this.lastTopic = topic;
    return topic;
  }

  /** @throws ProtocolViolation */
  private countUnacknowledged(): void {
    const { entry, link: { answers } } = this;
    if (view.qos === 2 && entry.session.incoming.has(view.packetId)) return; // it counts already
    answers.unacknowledged += 1;
    if (answers.unacknowledged > RECEIVE_MAXIMUM) throw new ProtocolViolation(Reason.ReceiveMaximumExceeded, `more than ${RECEIVE_MAXIMUM} PUBLISH packets without an answer`);
  }

  /** False if the message is refused. */
  private takeProperties(message: Message): boolean {
    const { properties } = view;
    message.properties = properties.block;
    message.propertiesStart = properties.blockStart;
    message.propertiesEnd = properties.blockEnd;
    const { expirySeconds, topicAlias } = properties;
    message.expiresAtMs = expirySeconds < 0 ? 0 : message.receivedMs + expirySeconds * 1000;
    if (expirySeconds >= 0 || topicAlias > 0) message.frameEnd = message.frameStart; // the packet is not for others as it is
    if (properties.payloadFormat !== 1 || isUtf8(message.payload.subarray(message.payloadStart, message.payloadEnd))) return true;
    if (view.qos === 0) throw new ProtocolViolation(Reason.PayloadFormatInvalid, "PUBLISH whose payload is not the UTF-8 that it says");
    this.answer(Reason.PayloadFormatInvalid);
    return false;
  }

  /** Before MQTT 5 the message is acknowledged and dropped. @throws ProtocolViolation */
  private refuseRetain(): void {
    if (this.terms.version === 5) throw new ProtocolViolation(Reason.RetainNotSupported, "PUBLISH with RETAIN where nothing is retained [MQTT-3.2.2-14]");
    this.answer(Reason.Success);
  }

  /** The versions before 5 can't say no: the message is acknowledged and dropped. */
  private deny(topic: string): void {
    this.logDenial(topic);
    this.answer(this.terms.version === 5 ? Reason.NotAuthorized : Reason.Success);
  }

  private answer(reason: ReasonCode): void {
    acknowledgeDropped(this.context.broker, this.link, view.qos, view.packetId, reason);
  }

  logDenial(topic: string): void {
    const denied = (this.deniedTopics ??= new Set());
    if (denied.has(topic) || denied.size >= MAX_LOGGED_DENIALS) return;
    denied.add(topic);
    this.context.log.write("publishDenied", { client: identityText(this.source.identity), topic });
  }
}

/** Topics below `$SYS/` are the daemon's own, but for those in which the bridge of another daemon says that it is connected. */
export function maySpeakForSystem({ peerIsBridge }: Entry, topicName: string): boolean {
  return peerIsBridge && topicName.startsWith("$SYS/broker/connection/");
}
