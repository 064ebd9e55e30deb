import { BridgeConnection } from "./bridge/connection.ts";
import { Broker } from "./broker/broker.ts";
import type { Config, ListenerConfig } from "./config/config.ts";
import { AckGate } from "./link/ack-gate.ts";
import { Listener } from "./listener/listener.ts";
import { MountPoint, type ListenerContext } from "./listener/mount-point.ts";
import { Log } from "./log/console.ts";
import { messageOf } from "./queue/message.ts";
import { MemoryBudget } from "./queue/memory-budget.ts";
import { MemoryStore } from "./store/memory-store.ts";
import type { StoreEvent } from "./store/open.ts";
import type { Store } from "./store/store.ts";
import { machine, type Server, type Surroundings } from "./surroundings.ts";

/** The start has failed; `message` says where and why. */
export class StartError extends Error {}

export interface DaemonOptions {
  /** Where console lines go; stdout if not given. */
  readonly writeLine?: (line: string) => void;
  /** What lies around the daemon; the machine it runs on if not given. */
  readonly surroundings?: Surroundings;
}

export interface Daemon {
  /** Restores what the store holds, then opens all listeners. Rejects with StartError; nothing is left open then. */
  start(): Promise<void>;
  /** Reads nothing new yet: saves what is pending. */
  reload(): Promise<void>;
  /** Closes listeners and connections, writes what is pending, closes the store. */
  stop(): Promise<void>;
  /** Ports that are open, in the order of the configuration. */
  readonly ports: readonly number[];
}

/** The one place where all parts meet. */
export function createDaemon(config: Config, options: DaemonOptions = {}): Daemon {
  return new RunningDaemon(config, options);
}

const STOP_LIMIT_MS = 10_000;

class RunningDaemon implements Daemon {
  private readonly surroundings: Surroundings;
  private readonly log: Log;
  private store: Store | undefined;
  private broker: Broker | undefined;
  private readonly listeners: { readonly listener: Listener; readonly server: Server }[] = [];
  private readonly bridges: BridgeConnection[] = [];
  private startedMs = 0;

  constructor(
    private readonly config: Config,
    options: DaemonOptions,
  ) {
    this.surroundings = options.surroundings ?? machine();
    this.log = new Log(options.writeLine ?? ((line) => process.stdout.write(`${line}\n`)), this.surroundings.clock, config.logLevel);
  }

  get ports(): number[] {
    return this.listeners.map(({ server }) => server.port);
  }

  async start(): Promise<void> {
    const { config, log } = this;
    log.write("banner", {});
    if (config.file !== undefined) log.write("configFile", { file: config.file });
    log.write("version", { version: process.env["AMQTDD_VERSION"] ?? "unbuilt", built: process.env["AMQTDD_BUILT"] ?? "" });
    log.write("features", { features: "bridge" });
    try {
      await this.open();
    } catch (error) {
      await this.stop();
      throw error instanceof StartError ? error : new StartError(error instanceof Error ? error.message : String(error));
    }
  }

  private async open(): Promise<void> {
    const { config, log } = this;
    const { clock, rng, dial, hostName } = this.surroundings;
    this.startedMs = clock.nowMs();
    const store = await this.openStore();
    this.store = store;
    const gate = new AckGate(config.limits.maxUncommittedBytes);
    const broker = new Broker({
      store,
      clock,
      budget: new MemoryBudget(config.limits.maxQueueMemoryBytes),
      limits: config.limits,
      autosaveIntervalMs: config.autosaveIntervalMs,
      events: {
        onDropped: (session) => {
          const { droppedMessages: dropped } = session;
          if (dropped === 1 || dropped === 10 || dropped % 100 === 0) log.write("queueFull", { client: session.clientId, dropped });
        },
        onLost: (session, messages) => log.write("recordsLost", { client: session.clientId, messages }),
      },
    });
    this.broker = broker;
    store.onStored((upTo) => gate.release(upTo));
    await broker.recover();
    const { limits } = config;
    const context: ListenerContext = {
      broker, clock, log, gate,
      linkLimits: {
        maxPacketSizeBytes: limits.maxPacketSizeBytes,
        maxUnsentBytes: limits.maxUnsentBytes,
        maxUncommittedBytes: Math.ceil(limits.maxUncommittedBytes / 8),
      },
      maxPacketSizeBytes: limits.maxPacketSizeBytes,
      maxInflightMessages: limits.maxInflightMessages,
      connectTimeoutMs: limits.connectTimeoutMs,
      connectionMessages: config.connectionMessages,
      newClientId: () => this.surroundings.newClientId(),
    };
    for (const connection of config.connections) {
      const { linkLimits, maxInflightMessages } = context;
      const bridge = { broker, clock, log, gate, linkLimits, maxInflightMessages, rng, dial, hostName };
      this.bridges.push(new BridgeConnection(connection, bridge)); // its queue takes messages before the first listener opens
    }
    for (const { kind, session } of broker.sessions.all()) {
      if (kind === "bridge" && !config.connections.some(({ name }) => name === session.clientId)) {
        log.write("bridgeQueueKept", { name: session.clientId, messages: session.queuedMessages });
      }
    }
    for (const listener of config.listeners) await this.openListener(listener, context);
    for (const bridge of this.bridges) bridge.start();
    this.publishSystem("$SYS/broker/version", `amqtdd ${process.env["AMQTDD_VERSION"] ?? "unbuilt"}`);
  }

  private async openStore(): Promise<Store> {
    const { config, log } = this;
    if (!config.persistence) {
      log.write("persistenceOff", {});
      return new MemoryStore();
    }
    const directory = config.persistenceDirectory;
    const store = await this.surroundings.openStore({
      directory,
      durability: config.durability,
      commitIntervalMs: config.commitIntervalMs,
      clock: this.surroundings.clock,
      strict: config.strictStore,
      minFreeBytes: config.limits.storeMinFreeBytes,
      report: (event) => this.reportStore(event),
    });
    log.write("storeOpened", { directory });
    return store;
  }

  private reportStore(event: StoreEvent): void {
    const keys = {
      repaired: "storeRepaired",
      setAside: "storeSetAside",
      writeFailed: "storeFailed",
      writeRecovered: "storeRecovered",
      full: "storeFull",
      roomAgain: "storeRoomAgain",
    } as const;
    this.log.write(keys[event.kind], { detail: event.detail });
  }

  private async openListener(config: ListenerConfig, context: ListenerContext): Promise<void> {
    const mount = new MountPoint(config.port, config.mountPoint, config.maxConnections, context.broker);
    const listener = new Listener(mount, context);
    let server: Server;
    try {
      server = await this.surroundings.listen(config, (open) => listener.accept(open));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.log.write("listenerFailed", { port: config.port, reason });
      throw new StartError(`listener ${config.host ?? "all addresses"}:${config.port} (line ${config.line}): ${reason}`);
    }
    listener.start();
    this.listeners.push({ listener, server });
    this.log.write("listening", { port: server.port });
  }

  private publishSystem(name: string, value: string): void {
    const { broker } = this;
    if (!broker) return;
    const topic = broker.topics.intern(name);
    broker.publish(undefined, topic, messageOf(topic.bytes, Buffer.from(value), { qos: 0, retain: true, receivedMs: this.surroundings.clock.nowMs() }));
  }

  reload(): Promise<void> {
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    const { log } = this;
    log.write("stopping", {});
    for (const bridge of this.bridges) bridge.stop();
    this.bridges.length = 0;
    for (const { listener, server } of this.listeners) {
      server.close();
      listener.stop();
      log.write("listenerStopped", { port: listener.mount.port });
    }
    this.listeners.length = 0;
    this.broker?.retained.saveLazy();
    const { store } = this;
    this.store = undefined;
    if (store) {
      const limit = new Promise<void>((resolve) => setTimeout(resolve, STOP_LIMIT_MS).unref());
      await Promise.race([store.close(), limit]);
    }
    if (this.startedMs > 0) log.write("uptime", { seconds: Math.round((this.surroundings.clock.nowMs() - this.startedMs) / 1000) });
    log.write("stopped", {});
  }
}
