import type { QoS } from "../mqtt/protocol.ts";

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
  receivedMs = 0;
  /** The PUBLISH packet as it came, for receivers that take the very same bytes; `frame.length === 0` when there is none. */
  frame: Buffer = empty;
  frameStart = 0;
  frameEnd = 0;

  get payloadLength(): number {
    return this.payloadEnd - this.payloadStart;
  }
}

const empty = Buffer.alloc(0);

/** A message made of whole buffers: a will, a retained value, one of the daemon's own. */
export function messageOf(topic: Buffer, payload: Buffer, options: { qos: QoS; retain: boolean; receivedMs: number }): Message {
  const message = new Message();
  message.qos = options.qos;
  message.retain = options.retain;
  message.receivedMs = options.receivedMs;
  message.topic = topic;
  message.topicEnd = topic.length;
  message.payload = payload;
  message.payloadEnd = payload.length;
  return message;
}
