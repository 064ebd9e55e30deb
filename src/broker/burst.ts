import { readRemainingLength } from "../mqtt/frame.ts";
import { Message } from "../queue/message.ts";
import type { Topic } from "../topic/topic.ts";
import type { Source } from "./subscriptions.ts";

/**
 * PUBLISH packets of QoS 0 that one connection sent one behind the other and that begin alike, so that they are of one topic: they are routed
 * once, and whoever takes them as they are gets them in one piece. Valid while the read is handled that brought them.
 */
export class Burst {
  /** Laid over the first packet; its frame is all of them. */
  readonly message = new Message();
  packets = 0;
  from!: Source; // as topic, with the first packet
  topic!: Topic;
  private bodyStart = 0;

  /** `message` is laid over the first packet, whose body begins at `bodyStart`. */
  begin(from: Source, topic: Topic, { frame, frameStart, frameEnd, frameIs5, payloadStart, payloadEnd, receivedMs }: Message, bodyStart: number): void {
    this.from = from;
    this.topic = topic;
    this.bodyStart = bodyStart;
    this.packets = 1;
    const { message } = this;
    message.topic = topic.bytes;
    message.topicEnd = topic.bytes.length;
    message.receivedMs = receivedMs;
    message.frame = message.payload = frame;
    message.frameStart = frameStart;
    message.frameEnd = frameEnd;
    message.frameIs5 = frameIs5;
    message.payloadStart = payloadStart;
    message.payloadEnd = payloadEnd;
  }

  /** Takes the next packet of the connection if it lies behind the last one and begins like it up to its payload: it is as valid, then. */
  takes(from: Source, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): boolean {
    const { message } = this;
    if (this.packets === 0 || from !== this.from || frameStart !== message.frameEnd || bytes !== message.frame || firstByte !== FIRST_BYTE) return false;
    const first = this.bodyStart;
    const headBytes = message.payloadStart - first;
    if (bodyStart + headBytes > bodyEnd) return false;
    for (let at = headBytes - 1; at >= 0; at--) if (bytes[bodyStart + at] !== bytes[first + at]) return false;
    message.frameEnd = bodyEnd;
    this.packets += 1;
    return true;
  }

  /** Lays the message over each packet in turn. */
  forEach(visit: (message: Message) => void): void {
    const { message } = this;
    const { frame, frameStart, frameEnd, payloadStart, payloadEnd } = message;
    const headBytes = payloadStart - this.bodyStart;
    for (let at = frameStart; at < frameEnd; at = message.frameEnd) {
      let bodyStart = at + 2;
      while ((frame[bodyStart - 1] ?? 0) >= 0x80) bodyStart += 1;
      message.frameStart = at;
      message.payloadStart = bodyStart + headBytes;
      message.payloadEnd = message.frameEnd = bodyStart + readRemainingLength(frame, at + 1, bodyStart);
      visit(message);
    }
    message.frameStart = frameStart;
    message.frameEnd = frameEnd;
    message.payloadStart = payloadStart;
    message.payloadEnd = payloadEnd;
  }
}

/** PUBLISH with QoS 0, neither RETAIN nor DUP. */
const FIRST_BYTE = 0x30;
