import { SimulatedClient } from "./client.ts";
import { Faults } from "./faults.ts";
import { Ledger, Watch } from "./ledger.ts";
import { type Published, VERSION_SETS } from "./packets.ts";
import { RETAINED_TOPICS, SimulatedDaemon } from "./simulated-daemon.ts";
import { QueueBounds } from "./queue-bounds.ts";
import { Stage } from "./stage.ts";
import { Upstream } from "./upstream.ts";
import { Visitor } from "./visitor.ts";

export const EDGE_PORT = 1883;
export const CENTRAL_PORT = 1884;
/** May stand beyond a limit while the oldest messages, which are to go, are read from the disk (`doc/limits.md`). */
const UNREAD_SLACK = 1_000;
/** Messages of each QoS in a lane of their own. */
const LANES = ["normal", "high", "low"].map((priority, qos) => `topic s/+/${qos} out 2 "" site/ ${priority}`).join("\n");
const MAX_FAULTY_MS = 10_000;
const QUIET_MS = 2_000;
const MAX_PAYLOAD_BYTES = 3_000;
const EXPIRING_PROBABILITY = 0.05;
const MAX_EXPIRY_SECONDS = 3;

/**
 * A daemon that bridges to another one, or to an upstream that is fickle; publishers and subscribers at both; and faults between them for a
 * while.
 */
export class World extends Stage {
  readonly ledger = new Ledger();
  readonly edge: SimulatedDaemon;
  /** One of the two. */
  readonly central: SimulatedDaemon | undefined;
  readonly upstream: Upstream | undefined;
  /** Those who publish, here and at the central daemon. */
  readonly publishers: SimulatedClient[] = [];
  readonly local: SimulatedClient;
  readonly localWatch: Watch;
  readonly collector: SimulatedClient | undefined;
  readonly remoteWatch: Watch;
  private readonly visitor: Visitor;
  /** Last retained value of each topic; empty: removed. */
  private readonly retained = new Map<string, string>();
  private readonly upstreamRetained = new Map<string, string>();
  /** Values, as `topic=value`, that were sent again and may have been refused before: they may stand though newer ones were sent. */
  private readonly resent = new Set<string>();
  private readonly faults: Faults;
  private readonly mostlyQoS: number;
  private readonly clients: QueueBounds;
  private readonly bridge: QueueBounds;
  private readonly maxInflightMessages: number;
  private readonly maxUncommittedBytes: number;
  private readonly maxReconnectMs: number;
  private readonly maxPauseMs: number;
  private readonly keepAliveSeconds: number;
  private readonly versions = this.pick(VERSION_SETS);
  private isPublishing = true;

  constructor(seed: number) {
    super(seed);
    this.maxWriteMs = this.pick([20, 400, 1_500]);
    this.maxReadMs = this.pick([0, 10, 300]);
    this.maxReconnectMs = this.pick([20, 400]);
    this.maxPauseMs = this.pick([300, 1_000]);
    this.mostlyQoS = this.pick([0, 1, 2, 2]);
    this.keepAliveSeconds = this.pick([0, 5]);
    const pick = <T>(choices: readonly T[]): T => this.pick(choices);
    const clients = (this.clients = new QueueBounds(pick));
    const bridge = (this.bridge = new QueueBounds(pick));
    this.maxInflightMessages = this.pick([1, 2, 10, 50]);
    this.maxUncommittedBytes = this.pick([4_000, 8_388_608]);
    const limits = `
max_inflight_messages ${this.maxInflightMessages}
${clients.config}block_timeout ${this.pick([2, 30])}
max_total_queued_messages ${clients.mayDrop ? this.pick([0, 0, 30]) : 0}
max_queue_memory ${this.pick([1, 20_000, 16_777_216])}
max_uncommitted_bytes ${this.maxUncommittedBytes}
log_level config
`;
    this.edge = new SimulatedDaemon("edge", `${limits}
listener ${EDGE_PORT}
connection up
address central:${CENTRAL_PORT}
reconnect_interval 1
max_reconnect_interval 4
keepalive_interval 5
connect_timeout 5
bridge_protocol_version ${this.pick(["3.1", "3.1.1", "3.1.1", "5", "5"])}
${bridge.config}drain_rate ${this.pick([0, 0, 0, 30])}
${this.rng() < 0.3 ? LANES : 'topic s/# out 2 "" site/'}
topic r/# out 2 "" site/
topic cmd/# in 2
`, this);
    this.ledger.hasRefusals = clients.mayBlock || bridge.mayBlock; // whose wait is too long is refused
    this.ledger.hasDrops = clients.mayDrop || bridge.mayDrop;
    this.localWatch = this.watch("local", "", clients.mayDrop);
    this.local = this.client("local", EDGE_PORT, ["s/#", "cmd/#"], this.localWatch);
    if (this.rng() < 0.65) {
      this.central = new SimulatedDaemon("central", `${limits}
listener ${CENTRAL_PORT}
`, this);
      this.remoteWatch = this.watch("collector", "site/", clients.mayDrop || bridge.mayDrop);
      this.collector = this.client("collector", CENTRAL_PORT, ["site/s/#"], this.remoteWatch);
    } else {
      this.remoteWatch = new Watch("upstream", this.ledger, { prefix: "site/", mayMiss: bridge.mayDrop, onViolation: (text) => this.onViolation(text) });
      this.upstream = new Upstream(CENTRAL_PORT, this.network, this.clock, this.rng, {
        onMessage: (topic, payload, qos) => {
          if (topic.startsWith("site/s/")) this.remoteWatch.take(topic, payload, qos);
          else this.upstreamRetained.set(topic, payload);
        },
        // It may have come before, and it may come again: the bridge need not have heard that it was refused.
        onRefused: (payload) => {
          this.ledger.excuse(payload);
          this.remoteWatch.mayRepeat.add(payload);
        },
        onViolation: (text) => this.onViolation(text),
      });
    }
    this.visitor = new Visitor("visitor", this.network, EDGE_PORT, this.clock, this.rng, "s/#", this.versions);
    this.faults = new Faults(this);
  }

  get daemons(): SimulatedDaemon[] {
    return this.central ? [this.central, this.edge] : [this.edge];
  }

  get subscribers(): SimulatedClient[] {
    return this.collector ? [this.local, this.collector] : [this.local];
  }

  private watch(name: string, prefix: string, mayMiss: boolean): Watch {
    return new Watch(name, this.ledger, { prefix, mayMiss, onViolation: (text) => this.onViolation(text) });
  }

  private client(id: string, port: number, filters: readonly string[] = [], watch?: Pick<Watch, "take">): SimulatedClient {
    const client: SimulatedClient = new SimulatedClient(
      {
        id,
        port,
        versions: this.versions,
        filters: filters.map((filter) => ({ filter, qos: 2 })),
        maxReconnectMs: this.maxReconnectMs,
        keepAliveSeconds: this.keepAliveSeconds,
        onMessage: (topic, payload, qos) => watch?.take(topic, payload, qos),
        onRefused: (message, mayBeThere) => this.onRefused(client, message, mayBeThere),
        onRefusable: (message, isRepeated) => this.onRefusable(message, isRepeated),
        onViolation: (text) => this.onViolation(text),
      },
      this.network,
      this.clock,
      this.rng,
    );
    return client;
  }

  private onRefusable({ topic, payload, retain }: Published, isRepeated: boolean): void {
    this.ledger.allowLate(payload);
    if (retain && isRepeated) this.resent.add(`${topic}=${payload}`);
  }

  /** A publisher has been told so: it need not arrive, and does not if it was sent once only. The last value of a retained topic is published again. */
  private onRefused(publisher: SimulatedClient, message: Published, mayBeThere: boolean): void {
    const { topic, payload, retain } = message;
    if (retain) {
      if (this.retained.get(topic) === payload) publisher.publish({ topic, payload, qos: message.qos, retain });
    } else if (mayBeThere) this.ledger.excuse(payload);
    else this.ledger.refuse(payload);
  }

  protected override look(): void {
    const { maxMessages, mayDropOldest } = this.clients;
    const maxQueued = maxMessages === 0 ? Infinity : maxMessages + (mayDropOldest ? UNREAD_SLACK : 0);
    for (const daemon of this.daemons) daemon.checkLimits(maxQueued, this.maxInflightMessages, this.maxUncommittedBytes);
  }

  /** Ends at the first complaint. */
  async run(): Promise<void> {
    for (const part of [...(this.upstream ? [this.upstream] : []), ...this.daemons, ...this.subscribers, this.visitor]) part.start();
    await this.until(() => this.subscribers.every(({ isSubscribed }) => isSubscribed), "SUBACK");
    await this.until(() => this.central?.hasSubscription("cmd/#") ?? this.upstream?.isSubscribed ?? false, "the subscription of the bridge");
    await this.runFor(QUIET_MS);
    this.beginPublishing();
    const endMs = this.elapsedMs + this.rng() * MAX_FAULTY_MS;
    while (this.elapsedMs < endMs && this.complaints.length === 0) {
      await this.runFor(this.rng() * this.maxPauseMs);
      this.faults.strike();
    }
    this.isPublishing = false;
    this.maxWriteMs = 20;
    this.visitor.stop();
    this.faults.end();
    await this.judge();
  }

  /** The faults are over: everything that was promised must come true. */
  private async judge(): Promise<void> {
    const { edge, localWatch, remoteWatch, central, clients, bridge } = this;
    await this.until(() => this.publishers.every(({ unfinished }) => unfinished === 0) && !this.upstream?.unfinished, "the last acknowledgement");
    await this.until(() => clients.mayDrop || localWatch.missingBelow("") === 0, "the last local delivery");
    await this.until(() => (clients.mayDrop && central !== undefined) || bridge.mayDrop || remoteWatch.missingBelow("s/") === 0, "the last delivery over the bridge");
    await this.until(() => this.network.connections(edge.owner, CENTRAL_PORT) === 1, "one connection of the bridge");
    // Copies that the protocol allows (QoS 1, sent again after a cut) may still be under way.
    await this.until(() => this.daemons.every(({ storedPages }) => storedPages === 0), "the removal of the last page");
    await this.judgeRetained();
    await this.until(() => this.visitor.isGone && this.daemons.every(({ orphans }) => orphans.length === 0), "the removal of what ended sessions leave");
  }

  private async judgeRetained(): Promise<void> {
    const expected = valuesOf(this.retained, "");
    await this.until(() => !this.upstream || this.bridge.mayDrop || valuesOf(this.settled(this.upstreamValues(this.upstream), "site/"), "site/") === expected, `${expected} as retained values at the upstream`);
    for (const [port, prefix] of this.central && !this.bridge.mayDrop ? ([[EDGE_PORT, ""], [CENTRAL_PORT, "site/"]] as const) : ([[EDGE_PORT, ""]] as const)) {
      const found = new Map<string, string>();
      const reader = this.client(`reader${port}`, port, [`${prefix}r/#`], { take: (topic, payload) => void found.set(topic, payload) });
      reader.start();
      await this.until(() => reader.isSubscribed && valuesOf(this.settled(found, prefix), prefix) === expected, `${expected} as retained values at port ${port}`);
    }
  }

  /**
   * A value of QoS 2 whose PUBCOMP the upstream has swallowed before it lost its session comes once more, after newer ones: that is the
   * protocol's. It stands for the newest.
   */
  private upstreamValues({ hasSwallowed }: Upstream): Map<string, string> {
    const values = new Map<string, string>();
    for (const [topic, value] of this.upstreamRetained) {
      const isOld = hasSwallowed && this.remoteWatch.mayRepeat.has(value);
      values.set(topic, isOld ? (this.retained.get(topic.slice("site/".length)) ?? value) : value);
    }
    return values;
  }

  /** An older value stands for the newest where it was refused at first, and the publisher did not hear of it. */
  private settled(values: ReadonlyMap<string, string>, prefix: string): ReadonlyMap<string, string> {
    if (!this.ledger.hasRefusals) return values;
    const settled = new Map(values);
    for (const [topic, newest] of this.retained) {
      if (this.resent.has(`${topic}=${values.get(prefix + topic) ?? ""}`)) settled.set(prefix + topic, newest);
    }
    return settled;
  }

  private beginPublishing(): void {
    const count = this.pick([1, 2, 3]);
    for (let index = 0; index < count; index++) {
      const publisher = this.client(`pub${index}`, EDGE_PORT);
      this.publishers.push(publisher);
      publisher.start();
      this.everyNowAndThen(() => this.publishSome(publisher, "s"));
      if (index === 0) this.everyNowAndThen(() => this.publishRetained(publisher));
    }
    if (this.central) {
      const boss = this.client("boss", CENTRAL_PORT);
      this.publishers.push(boss);
      boss.start();
      this.everyNowAndThen(() => this.publishSome(boss, "cmd"));
    } else {
      this.everyNowAndThen(() => {
        const { upstream } = this;
        if (upstream?.isSubscribed) this.publishSome({ id: "upstream", publish: (message) => upstream.publish(message) }, "cmd");
      });
    }
  }

  private everyNowAndThen(task: () => void): void {
    const next = (): void => {
      if (!this.isPublishing) return;
      task();
      this.clock.after(this.rng() * 600, next);
    };
    next();
  }

  private publishSome(publisher: Pick<SimulatedClient, "id" | "publish">, root: string): void {
    const burst = this.rng() < 0.2 ? 15 : 1;
    for (let index = 0; index < burst; index++) {
      const qos = this.rng() < 0.6 ? this.mostlyQoS : this.pick([0, 1, 2]);
      const topic = `${root}/${publisher.id}/${qos}`;
      const payload = this.ledger.add(topic, "x".repeat(this.rng() < 0.1 ? Math.floor(this.rng() * MAX_PAYLOAD_BYTES) : 10));
      const expires = this.versions.includes(5) && this.rng() < EXPIRING_PROBABILITY;
      if (expires) this.ledger.excuse(payload);
      publisher.publish({ topic, payload, qos: qos as 0 | 1 | 2, retain: false, ...(expires ? { expirySeconds: 1 + Math.floor(this.rng() * MAX_EXPIRY_SECONDS) } : {}) });
    }
  }

  /**
   * QoS is the topic's own: between messages of QoS 1 and 2 there is no order. With QoS 1 an older value may come again after a newer one where an
   * upstream has swallowed an acknowledgement.
   */
  private publishRetained(publisher: SimulatedClient): void {
    const index = Math.floor(this.rng() * RETAINED_TOPICS);
    const topic = `r/${index}`;
    const payload = this.rng() < 0.3 ? "" : `${topic} ${Math.floor(this.rng() * 1e9)}`;
    this.retained.set(topic, payload);
    publisher.publish({ topic, payload, qos: index % 2 === 0 && this.central ? 1 : 2, retain: true });
  }
}

/** What is retained, as one text. */
function valuesOf(retained: ReadonlyMap<string, string>, prefix: string): string {
  return [...retained].filter(([, payload]) => payload !== "").map(([topic, payload]) => `${topic.slice(prefix.length)}=${payload}`).sort().join(", ");
}
