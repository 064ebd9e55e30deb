import type { QoS } from "../../src/mqtt/protocol.ts";

/** What has been published, by topic. A payload begins with its number in its topic. */
export class Ledger {
  private readonly payloads = new Map<string, string[]>();
  /** Messages that somebody other than the daemon has lost. */
  private readonly excused = new Set<string>();

  add(topic: string, filling: string): string {
    let payloads = this.payloads.get(topic);
    if (!payloads) this.payloads.set(topic, (payloads = []));
    const payload = `${payloads.length} ${topic} ${filling}`;
    payloads.push(payload);
    return payload;
  }

  has(topic: string, payload: string): boolean {
    return this.payloads.get(topic)?.[numberOf(payload)] === payload;
  }

  excuse(payload: string): void {
    this.excused.add(payload);
  }

  /** Messages of the topic from number `from` to `to` that nobody is excused for. */
  owed(topic: string, from: number, to = Infinity): number {
    const payloads = this.payloads.get(topic) ?? [];
    let owed = 0;
    for (let number = from; number < to && number < payloads.length; number++) if (!this.excused.has(payloads[number] ?? "")) owed += 1;
    return owed;
  }

  /** Topics with a prefix whose messages were published with QoS 1 or 2. */
  *topics(prefix: string): Iterable<string> {
    for (const topic of this.payloads.keys()) if (topic.startsWith(prefix) && !topic.endsWith("/0")) yield topic;
  }

  get size(): number {
    let size = 0;
    for (const payloads of this.payloads.values()) size += payloads.length;
    return size;
  }
}

export const numberOf = (payload: string): number => Number.parseInt(payload, 10);

export interface WatchOptions {
  /** What stands before the topics of the ledger here. */
  readonly prefix?: string;
  /** Its queue is short: it may miss messages. */
  readonly mayMiss?: boolean;
  readonly onViolation: (text: string) => void;
}

/**
 * Judges what one receiver gets, message by message: first copies in order [MQTT-4.6.0-6], nothing left out, QoS 0 and 2 never twice, every
 * payload as it was published.
 */
export class Watch {
  received = 0;
  repeated = 0;
  missed = 0;
  /** QoS 2 messages that may come twice: the exchange of each was open when the receiver lost its session. */
  readonly mayRepeat = new Set<string>();
  private readonly next = new Map<string, number>();

  constructor(
    private readonly name: string,
    private readonly ledger: Ledger,
    private readonly options: WatchOptions,
  ) {}

  take(remoteTopic: string, payload: string, qos: QoS): void {
    const { prefix = "", mayMiss = false, onViolation } = this.options;
    const topic = remoteTopic.slice(prefix.length);
    if (!this.ledger.has(topic, payload)) return onViolation(`${this.name} got what nobody published: ${topic} ${payload.slice(0, 30)}`);
    this.received += 1;
    const number = numberOf(payload);
    const next = this.next.get(topic) ?? 0;
    if (number < next) {
      this.repeated += 1;
      if (qos !== 1 && !this.mayRepeat.delete(payload)) onViolation(`${this.name} got ${topic} ${number} twice with QoS ${qos}`);
      return;
    }
    this.next.set(topic, number + 1);
    const isKept = qos > 0 && !mayMiss;
    const owed = number === next ? 0 : this.ledger.owed(topic, next, number);
    this.missed += owed;
    if (isKept && owed > 0) onViolation(`${this.name}: ${topic} ${number} came where ${next} was due`);
  }

  /** Messages below `topicPrefix` that are still to come. */
  missingBelow(topicPrefix: string): number {
    let missing = 0;
    for (const topic of this.ledger.topics(topicPrefix)) missing += this.ledger.owed(topic, this.next.get(topic) ?? 0);
    return missing;
  }
}
