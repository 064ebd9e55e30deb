import { Access } from "./access/access.ts";
import { Bridges } from "./bridge/bridges.ts";
import { AddedConnections } from "./broker/added-connections.ts";
import { Broker } from "./broker/broker.ts";
import { readAccessFiles } from "./config/access-files.ts";
import type { Timer } from "./clock/clock.ts";
import { checkConfig } from "./config/checker.ts";
import { problemText, type Config, type ConnectionConfig, type ListenerConfig, type Problem } from "./config/config.ts";
import { parseConfig } from "./config/parser.ts";
import { readConfig, type ReadResult } from "./config/read-config.ts";
import { restartKeywords } from "./config/restart-keywords.ts";
import { CommandError, type Administration } from "./control/administration.ts";
import { CommandFile } from "./control/command-file.ts";
import { ControlSocket, controlSocketPath, MAX_SOCKET_PATH_BYTES } from "./control/control-socket.ts";
import { AckGate } from "./link/ack-gate.ts";
import type { LinkLimits } from "./link/link.ts";
import { Listeners } from "./listener/listeners.ts";
import type { ListenerSettings } from "./listener/mount-point.ts";
import { Log, type LogLevel } from "./log/console.ts";
import { messageOf } from "./queue/message.ts";
import { MemoryBudget } from "./queue/memory-budget.ts";
import type { Session } from "./session/session.ts";
import { AbsentStore } from "./store/absent-store.ts";
import { MemoryStore } from "./store/memory-store.ts";
import { StoreError, type StoreEvent, type StoreOptions } from "./store/open.ts";
import type { Store } from "./store/store.ts";
import { machine, type Surroundings } from "./surroundings.ts";
import { filterProblem } from "./topic/validity.ts";

/** The start has failed; `message` says where and why. */
export class StartError extends Error {}

export interface DaemonOptions {
  /** Where console lines go; what the configuration says if not given. */
  readonly writeLine?: (line: string) => void;
  /** What lies around the daemon; the machine it runs on if not given. */
  readonly surroundings?: Surroundings;
  /** Reads the configuration again for a reload; its file if not given. */
  readonly readAgain?: () => ReadResult;
  /** The command `stop` has come. Without it the daemon stops by itself. */
  readonly onStopCommand?: () => void;
}

export interface Daemon {
  /** Restores what the store holds, then opens all listeners. Rejects with StartError; nothing is left open then. */
  start(): Promise<void>;
  /**
   * Writes what is pending, reads the configuration, password and ACL files again and takes up what has changed, all or nothing. Who need not
   * be disturbed stays connected. Resolves with what was done; rejects with CommandError if the files are not usable.
   */
  reload(): Promise<string>;
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
const STORE_RETRY_MS = 5_000;
const STOP_COMMAND_DELAY_MS = 200;
/** What may happen thousands of times a second is told this often. */
const REPEATED_LOG_INTERVAL_MS = 10_000;

/** What exists while the daemon runs. */
interface Parts {
  readonly store: Store;
  readonly broker: Broker;
  readonly listeners: Listeners;
  readonly bridges: Bridges;
  readonly added: AddedConnections;
  readonly linkLimits: Mutable<LinkLimits>;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

class RunningDaemon implements Daemon, Administration {
  private readonly surroundings: Surroundings;
  private readonly log: Log;
  private readonly storeOptions: StoreOptions;
  private store: Store | undefined;
  private storeTimer: Timer | undefined;
  private parts: Parts | undefined;
  private commandFile: CommandFile | undefined;
  private controlSocket: ControlSocket | undefined;
  /** As it is now; everybody holds this object, and a reload changes it. */
  private readonly settings: Mutable<ListenerSettings & Config["limits"]>;
  private readonly droppedLoggedMs = new WeakMap<Session, number>();
  private refusedLoggedMs = -Infinity;
  private notTakenLoggedMs = -Infinity;
  private startedMs = 0;

  constructor(
    private config: Config,
    private readonly options: DaemonOptions,
  ) {
    this.surroundings = options.surroundings ?? machine();
    this.settings = settingsOf(config);
    this.storeOptions = {
      directory: config.persistenceDirectory,
      durability: config.durability,
      commitIntervalMs: config.commitIntervalMs,
      clock: this.surroundings.clock,
      strict: config.strictStore,
      minFreeBytes: config.limits.storeMinFreeBytes,
      report: (event) => this.reportStore(event),
    };
    this.log = new Log(options.writeLine ?? ((line) => process.stdout.write(`${line}\n`)), this.surroundings.clock, config.logLevel);
  }

  get ports(): number[] {
    return this.parts?.listeners.ports ?? [];
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
    const { config, surroundings } = this;
    this.startedMs = surroundings.clock.nowMs();
    const store = await this.openFirstStore();
    this.store = store;
    const parts = await this.assemble(store, this.readAccess(config));
    this.parts = parts;
    // The queues take messages before the first listener opens.
    this.addConnections(parts);
    if (surroundings.hasControl) await this.openControl();
    for (const listener of config.listeners) await this.openListener(parts, listener);
    this.begin(parts);
    if (store.state === "absent") this.openStoreLater();
  }

  private async assemble(store: Store, access: Access): Promise<Parts> {
    const { config, settings, surroundings } = this;
    const { clock, rng, dial, hostName } = surroundings;
    const gate = new AckGate(config.limits.maxUncommittedBytes);
    store.onStored((upTo) => gate.release(upTo));
    gate.onStoreState(store.state === "healthy");
    store.onState((state) => gate.onStoreState(state === "healthy"));
    const broker = new Broker({
      store,
      clock,
      budget: new MemoryBudget(config.limits.maxQueueMemoryBytes),
      limits: settings,
      maxUncommittedBytes: config.limits.maxUncommittedBytes,
      autosaveIntervalMs: config.autosaveIntervalMs,
      access,
      events: {
        onDropped: (session) => this.reportDropped(session),
        onDamaged: (topic) => this.log.write("storeDamaged", { detail: `the retained message of ${topic}` }),
        onRefused: (connections) => this.reportNotTaken(connections),
        onLost: (session, messages) => this.log.write("recordsLost", { client: session.clientId, messages }),
      },
    });
    await broker.recover();
    const added = new AddedConnections(store);
    await added.recover();
    const linkLimits = linkLimitsOf(config);
    const common = { broker, clock, log: this.log, gate, linkLimits, settings };
    const bridges = new Bridges({ ...common, rng, dial, hostName });
    const listeners = new Listeners({ ...common, newClientId: () => surroundings.newClientId() }, (listener, accept) =>
      surroundings.listen(listener, accept, (sockets) => this.reportRefused(sockets)),
    );
    return { store, broker, listeners, bridges, added, linkLimits };
  }

  /** None without the store: a remote's sessions can't be taken up without what we know of them. */
  private addConnections(parts: Parts): void {
    if (parts.store.state === "absent") return;
    for (const connection of this.config.connections) parts.bridges.add(connection);
    this.addAddedConnections(parts);
    this.reportOrphans(parts);
  }

  private begin({ bridges, broker }: Parts): void {
    for (const bridge of bridges.all()) bridge.start();
    this.publishSystem(broker, "$SYS/broker/version", `amqtdd ${process.env["AMQTDD_VERSION"] ?? "unbuilt"}`);
  }

  private addAddedConnections({ added, bridges }: Parts): void {
    for (const [name, text] of added.all()) {
      if (bridges.get(name)) continue; // it is in the configuration file now
      const { connection, problems } = parseConnection(text);
      for (const problem of problems) this.log.write("accessProblem", { problem });
      if (connection) bridges.add(connection);
    }
  }

  private reportOrphans({ broker, bridges }: Parts): void {
    for (const { kind, session } of broker.sessions.all()) {
      if (kind === "bridge" && !bridges.get(session.clientId)) {
        this.log.write("bridgeQueueKept", { name: session.clientId, messages: session.queuedMessages });
      }
    }
  }

  /** @throws StartError */
  private readAccess(config: Config): Access {
    const { rules, problems } = readAccessFiles(config.access);
    const errors = problems.filter(({ severity }) => severity === "error");
    if (errors.length > 0) throw new StartError(errors.map(problemText).join("\n"));
    return new Access(rules, this.surroundings.verifyArgon2id);
  }

  private async openStore(): Promise<Store> {
    const { storeOptions } = this;
    const store = await this.surroundings.openStore(storeOptions);
    this.log.write("storeOpened", { directory: storeOptions.directory });
    return store;
  }

  private async openFirstStore(): Promise<Store> {
    if (!this.config.persistence) {
      this.log.write("persistenceOff", {});
      return new MemoryStore();
    }
    try {
      return await this.openStore();
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      this.log.write("storeUnavailable", { detail: error.message });
      return new AbsentStore();
    }
  }

  /** What forbids the opening may have passed. */
  private openStoreLater(): void {
    this.storeTimer = this.surroundings.clock.after(STORE_RETRY_MS, () => {
      this.openStore().then(
        (store) => this.takeUpStore(store),
        (error: unknown) => {
          if (!isUnavailable(error)) this.log.write("storeUnavailable", { detail: error instanceof Error ? error.message : String(error) });
          if (this.parts) this.openStoreLater();
        },
      ).catch((error: unknown) => this.log.write("internalError", { name: "store", detail: String(error) }));
    });
  }

  /** Everything begins anew with the store; nobody has been promised anything without it. */
  private async takeUpStore(store: Store): Promise<void> {
    const before = this.parts;
    if (!before) return store.close(); // stopped meanwhile
    this.store = store;
    const parts = await this.assemble(store, before.broker.access);
    if (this.parts !== before) return; // stopped meanwhile, and the store with it
    this.parts = parts;
    this.log.write("storeAvailable", {});
    before.listeners.closeAll();
    parts.broker.inherit(before.broker);
    this.addConnections(parts);
    await parts.listeners.change(this.config.listeners);
    this.begin(parts);
  }

  private async openListener({ listeners }: Parts, listener: ListenerConfig): Promise<void> {
    try {
      await listeners.add(listener);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StartError(`listener ${listener.host ?? "all addresses"}:${listener.port} (line ${listener.line}): ${reason}`);
    }
  }

  private async openControl(): Promise<void> {
    const { persistencePrefix } = this.config;
    this.commandFile = new CommandFile(persistencePrefix, this, this.surroundings.clock, this.log);
    this.commandFile.start();
    const path = controlSocketPath(persistencePrefix);
    const socket = new ControlSocket(path, this);
    try {
      if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) throw new Error(`${path} is too long for a socket's name`);
      await socket.open();
      this.controlSocket = socket;
    } catch (error) {
      this.log.write("controlFailed", { reason: error instanceof Error ? error.message : String(error) });
    }
  }

  private publishSystem(broker: Broker, name: string, value: string): void {
    const topic = broker.topics.intern(name);
    broker.publish(undefined, topic, messageOf(topic.bytes, Buffer.from(value), { qos: 0, retain: true, receivedMs: this.surroundings.clock.nowMs() }));
  }

  /** The first, and then the count so far every few seconds. */
  private reportDropped(session: Session): void {
    const nowMs = this.surroundings.clock.nowMs();
    const lastMs = this.droppedLoggedMs.get(session) ?? -Infinity;
    if (nowMs - lastMs < REPEATED_LOG_INTERVAL_MS) return;
    this.droppedLoggedMs.set(session, nowMs);
    this.log.write("queueFull", { client: session.clientId, dropped: session.droppedMessages });
  }

  private reportRefused(sockets: number): void {
    const nowMs = this.surroundings.clock.nowMs();
    if (nowMs - this.refusedLoggedMs < REPEATED_LOG_INTERVAL_MS) return;
    this.refusedLoggedMs = nowMs;
    this.log.write("tooManySockets", { sockets });
  }

  private reportNotTaken(connections: number): void {
    const nowMs = this.surroundings.clock.nowMs();
    if (nowMs - this.notTakenLoggedMs < REPEATED_LOG_INTERVAL_MS) return;
    this.notTakenLoggedMs = nowMs;
    this.log.write("publishNotTaken", { connections });
  }

  private reportStore(event: StoreEvent): void {
    const keys = {
      damaged: "storeDamaged",
      repaired: "storeRepaired",
      setAside: "storeSetAside",
      writeFailed: "storeFailed",
      writeRecovered: "storeRecovered",
      full: "storeFull",
      roomAgain: "storeRoomAgain",
    } as const;
    this.log.write(keys[event.kind], { detail: event.detail });
  }

  private get running(): Parts {
    if (!this.parts) throw new CommandError("the daemon is not running");
    return this.parts;
  }

  async reload(): Promise<string> {
    const parts = this.running;
    parts.broker.retained.saveLazy();
    const { file } = this.config;
    if (file === undefined && !this.options.readAgain) return "there is no configuration file; what was pending is saved";
    const { config, problems } = this.options.readAgain?.() ?? readConfig(file ?? "");
    if (!config) return this.refuseReload(problems.join("\n"));
    let access: Access;
    try {
      access = this.readAccess(config);
    } catch (error) {
      return this.refuseReload(error instanceof Error ? error.message : String(error));
    }
    for (const problem of problems) this.log.write("accessProblem", { problem });
    const before = this.config;
    this.config = config;
    const done = [...(await this.takeUp(parts, config, access))];
    for (const keyword of restartKeywords(before, config)) this.log.write("reloadNeedsRestart", { keyword });
    const what = done.length > 0 ? done.join("; ") : "nothing has changed";
    this.log.write("reloaded", { what });
    return what;
  }

  private refuseReload(problem: string): never {
    this.log.write("reloadFailed", { problem });
    throw new CommandError(`the configuration is not changed: ${problem}`);
  }

  /** Says what was changed. */
  private async takeUp(parts: Parts, config: Config, access: Access): Promise<string[]> {
    const { broker, listeners, linkLimits } = parts;
    const done: string[] = [];
    Object.assign(this.settings, settingsOf(config));
    Object.assign(linkLimits, linkLimitsOf(config));
    this.log.setLevel(config.logLevel);
    const accessBefore = broker.access;
    broker.access = access;
    listeners.recheckAccess(accessBefore);
    if (parts.store.state !== "absent") done.push(...this.changeConnections(parts, config.connections));
    for (const bridge of parts.bridges.all()) bridge.bindRights();
    const portsBefore = String(listeners.ports);
    done.push(...(await listeners.change(config.listeners)));
    if (String(listeners.ports) !== portsBefore) done.push(`listening on ${listeners.ports.join(", ")}`);
    return done;
  }

  private changeConnections({ bridges, added }: Parts, wanted: readonly ConnectionConfig[]): string[] {
    const done: string[] = [];
    for (const { name } of [...bridges.all()]) {
      if (added.has(name) || wanted.some((connection) => connection.name === name)) continue;
      bridges.remove(name);
      done.push(`connection ${name} removed, its queue is kept`);
    }
    for (const connection of wanted) {
      const { name } = connection;
      const running = bridges.get(name);
      if (running && isSameConnection(running.config, connection)) continue;
      bridges.replace(connection);
      done.push(`connection ${name} ${running ? "changed" : "added"}`);
    }
    return done;
  }

  startConnection(name: string): string {
    if (!this.bridge(name).startByHand()) throw new CommandError(`connection ${name} is started already`);
    return `connection ${name} is being started`;
  }

  stopConnection(name: string): string {
    if (!this.bridge(name).stopByHand()) {
      this.log.write("bridgeCannotStop", { name });
      throw new CommandError(`connection ${name} is not running`);
    }
    return `connection ${name} is being stopped`;
  }

  private bridge(name: string): NonNullable<ReturnType<Bridges["get"]>> {
    const bridge = this.running.bridges.get(name);
    if (bridge) return bridge;
    this.log.write("noSuchBridge", { name });
    throw new CommandError(`there is no connection ${name}`);
  }

  deleteConnection(name: string): string {
    const { bridges, added, broker } = this.running;
    const { queuedMessages } = this.bridge(name);
    bridges.remove(name);
    added.delete(name);
    const entry = broker.sessions.get("bridge", name);
    if (entry) broker.sessions.end(entry);
    this.log.write("bridgeDeleted", { name });
    if (queuedMessages > 0) this.log.write("queueDropped", { name, messages: queuedMessages });
    return `connection ${name} is deleted, with ${queuedMessages} queued messages`;
  }

  addConnection(name: string, text: string): string {
    const { bridges, added, store } = this.running;
    if (store.state === "absent") throw new CommandError("the store can't be opened");
    const isChange = bridges.get(name) !== undefined;
    if (isChange && !added.has(name)) throw new CommandError(`connection ${name} is in the configuration file: change it there and reload`);
    const { connection, problems } = parseConnection(text);
    if (!connection) throw new CommandError(problems.join("; "));
    added.set(name, text);
    bridges.replace(connection);
    return [`connection ${name} is ${isChange ? "changed" : "added"}`, ...problems].join("; ");
  }

  purge(name: string): string {
    const { broker, bridges } = this.running;
    const client = broker.sessions.get("client", name);
    const bridge = broker.sessions.get("bridge", name);
    const entry = bridge ?? client;
    if (!entry) throw new CommandError(`there is no session ${name}`);
    if (entry === bridge && bridges.get(name)) throw new CommandError(`connection ${name} is configured: delete_connection drops it with its queue`);
    if (entry.holder) throw new CommandError(`client ${name} is connected`);
    const { queuedMessages } = entry.session;
    broker.sessions.end(entry);
    this.log.write("queueDropped", { name, messages: queuedMessages });
    return `session ${name} is dropped, with ${queuedMessages} queued messages`;
  }

  clearRetained(filter: string): string {
    const { broker } = this.running;
    const problem = filterProblem(filter);
    if (problem !== undefined) throw new CommandError(`${filter}: ${problem}`);
    if (filter.startsWith("$SYS")) {
      this.log.write("systemRetained", { filter });
      throw new CommandError("retained messages of $SYS can't be cleared");
    }
    const names: string[] = [];
    broker.retained.match(filter, (_message, name) => names.push(name));
    const receivedMs = this.surroundings.clock.nowMs();
    for (const name of names) broker.retained.set(name, messageOf(Buffer.from(name), Buffer.alloc(0), { qos: 1, retain: true, receivedMs }), undefined);
    return `${names.length} retained messages removed`;
  }

  setLogLevel(level: LogLevel): string {
    this.log.setLevel(level);
    return `log_level is ${level}`;
  }

  status(): string {
    const { bridges, broker, listeners, store } = this.running;
    const clients = [...broker.sessions.all()].filter(({ kind }) => kind === "client");
    const connected = clients.filter(({ holder }) => holder !== undefined).length;
    const queued = clients.reduce((sum, { session }) => sum + session.queuedMessages, 0);
    const lines = [
      `up ${Math.round((this.surroundings.clock.nowMs() - this.startedMs) / 1000)} s, listening on ${listeners.ports.join(", ") || "no port"}`,
      `clients: ${connected} connected, ${clients.length - connected} sessions without, ${queued} messages queued`,
      `store: ${this.config.persistence ? `${store.state}, ${this.config.persistenceDirectory}` : "off"}`,
    ];
    for (const bridge of bridges.all()) lines.push(`connection ${bridge.name}: ${bridge.stateText}, ${bridge.queuedMessages} messages queued`);
    return lines.join("\n");
  }

  requestStop(): string {
    const { onStopCommand } = this.options;
    // The answer leaves first.
    this.surroundings.clock.after(STOP_COMMAND_DELAY_MS, () => (onStopCommand ? onStopCommand() : void this.stop()));
    return "the daemon stops";
  }

  async stop(): Promise<void> {
    const { log, parts } = this;
    log.write("stopping", {});
    this.storeTimer?.cancel();
    this.commandFile?.stop();
    this.controlSocket?.close();
    parts?.listeners.closeAll();
    parts?.bridges.closeAll(); // after the wills, which they may still take along
    parts?.broker.publishWaitingWills();
    parts?.broker.retained.saveLazy();
    this.parts = undefined;
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

function isUnavailable(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === "unavailable";
}

function settingsOf(config: Config): Mutable<ListenerSettings & Config["limits"]> {
  const { limits, connectionMessages, allowEmptyClientId, clientIdPrefix } = config;
  return { ...limits, connectionMessages, allowEmptyClientId, clientIdPrefix };
}

/** A connection's share of what may wait for the disk is an eighth. */
function linkLimitsOf({ limits }: Config): Mutable<LinkLimits> {
  const { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes } = limits;
  return { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes: Math.ceil(maxUncommittedBytes / 8) };
}

function isSameConnection(a: ConnectionConfig, b: ConnectionConfig): boolean {
  const withoutPlaces = (config: ConnectionConfig): string => JSON.stringify(config, (key, value: unknown) => (key === "line" || key === "column" || key === "file" ? undefined : value));
  return withoutPlaces(a) === withoutPlaces(b);
}

/** A definition that came by a command. Without `connection` the problems say why. */
function parseConnection(text: string): { connection: ConnectionConfig | undefined; problems: string[] } {
  const { config, problems } = parseConfig(text, "command");
  const isError = ({ severity }: Problem): boolean => severity === "error";
  // An empty configuration has a default listener: what is said of that is not meant here.
  const all = problems.some(isError) ? problems : [...problems, ...checkConfig({ ...config, listeners: [] })];
  return { connection: all.some(isError) ? undefined : config.connections[0], problems: all.map(problemText) };
}
