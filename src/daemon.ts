import { Access } from "./access/access.ts";
import { Changes } from "./changes.ts";
import type { Timer } from "./clock/clock.ts";
import { parseAddedConnection } from "./config/added-connection.ts";
import { readAccessFiles } from "./config/access-files.ts";
import { MAX_SOCKET_PATH_BYTES } from "./config/address.ts";
import { problemText, type Config, type ListenerConfig } from "./config/config.ts";
import { readConfig, type ReadResult } from "./config/read-config.ts";
import { CommandError } from "./control/administration.ts";
import { CommandFile } from "./control/command-file.ts";
import { ControlSocket, controlSocketPath } from "./control/control-socket.ts";
import type { Host } from "./host.ts";
import { Log } from "./log/console.ts";
import { Operations } from "./operations.ts";
import { assemble, type Parts } from "./parts.ts";
import { Reports } from "./reports.ts";
import { SelfReport } from "./self-report.ts";
import { AbsentStore } from "./store/absent-store.ts";
import { MemoryStore } from "./store/memory-store.ts";
import { StoreError } from "./store/open.ts";
import type { Store } from "./store/store.ts";
import { describeError } from "./store/store-error.ts";
import { machine, type Surroundings } from "./surroundings.ts";

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
  /** For the first time many messages come at once. */
  readonly onFirstBurst?: (traffic: { readonly receivedBytes: number }) => void;
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

/** The one place where all parts meet: see parts.ts. */
export function createDaemon(config: Config, options: DaemonOptions = {}): Daemon {
  return new RunningDaemon(config, options);
}

const STOP_LIMIT_MS = 10_000;
const STORE_RETRY_MS = 5_000;

class RunningDaemon implements Daemon, Host {
  readonly surroundings: Surroundings;
  readonly log: Log;
  startedMs = 0;
  readonly startedConfig: Config;
  readonly changes = new Changes();
  private store: Store | undefined;
  private parts: Parts | undefined;
  private operations: Operations | undefined;
  private commandFile: CommandFile | undefined;
  private controlSocket: ControlSocket | undefined;
  private readonly reports = new Reports(this);
  private storeTimer: Timer | undefined;
  private selfReport: SelfReport | undefined;

  constructor(
    public config: Config,
    private readonly options: DaemonOptions,
  ) {
    this.startedConfig = config;
    this.surroundings = options.surroundings ?? machine();
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
      await this.changes.make(() => this.open());
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
    const parts = await assemble(this, store, this.readAccess(config), this.reports);
    this.parts = parts;
    parts.gate.traffic.onFirstBurst = this.options.onFirstBurst;
    // The queues take messages before a session ends, which may publish its will, and before the first listener opens.
    this.addConnections(parts);
    const operations = new Operations(this, parts);
    this.operations = operations;
    parts.broker.begin();
    if (surroundings.hasControl) await this.openControl(operations);
    for (const listener of config.listeners) await this.openListener(parts, listener);
    this.begin(parts);
    if (store.state === "absent") this.openStoreLater();
  }

  /** None without the store: a remote's sessions can't be taken up without what we know of them. */
  private addConnections(parts: Parts): void {
    if (parts.store.state === "absent") return;
    for (const connection of this.config.connections) parts.bridges.add(connection);
    this.addAddedConnections(parts);
    this.reportOrphans(parts);
  }

  private begin(parts: Parts): void {
    parts.clock.watchWallClock();
    parts.broker.sessions.watchQueues();
    for (const bridge of parts.bridges.all()) bridge.start();
    this.selfReport?.stop();
    this.selfReport = new SelfReport(this, parts);
    this.selfReport.start();
  }

  private addAddedConnections({ added, bridges }: Parts): void {
    for (const [name, text] of added.all()) {
      if (bridges.get(name)) continue; // it is in the configuration file now
      const { connection, problems } = parseAddedConnection(text, this.config);
      for (const problem of problems) this.log.write("accessProblem", { problem });
      if (connection) bridges.add(connection);
    }
  }

  private reportOrphans({ bridges }: Parts): void {
    for (const { clientId, keptMessages } of bridges.leaveUnconfigured()) {
      this.log.write("bridgeQueueKept", { name: clientId, messages: keptMessages });
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
    const { config, surroundings } = this;
    const store = await surroundings.openStore({
      directory: config.persistenceDirectory,
      durability: config.durability,
      commitIntervalMs: config.commitIntervalMs,
      clock: surroundings.clock,
      strict: config.strictStore,
      minFreeBytes: config.limits.storeMinFreeBytes,
      report: (event) => this.reports.onStore(event),
    });
    this.log.write("storeOpened", { directory: config.persistenceDirectory });
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
      this.openStore()
        .then(
          (store) => this.changes.make(() => this.takeUpStore(store)),
          (error: unknown) => {
            if (!isUnavailable(error)) this.log.write("storeUnavailable", { detail: error instanceof Error ? error.message : String(error) });
            if (this.parts) this.openStoreLater();
          },
        )
        .catch((error: unknown) => this.log.write("internalError", { name: "store", detail: String(error) }));
    });
  }

  /** Everything begins anew with the store; nobody has been promised anything without it. */
  private async takeUpStore(store: Store): Promise<void> {
    const before = this.parts;
    if (!before) return store.close(); // stopped meanwhile
    this.store = store;
    const parts = await assemble(this, store, before.broker.access, this.reports);
    if (this.parts !== before) return; // stopped meanwhile, and the store with it
    this.parts = parts;
    this.log.write("storeAvailable", {});
    before.listeners.closeAll();
    before.broker.sessions.stopTimers();
    before.clock.stop();
    parts.broker.inherit(before.broker);
    this.addConnections(parts);
    this.operations?.moveTo(parts);
    parts.broker.begin();
    const { commit } = await parts.listeners.prepare(this.config.listeners);
    commit();
    this.begin(parts);
  }

  private async openListener({ listeners }: Parts, listener: ListenerConfig): Promise<void> {
    try {
      await listeners.add(listener);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StartError(`listener ${listener.socketPath ?? `${listener.host ?? listener.bindInterface ?? "all addresses"}:${listener.port}`} (line ${listener.line}): ${reason}`);
    }
  }

  private async openControl(operations: Operations): Promise<void> {
    const { persistencePrefix } = this.config;
    this.commandFile = new CommandFile(persistencePrefix, operations, this.surroundings.clock, this.log);
    this.commandFile.reportInterrupted();
    this.commandFile.start();
    const path = controlSocketPath(persistencePrefix);
    const socket = new ControlSocket(path, operations);
    try {
      if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) throw new Error(`${path} is too long for a socket's name`);
      await socket.open();
      this.controlSocket = socket;
    } catch (error) {
      this.log.write("controlFailed", { reason: error instanceof Error ? error.message : String(error) });
    }
  }

  reload(): Promise<string> {
    return this.operations?.reload() ?? Promise.reject(new CommandError("the daemon is not running"));
  }

  readAgain(): ReadResult | undefined {
    const { file } = this.config;
    return this.options.readAgain?.() ?? (file === undefined ? undefined : readConfig(file));
  }

  stopByCommand(): void {
    if (this.options.onStopCommand) this.options.onStopCommand();
    else void this.stop();
  }

  async stop(): Promise<void> {
    const { log, parts } = this;
    log.write("stopping", {});
    this.commandFile?.stop();
    this.storeTimer?.cancel();
    this.selfReport?.stop();
    this.controlSocket?.close();
    parts?.listeners.closeAll();
    parts?.bridges.closeAll(); // after the wills, which they may still take along
    parts?.broker.publishWaitingWills();
    parts?.broker.sessions.stopTimers();
    parts?.clock.stop();
    parts?.clock.note();
    parts?.broker.retained.saveLazy();
    this.parts = this.operations = undefined;
    const { store } = this;
    this.store = undefined;
    if (store) {
      const limit = new Promise<void>((resolve) => setTimeout(resolve, STOP_LIMIT_MS).unref());
      // What a disk that takes nothing keeps out has been acknowledged to nobody: no reason to stop in another way.
      const closed = store.close().catch((error: unknown) => log.write("storeFailed", { detail: describeError(error) }));
      await Promise.race([closed, limit]);
    }
    if (this.startedMs > 0) log.write("uptime", { seconds: Math.round((this.surroundings.clock.nowMs() - this.startedMs) / 1000) });
    log.write("stopped", {});
  }
}

function isUnavailable(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === "unavailable";
}
