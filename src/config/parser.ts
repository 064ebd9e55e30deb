import { resolve } from "node:path";
import type { LogLevel } from "../log/console.ts";
import { parseAddress } from "./address.ts";
import type { AddressConfig, Config, ConnectionConfig, ListenerConfig, Problem, TopicLine } from "./config.ts";
import { connectionKeywords } from "./keywords/connection.ts";
import { globalKeywords } from "./keywords/global.ts";
import { listenerKeywords } from "./keywords/listener.ts";
import { wordsOf, type Word } from "./lexer.ts";
import { nearest } from "./nearest.ts";
import { Section, type Report } from "./section.ts";
import { parseTopicLine } from "./topic-line.ts";

const MAX_PACKET_BYTES = 268_435_460;
const MIN_KEEP_ALIVE_SECONDS = 5;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;
const LISTENER_PROTOCOLS = ["mqtt"];

/** Keywords of the original or of mosquitto whose meaning must not be passed over in silence. */
const NOT_YET = new Set([
  "password_file", "acl_file", "clientid_prefixes", "mqtt-multiplex", "mqtts", "idle_timeout", "threshold", "protocol", "multicast_groups",
  "advertise", "loopback", "cafile", "capath", "certfile", "keyfile", "require_certificate", "bridge_cafile", "bridge_capath", "psk_file",
]);

const SECTION_WORDS = ["listener", "connection", "topic"];

class ConnectionSection extends Section {
  readonly topics: TopicLine[] = [];
}

export interface ParseOptions {
  /** Port of the default listener, instead of the file's. */
  readonly port?: number;
  /** Unknown keywords and bad values are warned of and left out, as the original did. */
  readonly lenient?: boolean;
}

/**
 * Reads a configuration file: the original's grammar (a keyword and its values a line, sections, `#` comments, quotes), keywords in any case.
 * The configuration is usable only if no problem is an error.
 */
export function parseConfig(text: string, file: string, { port, lenient }: ParseOptions = {}): { config: Config; problems: Problem[] } {
  const problems: Problem[] = [];
  const report: Report = (line, column, severity, message) => problems.push({ file, line, column, severity, message });
  const reportLine: Report = lenient
    ? (line, column, _severity, message) => report(line, column, "warning", `${message}; the line is ignored`)
    : report;
  const global = new Section(globalKeywords, 0, []);
  const listeners: Section[] = [];
  const connections: ConnectionSection[] = [];
  let current: Section = global;
  text.split("\n").forEach((content, index) => {
    const line = index + 1;
    const [word, ...values] = wordsOf(content);
    if (!word) return;
    const name = word.text.toLowerCase();
    if (name === "listener") {
      current = new Section(listenerKeywords, line, values);
      listeners.push(current);
      if (!values[0]) report(line, word.column, "error", "listener needs a port");
    } else if (name === "connection") {
      const section = new ConnectionSection(connectionKeywords, line, values);
      current = section;
      connections.push(section);
      if (!values[0]) report(line, word.column, "error", "connection needs a name");
    } else if (name === "topic" && current instanceof ConnectionSection) {
      const topic = parseTopicLine(values, line, reportLine);
      if (topic) current.topics.push(topic);
    } else {
      if (NOT_YET.has(name)) report(line, word.column, "error", `${word.text} is not supported yet`);
      else takeKeyword(current, global, word, name, values, line, reportLine);
    }
  });
  return { config: buildConfig(file, global, listeners, connections, port, report), problems };
}

function takeKeyword(current: Section, global: Section, word: Word, name: string, values: readonly Word[], line: number, report: Report): void {
  const inSection = current.keyword(name);
  if (inSection) return current.take(inSection, word, values, line, report);
  const everywhere = global.keyword(name);
  if (everywhere) return global.take(everywhere, word, values, line, report);
  if (name === "mount_point") return report(line, word.column, "error", "mount_point belongs into a listener section: the default listener can't have one");
  const elsewhere = listenerKeywords.some((keyword) => keyword.name === name) ? "listener" : isConnectionKeyword(name) ? "connection" : undefined;
  if (elsewhere) return report(line, word.column, "error", `${word.text} belongs into a ${elsewhere} section`);
  const known = [...globalKeywords, ...listenerKeywords, ...connectionKeywords].map((keyword): string => keyword.name);
  const guess = nearest(name, [...known, ...NOT_YET, ...SECTION_WORDS]);
  report(line, word.column, "error", `unknown keyword ${word.text}${guess === undefined ? "" : `; did you mean ${guess}?`}`);
}

function isConnectionKeyword(name: string): boolean {
  return name === "topic" || connectionKeywords.some((keyword) => keyword.name === name || (keyword.aliases as readonly string[]).includes(name));
}

function buildConfig(
  file: string, global: Section, listeners: readonly Section[], connections: readonly ConnectionSection[], port: number | undefined, report: Report,
): Config {
  if (!global.boolean("allow_anonymous")) {
    const { line, column } = global.place("allow_anonymous");
    report(line, column, "error", "allow_anonymous false needs a password_file, which is not supported yet");
  }
  const prefix = global.string("persistence_location") ?? "";
  return {
    file,
    limits: {
      maxInflightMessages: global.number("max_inflight_messages"),
      maxQueuedMessages: global.number("max_queued_messages"),
      maxQueueMemoryBytes: global.number("max_queue_memory"),
      maxUncommittedBytes: global.number("max_uncommitted_bytes"),
      maxPacketSizeBytes: Math.min(global.number("max_packet_size"), MAX_PACKET_BYTES),
      storeMinFreeBytes: global.number("store_min_free"),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      maxUnsentBytes: MAX_UNSENT_BYTES,
    },
    listeners: buildListeners(global, listeners, port, report),
    connections: connections.map((section) => buildConnection(section, report)),
    persistence: global.boolean("persistence"),
    persistenceDirectory: resolve(`${prefix}amqtdd-store`),
    durability: global.string("durability") === "process" ? "process" : "power",
    commitIntervalMs: global.number("commit_interval_ms"),
    autosaveIntervalMs: global.number("autosave_interval") > 0 ? global.number("autosave_interval") * 1000 : Infinity,
    strictStore: global.boolean("strict_store"),
    logLevel: global.string("log_level") as LogLevel,
    connectionMessages: global.boolean("connection_messages"),
  };
}

/** The default listener exists if one of its keywords is given, or if there is no other; it is opened last. */
function buildListeners(global: Section, sections: readonly Section[], port: number | undefined, report: Report): ListenerConfig[] {
  const listeners = sections.map((section) => buildListener(section, report));
  const wanted = port !== undefined || ["port", "bind_address", "max_connections", "ipv6"].some((name) => global.has(name));
  if (wanted || sections.length === 0) {
    listeners.push({
      port: port ?? global.number("port"),
      host: global.string("bind_address"),
      ipv6: global.optionalBoolean("ipv6"),
      mountPoint: "",
      maxConnections: global.number("max_connections"),
      line: global.place("port").line,
    });
  }
  return listeners;
}

function buildListener(section: Section, report: Report): ListenerConfig {
  const [portWord, addressWord, protocolWord] = section.title;
  const port = Number(portWord?.text);
  if (portWord && !(Number.isInteger(port) && port >= 1 && port <= 65535)) {
    report(section.line, portWord.column, "error", `listener ${portWord.text}: wanted is a port number`);
  }
  if (protocolWord && !LISTENER_PROTOCOLS.includes(protocolWord.text.toLowerCase())) {
    report(section.line, protocolWord.column, "error", `listener protocol ${protocolWord.text} is not supported yet; wanted is mqtt`);
  }
  const address = addressWord?.text === "INADDR_ANY" ? undefined : addressWord?.text.replace(/^\[(.*)\]$/, "$1");
  return {
    port,
    host: address ?? section.string("bind_address"),
    ipv6: section.optionalBoolean("ipv6"),
    mountPoint: section.string("mount_point") ?? "",
    maxConnections: section.number("max_connections"),
    line: section.line,
  };
}

function buildConnection(section: ConnectionSection, report: Report): ConnectionConfig {
  const addresses: AddressConfig[] = [];
  for (const { value, line, column } of section.list("address")) {
    const address = parseAddress(value);
    if (address) addresses.push(address);
    else report(line, column, "error", `address ${value}: wanted is host or host:port`);
  }
  const maxReconnectSeconds = section.optionalNumber("max_reconnect_interval");
  return {
    name: section.title[0]?.text ?? "",
    addresses,
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
    line: section.line,
  };
}
