import { resolve } from "node:path";
import type { AclStyle } from "../access/acl-file.ts";
import { logLevels, type LogLevel } from "../log/console.ts";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import { parseAddress, parseProxy } from "./address.ts";
import {
  listenerProtocols,
  type AccessConfig, type AddressConfig, type Config, type ConnectionConfig, type ListenerConfig, type ListenerOptions, type LogDestination, type Place, type Problem,
  type ProxyConfig, type QueueConfig, type TopicLine,
} from "./config.ts";
import type { Keyword } from "./keyword.ts";
import { bridgeProtocols, connectionKeywords } from "./keywords/connection.ts";
import { globalKeywords } from "./keywords/global.ts";
import { listenerKeywords } from "./keywords/listener.ts";
import { tlsConnectionKeywords, tlsListenerKeywords } from "./keywords/tls.ts";
import { isNotYet, notYetKeywords } from "./keywords/not-yet.ts";
import { wordsOf, type Word } from "./lexer.ts";
import { nearest } from "./nearest.ts";
import { Section, type Report } from "./section.ts";
import { buildClientTls, buildServerTls, trustsSomebody } from "./tls-section.ts";
import { parseTopicLine } from "./topic-line.ts";

/** The window has to fit four times into the packet identifiers of a lane. */
const MAX_INFLIGHT = 4096;
const MAX_PACKET_BYTES = 268_435_460;
const MIN_KEEP_ALIVE_SECONDS = 5;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
const DEFAULT_HTTP_HEADER_BYTES = 8_192;

const INCLUDE_WORD = "include_dir";
const TLS_WORDS: ReadonlySet<string> = new Set([...tlsListenerKeywords, ...tlsConnectionKeywords].map(({ name }) => name));
const SECTION_WORDS = ["listener", "connection", "topic"];

class ConnectionSection extends Section {
  readonly topics: TopicLine[] = [];
}

export interface ParseOptions {
  /** Port of the default listener, instead of the file's. */
  readonly port?: number | undefined;
  /** Unknown keywords and bad values are warned of and left out, as the original did. */
  readonly lenient?: boolean | undefined;
  /** The files of a folder, for `include_dir`. */
  readonly include?: ((folder: string) => { file: string; text: string }[]) | undefined;
}

/** A line of a configuration file, or of one that it includes. */
interface Line extends Place {
  readonly words: readonly Word[];
}

/**
 * Reads a configuration file: the original's grammar (a keyword and its values a line, sections, `#` comments, quotes), keywords in any case.
 * The configuration is usable only if no problem is an error.
 */
export function parseConfig(text: string, file: string, options: ParseOptions = {}): { config: Config; problems: Problem[] } {
  const problems: Problem[] = [];
  const report: Report = ({ file: place, line }, column, severity, message) => problems.push({ file: place, line, column, severity, message });
  const reportLine: Report = options.lenient
    ? (at, column, _severity, message) => report(at, column, "warning", `${message}; the line is ignored`)
    : report;
  const sections = new Sections(file, options.lenient === true, reportLine, report);
  const open = new Set<string>();
  const readLines = (lines: Iterable<Line>): void => {
    for (const line of lines) {
      const [word, ...values] = line.words;
      if (!word) continue;
      if (word.text.toLowerCase() === INCLUDE_WORD) readFolder(line, word, values[0]);
      else sections.take(word, values, line);
    }
  };
  const readFolder = (at: Place, word: Word, folder: Word | undefined): void => {
    if (!folder) return reportLine(at, word.column, "error", `${word.text} needs a folder`);
    try {
      for (const included of options.include?.(folder.text) ?? []) {
        if (open.has(included.file)) {
          report(at, folder.column, "error", `${word.text} ${folder.text}: ${included.file} includes itself`);
          continue;
        }
        open.add(included.file);
        readLines(linesOf(included.text, included.file));
        open.delete(included.file);
      }
    } catch (error) {
      report(at, folder.column, "error", `${word.text} ${folder.text}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  open.add(file);
  readLines(linesOf(text, file));
  return { config: buildConfig(file, sections, options, report), problems };
}

function* linesOf(text: string, file: string): Generator<Line> {
  for (const [index, content] of text.replace(/^\uFEFF/, "").split("\n").entries()) yield { file, line: index + 1, words: wordsOf(content) };
}

/** The sections of a file as they are read: which one a line belongs to. */
class Sections {
  readonly global: Section;
  readonly listeners: Section[] = [];
  readonly connections: ConnectionSection[] = [];
  private current: Section;

  constructor(
    file: string,
    private readonly lenient: boolean,
    /** For a line that `--lenient` leaves out. */
    private readonly reportLine: Report,
    private readonly report: Report,
  ) {
    this.global = new Section(globalKeywords, { file, line: 0 }, []);
    this.current = this.global;
  }

  take(word: Word, values: readonly Word[], at: Place): void {
    const name = word.text.toLowerCase();
    if (name === "listener") {
      this.current = new Section(listenerKeywords, at, values);
      this.listeners.push(this.current);
      if (!values[0]) this.report(at, word.column, "error", "listener needs a port");
    } else if (name === "connection") {
      const section = new ConnectionSection(connectionKeywords, at, values);
      this.current = section;
      if (this.lenient && this.connections.some(({ title }) => title[0]?.text === values[0]?.text)) {
        return this.report(at, word.column, "warning", `connection ${values[0]?.text ?? ""} is defined twice; the second one is ignored`);
      }
      this.connections.push(section);
      if (!values[0]) this.report(at, word.column, "error", "connection needs a name");
    } else if (name === "topic" && this.current instanceof ConnectionSection) {
      const topic = parseTopicLine(values, at, this.report, this.lenient);
      if (topic) this.current.topics.push(topic);
    } else if (isNotYet(name)) {
      this.report(at, word.column, "error", `${word.text} is not supported yet`);
    } else {
      // Without a keyword of TLS the daemon would be less safe than was asked for.
      takeKeyword(this.current, this.global, word, name, values, at, TLS_WORDS.has(name) ? this.report : this.reportLine);
    }
  }
}

function takeKeyword(current: Section, global: Section, word: Word, name: string, values: readonly Word[], at: Place, report: Report): void {
  const inSection = current.keyword(name);
  if (inSection) return current.take(inSection, word, values, at, report);
  const everywhere = global.keyword(name);
  if (everywhere && current instanceof ConnectionSection && tlsListenerKeywords.some((keyword) => keyword.name === name)) {
    return report(at, word.column, "error", `${word.text} belongs to a listener; a connection has bridge_${name}`);
  }
  if (everywhere) return global.take(everywhere, word, values, at, report);
  if (name === "mount_point") return report(at, word.column, "error", "mount_point belongs into a listener section: the default listener can't have one");
  const elsewhere = listenerKeywords.some((keyword) => keyword.name === name) ? "listener" : isConnectionKeyword(name) ? "connection" : undefined;
  if (elsewhere) return report(at, word.column, "error", `${word.text} belongs into a ${elsewhere} section`);
  const keywords: readonly Keyword[] = [...globalKeywords, ...listenerKeywords, ...connectionKeywords];
  const known = [...keywords.map((keyword) => keyword.name), ...keywords.flatMap(({ aliases }) => aliases)];
  const guess = nearest(name, [...known, ...notYetKeywords.flatMap(({ names }) => names), ...SECTION_WORDS]);
  report(at, word.column, "error", `unknown keyword ${word.text}${guess === undefined ? "" : `; did you mean ${guess}?`}`);
}

function isConnectionKeyword(name: string): boolean {
  return name === "topic" || connectionKeywords.some((keyword) => keyword.name === name || (keyword.aliases as readonly string[]).includes(name));
}

function buildConfig(file: string, { global, listeners, connections }: Sections, options: ParseOptions, report: Report): Config {
  const { lenient = false } = options;
  const allListeners = buildListeners(global, listeners, options, report);
  const prefix = resolve(`${global.string("persistence_location") ?? ""}x`).slice(0, -1);
  return {
    file,
    limits: {
      maxInflightMessages: Math.min(global.number("max_inflight_messages"), MAX_INFLIGHT),
      ...buildQueue(global),
      maxTotalQueuedMessages: global.number("max_total_queued_messages"),
      maxTotalQueuedBytes: global.number("max_total_queued_bytes"),
      blockTimeoutMs: global.number("block_timeout") * 1000,
      maxQueueMemoryBytes: global.number("max_queue_memory"),
      maxUncommittedBytes: global.number("max_uncommitted_bytes"),
      maxPacketSizeBytes: Math.min(global.number("max_packet_size"), MAX_PACKET_BYTES),
      storeMinFreeBytes: global.number("store_min_free"),
      maxConnectionsPerAddress: global.number("max_connections_per_address"),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      maxUnsentBytes: MAX_UNSENT_BYTES,
    },
    access: buildAccess(global, lenient, allListeners.some(({ tls }) => tls?.userFrom !== undefined), report),
    listeners: allListeners,
    connections: connections.map((section) => buildConnection(section, report)),
    persistence: global.boolean("persistence"),
    persistenceDirectory: `${prefix}amqtdd-store`,
    persistencePrefix: prefix,
    durability: global.string("durability") === "process" ? "process" : "power",
    commitIntervalMs: global.number("commit_interval_ms"),
    autosaveIntervalMs: global.number("autosave_interval") > 0 ? global.number("autosave_interval") * 1000 : Infinity,
    sessionExpiryMs: global.number("persistent_client_expiration"),
    strictStore: global.boolean("strict_store"),
    logLevel: logLevelOf(global),
    tracePackets: global.string("trace_output") === "protocol",
    remembersPackets: global.string("trace_level") !== "minimum",
    maxLogEntries: global.number("max_log_entries"),
    maxTraceEntries: global.number("max_trace_entries"),
    capturePrefix: global.string("ffdc_output") === "off" ? undefined : (pathOf(global, "ffdc_output") ?? prefix),
    logDestinations: logDestinationsOf(global, report),
    pidFile: pathOf(global, "pid_file"),
    maxKeepAliveSeconds: global.number("max_keepalive"),
    maxSessionExpiryMs: global.number("max_session_expiry_interval") * 1000,
    retainAvailable: global.boolean("retain_available"),
    allowEmptyClientId: global.boolean("allow_zero_length_clientid"),
    clientIdPrefix: global.string("auto_id_prefix") ?? "",
    connectionMessages: global.boolean("connection_messages"),
    sysIntervalMs: global.number("sys_interval") > 0 ? global.number("sys_interval") * 1000 : Infinity,
  };
}

function buildQueue(section: Section): QueueConfig {
  return {
    maxQueuedMessages: section.number("max_queued_messages"),
    maxQueuedBytes: section.number("max_queued_bytes"),
    maxQueuedAgeMs: section.number("max_queued_age"),
    queueFull: section.string("queue_full") as QueueConfig["queueFull"],
    queueQoS0: section.boolean("queue_qos0_messages"),
  };
}

const placeOf = ({ file, line }: Place): Place => ({ file, line });

function pathOf(section: Section, name: string): string | undefined {
  const value = section.string(name);
  return value === undefined ? undefined : resolve(value);
}

/** mosquitto names the kinds it wants, we the least level. */
const LEVEL_OF_TYPE: Readonly<Record<string, LogLevel>> = {
  error: "error", warning: "warning", notice: "info", information: "info", none: "fatal",
};

function logLevelOf(global: Section): LogLevel {
  if (global.has("log_level") || !global.has("log_type")) return global.string("log_level") as LogLevel;
  const levels = global.list("log_type").map(({ value }) => logLevels.indexOf(LEVEL_OF_TYPE[value] ?? "config"));
  return logLevels[Math.min(...levels)] ?? "info";
}

function logDestinationsOf(global: Section, report: Report): LogDestination[] {
  const words = global.list("log_dest");
  const destinations: LogDestination[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index];
    if (!word) continue;
    const next = words[index + 1];
    if (word.value === "none" || word.value === "stdout" || word.value === "stderr") {
      destinations.push({ kind: word.value });
    } else if (word.value === "file" && next && next.file === word.file && next.line === word.line) {
      destinations.push({ kind: "file", path: resolve(next.value) });
      index += 1;
    } else {
      report(word, word.column, "warning", `log_dest ${word.value} is not supported; wanted is stdout, stderr, none or file PATH`);
    }
  }
  return destinations.length > 0 ? destinations : [{ kind: "stdout" }];
}

/** `provesUsers`: clients of some listener have user names without a password, from certificates or keys. */
function buildAccess(global: Section, lenient: boolean, provesUsers: boolean, report: Report): AccessConfig {
  const passwordFile = pathOf(global, "password_file");
  const aclFile = pathOf(global, "acl_file");
  const aclStyle = global.string("acl_style") as AclStyle | undefined;
  const allowAnonymous = global.optionalBoolean("allow_anonymous") ?? passwordFile === undefined;
  if (!allowAnonymous && passwordFile === undefined && !provesUsers) {
    const at = global.place("allow_anonymous");
    // The original let everybody in.
    report(at, at.column, lenient ? "warning" : "error", "allow_anonymous false needs a password_file: without one nobody could connect");
  }
  if (aclFile !== undefined && passwordFile === undefined && !provesUsers && aclStyle !== "mosquitto") {
    const at = global.place("acl_file");
    report(at, at.column, "error", "acl_file needs a password_file; with acl_style mosquitto its rules for anonymous clients and client identifiers hold without one");
  }
  return { passwordFile, allowAnonymous: allowAnonymous || (passwordFile === undefined && !provesUsers), provesUsers, aclFile, aclStyle, clientIdPrefixes: global.list("clientid_prefixes").map(({ value }) => value) };
}

/** The default listener exists if one of its keywords is given, or if there is no other; it is opened last. */
function buildListeners(global: Section, sections: readonly Section[], { port, lenient = false }: ParseOptions, report: Report): ListenerConfig[] {
  const listeners = sections.map((section) => buildListener(section, global, lenient, report));
  const wanted = port !== undefined || ["port", "bind_address", "max_connections", "ipv6", ...tlsListenerKeywords.map(({ name }) => name)].some((name) => global.has(name));
  if (wanted || sections.length === 0) {
    listeners.push({
      port: port ?? global.number("port"),
      host: global.string("bind_address"),
      ipv6: global.optionalBoolean("ipv6"),
      mountPoint: "",
      maxConnections: global.number("max_connections"),
      protocol: "mqtt",
      httpDirectory: undefined,
      httpPlace: global.place("http_dir"),
      webSocketOrigins: [],
      maxHttpHeaderBytes: headerBytesOf(global),
      ...buildOptions(global, global),
      ...buildServerTls(global, global, report),
      ...placeOf(global.place("port")),
    });
  }
  return listeners;
}

const headerBytesOf = (global: Section): number => global.number("websockets_headers_size") || DEFAULT_HTTP_HEADER_BYTES;

function buildListener(section: Section, global: Section, lenient: boolean, report: Report): ListenerConfig {
  const [portWord, addressWord, protocolWord] = section.title;
  const port = Number(portWord?.text);
  if (portWord && !(/^\d+$/.test(portWord.text) && port >= 1 && port <= 65535)) {
    report(section, portWord.column, "error", `listener ${portWord.text}: wanted is a port number`);
  }
  const protocolText = protocolWord?.text.toLowerCase() ?? section.string("protocol");
  const protocol = listenerProtocols.find((name) => name === protocolText);
  if (protocolWord && !protocol) {
    const message = `listener protocol ${protocolWord.text}: wanted is one of ${listenerProtocols.join(", ")}`;
    // Who writes mqtts wants TLS, or, in the original, another transport: MQTT as it is would be less than was asked for.
    const isPassedOver = lenient && protocolText !== "mqtts";
    report(section, protocolWord.column, isPassedOver ? "warning" : "error", isPassedOver ? `${message}; taken as mqtt` : message);
  }
  const address = addressWord?.text === "INADDR_ANY" ? undefined : addressWord?.text.replace(/^\[(.*)\]$/, "$1");
  return {
    port,
    host: address ?? section.string("bind_address"),
    ipv6: section.has("socket_domain") ? section.string("socket_domain") === "ipv6" : section.optionalBoolean("ipv6"),
    mountPoint: section.string("mount_point") ?? "",
    maxConnections: section.number("max_connections"),
    protocol: protocol ?? "mqtt",
    httpDirectory: pathOf(section, "http_dir"),
    httpPlace: section.place("http_dir"),
    webSocketOrigins: section.list("websockets_origin").map(({ value }) => value),
    maxHttpHeaderBytes: headerBytesOf(global),
    ...buildOptions(section, global),
    ...buildServerTls(section, global, report),
    ...placeOf(section),
  };
}

/** What a section does not say the global keywords say. */
function buildOptions(section: Section, global: Section): Omit<ListenerOptions, "maxConnections"> {
  const from = (name: string): Section => (section.has(name) ? section : global);
  return {
    protocolVersions: (from("accept_protocol_versions").string("accept_protocol_versions") ?? "").split(",").map((text) => Number(text) as ProtocolVersion),
    maxQoS: from("max_qos").number("max_qos") as QoS,
    maxTopicAlias: from("max_topic_alias").number("max_topic_alias"),
  };
}

function buildProxy(section: Section, report: Report): ProxyConfig | undefined {
  const text = section.string("bridge_proxy");
  const proxy = text === undefined ? undefined : parseProxy(text);
  const at = section.place("bridge_proxy");
  // Not with its value: it may hold a password.
  if (text !== undefined && !proxy) report(at, at.column, "error", "bridge_proxy: wanted is http://[user:password@]host:port");
  return proxy;
}

function buildConnection(section: ConnectionSection, report: Report): ConnectionConfig {
  const addresses: AddressConfig[] = [];
  const usual = trustsSomebody(section) ? "mqtts" : "mqtt";
  for (const given of section.list("address")) {
    const address = parseAddress(given.value, usual);
    if (address) addresses.push(address);
    else report(given, given.column, "error", `address ${given.value}: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing`);
  }
  const maxReconnectSeconds = section.optionalNumber("max_reconnect_interval");
  return {
    name: section.title[0]?.text ?? "",
    addresses,
    dial: { ...buildClientTls(section, addresses, report), proxy: buildProxy(section, report) },
    topics: section.topics,
    clientId: section.string("clientid"),
    cleanSession: section.optionalBoolean("cleansession") ?? addresses.length > 1,
    keepAliveMs: Math.max(section.number("keepalive_interval"), MIN_KEEP_ALIVE_SECONDS) * 1000,
    notifications: section.boolean("notifications"),
    notificationTopic: section.string("notification_topic"),
    username: section.string("username"),
    password: section.string("password"),
    tryPrivate: section.boolean("try_private"),
    roundRobin: section.boolean("round_robin"),
    reconnectIntervalMs: section.number("reconnect_interval") * 1000,
    maxReconnectIntervalMs: maxReconnectSeconds === undefined ? undefined : maxReconnectSeconds * 1000,
    connectTimeoutMs: section.number("connect_timeout") * 1000,
    startType: section.string("start_type") as ConnectionConfig["startType"],
    threshold: section.number("threshold"),
    idleTimeoutMs: section.number("idle_timeout") * 1000,
    maxAgeMs: section.number("max_age") * 1000,
    notificationsLocalOnly: section.boolean("notifications_local_only"),
    protocolVersion: bridgeProtocols.get(section.string("bridge_protocol_version") ?? "") ?? 4,
    sessionExpirySeconds: section.number("bridge_session_expiry_interval"),
    receiveMaximum: section.number("bridge_receive_maximum"),
    maxTopicAlias: section.number("bridge_max_topic_alias"),
    maxSentPacketBytes: section.number("bridge_max_packet_size"),
    outgoingRetain: section.boolean("bridge_outgoing_retain"),
    queue: buildQueue(section),
    drain: { messagesPerSecond: section.number("drain_rate"), bytesPerSecond: section.number("drain_rate_bytes") },
    ...placeOf(section),
  };
}
