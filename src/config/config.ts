import type { LogLevel } from "../log/console.ts";
import type { QoS } from "../mqtt/protocol.ts";

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

export interface ListenerConfig {
  readonly port: number;
  /** Undefined: all addresses. */
  readonly host: string | undefined;
  readonly ipv6: boolean | undefined;
  readonly mountPoint: string;
  readonly maxConnections: number;
  readonly line: number;
}

export interface AddressConfig {
  readonly host: string;
  readonly port: number;
}

/** One `topic` line of a connection. */
export interface TopicLine {
  readonly pattern: string;
  readonly direction: "in" | "out" | "both";
  readonly qos: QoS;
  readonly localPrefix: string;
  readonly remotePrefix: string;
  readonly priority: "high" | "normal" | "low";
  readonly line: number;
  /** Column of the pattern. */
  readonly column: number;
}

export interface ConnectionConfig {
  readonly name: string;
  readonly addresses: readonly AddressConfig[];
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
  readonly line: number;
}

export interface Config {
  /** Undefined: the embedded default. */
  readonly file: string | undefined;
  readonly limits: Limits;
  readonly listeners: readonly ListenerConfig[];
  readonly connections: readonly ConnectionConfig[];
  readonly persistence: boolean;
  readonly persistenceDirectory: string;
  readonly durability: "power" | "process";
  readonly commitIntervalMs: number;
  /** Retained messages of QoS 0 are synced at the latest after this; Infinity: not on their own. */
  readonly autosaveIntervalMs: number;
  readonly strictStore: boolean;
  readonly logLevel: LogLevel;
  readonly connectionMessages: boolean;
}

/** Something that is wrong with a configuration file. Columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly severity: "error" | "warning";
  readonly message: string;
}

export const problemText = ({ file, line, column, severity, message }: Problem): string => `${file}:${line}:${column}: ${severity}: ${message}`;
