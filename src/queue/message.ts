import type { QoS } from "../mqtt/protocol.ts";
import type { PublishView } from "../mqtt/publish.ts";

/**
 * One message on its way, as fields over bytes that lie elsewhere: in a read buffer, a page, a retained value.
 * Valid until the call it is handed to returns: whoever keeps bytes copies them. One instance is used again for each packet.
 */
export class Message {
  qos: QoS = 0;
  retain = false;
  /** Full local name (mount point included). */
  topic: Buffer = empty;
  topicStart = 0;
  topicEnd = 0;
  payload: Buffer = empty;
  payloadStart = 0;
  payloadEnd = 0;
  /** MQTT 5 properties that receivers get as they are, without their length; of a message out of a queue also its subscription identifiers. */
  properties: Buffer = empty;
  propertiesStart = 0;
  propertiesEnd = 0;
  /** Identifiers of the subscriptions by which the present receiver gets it. */
  subscriptionIds: readonly number[] = NO_SUBSCRIPTION_IDS;
  /** Store time from which on nobody gets it any more, 0: never. */
  expiresAtMs = 0;
  /** Number of the shared subscription that it came by, 0: none. Only what is queued for a member has one. */
  share = 0;
  receivedMs = 0;
  /** The PUBLISH packet as it came, for receivers that take the very same bytes; `frame.length === 0` when there is none. */
  frame: Buffer = empty;
  frameStart = 0;
  frameEnd = 0;
  /** Whether that packet is one of MQTT 5: then it has properties. */
  frameIs5 = false;

  /** Takes what every PUBLISH has; its topic under its local name. */
  layOver({ bytes, qos, retain, payloadStart, payloadEnd }: PublishView, topic: Buffer, receivedMs: number): void {
    this.qos = qos;
    this.retain = retain;
    this.topic = topic;
    this.topicStart = 0;
    this.topicEnd = topic.length;
    this.payload = bytes;
    this.payloadStart = payloadStart;
    this.payloadEnd = payloadEnd;
    this.receivedMs = receivedMs;
  }

  get payloadLength(): number {
    return this.payloadEnd - this.payloadStart;
  }

  /** The same with bytes of its own, to be kept. */
  copy(): Message {
    const { qos, retain, receivedMs, expiresAtMs, propertiesStart, propertiesEnd } = this;
    const properties = propertiesEnd > propertiesStart ? Buffer.from(this.properties.subarray(propertiesStart, propertiesEnd)) : undefined;
    const topic = Buffer.from(this.topic.subarray(this.topicStart, this.topicEnd));
    return messageOf(topic, Buffer.from(this.payload.subarray(this.payloadStart, this.payloadEnd)), { qos, retain, receivedMs, expiresAtMs, properties });
  }

  /** Passes over the subscription identifiers that stand before the other properties of a message out of a queue. */
  dropSubscriptionIds(): void {
    while (this.propertiesStart < this.propertiesEnd && this.properties[this.propertiesStart] === SUBSCRIPTION_IDENTIFIER) {
      this.propertiesStart += 1;
      while ((this.properties[this.propertiesStart] ?? 0) >= 0x80) this.propertiesStart += 1;
      this.propertiesStart += 1;
    }
  }
}

/** The property that writes one down. */
export const SUBSCRIPTION_IDENTIFIER = 0x0b;

const empty = Buffer.alloc(0);
/** What a message has that came by no subscription with an identifier. */
export const NO_SUBSCRIPTION_IDS: readonly number[] = Object.freeze([]);

export interface MessageOptions {
  readonly qos: QoS;
  readonly retain: boolean;
  readonly receivedMs: number;
  readonly properties?: Buffer | undefined;
  readonly expiresAtMs?: number;
}

/** A message made of whole buffers: a will, a retained value, one of the daemon's own. */
export function messageOf(topic: Buffer, payload: Buffer, options: MessageOptions): Message {
  const message = new Message();
  if (options.properties) {
    message.properties = options.properties;
    message.propertiesEnd = options.properties.length;
  }
  message.expiresAtMs = options.expiresAtMs ?? 0;
  message.qos = options.qos;
  message.retain = options.retain;
  message.receivedMs = options.receivedMs;
  message.topic = topic;
  message.topicEnd = topic.length;
  message.payload = payload;
  message.payloadEnd = payload.length;
  return message;
}
