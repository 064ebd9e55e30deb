import type { Message } from "../queue/message.ts";

/** A message that goes out this often within the time goes round, or its publisher is a very busy one. */
const REPEATS = 100;
const WINDOW_MS = 10_000;
const TELL_AGAIN_MS = 3_600_000;
/** A larger payload is known by its beginning. */
const MAX_COMPARED_BYTES = 4_096;

/**
 * Finds a message that goes out by a connection again and again: before MQTT 5 nothing marks one that has come back by other brokers. The
 * first message of each ten seconds is looked for among those that follow; so it costs the others a comparison.
 */
export class RepeatWatch {
  private topic = Buffer.alloc(0);
  private payload = Buffer.alloc(0);
  private payloadBytes = -1;
  private sinceMs = -Infinity;
  private repeats = 0;
  private toldMs = -Infinity;

  constructor(private readonly tell: (topicName: string, repeats: number) => void) {}

  /** A message goes out, under its local name. */
  note(message: Message): void {
    const { receivedMs } = message;
    if (receivedMs - this.sinceMs >= WINDOW_MS) return this.begin(message);
    if (message.payloadEnd - message.payloadStart !== this.payloadBytes || !this.isSame(message)) return;
    this.repeats += 1;
    if (this.repeats !== REPEATS || receivedMs - this.toldMs < TELL_AGAIN_MS) return;
    this.toldMs = receivedMs;
    this.tell(this.topic.toString(), Math.round((REPEATS * 1000) / Math.max(1, receivedMs - this.sinceMs)));
  }

  private begin({ topic, topicStart, topicEnd, payload, payloadStart, payloadEnd, receivedMs }: Message): void {
    this.topic = Buffer.from(topic.subarray(topicStart, topicEnd));
    this.payload = Buffer.from(payload.subarray(payloadStart, Math.min(payloadEnd, payloadStart + MAX_COMPARED_BYTES)));
    this.payloadBytes = payloadEnd - payloadStart;
    this.sinceMs = receivedMs;
    this.repeats = 0;
  }

  private isSame({ topic, topicStart, topicEnd, payload, payloadStart }: Message): boolean {
    if (topicEnd - topicStart !== this.topic.length) return false;
    if (this.payload.compare(payload, payloadStart, payloadStart + this.payload.length) !== 0) return false;
    return this.topic.compare(topic, topicStart, topicEnd) === 0;
  }
}
