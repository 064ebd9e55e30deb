import { Access, OPEN_TO_ALL } from "../../src/access/access.ts";
import { parseAclFile } from "../../src/access/acl-file.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { Entry } from "../../src/broker/entry.ts";
import { plainOptions, type SubscriptionOptions } from "../../src/broker/subscription-options.ts";
import type { Source } from "../../src/broker/subscriptions.ts";
import type { QoS } from "../../src/mqtt/protocol.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { type Message, messageOf, type MessageOptions } from "../../src/queue/message.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import type { QueueLimits } from "../../src/session/bounds.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { NO_LIMITS, RecordingPeer } from "../session/rig.ts";

/** What an ACL file of this text gives; without one everybody may do everything. */
export function accessOf(acl?: string): Access {
  return new Access({ ...OPEN_TO_ALL, acl: acl === undefined ? undefined : parseAclFile(acl, { isUser: () => true }).acl }, () => Promise.resolve(false));
}

const identity = (id: string) => ({ kind: "client", id, user: undefined }) as const;

/** A broker on a simulated disk, and its clients. */
export class BrokerRig {
  readonly store: SimulatedStore;
  readonly broker: Broker;
  /** Publishers that have waited too long for room in a queue. */
  readonly timeouts: string[] = [];

  private constructor(
    disk: Disk,
    readonly clock: VirtualClock,
    maxInflightMessages: number,
    limits: Partial<QueueLimits>,
    access: Access,
  ) {
    this.store = new SimulatedStore(clock, () => 0.9, disk);
    this.broker = new Broker({
      store: this.store,
      clock,
      budget: new MemoryBudget(1 << 20),
      limits: { ...NO_LIMITS, blockTimeoutMs: 30_000, maxInflightMessages, maxQueuedMessages: 1000, ...limits },
      maxUncommittedBytes: Infinity,
      autosaveIntervalMs: Infinity,
      access,
      events: { onDropped: () => undefined, onLevel: () => undefined, onBlockTimeout: ({ peerName }) => void this.timeouts.push(peerName), onLost: () => undefined, onDamaged: () => undefined, onRefused: () => undefined },
    });
  }

  static async start(
    disk: Disk = new Map(),
    { clock = new VirtualClock(), inflight = 10, limits = {} as Partial<QueueLimits>, access = accessOf(), prepare = (_store: SimulatedStore): void => undefined } = {},
  ): Promise<BrokerRig> {
    const rig = new BrokerRig(disk, clock, inflight, limits, access);
    prepare(rig.store);
    await rig.broker.recover();
    rig.broker.begin();
    return rig;
  }

  /** The process ends when everything is on disk; the same disk and time come up again. */
  async restart(options: { access?: Access } = {}): Promise<BrokerRig> {
    await this.settle();
    await this.store.close();
    return BrokerRig.start(this.store.crash(), { clock: this.clock, ...options });
  }

  connect(id: string, start: { cleanStart?: boolean; expiryMs?: number } = {}): Client {
    return new Client(this, id, { cleanStart: false, expiryMs: 0, ...start });
  }

  publish(name: string, qos: QoS, from?: Client, options: Partial<MessageOptions> = {}): void {
    const topic = this.broker.topics.intern(name);
    const message = messageOf(topic.bytes, Buffer.from(name), { qos, retain: false, receivedMs: this.clock.nowMs(), ...options });
    this.broker.publish(from?.source, topic, message);
  }

  /** Until nothing is left to do within `ms`. */
  async settle(ms = 50): Promise<void> {
    let isOver = false;
    this.clock.after(ms, () => void (isOver = true));
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      this.clock.step();
    }
  }
}

/** A connection of a client that takes everything, and acknowledges when it is told to. */
export class Client {
  readonly entry: Entry;
  readonly present: boolean;
  readonly peer = new ClientPeer();
  private readonly holder = { takenOver: (): void => this.leave() };

  constructor(
    private readonly rig: BrokerRig,
    readonly id: string,
    start: { cleanStart: boolean; expiryMs: number },
  ) {
    const { entry, present } = rig.broker.sessions.open(identity(id), start, this.holder);
    this.entry = entry;
    this.present = present;
    entry.session.attach(this.peer, Infinity);
  }

  get source(): Source {
    return { receiver: this.entry.session, identity: this.entry.identity, isBridge: false };
  }

  /** Asks for retained messages, as a SUBSCRIBE does. */
  askForRetained(filter: string): void {
    this.rig.broker.sendRetained(this.entry, filter);
  }

  subscribe(filter: string, options: Partial<SubscriptionOptions> & { qos: QoS }): number | string {
    return this.rig.broker.subscribe(this.entry, filter, { ...plainOptions(options.qos), ...options });
  }

  unsubscribe(filter: string): void {
    this.rig.broker.sessions.unsubscribe(this.entry, filter);
  }

  /** The connection ends. */
  leave(): void {
    this.rig.broker.sessions.release(this.entry, this.holder);
  }

  /** Topics of what came since this was asked last, with identifiers where there are any. */
  take(): string[] {
    return this.peer.received.splice(0).map(({ topic, ids }) => (ids.length === 0 ? topic : `${topic} ${ids.join(" ")}`));
  }

  /** Acknowledges what came with QoS 1. */
  acknowledge(count = Infinity): void {
    for (const id of this.peer.unacknowledged.splice(0, count)) this.entry.session.sender?.onPuback(id);
  }
}

class ClientPeer extends RecordingPeer {
  readonly received: { topic: string; ids: number[]; retain: boolean; dup: boolean; expirySeconds: number; properties: string }[] = [];
  readonly unacknowledged: number[] = [];

  override publish(flags: number, message: Message, topicStart: number, packetId: number, expirySeconds = -1): boolean {
    const { properties, propertiesStart, propertiesEnd, subscriptionIds } = message;
    const ids = [...subscriptionIds];
    const rest = properties.subarray(propertiesStart, propertiesEnd);
    let at = 0;
    while (rest[at] === 0x0b) {
      ids.push(rest[at + 1] ?? 0); // identifiers below 128
      at += 2;
    }
    this.received.push({
      topic: message.topic.toString("utf8", topicStart, message.topicEnd), ids, retain: (flags & 1) !== 0, dup: (flags & 8) !== 0, expirySeconds,
      properties: rest.toString("hex", at),
    });
    if (packetId > 0) this.unacknowledged.push(packetId);
    return true;
  }
}
