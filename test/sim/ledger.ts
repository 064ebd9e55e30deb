import type { QoS } from "../../src/mqtt/protocol.ts";

/** What has been published, by topic. A payload begins with its number in its topic. */
export class Ledger {
  private readonly payloads = new Map<string, string[]>();
  /** Messages that somebody other than the daemon has lost. */
  private readonly excused = new Set<string>();
  private readonly refused = new Set<string>();
  private readonly late = new Set<string>();
  /** Daemons have refused messages. */
  hasRefusals = false;
  /**
   * Some queue drops messages. What it has dropped comes all the same, behind others, where a crash takes that back, or its publisher, who has heard nothing of
   * it before the crash, sends it again.
   */
  hasDrops = false;

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

  /** Its publisher was told that nobody has taken it. */
  refuse(payload: string): void {
    this.excused.add(payload);
    this.refused.add(payload);
  }

  /** It may be refused, and sent again behind others: it must come, in any place. */
  allowLate(payload: string): void {
    this.late.add(payload);
  }

  mayBeLate(payload: string): boolean {
    return this.hasDrops || (this.hasRefusals && this.late.has(payload));
  }

  isExcused(payload: string): boolean {
    return this.excused.has(payload);
  }

  isRefused(payload: string): boolean {
    return this.refused.has(payload);
  }

  /** Messages of the topic from number `from` to `to` that nobody is excused for. */
  owed(topic: string, from: number, to = Infinity): string[] {
    return (this.payloads.get(topic) ?? []).slice(from, to).filter((payload) => !this.excused.has(payload));
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
  /** What nobody need get, and this receiver has got. */
  private readonly extras = new Set<string>();
  /** What is still to come, though others have come before it. */
  private readonly overtaken = new Map<string, string>();
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
    if (this.ledger.isRefused(payload)) return onViolation(`${this.name} got what was refused: ${topic} ${payload.slice(0, 30)}`);
    this.received += 1;
    const number = numberOf(payload);
    const next = this.next.get(topic) ?? 0;
    const isExtra = this.ledger.isExcused(payload) && !this.extras.has(payload);
    if (isExtra) this.extras.add(payload);
    // A message whose time was over and that was passed by: after a crash the daemon can't tell that it was not sent.
    if (isExtra && number < next) return;
    if (this.overtaken.delete(payload)) return;
    if (number < next) {
      this.repeated += 1;
      if (qos !== 1 && !this.mayRepeat.delete(payload)) onViolation(`${this.name} got ${topic} ${number} twice with QoS ${qos}`);
      return;
    }
    this.next.set(topic, number + 1);
    const isKept = qos > 0 && !mayMiss;
    if (number === next) return;
    const owed = this.ledger.owed(topic, next, number);
    this.missed += owed.length;
    for (const missing of owed) {
      if (qos > 0 && this.ledger.mayBeLate(missing)) this.overtaken.set(missing, topic);
      else if (isKept) return onViolation(`${this.name}: ${topic} ${number} came where ${next} was due`);
    }
  }

  /** Messages below `topicPrefix` that are still to come. */
  missingBelow(topicPrefix: string): number {
    let missing = 0;
    for (const topic of this.ledger.topics(topicPrefix)) missing += this.ledger.owed(topic, this.next.get(topic) ?? 0).length;
    for (const [payload, topic] of this.overtaken) if (topic.startsWith(topicPrefix) && !this.ledger.isExcused(payload)) missing += 1;
    return missing;
  }
}
