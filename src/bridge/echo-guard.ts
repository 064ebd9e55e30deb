import { createHash } from "node:crypto";
import type { Link } from "../link/link.ts";
import type { Peer } from "../session/peer.ts";
import type { TopicMap } from "./topic-lines.ts";
import type { Clock } from "../clock/clock.ts";

const ECHO_MS = 5_000;
const MAX_REMEMBERED = 10_000;

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

  /** When copies were sent, by digest of topic and payload. In order of the first copy. */
  private readonly sent = new Map<string, number[]>();
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

  noteSent(topic: Buffer, topicStart: number, topicEnd: number, payload: Buffer, payloadStart: number, payloadEnd: number): void {
    const key = digest(topic, topicStart, topicEnd, payload, payloadStart, payloadEnd);
    const times = this.sent.get(key) ?? [];
    times.push(this.clock.nowMs());
    this.sent.set(key, times);
    if (this.sent.size <= MAX_REMEMBERED) return;
    for (const oldest of this.sent.keys()) {
      this.sent.delete(oldest);
      break;
    }
  }

  /** Whether a message that came in is one of ours. */
  swallows(topic: Buffer, topicStart: number, topicEnd: number, payload: Buffer, payloadStart: number, payloadEnd: number): boolean {
    if (this.sent.size === 0) return false;
    const key = digest(topic, topicStart, topicEnd, payload, payloadStart, payloadEnd);
    const times = this.sent.get(key);
    if (!times) return false;
    const limitMs = this.clock.nowMs() - ECHO_MS;
    while (times.length > 0 && (times[0] ?? 0) < limitMs) times.shift();
    const paid = times.shift() !== undefined;
    if (times.length === 0) this.sent.delete(key);
    if (paid) this.swallowed += 1;
    return paid;
  }

  clear(): void {
    this.sent.clear();
  }
}

/** A link to a remote that may send our messages back: notes those that some line would take in. */
export class GuardedPeer implements Peer {
  constructor(
    private readonly link: Link,
    private readonly echoes: EchoGuard,
    /** The remote has not been told that we are a bridge. */
    private readonly isPlain: boolean,
  ) {}

  get congested(): boolean {
    return this.link.congested;
  }

  get unsentBytes(): number {
    return this.link.unsentBytes;
  }

  publish(
    flags: number, topic: Buffer, topicStart: number, topicEnd: number, packetId: number,
    payload: Buffer, payloadStart: number, payloadEnd: number,
  ): void {
    const isRepeated = (flags & QOS_2_REPEATED) === QOS_2_REPEATED; // one that the remote knows already does not come back
    if ((this.isPlain || this.echoes.isShared) && !isRepeated && this.echoes.mayComeBack(topic.toString("utf8", topicStart, topicEnd))) {
      this.echoes.noteSent(topic, topicStart, topicEnd, payload, payloadStart, payloadEnd);
    }
    this.link.publish(flags, topic, topicStart, topicEnd, packetId, payload, payloadStart, payloadEnd);
  }

  forward(frame: Buffer, frameStart: number, frameEnd: number): void {
    this.link.forward(frame, frameStart, frameEnd);
  }

  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number): void {
    this.link.acknowledge(firstByte, packetId, after, heldBytes);
  }
}

const QOS_2_REPEATED = 8 | 4;

function digest(topic: Buffer, topicStart: number, topicEnd: number, payload: Buffer, payloadStart: number, payloadEnd: number): string {
  const hash = createHash("sha1").update(topic.subarray(topicStart, topicEnd)).update("\0");
  return hash.update(payload.subarray(payloadStart, payloadEnd)).digest("base64");
}
