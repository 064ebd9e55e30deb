import type { AclStyle } from "../access/acl-file.ts";
import type { LogLevel } from "../log/console.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { ClientTls, ServerTls } from "../tls/settings.ts";

/** Bounds on what the daemon holds for others. Unlimited is `Infinity`. */
export interface Limits {
  /** Messages of QoS 1 and 2 on their way to one receiver without its acknowledgement. */
  readonly maxInflightMessages: number;
  /** Messages kept for one client beyond its in-flight window. */
  readonly maxQueuedMessages: number;
  /** RAM that all queues share; what is stored beyond it is read back when its turn comes. */
  readonly maxQueueMemoryBytes: number;
  /** Bytes taken from publishers and not yet on disk. */
  readonly maxUncommittedBytes: number;
  /** Largest packet taken from a peer. */
  readonly maxPacketSizeBytes: number;
  /** Free room on the store's disk below which it counts as full. */
  readonly storeMinFreeBytes: number;
  /** Time a new connection has for its CONNECT. */
  readonly connectTimeoutMs: number;
  /** Output that waits for a peer to read it before QoS 0 for it is dropped and nothing is read from it. */
  readonly maxUnsentBytes: number;
}

/** Where something stands: in the configuration file or in one that it includes. */
export interface Place {
  readonly file: string;
  /** Counts from 1; 0 for what no line says. */
  readonly line: number;
}

export interface ListenerConfig extends Place {
  readonly port: number;
  /** Undefined: all addresses. */
  readonly host: string | undefined;
  readonly ipv6: boolean | undefined;
  readonly mountPoint: string;
  readonly maxConnections: number;
  /** Undefined: TCP alone. */
  readonly tls: ServerTls | undefined;
}

export interface AddressConfig {
  readonly host: string;
  readonly port: number;
}

/** One `topic` line of a connection. */
export interface TopicLine extends Place {
  readonly pattern: string;
  readonly direction: "in" | "out" | "both";
  readonly qos: QoS;
  readonly localPrefix: string;
  readonly remotePrefix: string;
  readonly priority: "high" | "normal" | "low";
  /** Column of the pattern. */
  readonly column: number;
}

/** How a connection's addresses are dialled. */
export interface DialConfig {
  /** Undefined: TCP alone. */
  readonly tls: ClientTls | undefined;
}

export interface ConnectionConfig extends Place {
  readonly name: string;
  readonly addresses: readonly AddressConfig[];
  readonly dial: DialConfig;
  readonly topics: readonly TopicLine[];
  readonly clientId: string | undefined;
  /** Speaks of the session at the remote only. Default: true with more than one address. */
  readonly cleanSession: boolean;
  readonly keepAliveMs: number;
  readonly notifications: boolean;
  readonly notificationTopic: string | undefined;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tryPrivate: boolean;
  readonly roundRobin: boolean;
  readonly reconnectIntervalMs: number;
  readonly maxReconnectIntervalMs: number | undefined;
  readonly connectTimeoutMs: number;
  readonly startType: "automatic" | "manual" | "lazy" | "once";
  /** Queued messages that start a lazy connection, and the age of the oldest that does; 0: none does. */
  readonly threshold: number;
  readonly maxAgeMs: number;
  /** Silence that ends a lazy connection. */
  readonly idleTimeoutMs: number;
  readonly notificationsLocalOnly: boolean;
  /** The first that is tried. */
  readonly protocolVersion: 3 | 4;
  readonly outgoingRetain: boolean;
}

/** Where the rules of access stand. */
export interface AccessConfig {
  readonly passwordFile: string | undefined;
  readonly allowAnonymous: boolean;
  readonly aclFile: string | undefined;
  /** Undefined: the file's own words decide. */
  readonly aclStyle: AclStyle | undefined;
  readonly clientIdPrefixes: readonly string[];
}

export type LogDestination = { readonly kind: "stdout" | "stderr" | "none" } | { readonly kind: "file"; readonly path: string };

export interface Config {
  /** Undefined: the embedded default. */
  readonly file: string | undefined;
  readonly limits: Limits;
  readonly access: AccessConfig;
  readonly listeners: readonly ListenerConfig[];
  readonly connections: readonly ConnectionConfig[];
  readonly persistence: boolean;
  /** What stands before the names of our files: a folder with its slash, or the beginning of their names. */
  readonly persistencePrefix: string;
  readonly persistenceDirectory: string;
  readonly durability: "power" | "process";
  readonly commitIntervalMs: number;
  /** Retained messages of QoS 0 are synced at the latest after this; Infinity: not on their own. */
  readonly autosaveIntervalMs: number;
  /** A client's session ends when it has been without a connection for so long; Infinity: never. */
  readonly sessionExpiryMs: number;
  readonly strictStore: boolean;
  readonly logLevel: LogLevel;
  /** Whether each packet is written to the console. */
  readonly tracePackets: boolean;
  /** Whether packets are remembered for `trace_dump` and capture files. */
  readonly remembersPackets: boolean;
  readonly maxLogEntries: number;
  readonly maxTraceEntries: number;
  /** What stands before the names of capture files; undefined: none are written. */
  readonly capturePrefix: string | undefined;
  readonly logDestinations: readonly LogDestination[];
  readonly pidFile: string | undefined;
  /** Whether a client of MQTT 3.1.1 may leave its identifier to us. */
  readonly allowEmptyClientId: boolean;
  /** Beginning of the identifiers that we give. */
  readonly clientIdPrefix: string;
  readonly connectionMessages: boolean;
  /** Figures below $SYS are published so often; Infinity: at the start only. */
  readonly sysIntervalMs: number;
}

/** Something that is wrong with a configuration file. Columns count from 1. */
export interface Problem extends Place {
  readonly column: number;
  readonly severity: "error" | "warning";
  readonly message: string;
}

/** Line 0 is the default listener, which stands nowhere. */
export const problemText = ({ file, line, column, severity, message }: Problem): string =>
  `${file}${line === 0 ? "" : `:${line}:${column}`}: ${severity}: ${message}`;
