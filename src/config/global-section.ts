import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { AclStyle } from "../access/acl-file.ts";
import { logLevels, type LogLevel } from "../log/console.ts";
import type { AccessConfig, Config, ListenerConfig, LogDestination } from "./config.ts";
import { buildConnection } from "./connection-section.ts";
import { buildListeners } from "./listener-section.ts";
import type { ParseOptions } from "./parse-options.ts";
import { buildQueue } from "./queue-keywords.ts";
import type { Report, Section } from "./section.ts";
import type { Sections } from "./sections.ts";

/** The window has to fit four times into the packet identifiers of a lane. */
const MAX_INFLIGHT = 4096;
const MAX_PACKET_BYTES = 268_435_460;
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_UNSENT_BYTES = 4 * 1024 * 1024;

/** The configuration that the sections of a file make together. */
export function buildConfig(file: string, { global, listeners, connections }: Sections, options: ParseOptions, report: Report): Config {
  const { lenient = false } = options;
  const allListeners = buildListeners(global, listeners, options, report);
  if (global.boolean("per_listener_settings") && allListeners.length > 1) {
    const at = global.place("per_listener_settings");
    report(at, at.column, "error", "per_listener_settings true is not supported with more than one listener: access rules hold for all");
  }
  const location = global.string("persistence_location") ?? "";
  const prefix = resolve(`${location}x`).slice(0, -1);
  // mosquitto puts the / behind it itself; the original's prefix may be meant so.
  if (location !== "" && !location.endsWith("/") && isFolder(location)) {
    const at = global.place("persistence_location");
    report(at, at.column, "warning", `persistence_location ${location} is a folder, and the store will be ${prefix}amqtdd-store: end it in / to have the store inside`);
  }
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
      maxConnections: global.number("global_max_connections"),
      maxClients: global.number("global_max_clients"),
      maxConnectionsPerAddress: global.number("max_connections_per_address"),
      maxConnectBytes: global.number("packet_max_connect"),
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      maxUnsentBytes: MAX_UNSENT_BYTES,
    },
    access: buildAccess(global, lenient, allListeners, report),
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
    capturePrefix: global.string("ffdc_output") === "off" ? undefined : (global.path("ffdc_output") ?? prefix),
    logDestinations: logDestinationsOf(global, report),
    pidFile: global.path("pid_file"),
    maxKeepAliveSeconds: global.number("max_keepalive"),
    maxSessionExpiryMs: global.number("max_session_expiry_interval") * 1000,
    retainAvailable: global.boolean("retain_available"),
    allowEmptyClientId: global.boolean("allow_zero_length_clientid"),
    connectionMessages: global.boolean("connection_messages"),
    sysIntervalMs: global.number("sys_interval") > 0 ? global.number("sys_interval") * 1000 : Infinity,
  };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
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

function buildAccess(global: Section, lenient: boolean, listeners: readonly ListenerConfig[], report: Report): AccessConfig {
  const provesUsers = listeners.some(({ tls }) => tls?.userFrom !== undefined);
  const opensOne = listeners.some((listener) => listener.allowAnonymous === true);
  const passwordFile = global.path("password_file");
  const aclFile = global.path("acl_file");
  const aclStyle = global.string("acl_style") as AclStyle | undefined;
  const isOpen = global.optionalBoolean("allow_anonymous");
  const allowAnonymous = isOpen ?? passwordFile === undefined;
  const servesNamed = passwordFile !== undefined || provesUsers;
  const servesNobody = !allowAnonymous && !servesNamed && !opensOne;
  if (servesNobody) {
    const at = global.place("allow_anonymous");
    // The original let everybody in.
    report(at, at.column, lenient ? "warning" : "error", "allow_anonymous false needs a password_file: without one nobody could connect");
  }
  // With the original there are no rules without users; who says that anonymous clients are served means the rules for them.
  if (aclFile !== undefined && !servesNamed && aclStyle !== "mosquitto" && isOpen !== true && !opensOne) {
    const at = global.place("acl_file");
    report(at, at.column, "error", "acl_file needs a password_file; with allow_anonymous true its rules for anonymous clients and client identifiers hold without one");
  }
  return { passwordFile, allowAnonymous: allowAnonymous || servesNobody, provesUsers, aclFile, aclStyle, clientIdPrefixes: global.list("clientid_prefixes").map(({ value }) => value) };
}
