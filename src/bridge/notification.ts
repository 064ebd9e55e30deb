import type { Source } from "../broker/subscriptions.ts";
import type { Link } from "../link/link.ts";
import type { Will } from "../mqtt/protocol.ts";
import { messageOf } from "../queue/message.ts";
import type { BridgeContext } from "./context.ts";

const PAYLOAD = { "0": Buffer.from("0"), "1": Buffer.from("1") } as const;
type Payload = keyof typeof PAYLOAD;

/** Says on a connection's notification topic, here and at the remote, whether the connection is up: retained `1` or `0`. */
export class Notification {
  private readonly topic: Buffer;

  constructor(
    name: string,
    /** The connection itself, which does not forward its own notifications. */
    private readonly from: Source,
    private readonly context: BridgeContext,
  ) {
    this.topic = Buffer.from(name);
  }

  get isSystemTopic(): boolean {
    return this.topic[0] === DOLLAR;
  }

  /** What the remote publishes when the connection breaks. */
  get will(): Will {
    return { topic: this.topic, payload: PAYLOAD["0"], qos: 0, retain: true };
  }

  tellLocal(payload: Payload): void {
    const { broker, clock } = this.context;
    const topic = broker.topics.lookup(this.topic, 0, this.topic.length);
    if (!topic.valid) return;
    broker.publish(this.from, topic, messageOf(topic.bytes, PAYLOAD[payload], { qos: 0, retain: true, receivedMs: clock.nowMs() }));
  }

  tellRemote(link: Link, payload: Payload): void {
    link.publish(RETAIN_FLAG, this.topic, 0, this.topic.length, 0, PAYLOAD[payload], 0, 1);
  }
}

const RETAIN_FLAG = 1;
const DOLLAR = 0x24;
