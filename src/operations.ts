import type { BridgeConnection } from "./bridge/connection.ts";
import { lossesOf, NO_LOSSES, sumOfLosses, textOfLosses } from "./broker/losses.ts";
import { parseAddedConnection } from "./config/added-connection.ts";
import type { Config } from "./config/config.ts";
import { CommandError, type Administration } from "./control/administration.ts";
import { Diagnosis } from "./diagnosis.ts";
import type { Host } from "./host.ts";
import type { LogLevel } from "./log/console.ts";
import type { Parts } from "./parts.ts";
import { messageOf } from "./queue/message.ts";
import { Reloads } from "./reloads.ts";
import type { Session } from "./session/session.ts";
import { filterProblem } from "./topic/validity.ts";

/** The answer to `stop` leaves first. */
const STOP_DELAY_MS = 200;
/** `amqtdd ctl` waits longer. */
const STORE_LIMIT_MS = 5_000;

/** What an operator does to a running daemon: commands and reload. */
export class Operations implements Administration {
  /** Commands that wait for the disk. */
  private readonly awaited = new Set<() => void>();
  private readonly diagnosis: Diagnosis;
  private readonly reloads: Reloads;

  constructor(
    private readonly host: Host,
    private parts: Parts,
  ) {
    this.diagnosis = new Diagnosis(host, () => this.parts.gate, () => this.status());
    this.reloads = new Reloads(host, () => this.parts, (config) => this.goBy(config));
    this.moveTo(parts);
  }

  /** The parts have been made anew. */
  moveTo(parts: Parts): void {
    this.parts = parts;
    parts.store.onStored(() => this.awaited.forEach((check) => check()));
    this.goBy(this.host.config);
  }

  private goBy(config: Config): void {
    this.diagnosis.takeUp(config);
    this.parts.broker.sessions.expireAfter(config.sessionExpiryMs, (client, messages) => this.host.log.write("sessionExpired", { client, messages }));
  }

  reload(): Promise<string> {
    return this.reloads.reload();
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
    const { keptMessages } = this.bridge(name).session;
    bridges.remove(name);
    this.reloads.deleted.add(name);
    const entry = broker.sessions.get("bridge", name);
    const group = Math.max(added.delete(name), entry ? broker.sessions.end(entry) : 0);
    this.host.log.write("bridgeDeleted", { name });
    if (keptMessages > 0) this.host.log.write("queueDropped", { name, messages: keptMessages });
    return this.onDisk(group, `connection ${name} is deleted, with ${keptMessages} queued messages`);
  }

  addConnection(name: string, text: string): Promise<string> {
    const { bridges, added, store } = this.parts;
    if (store.state === "absent") throw new CommandError("the store can't be opened");
    const isChange = bridges.get(name) !== undefined;
    if (isChange && !added.has(name)) throw new CommandError(`connection ${name} is in the configuration file: change it there and reload`);
    const { connection, problems } = parseAddedConnection(text, this.host.config);
    if (!connection) throw new CommandError(problems.join("; "));
    const group = added.set(name, text);
    this.reloads.deleted.delete(name);
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
    const { keptMessages } = entry.session;
    const group = broker.sessions.end(entry);
    this.host.log.write("queueDropped", { name, messages: keptMessages });
    return this.onDisk(group, `session ${name} is dropped, with ${keptMessages} queued messages`);
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
    return this.diagnosis.setTraceOutput(output);
  }

  setTraceLevel(level: string): string {
    return this.diagnosis.setTraceLevel(level);
  }

  setMaxEntries(kind: "log" | "trace", count: string): string {
    return this.diagnosis.setMaxEntries(kind, count);
  }

  dumpTrace(destination: string): string {
    return this.diagnosis.dumpTrace(destination);
  }

  capture(reason: string): string {
    return this.diagnosis.capture(reason);
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
    const dropped = sum(({ bounds }) => bounds.dropped);
    const losses = clients.map(({ session }) => lossesOf(session)).reduce(sumOfLosses, NO_LOSSES);
    const lines = [
      `up ${Math.round((this.host.surroundings.clock.nowMs() - this.host.startedMs) / 1000)} s, listening on ${listeners.places.join(", ") || "no port"}`,
      `clients: ${connected} connected, ${clients.length - connected} sessions without, ${sum(({ queuedMessages }) => queuedMessages)} messages queued (${sum(({ queuedBytes }) => queuedBytes)} bytes)${dropped === 0 ? "" : `, ${dropped} dropped`}${textOfLosses(losses)}`,
      `store: ${this.host.startedConfig.persistence ? `${store.state}, ${this.host.startedConfig.persistenceDirectory}` : "off"}`,
    ];
    for (const { name, stateText, session, lossesText } of bridges.all()) lines.push(`connection ${name}: ${stateText}, ${this.queueText(session)}${lossesText}`);
    return lines.join("\n");
  }

  private queueText({ queuedMessages, queuedBytes, oldestMs, bounds: { dropped } }: Session): string {
    const age = oldestMs === undefined ? "" : ` (${queuedBytes} bytes, the oldest ${Math.max(0, Math.round((this.parts.clock.nowMs() - oldestMs) / 1000))} s old)`;
    return `${queuedMessages} messages queued${age}${dropped === 0 ? "" : `, ${dropped} dropped`}`;
  }

  requestStop(): string {
    this.host.surroundings.clock.after(STOP_DELAY_MS, () => this.host.stopByCommand());
    return "the daemon stops";
  }
}
