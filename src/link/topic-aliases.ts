/** Topics shorter than an alias is worth, and longer than is kept for one. */
const MIN_TOPIC_BYTES = 6;
const MAX_TOPIC_BYTES = 256;
/** Of one connection. */
const MAX_ALIASES = 32;

/**
 * The aliases that we have given to topics on one connection [MQTT 5.0 section 3.3.2.3.4]. A topic's place follows from its bytes; another
 * topic with the same place takes the alias over.
 */
export class TopicAliases {
  private readonly topics: (Buffer | undefined)[];

  /** `maximum`: the highest that the peer takes, at least 1. */
  constructor(maximum: number) {
    this.topics = new Array<Buffer | undefined>(Math.min(maximum, MAX_ALIASES)).fill(undefined);
  }

  /** The alias for `topic[start, end)`; 0: it is not worth one. */
  aliasOf(topic: Buffer, start: number, end: number): number {
    if (end - start < MIN_TOPIC_BYTES || end - start > MAX_TOPIC_BYTES) return 0;
    let hash = end - start;
    for (let at = Math.max(start, end - 8); at < end; at++) hash = (hash * 31 + (topic[at] as number)) | 0;
    return 1 + (hash >>> 0) % this.topics.length;
  }

  /** Whether the peer knows the alias for this topic; it does from now on. */
  knows(alias: number, topic: Buffer, start: number, end: number): boolean {
    const known = this.topics[alias - 1];
    if (known && known.compare(topic, start, end) === 0) return true;
    this.topics[alias - 1] = Buffer.from(topic.subarray(start, end));
    return false;
  }
}
