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

/** A copy that was sent. */
interface Copy {
  readonly key: string;
  readonly sentMs: number;
  /** A cut does not lose it for good, there and back. */
  readonly isKept: boolean;
  /** It has had time anew. */
  readonly isRenewed: boolean;
}

/**
 * For a remote that sends our own messages back: each copy sent out pays for one equal copy that comes back within 5 s, so a sensor that
 * repeats its value, here or there, loses none.
 */
export class EchoGuard {
  /** What the connections to this address would take in. */
  private readonly users = new Map<object, TopicMap>();

  /** In order; those before `first` are over. */
  private copies: Copy[] = [];
  private first = 0;
  /** How many of them have not come back, and how many have: the earlier ones. */
  private readonly outstanding = new Map<string, number>();
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

  /** The highest QoS with which a message may come back; undefined if it may not. */
  qosOfReturn(topicName: string): number | undefined {
    let highest: number | undefined;
    for (const inTopics of this.users.values()) {
      const mapped = inTopics.map(topicName);
      if (mapped && mapped.qos >= (highest ?? 0)) highest = mapped.qos;
    }
    return highest;
  }

  /** A repetition of what is remembered pays for nothing more: nobody knows whether the remote had it before, and rather is one of ours delivered twice than another's never. */
  noteSent(key: string, isKept: boolean, isRepetition: boolean): void {
    this.forgetOld();
    if (isRepetition && (this.outstanding.has(key) || this.paid.has(key))) return;
    if (this.copies.length - this.first >= MAX_REMEMBERED) this.forgetFirst();
    this.add({ key, sentMs: this.clock.nowMs(), isKept, isRenewed: false }, this.outstanding);
  }

  private add(copy: Copy, counts: Map<string, number>): void {
    this.copies.push(copy);
    raise(counts, copy.key);
  }

  private forgetOld(): void {
    const sinceMs = this.clock.nowMs() - ECHO_MS;
    while ((this.copies[this.first]?.sentMs ?? Infinity) < sinceMs) this.forgetFirst();
  }

  private forgetFirst(): void {
    const { key = "" } = this.copies[this.first] ?? {};
    this.first += 1;
    if (!lower(this.paid, key)) lower(this.outstanding, key);
    if (this.first < COMPACT_AFTER) return;
    this.copies.splice(0, this.first);
    this.first = 0;
  }

  /** Whether anything may come back. */
  get isWaiting(): boolean {
    return this.outstanding.size > 0;
  }

  /** Whether a message that came in is one of ours. */
  swallows(key: string): boolean {
    this.forgetOld();
    if (!lower(this.outstanding, key)) return false;
    raise(this.paid, key);
    this.swallowed += 1;
    return true;
  }

  /** The connection has ended. */
  pause(): void {
    this.forgetOld();
  }

  /**
   * Its session goes on: what had not come back when it ended may do so now, but for what the cut may have lost for good. Only where anything has come back so far, and once for each:
   * what never comes would be paid for by another's message.
   */
  resume(): void {
    if (this.swallowed === 0) return this.clear();
    const nowMs = this.clock.nowMs();
    const copies = this.copies.slice(this.first);
    const paid = new Map(this.paid);
    this.clear();
    for (const copy of copies) {
      const hasComeBack = lower(paid, copy.key);
      if (!hasComeBack && (copy.isRenewed || !copy.isKept)) continue;
      this.add({ ...copy, sentMs: nowMs, isRenewed: true }, hasComeBack ? this.paid : this.outstanding);
    }
  }

  clear(): void {
    this.copies = [];
    this.first = 0;
    this.outstanding.clear();
    this.paid.clear();
  }
}

function raise(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** Returns whether there was one. */
function lower(counts: Map<string, number>, key: string): boolean {
  const count = counts.get(key) ?? 0;
  if (count > 1) counts.set(key, count - 1);
  else counts.delete(key);
  return count > 0;
}

/** By which messages are told apart here. */
export function digest(topicName: string, payload: Buffer, payloadStart: number, payloadEnd: number): string {
  return createHash("sha1").update(topicName).update("\0").update(payload.subarray(payloadStart, payloadEnd)).digest("base64");
}
