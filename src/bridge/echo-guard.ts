import { createHash } from "node:crypto";
import type { TopicMap } from "./topic-lines.ts";
import type { Clock } from "../clock/clock.ts";

const ECHO_MS = 5_000;
const MAX_REMEMBERED = 100_000;
const COMPACT_AFTER = 4_096;

/** One guard for each remote address: what one connection sends there may come back by another one. */
export class EchoGuards {
  private readonly byAddress = new Map<string, EchoGuard>();

  constructor(private readonly clock: Clock) {}

  at(address: string): EchoGuard {
    let guard = this.byAddress.get(address);
    if (!guard) {
      guard = new EchoGuard(this.clock);
      this.byAddress.set(address, guard);
    }
    return guard;
  }
}

/**
 * For a remote that sends our own messages back: each copy sent out pays for one equal copy that comes back within 5 s, so a sensor that
 * repeats its value, here or there, loses none.
 */
export class EchoGuard {
  /** What the connections to this address would take in. */
  private readonly users = new Map<object, TopicMap>();

  /** When each copy was sent, and its digest of topic and payload, in order; those before `first` are over. */
  private readonly times: number[] = [];
  private readonly keys: string[] = [];
  private first = 0;
  /** Copies of the last seconds that have not come back, and those that have. */
  private readonly sent = new Map<string, number>();
  private readonly paid = new Map<string, number>();
  swallowed = 0;

  constructor(private readonly clock: Clock) {}

  join(connection: object, inTopics: TopicMap): void {
    this.users.set(connection, inTopics);
  }

  leave(connection: object): void {
    this.users.delete(connection);
  }

  /** Whether one connection may bring back what another one has sent: the private bit does not help against that. */
  get isShared(): boolean {
    return this.users.size > 1;
  }

  mayComeBack(topicName: string): boolean {
    for (const inTopics of this.users.values()) if (inTopics.map(topicName)) return true;
    return false;
  }

  noteSent(topicName: string, payload: Buffer, payloadStart: number, payloadEnd: number): void {
    const key = digest(topicName, payload, payloadStart, payloadEnd);
    const nowMs = this.clock.nowMs();
    this.forgetOld(nowMs);
    if (this.times.length - this.first >= MAX_REMEMBERED) this.forgetFirst();
    this.times.push(nowMs);
    this.keys.push(key);
    this.sent.set(key, (this.sent.get(key) ?? 0) + 1);
  }

  private forgetOld(nowMs: number): void {
    while (this.first < this.times.length && (this.times[this.first] ?? 0) < nowMs - ECHO_MS) this.forgetFirst();
  }

  /** A copy that was paid for already is counted no more. */
  private forgetFirst(): void {
    const key = this.keys[this.first] ?? "";
    this.first += 1;
    const paid = this.paid.get(key) ?? 0;
    if (paid > 0) this.lower(this.paid, key, paid);
    else this.lower(this.sent, key, this.sent.get(key) ?? 0);
    if (this.first < COMPACT_AFTER) return;
    this.times.splice(0, this.first);
    this.keys.splice(0, this.first);
    this.first = 0;
  }

  private lower(counts: Map<string, number>, key: string, count: number): void {
    if (count <= 1) counts.delete(key);
    else counts.set(key, count - 1);
  }

  /** Whether a message that came in is one of ours. */
  swallows(topicName: string, payload: Buffer, payloadStart: number, payloadEnd: number): boolean {
    if (this.sent.size === 0) return false;
    const key = digest(topicName, payload, payloadStart, payloadEnd);
    this.forgetOld(this.clock.nowMs());
    const copies = this.sent.get(key) ?? 0;
    if (copies === 0) return false;
    this.lower(this.sent, key, copies);
    this.paid.set(key, (this.paid.get(key) ?? 0) + 1);
    this.swallowed += 1;
    return true;
  }

  clear(): void {
    this.times.length = this.keys.length = this.first = 0;
    this.paid.clear();
    this.sent.clear();
  }
}

function digest(topicName: string, payload: Buffer, payloadStart: number, payloadEnd: number): string {
  return createHash("sha1").update(topicName).update("\0").update(payload.subarray(payloadStart, payloadEnd)).digest("base64");
}
