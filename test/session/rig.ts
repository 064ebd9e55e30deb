import { encodeAck } from "../../src/mqtt/acks.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { messageOf, type Message } from "../../src/queue/message.ts";
import type { QoS } from "../../src/mqtt/protocol.ts";
import type { QueueLimits } from "../../src/session/bounds.ts";
import type { Peer } from "../../src/session/peer.ts";
import { Session } from "../../src/session/session.ts";
import type { SessionLimits } from "../../src/session/session-context.ts";
import { incomingKey, queueKey } from "../../src/store/keys.ts";
import type { Store } from "../../src/store/store.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";

export const message = (topic: string, payload = topic, qos: QoS = 2): Message =>
  messageOf(Buffer.from(topic), Buffer.from(payload), { qos, retain: false, receivedMs: 1 });

/** Writes down what it is sent: `PUBLISH topic qN idN [dup] [retain]`, `FORWARD topic`, and packets of four bytes with the group they wait for. */
export class RecordingPeer implements Peer {
  readonly unsentBytes = 0;
  congested = false;
  lines: string[] = [];
  /** Topics of messages that are larger than it takes. */
  readonly tooLarge = new Set<string>();

  publish(flags: number, { topic, topicEnd }: Message, topicStart: number, packetId: number): boolean {
    if (this.tooLarge.has(topic.toString("utf8", topicStart, topicEnd))) return false;
    const words = ["PUBLISH", topic.toString("utf8", topicStart, topicEnd), `q${(flags >> 1) & 3}`];
    if (packetId > 0) words.push(`id${packetId}`);
    if ((flags & 8) !== 0) words.push("dup");
    if ((flags & 1) !== 0) words.push("retain");
    this.lines.push(words.join(" "));
    return true;
  }

  forward({ frame, frameStart, frameEnd }: Message): boolean {
    this.lines.push(`FORWARD ${frame.toString("utf8", frameStart, frameEnd)}`);
    return true;
  }

  acknowledge(firstByte: number, packetId: number, after: number): void {
    const packet = Buffer.alloc(4);
    encodeAck(packet, 0, firstByte, packetId);
    this.lines.push(`${packet.toString("hex")} after ${after}`);
  }

  /** What was sent since it was last asked. */
  take(): string[] {
    return this.lines.splice(0);
  }
}

export const NO_LIMITS: QueueLimits = {
  maxQueuedMessages: Infinity,
  maxQueuedBytes: Infinity,
  maxQueuedAgeMs: Infinity,
  queueFull: "drop_newest",
  queueQoS0: false,
  maxTotalQueuedMessages: Infinity,
  maxTotalQueuedBytes: Infinity,
};

/** A session on a simulated disk. */
export class SessionRig {
  readonly clock: VirtualClock;
  readonly store: SimulatedStore;
  readonly session: Session;
  readonly dropped: number[] = [];
  readonly levels: boolean[] = [];
  lost = 0;
  readonly limits: SessionLimits;

  constructor({ inflight = 2, queued = 1000, durable = true, disk = new Map() as Disk, store = undefined as Store | undefined, clock = new VirtualClock(), totals = { messages: 0, bytes: 0 }, budgetBytes = 1 << 20, budget = new MemoryBudget(budgetBytes), rng = seededRng(1) } = {}) {
    this.clock = clock;
    this.limits = { ...NO_LIMITS, maxInflightMessages: inflight, maxQueuedMessages: queued };
    this.store = new SimulatedStore(clock, rng, disk);
    this.session = new Session(durable ? 7 : 0, "c", durable, {
      store: store ?? this.store,
      clock,
      totals,
      incomingTotal: { count: 0 },
      budget,
      limits: this.limits,
      onAppended: () => undefined,
      onDropped: ({ bounds }) => void this.dropped.push(bounds.dropped),
      onRoom: () => undefined,
      onLevel: (_session, isNearlyFull) => void this.levels.push(isNearlyFull),
      onLost: (_session, messages) => void (this.lost += messages),
      onRemounted: () => undefined,
    });
    this.store.onStored((upTo) => void this.session.onStored(upTo));
    for (let lane = 0; lane < 4; lane++) {
      const record = disk.get(queueKey(7, lane).toString("latin1"));
      if (record) this.session.recoverQueue(lane, record);
    }
    const incoming = disk.get(incomingKey(7, 0).toString("latin1"));
    if (incoming) this.session.incoming.recover(incoming);
  }

  attach(inflight = 100, maxQoS: QoS = 2): RecordingPeer {
    const peer = new RecordingPeer();
    this.session.attach(peer, inflight, maxQoS);
    return peer;
  }

  deliver(topics: string, qos: QoS, lane = 0): void {
    for (const topic of topics.split(" ")) this.session.deliver(message(topic), qos, false, lane);
  }

  /** QoS 1. */
  deliverAt(receivedMs: number, topic: string, lane = 0): void {
    const delivered = message(topic);
    delivered.receivedMs = receivedMs;
    this.session.deliver(delivered, 1, false, lane);
  }

  /** Lets time pass until then. */
  async passUntil(atMs: number): Promise<void> {
    this.clock.after(atMs - this.clock.nowMs(), () => undefined);
    await this.settle();
  }

  async settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.clock.step());
  }

  /** The power fails, and what was on disk comes up again. */
  cutPower(options: { inflight?: number } = {}): SessionRig {
    return new SessionRig({ ...options, disk: this.store.crash(), clock: this.clock });
  }
}
