import { NO_LIMITS } from "./rig.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { type Message, messageOf } from "../../src/queue/message.ts";
import type { QoS } from "../../src/mqtt/protocol.ts";
import type { Peer } from "../../src/session/peer.ts";
import { Session } from "../../src/session/session.ts";
import { queueKey } from "../../src/store/keys.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const SESSION = 3;

/** One PUBLISH as a peer got it. */
export interface Sent {
  readonly topic: string;
  readonly packetId: number;
  readonly dup: boolean;
}

export class WatchingPeer implements Peer {
  readonly unsentBytes = 0;
  readonly congested = false;
  readonly sent: Sent[] = [];
  readonly pubrels: number[] = [];

  publish(flags: number, { topic, topicEnd }: Message, topicStart: number, packetId: number): boolean {
    this.sent.push({ topic: topic.toString("utf8", topicStart, topicEnd), packetId, dup: (flags & 8) !== 0 });
    return true;
  }

  forward(): boolean {
    return true;
  }

  acknowledge(_firstByte: number, packetId: number): void {
    this.pubrels.push(packetId);
  }

  get topics(): string[] {
    return this.sent.map(({ topic }) => topic);
  }

  get packetIds(): number[] {
    return this.sent.map(({ packetId }) => packetId);
  }

  /** Topics that came with DUP set. */
  get repeats(): string[] {
    return this.sent.filter(({ dup }) => dup).map(({ topic }) => topic);
  }
}

/** A durable session on a simulated disk of its own. Topics are numbers in the order of delivery. */
export class SimulatedSession {
  readonly store: SimulatedStore;
  readonly session: Session;
  private readonly awaiting = new Set<Session>();
  private delivered = 0;

  /** `rng`: below 0.5 an unsynced group, or the one in flight, outlives a power cut. */
  constructor(
    readonly maxInflight = 10,
    private readonly rng: () => number = () => 0.9,
    disk: Disk = new Map(),
    readonly clock = new VirtualClock(),
  ) {
    this.store = new SimulatedStore(clock, rng, disk);
    this.session = new Session(SESSION, "c", true, {
      store: this.store,
      clock,
      totals: { messages: 0, bytes: 0 },
      incomingTotal: { count: 0 },
      budget: new MemoryBudget(1 << 20),
      limits: { ...NO_LIMITS, maxInflightMessages: maxInflight },
      onAppended: (session) => this.awaiting.add(session),
      onDropped: () => undefined,
      onLevel: () => undefined,
      onRoom: () => undefined,
      onLost: () => undefined, onRemounted: () => undefined,
    });
    this.store.onStored((upTo) => {
      for (const session of this.awaiting) if (session.onStored(upTo)) this.awaiting.delete(session);
    });
    const progress = disk.get(queueKey(SESSION, 0).toString("latin1"));
    if (progress) this.session.recoverQueue(0, progress);
  }

  deliver(count: number, qos: QoS = 1): void {
    for (let index = 0; index < count; index++) {
      const topic = Buffer.from(String(++this.delivered));
      this.session.deliver(messageOf(topic, Buffer.alloc(10), { qos, retain: false, receivedMs: 1 }), qos, false);
    }
  }

  attach(): WatchingPeer {
    const peer = new WatchingPeer();
    this.session.attach(peer, this.maxInflight);
    return peer;
  }

  /** Until everything is on disk and everything read has come. */
  async settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.clock.step());
  }

  /** Attaches a peer that acknowledges all it gets, and returns it when nothing comes any more. */
  async drain(): Promise<WatchingPeer> {
    const peer = this.attach();
    for (let acknowledged = 0; ; ) {
      await this.settle();
      if (acknowledged === peer.sent.length) return peer;
      while (acknowledged < peer.sent.length) this.session.sender?.onPuback(peer.sent[acknowledged++]?.packetId ?? 0);
    }
  }

  /** The power fails; what was on disk comes up again. */
  cutPower(): SimulatedSession {
    return new SimulatedSession(this.maxInflight, this.rng, this.store.crash(), this.clock);
  }
}

export const range = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
