import { writeFileSync } from "node:fs";
import { Access } from "./access/access.ts";
import type { BridgeConnection } from "./bridge/connection.ts";
import { lossesOf, NO_LOSSES, sumOfLosses, textOfLosses } from "./broker/losses.ts";
import type { Changes } from "./changes.ts";
import { readAccessFiles } from "./config/access-files.ts";
import { isSameConnection, parseAddedConnection } from "./config/added-connection.ts";
import { problemText, type Config, type ConnectionConfig } from "./config/config.ts";
import type { ReadResult } from "./config/read-config.ts";
import { restartKeywords } from "./config/restart-keywords.ts";
import { CommandError, type Administration } from "./control/administration.ts";
import { writeCapture } from "./log/capture.ts";
import type { Level } from "./log/messages.ts";
import type { Log, LogLevel } from "./log/console.ts";
import { linkLimitsOf, settingsOf, type Parts } from "./parts.ts";
import { messageOf } from "./queue/message.ts";
import type { Session } from "./session/session.ts";
import type { Surroundings } from "./surroundings.ts";
import { filterProblem } from "./topic/validity.ts";

/** The daemon, as what is done to it while it runs needs it. */
export interface Host {
  config: Config;
  /** As it was at the start: some of it holds until the next one. */
  readonly startedConfig: Config;
  readonly surroundings: Surroundings;
  readonly log: Log;
  readonly startedMs: number;
  readonly changes: Changes;
  /** Reads the configuration again; undefined if there is no file. */
  readAgain(): ReadResult | undefined;
  stopByCommand(): void;
}

/** The answer to `stop` leaves first. */
const STOP_DELAY_MS = 200;
/** `amqtdd ctl` waits longer. */
const STORE_LIMIT_MS = 5_000;
const MAX_ENTRIES = 1_000_000;
const CAPTURE_INTERVAL_MS = 60_000;

/** What an operator does to a running daemon: commands and reload. */
export class Operations implements Administration {
  private readonly deleted = new Set<string>();
  /** Commands that wait for the disk. */
  private readonly awaited = new Set<() => void>();
  private nextReload: Promise<string> | undefined;
  private remembersPackets = false;
  private capturedMs = -Infinity;

  constructor(
    private readonly host: Host,
    private parts: Parts,
  ) {
    if (host.surroundings.hasControl) host.log.onLine = (line, level) => this.captureIfSevere(level, line);
    this.moveTo(parts);
  }

  /** The parts have been made anew. */
  moveTo(parts: Parts): void {
    this.parts = parts;
    parts.store.onStored(() => this.awaited.forEach((check) => check()));
    this.takeUpTracing(this.host.config);
    this.expireSessions(this.host.config);
  }

  private expireSessions({ sessionExpiryMs }: Config): void {
    this.parts.broker.sessions.expireAfter(sessionExpiryMs, (client, messages) => this.host.log.write("sessionExpired", { client, messages }));
  }

  /** One that has not begun finds all that is there by then: who asks meanwhile gets no other. */
  reload(): Promise<string> {
    const { changes, surroundings } = this.host;
    this.nextReload ??= changes.make(async () => {
      await new Promise<void>((resolve) => surroundings.clock.endOfTurn(resolve)); // signals come one by one
      this.nextReload = undefined;
      return this.readAgain();
    });
    return this.nextReload;
  }

  private async readAgain(): Promise<string> {
    const { parts, host } = this;
    parts.broker.retained.saveLazy();
    const read = host.readAgain();
    if (!read) return "there is no configuration file; what was pending is saved";
    const { config, problems } = read;
    if (!config) return this.refuseReload(problems.join("\n"));
    const { rules, problems: accessProblems } = readAccessFiles(config.access);
    const errors = accessProblems.filter(({ severity }) => severity === "error");
    if (errors.length > 0) return this.refuseReload(errors.map(problemText).join("\n"));
    for (const problem of problems) this.host.log.write("accessProblem", { problem });
    const portsBefore = String(parts.listeners.ports);
    const listeners = await parts.listeners.prepare(config.listeners).catch((error: unknown) => this.refuseReload(String(error)));
    host.config = config;
    const done = this.takeUp(config, new Access(rules, host.surroundings.verifyArgon2id));
    listeners.commit();
    if (String(parts.listeners.ports) !== portsBefore) done.push(`listening on ${parts.listeners.ports.join(", ")}`);
    for (const keyword of restartKeywords(host.startedConfig, config)) this.host.log.write("reloadNeedsRestart", { keyword });
    const what = done.length > 0 ? done.join("; ") : "nothing has changed";
    this.host.log.write("reloaded", { what });
    return what;
  }

  private refuseReload(problem: string): never {
    this.host.log.write("reloadFailed", { problem });
    throw new CommandError(`the configuration is not changed: ${problem}`);
  }

  /** Says what was changed. */
  private takeUp(config: Config, access: Access): string[] {
    const { broker, listeners, bridges, settings, linkLimits } = this.parts;
    const done: string[] = [];
    Object.assign(settings, settingsOf(config));
    Object.assign(linkLimits, linkLimitsOf(config));
    this.host.log.setLevel(config.logLevel);
    this.takeUpTracing(config);
    this.expireSessions(config);
    const accessBefore = broker.access;
    broker.access = access;
    listeners.recheckAccess(accessBefore);
    if (this.parts.store.state !== "absent") done.push(...this.changeConnections(config.connections));
    for (const bridge of bridges.all()) bridge.bindRights();
    return done;
  }

  private changeConnections(wanted: readonly ConnectionConfig[]): string[] {
    const { bridges, added } = this.parts;
    const done: string[] = [];
    for (const { name } of [...bridges.all()]) {
      if (added.has(name) || wanted.some((connection) => connection.name === name)) continue;
      bridges.remove(name);
      done.push(`connection ${name} removed, its queue is kept`);
    }
    for (const connection of wanted) {
      const { name } = connection;
      if (this.deleted.has(name)) continue; // by a command, until the next start
      const running = bridges.get(name);
      if (running && isSameConnection(running.config, connection)) continue;
      bridges.replace(connection);
      done.push(`connection ${name} ${running ? "changed" : "added"}`);
    }
    return done;
  }

  /** What has been done is said when a power cut can't undo it any more. */
  private onDisk(group: number, text: string): Promise<string> {
    const { store } = this.parts;
    if (!store.durable || store.stored >= group) return Promise.resolve(text);
    return new Promise((resolve) => {
      const timer = this.host.surroundings.clock.after(STORE_LIMIT_MS, () => finish(`${text}; it is not on disk yet`));
      const finish = (answer: string): void => {
        timer.cancel();
        this.awaited.delete(check);
        resolve(answer);
      };
      const check = (): void => {
        if (store.stored >= group) finish(text);
      };
      this.awaited.add(check);
    });
  }

  startConnection(name: string): string {
    if (!this.bridge(name).startByHand()) throw new CommandError(`connection ${name} is started already`);
    return `connection ${name} is being started`;
  }

  stopConnection(name: string): string {
    if (!this.bridge(name).stopByHand()) {
      this.host.log.write("bridgeCannotStop", { name });
      throw new CommandError(`connection ${name} is not running`);
    }
    return `connection ${name} is being stopped`;
  }

  private bridge(name: string): BridgeConnection {
    const bridge = this.parts.bridges.get(name);
    if (bridge) return bridge;
    this.host.log.write("noSuchBridge", { name });
    throw new CommandError(`there is no connection ${name}`);
  }

  deleteConnection(name: string): Promise<string> {
    const { bridges, added, broker } = this.parts;
    const { queuedMessages } = this.bridge(name);
    bridges.remove(name);
    this.deleted.add(name);
    const entry = broker.sessions.get("bridge", name);
    const group = Math.max(added.delete(name), entry ? broker.sessions.end(entry) : 0);
    this.host.log.write("bridgeDeleted", { name });
    if (queuedMessages > 0) this.host.log.write("queueDropped", { name, messages: queuedMessages });
    return this.onDisk(group, `connection ${name} is deleted, with ${queuedMessages} queued messages`);
  }

  addConnection(name: string, text: string): Promise<string> {
    const { bridges, added, store } = this.parts;
    if (store.state === "absent") throw new CommandError("the store can't be opened");
    const isChange = bridges.get(name) !== undefined;
    if (isChange && !added.has(name)) throw new CommandError(`connection ${name} is in the configuration file: change it there and reload`);
    const { connection, problems } = parseAddedConnection(text, this.host.config);
    if (!connection) throw new CommandError(problems.join("; "));
    const group = added.set(name, text);
    this.deleted.delete(name);
    bridges.replace(connection);
    return this.onDisk(group, [`connection ${name} is ${isChange ? "changed" : "added"}`, ...problems].join("; "));
  }

  async parked(name: string, what: string): Promise<string> {
    const { session } = this.bridge(name);
    if (what === "retry") return `${await session.retryParked()} messages go to the end of the queue`;
    if (what === "drop") return `${session.dropParked()} messages dropped`;
    if (what !== "list") throw new CommandError(`parked ${name} ${what}: wanted is list, retry or drop`);
    const parked = await session.parked();
    return [`${parked.length} messages`, ...parked.map(({ topic, bytes, qos }) => `  ${topic}: ${bytes} bytes, QoS ${qos}`)].join("\n");
  }

  purge(name: string): Promise<string> {
    const { broker, bridges } = this.parts;
    const client = broker.sessions.get("client", name);
    const bridge = broker.sessions.get("bridge", name);
    const entry = bridge ?? client;
    if (!entry) throw new CommandError(`there is no session ${name}`);
    if (entry === bridge && bridges.get(name)) throw new CommandError(`connection ${name} is configured: delete_connection drops it with its queue`);
    if (entry.holder) throw new CommandError(`client ${name} is connected`);
    const { queuedMessages } = entry.session;
    const group = broker.sessions.end(entry);
    this.host.log.write("queueDropped", { name, messages: queuedMessages });
    return this.onDisk(group, `session ${name} is dropped, with ${queuedMessages} queued messages`);
  }

  clearRetained(filter: string): Promise<string> {
    const { broker } = this.parts;
    const problem = filterProblem(filter);
    if (problem !== undefined) throw new CommandError(`${filter}: ${problem}`);
    if (filter.startsWith("$SYS")) {
      this.host.log.write("systemRetained", { filter });
      throw new CommandError("retained messages of $SYS can't be cleared");
    }
    const names: string[] = [];
    broker.retained.match(filter, (_message, name) => names.push(name));
    const receivedMs = this.parts.clock.nowMs();
    let group = 0;
    for (const name of names) {
      const empty = messageOf(Buffer.from(name), Buffer.alloc(0), { qos: 1, retain: true, receivedMs });
      group = Math.max(group, broker.retained.set(name, empty, undefined));
    }
    return this.onDisk(group, `${names.length} retained messages removed`);
  }

  setTraceOutput(output: string): string {
    if (output !== "protocol" && output !== "off") throw new CommandError(`trace_output ${output}: wanted is protocol or off`);
    this.host.log.writesTraces = output === "protocol";
    this.trace();
    return `trace_output is ${output}`;
  }

  setTraceLevel(level: string): string {
    if (!["minimum", "medium", "maximum"].includes(level)) throw new CommandError(`trace_level ${level}: wanted is minimum, medium or maximum`);
    this.remembersPackets = level !== "minimum";
    this.trace();
    return `trace_level is ${level}`;
  }

  setMaxEntries(kind: "log" | "trace", text: string): string {
    const count = Number(text);
    if (!/^\d+$/.test(text) || count > MAX_ENTRIES) throw new CommandError(`max_${kind}_entries ${text}: wanted is a number from 0 to ${MAX_ENTRIES}`);
    const { log } = this.host;
    (kind === "log" ? log.recentLines : log.recentTraces).limit = count;
    return `max_${kind}_entries is ${count}`;
  }

  dumpTrace(destination: string): string {
    const lines = this.host.log.recent();
    const text = lines.map((line) => `${line}\n`).join("");
    if (destination === "stdout" || destination === "stderr") process[destination].write(text);
    else this.attempt(`trace_dump ${destination}`, () => writeFileSync(destination, text, { mode: 0o600 }));
    return `${lines.length} lines written to ${destination}`;
  }

  capture(reason: string): string {
    const { capturePrefix } = this.host.config;
    if (capturePrefix === undefined) throw new CommandError("ffdc_output is off");
    const { log, surroundings } = this.host;
    const content = { reason, wallMs: surroundings.clock.wallMs(), status: this.status(), recent: log.recent() };
    return `written: ${this.attempt("take_ffdc", () => writeCapture(capturePrefix, content))}`;
  }

  private attempt<T>(what: string, task: () => T): T {
    try {
      return task();
    } catch (error) {
      throw new CommandError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  private takeUpTracing({ tracePackets, remembersPackets, maxLogEntries, maxTraceEntries }: Config): void {
    const { log } = this.host;
    log.recentLines.limit = maxLogEntries;
    log.recentTraces.limit = maxTraceEntries;
    log.writesTraces = tracePackets;
    this.remembersPackets = remembersPackets;
    this.trace();
  }

  private trace(): void {
    const { log } = this.host;
    this.parts.gate.trace = log.writesTraces || this.remembersPackets ? (text) => log.trace(text) : undefined;
  }

  /** What is severe leaves a capture file, not more than one in a while. */
  private captureIfSevere(level: Level, line: string): void {
    const nowMs = this.host.surroundings.clock.nowMs();
    if ((level !== "S" && level !== "F") || nowMs - this.capturedMs < CAPTURE_INTERVAL_MS || this.host.config.capturePrefix === undefined) return;
    this.capturedMs = nowMs;
    try {
      this.capture(line);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error; // a disk that takes no file has been told of already
    }
  }

  setLogLevel(level: LogLevel): string {
    this.host.log.setLevel(level);
    return `log_level is ${level}`;
  }

  status(): string {
    const { bridges, broker, listeners, store } = this.parts;
    const clients = [...broker.sessions.all()].filter(({ kind }) => kind === "client");
    const connected = clients.filter(({ holder }) => holder !== undefined).length;
    const sum = (count: (session: Session) => number): number => clients.reduce((total, { session }) => total + count(session), 0);
    const dropped = sum(({ droppedMessages }) => droppedMessages);
    const losses = clients.map(({ session }) => lossesOf(session)).reduce(sumOfLosses, NO_LOSSES);
    const lines = [
      `up ${Math.round((this.host.surroundings.clock.nowMs() - this.host.startedMs) / 1000)} s, listening on ${listeners.ports.join(", ") || "no port"}`,
      `clients: ${connected} connected, ${clients.length - connected} sessions without, ${sum(({ queuedMessages }) => queuedMessages)} messages queued (${sum(({ queuedBytes }) => queuedBytes)} bytes)${dropped === 0 ? "" : `, ${dropped} dropped`}${textOfLosses(losses)}`,
      `store: ${this.host.startedConfig.persistence ? `${store.state}, ${this.host.startedConfig.persistenceDirectory}` : "off"}`,
    ];
    for (const { name, stateText, session, lossesText } of bridges.all()) lines.push(`connection ${name}: ${stateText}, ${this.queueText(session)}${lossesText}`);
    return lines.join("\n");
  }

  private queueText({ queuedMessages, queuedBytes, oldestMs, droppedMessages }: Session): string {
    const age = oldestMs === undefined ? "" : ` (${queuedBytes} bytes, the oldest ${Math.max(0, Math.round((this.parts.clock.nowMs() - oldestMs) / 1000))} s old)`;
    return `${queuedMessages} messages queued${age}${droppedMessages === 0 ? "" : `, ${droppedMessages} dropped`}`;
  }

  requestStop(): string {
    this.host.surroundings.clock.after(STOP_DELAY_MS, () => this.host.stopByCommand());
    return "the daemon stops";
  }
}
