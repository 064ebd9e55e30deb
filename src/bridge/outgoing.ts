import type { Receiver } from "../broker/subscriptions.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import { recordSize } from "../queue/record.ts";
import type { Session } from "../session/session.ts";
import type { ReadRights } from "../session/view.ts";
import type { GroupNumber } from "../store/store.ts";
import { RepeatWatch } from "./repeat-watch.ts";
import type { TopicMap } from "./topic-lines.ts";

export interface OutgoingOptions {
  readonly outgoingRetain: boolean;
  /** The first message whose remote name would be empty or too long. */
  onUnsendable(topicName: string): void;
  /** The same message goes out again and again, so often in a second. */
  onRepeats(topicName: string, messages: number): void;
}

/** Takes what the local subscriptions of a connection match and queues it under its remote name. */
export class Outgoing implements Receiver {
  readonly durable = true;
  unmatched = 0;
  private hasDelivered = false;
  private readonly repeats: RepeatWatch;
  /** What an ACL lets the connection take; undefined: everything its topic lines match. */
  rights: ReadRights | undefined;

  constructor(
    private readonly session: Session,
    private readonly topics: TopicMap,
    private readonly options: OutgoingOptions,
  ) {
    this.repeats = new RepeatWatch(options.onRepeats);
  }

  /** Whether anything was handed on since this was asked last. */
  takeHasDelivered(): boolean {
    const { hasDelivered } = this;
    this.hasDelivered = false;
    return hasDelivered;
  }

  mayRead(topicName: string): boolean {
    return this.rights === undefined || this.rights.mayRead(topicName);
  }

  blocks(message: Message, copies: number): boolean {
    const { topic, topicStart, topicEnd } = message;
    const mapped = this.topics.map(topic.toString("utf8", topicStart, topicEnd));
    if (!mapped || mapped.qos === 0) return false;
    return this.session.hasNoRoom(recordSize(message) - (topicEnd - topicStart) + mapped.name.length, copies, mapped.lane);
  }

  deliver(message: Message, qos: QoS, retain: boolean): GroupNumber {
    const { topic, topicStart, topicEnd, frameEnd } = message;
    const mapped = this.topics.map(topic.toString("utf8", topicStart, topicEnd));
    if (!mapped) {
      if (this.unmatched === 0) this.options.onUnsendable(topic.toString("utf8", topicStart, topicEnd));
      this.unmatched += 1;
      return 0;
    }
    this.repeats.note(message);
    message.topic = mapped.name;
    message.topicStart = 0;
    message.topicEnd = mapped.name.length;
    message.frameEnd = message.frameStart; // the packet as it came has the local name
    this.hasDelivered = true;
    const group = this.session.deliver(message, qos < mapped.qos ? qos : mapped.qos, retain && this.options.outgoingRetain, mapped.lane);
    message.topic = topic;
    message.topicStart = topicStart;
    message.topicEnd = topicEnd;
    message.frameEnd = frameEnd;
    return group;
  }
}
