import type { Clock } from "../../src/clock/clock.ts";
import { parseConfig } from "../../src/config/parser.ts";
import { createDaemon, type Daemon } from "../../src/daemon.ts";
import { Message } from "../../src/queue/message.ts";
import { readRecord, recordEnd, recordSeq } from "../../src/queue/record.ts";
import { packetIdOf } from "../../src/session/packet-id.ts";
import { SimulatedClient } from "./client.ts";
import { Network } from "./network.ts";
import { type Disk, SimulatedStore } from "./simulated-store.ts";
import { seededRng, VirtualClock } from "./virtual-clock.ts";
import { Visitor } from "./visitor.ts";

const EDGE_PORT = 1883;
const CENTRAL_PORT = 1884;
const FAULTY_MS = 15_000;
const CALM_MS = 600_000;
/** Looking whether all is done costs more than a turn. */
const TURNS_A_LOOK = 32;

const message = new Message();

interface Life {
  isOver: boolean;
}

/** A clock whose tasks do not outlive the process that set them. */
function mortal(clock: VirtualClock, life: Life): Clock {
  const whileAlive = (task: () => void) => (): void => {
    if (!life.isOver) task();
  };
  return {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs(),
    after: (delayMs, task) => clock.after(delayMs, whileAlive(task)),
    endOfTurn: (task) => clock.endOfTurn(whileAlive(task)),
  };
}

/** A daemon that can be killed: its store keeps what a power cut leaves. */
class SimulatedDaemon {
  readonly lines: string[] = [];
  starts = 0;
  private daemon: Daemon | undefined;
  private store: SimulatedStore | undefined;
  private disk: Disk = new Map();
  private life: Life = { isOver: true };

  constructor(
    private readonly name: string,
    private readonly config: string,
    private readonly world: World,
  ) {}

  get isRunning(): boolean {
    return this.daemon !== undefined;
  }

  async start(): Promise<void> {
    const { rng, network } = this.world;
    const life: Life = { isOver: false };
    const clock = mortal(this.world.clock, life);
    const store = new SimulatedStore(this.world.clock, rng, this.disk, () => this.world.maxWriteMs);
    this.life = life;
    this.store = store;
    const owner = `${this.name}${++this.starts}`;
    const { config, problems } = parseConfig(this.config, this.name);
    const error = problems.find(({ severity }) => severity === "error");
    if (error) throw new Error(error.message);
    const daemon = createDaemon(config, {
      writeLine: (line) => this.lines.push(line),
      surroundings: {
        clock,
        rng,
        hostName: this.name,
        newClientId: () => `auto${Math.floor(rng() * 1e9)}`,
        dial: ({ port }, _config, onConnected, onFailed) =>
          network.dial(owner, port, (open) => (life.isOver ? undefined : onConnected(open)), (error) => (life.isOver ? undefined : onFailed(error))),
        hasControl: false,
        verifyArgon2id: () => Promise.resolve(false),
        usage: () => ({ heapBytes: 0, residentBytes: 0, writtenBytes: undefined }),
        openStore: () => Promise.resolve(store),
        listen: ({ port }, { accept }) => {
          network.listen(owner, port, accept);
          return Promise.resolve({ port, close: () => undefined });
        },
      },
    });
    this.daemon = daemon;
    await daemon.start();
  }

  /** Power cut, now. */
  crash(): void {
    if (!this.daemon || !this.store) return;
    this.life.isOver = true;
    this.world.network.kill(`${this.name}${this.starts}`);
    this.disk = this.store.crash();
    this.daemon = undefined;
  }

  /** Trouble with the disk: writes fail, or it is full; or it is over. */
  troubleDisk(trouble: "fails" | "full" | "none"): void {
    if (!this.store || this.life.isOver) return;
    this.store.failsWrites = trouble === "fails";
    this.store.isFull = trouble === "full";
  }

  /** Message pages that are still on disk. */
  get storedPages(): number {
    return this.storedKeys("p").length;
  }

  /** Packet identifier and payload of each message that waits on disk for a client. */
  messagesFor(clientId: string): Set<string> {
    const messages = new Set<string>();
    const session = [...this.disk].find(([key, value]) => key.startsWith("s") && value.toString().includes(`"${clientId}"`))?.[0].slice(1);
    for (const [key, page] of this.disk) {
      if (session === undefined || !key.startsWith(`p${session}`)) continue;
      for (let at = 0; at < page.length; at = recordEnd(page, at)) {
        readRecord(message, page, at);
        const packetId = packetIdOf(key.charCodeAt(5), recordSeq(page, at));
        messages.add(`${packetId} ${page.toString("utf8", message.payloadStart, message.payloadEnd)}`);
      }
    }
    return messages;
  }

  /** Records, other than the session's own, that belong to no session; and notes of ended sessions. */
  get orphans(): string[] {
    const sessions = new Set(this.storedKeys("s").map((key) => key.slice(1, 5)));
    return this.storedKeys("uiqpg").filter((key) => !sessions.has(key.slice(1, 5))).map((key) => Buffer.from(key, "latin1").toString("hex"));
  }

  private storedKeys(kinds: string): string[] {
    return [...(this.store?.written.keys() ?? [])].filter((key) => kinds.includes(key.slice(0, 1)));
  }
}

/**
 * Two daemons, one bridging to the other, publishers and subscribers, and faults between them for a while. Everything that happens follows
 * from the seed.
 */
export class World {
  readonly clock = new VirtualClock();
  readonly rng: () => number;
  readonly network: Network;
  readonly edge: SimulatedDaemon;
  readonly central: SimulatedDaemon;
  readonly publishers: SimulatedClient[] = [];
  readonly local: SimulatedClient;
  readonly collector: SimulatedClient;
  readonly visitor: Visitor;
  /** Payloads in the order of their publishing, by topic. */
  readonly published = new Map<string, string[]>();
  maxWriteMs: number;
  private readonly maxReconnectMs: number;
  private readonly maxPauseMs: number;
  private readonly startedMs: number;

  constructor(readonly seed: number) {
    this.rng = seededRng(seed);
    this.network = new Network(this.clock, this.rng);
    this.startedMs = this.clock.nowMs();
    this.maxWriteMs = this.pick([20, 400, 1_500]);
    this.maxReconnectMs = this.pick([20, 400]);
    this.maxPauseMs = this.pick([300, 1_500]);
    const limits = `
max_inflight_messages ${this.pick([1, 2, 10, 50])}
max_queued_messages 0
max_queue_memory ${this.pick([1, 20_000, 16_777_216])}
max_uncommitted_bytes ${this.pick([4_000, 8_388_608])}
log_level config
`;
    this.edge = new SimulatedDaemon("edge", `${limits}
listener ${EDGE_PORT}
connection up
address central:${CENTRAL_PORT}
reconnect_interval 1
topic s/# out 2 "" site/
topic cmd/# in 2
`, this);
    this.central = new SimulatedDaemon("central", `${limits}
listener ${CENTRAL_PORT}
`, this);
    this.local = this.client("local", EDGE_PORT, { filter: "s/#", qos: 2 });
    this.collector = this.client("collector", CENTRAL_PORT, { filter: "site/#", qos: 2 });
    this.visitor = new Visitor("visitor", this.network, EDGE_PORT, this.clock, this.rng, "s/#");
    for (let index = 0; index < 3; index++) this.publishers.push(this.client(`pub${index}`, EDGE_PORT));
  }

  private pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.rng() * choices.length)] as T; // the index is below the length
  }

  private client(id: string, port: number, filter?: { filter: string; qos: 2 }): SimulatedClient {
    return new SimulatedClient(id, this.network, port, this.clock, this.rng, this.maxReconnectMs, filter);
  }

  get elapsedMs(): number {
    return this.clock.nowMs() - this.startedMs;
  }

  /** Runs until `done`; what it waits for must come within the calm time. */
  async until(done: () => boolean, what: string): Promise<void> {
    const limitMs = this.elapsedMs + CALM_MS;
    for (let turn = 0; turn % TURNS_A_LOOK > 0 || !done(); turn++) {
      if (this.elapsedMs > limitMs) throw new Error(`seed ${this.seed}: ${what} did not come in ${CALM_MS / 1000} s`);
      this.clock.step();
      await settle();
    }
  }

  private async runFor(ms: number): Promise<void> {
    const end = this.elapsedMs + ms;
    let over = false;
    this.clock.after(ms, () => (over = true));
    await this.until(() => over || this.elapsedMs > end, "the end of a pause");
  }

  async run(): Promise<void> {
    await this.central.start();
    await this.edge.start();
    this.local.start();
    this.collector.start();
    this.visitor.start();
    await this.until(() => this.local.isSubscribed && this.collector.isSubscribed, "SUBACK");
    for (const publisher of this.publishers) this.publishFrom(publisher);
    const endMs = this.elapsedMs + FAULTY_MS;
    while (this.elapsedMs < endMs) {
      await this.runFor(this.rng() * this.maxPauseMs);
      await this.hurt();
    }
    this.maxWriteMs = 20;
    this.visitor.stop();
    for (const daemon of [this.central, this.edge]) daemon.troubleDisk("none");
    for (const daemon of [this.central, this.edge]) if (!daemon.isRunning) await daemon.start();
    await this.until(() => this.publishers.every(({ unfinished }) => unfinished === 0), "the last acknowledgement");
    const total = [...this.published.values()].reduce((sum, payloads) => sum + payloads.length, 0);
    const hasAll = ({ received }: SimulatedClient): boolean => received.length >= total && new Set(received.map(({ payload }) => payload)).size === total;
    await this.until(() => hasAll(this.local), "the last local delivery");
    await this.until(() => hasAll(this.collector), "the last delivery over the bridge");
    // Copies that the protocol allows (QoS 1, sent again after a cut) may still be under way.
    await this.until(() => this.edge.storedPages + this.central.storedPages === 0, "the removal of the last page");
    await this.until(() => this.visitor.isGone && this.edge.orphans.length + this.central.orphans.length === 0, "the removal of what ended sessions leave");
  }

  private publishFrom(publisher: SimulatedClient): void {
    let count = 0;
    publisher.start();
    const next = (): void => {
      const burst = this.rng() < 0.2 ? 20 : 1;
      for (let index = 0; index < burst; index++) {
        const qos = this.rng() < 0.5 ? 1 : 2;
        const topic = `s/${publisher.id}/${qos}`;
        const filling = "x".repeat(this.rng() < 0.1 ? Math.floor(this.rng() * 5_000) : 10);
        const payload = `${publisher.id} ${qos} ${count++} ${filling}`;
        const payloads = this.published.get(topic) ?? [];
        payloads.push(payload);
        this.published.set(topic, payloads);
        publisher.publish(topic, payload, qos);
      }
      if (this.elapsedMs < FAULTY_MS) this.clock.after(this.rng() * 200, next);
    };
    next();
  }

  private async hurt(): Promise<void> {
    const dice = this.rng();
    if (dice < 0.35) return this.network.cut(this.rng());
    const daemon = dice < 0.65 ? this.edge : this.central;
    if (!daemon.isRunning) return daemon.start();
    if (this.rng() < 0.4) return daemon.troubleDisk(this.pick(["fails", "full", "none"] as const));
    if (dice >= 0.8) return;
    daemon.crash();
    const subscriber = daemon === this.edge ? this.local : this.collector;
    subscriber.daemonCrashed(daemon.messagesFor(subscriber.id));
  }

  /** What does not hold, in words; empty when all is well. */
  get complaints(): string[] {
    const complaints: string[] = [];
    for (const client of [...this.publishers, this.local, this.collector]) complaints.push(...client.violations);
    for (const [subscriber, prefix] of [[this.local, ""], [this.collector, "site/"]] as const) {
      for (const [topic, payloads] of this.published) complaints.push(...judge(subscriber, `${prefix}${topic}`, payloads));
    }
    for (const { lines } of [this.edge, this.central]) {
      complaints.push(...lines.filter((line) => /CWNAN\d{4}[ESF]/.test(line) || line.includes("broke the protocol")));
    }
    return complaints.map((text) => `seed ${this.seed}: ${text.slice(0, 300)}`);
  }
}

/** First copies in order; QoS 2 without a second copy; everything there. */
function judge({ id, received }: SimulatedClient, topic: string, payloads: readonly string[]): string[] {
  const copies = received.filter((message) => message.topic === topic);
  const first = [...new Set(copies.map(({ payload }) => payload))];
  const complaints: string[] = [];
  if (topic.endsWith("/2") && first.length < copies.length) complaints.push(`${id} got QoS 2 messages of ${topic} twice`);
  const index = first.findIndex((payload, at) => payload !== payloads[at]);
  if (index >= 0) complaints.push(`${id}: ${topic} out of order at ${index}: ${first[index]?.slice(0, 20)} for ${payloads[index]?.slice(0, 20)}`);
  if (first.length < payloads.length) complaints.push(`${id}: ${payloads.length - first.length} messages of ${topic} are missing`);
  return complaints;
}

/** Lets promises that are settled be seen by who awaits them. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
