import type { Clock } from "../../src/clock/clock.ts";
import { parseConfig } from "../../src/config/parser.ts";
import { createDaemon, type Daemon } from "../../src/daemon.ts";
import type { Parts } from "../../src/parts.ts";
import { Message } from "../../src/queue/message.ts";
import { readRecord, recordEnd, recordSeq } from "../../src/queue/record.ts";
import { packetIdOf } from "../../src/session/packet-id.ts";
import { isPageKey, plainKey } from "../../src/store/keys.ts";
import { recordsOf } from "../../src/store/page-load.ts";
import type { Network } from "./network.ts";
import { type Disk, SimulatedStore } from "./simulated-store.ts";
import type { VirtualClock } from "./virtual-clock.ts";

/** What a daemon stands in. */
export interface Place {
  readonly clock: VirtualClock;
  readonly network: Network;
  readonly rng: () => number;
  /** The longest that a group takes to reach the disk, and a read to be answered. */
  maxWriteMs: number;
  maxReadMs: number;
  onViolation(text: string): void;
}

interface Life {
  isOver: boolean;
}

/** As many topics have a retained value at most. */
export const RETAINED_TOPICS = 12;

const message = new Message();
/** So much makes a generation of pages: a run has many. */
const GENERATION_BYTES = 2_000;
/** Link buffers and the packet that is being read come on top of a limit. */
const SLACK_BYTES = 200_000;

/** A clock whose tasks do not outlive the process that set them. */
function mortal(clock: VirtualClock, life: Life): Clock {
  const whileAlive = (task: () => void) => (): void => {
    if (!life.isOver) task();
  };
  return {
    nowMs: () => clock.nowMs(),
    exactMs: () => clock.exactMs(),
    wallMs: () => clock.wallMs(),
    after: (delayMs, task) => clock.after(delayMs, whileAlive(task)),
    endOfTurn: (task) => clock.endOfTurn(whileAlive(task)),
  };
}

/** A daemon that can be killed: its store keeps what a power cut leaves. */
export class SimulatedDaemon {
  readonly lines: string[] = [];
  starts = 0;
  private daemon: Daemon | undefined;
  private store: SimulatedStore | undefined;
  private disk: Disk = new Map();
  private life: Life = { isOver: true };
  /** Dialling fails as if the name could not be resolved. */
  hasNames = true;

  constructor(
    readonly name: string,
    private readonly config: string,
    private readonly place: Place,
  ) {}

  get isRunning(): boolean {
    return this.daemon !== undefined;
  }

  /** Of the process that runs now. */
  get owner(): string {
    return `${this.name}${this.starts}`;
  }

  start(): void {
    const { rng, network, clock, onViolation } = this.place;
    const life: Life = { isOver: false };
    const store = new SimulatedStore(clock, rng, this.disk, () => this.place.maxWriteMs, GENERATION_BYTES);
    store.maxReadMs = this.place.maxReadMs;
    store.onRead = () => void (clock.mustSettle = true);
    this.life = life;
    this.store = store;
    this.starts += 1;
    const { owner } = this;
    const { config, problems } = parseConfig(this.config, this.name);
    const error = problems.find(({ severity }) => severity === "error");
    if (error) throw new Error(error.message);
    const daemon = createDaemon(config, {
      writeLine: (line) => this.noteLine(line),
      surroundings: {
        clock: mortal(clock, life),
        rng,
        hostName: this.name,
        newClientId: () => `auto${Math.floor(rng() * 1e9)}`,
        dial: ({ port }, _config, onConnected, onFailed) => {
          const failed = (failure: Error): void => void (life.isOver || onFailed(failure));
          if (this.hasNames) return network.dial(owner, port, (open) => void (life.isOver || onConnected(open)), failed);
          const timer = clock.after(rng() * 100, () => failed(new Error("getaddrinfo ENOTFOUND central")));
          return { cancel: () => timer.cancel() };
        },
        hasControl: false,
        verifyArgon2id: () => Promise.resolve(false),
        usage: () => ({ heapBytes: 0, residentBytes: 0, writtenBytes: undefined }),
        openStore: () => store.recover(),
        listen: ({ port }, { accept }) => {
          network.listen(owner, port, accept);
          return Promise.resolve({ port, close: () => network.close(port) });
        },
      },
    });
    this.daemon = daemon;
    clock.mustSettle = true;
    daemon.start().catch((reason: unknown) => {
      if (!life.isOver) onViolation(`${this.name} did not start: ${String(reason)}`);
    });
  }

  private noteLine(line: string): void {
    this.lines.push(line);
    if (/CWNAN\d{4}[ESF]/.test(line) || line.includes("broke the protocol")) this.place.onViolation(`${this.name}: ${line.slice(0, 250)}`);
  }

  /** Power cut, now. */
  crash(): void {
    if (!this.daemon || !this.store) return;
    this.life.isOver = true;
    this.place.network.kill(this.owner);
    this.disk = this.store.crash();
    this.daemon = undefined;
  }

  /** An orderly stop: everything is written. */
  stop(): void {
    const { daemon, store, life, owner } = this;
    if (!daemon || !store) return;
    daemon.stop().catch((reason: unknown) => this.place.onViolation(`${this.name} did not stop: ${String(reason)}`));
    this.place.clock.mustSettle = true;
    this.daemon = undefined;
    this.place.network.kill(owner);
    life.isOver = true;
    this.disk = store.crash();
  }

  /** Trouble with the disk: writes fail, or it is full; or it is over. */
  troubleDisk(trouble: "fails" | "full" | "none"): void {
    if (!this.store || this.life.isOver) return;
    this.store.failsWrites = trouble === "fails";
    this.store.isFull = trouble === "full";
  }

  /** Says what goes beyond its limit: queues, and what is taken from peers and not on disk. */
  checkLimits(maxQueuedMessages: number, maxInflightMessages: number, maxUncommittedBytes: number): void {
    const parts = this.daemon && (Reflect.get(this.daemon, "parts") as Parts | undefined);
    if (!parts) return;
    const { gate, broker } = parts;
    if (gate.heldBytes > maxUncommittedBytes + SLACK_BYTES) this.place.onViolation(`${this.name} holds ${gate.heldBytes} bytes that are not on disk`);
    for (const { kind, session } of broker.sessions.all()) {
      if (kind !== "client") continue;
      // What was in flight when a connection ended waits again; retained messages for a new subscription are not counted.
      const waiting = session.queuedMessages - session.inFlightMessages;
      if (waiting > maxQueuedMessages + 4 * maxInflightMessages + RETAINED_TOPICS) this.place.onViolation(`${this.name} has ${waiting} messages for ${session.clientId}`);
    }
  }

  /** Message pages that are still on disk. */
  get storedPages(): number {
    return this.storedKeys("z{").filter((key) => isPageKey(Buffer.from(key, "latin1"))).length;
  }

  /** Packet identifier and payload of each message that may be sent to a receiver from what is on disk, or is left there by a crash, though it may be done by now. */
  messagesFor(clientId: string): Set<string> {
    const messages = new Set<string>();
    for (const disk of [this.disk, this.store?.written ?? this.disk, this.store?.surviving ?? this.disk]) {
      const session = [...disk].find(([key, value]) => key.startsWith("s") && value.toString().includes(`"clientId":"${clientId}"`))?.[0].slice(1);
      if (session === undefined) continue;
      for (const [text, page] of disk) {
        const key = Buffer.from(text, "latin1");
        const plain = isPageKey(key) ? plainKey(key).toString("latin1") : "";
        if (plain.startsWith(`z${session}`)) collect(messages, recordsOf(page), plain.charCodeAt(5));
      }
    }
    return messages;
  }

  /** Whether the session of this client has a subscription on disk. */
  hasSubscription(filter: string): boolean {
    return this.storedKeys("u").some((key) => key.endsWith(filter));
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

function collect(messages: Set<string>, page: Buffer, lane: number): void {
  for (let at = 0; at < page.length; at = recordEnd(page, at)) {
    readRecord(message, page, at);
    messages.add(`${packetIdOf(lane, recordSeq(page, at))} ${page.toString("utf8", message.payloadStart, message.payloadEnd)}`);
  }
}
