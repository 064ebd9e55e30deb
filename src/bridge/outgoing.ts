import type { Receiver } from "../broker/subscriptions.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import type { Session } from "../session/session.ts";
import type { GroupNumber } from "../store/store.ts";
import type { TopicMap } from "./topic-lines.ts";

/** Takes what the local subscriptions of a connection match and queues it under its remote name. */
export class Outgoing implements Receiver {
  unmatched = 0;

  constructor(
    private readonly session: Session,
    private readonly topics: TopicMap,
  ) {}

  deliver(message: Message, qos: QoS, retain: boolean): GroupNumber {
    const { topic, topicStart, topicEnd, frameEnd } = message;
    const mapped = this.topics.map(topic.toString("utf8", topicStart, topicEnd));
    if (!mapped || mapped.name.length === 0) {
      this.unmatched += 1;
      return 0;
    }
    message.topic = mapped.name;
    message.topicStart = 0;
    message.topicEnd = mapped.name.length;
    message.frameEnd = message.frameStart; // the packet as it came has the local name
    const group = this.session.deliver(message, qos < mapped.qos ? qos : mapped.qos, retain, mapped.lane);
    message.topic = topic;
    message.topicStart = topicStart;
    message.topicEnd = topicEnd;
    message.frameEnd = frameEnd;
    return group;
  }
}
