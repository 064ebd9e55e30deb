import type { AclStyle } from "../access/acl-file.ts";
import type { LogLevel } from "../log/console.ts";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import type { TlsSubject } from "../tls/material.ts";
import type { ClientTls, ServerTls } from "../tls/settings.ts";

/** What one receiver's queue may hold beyond the in-flight window. Unlimited is `Infinity`. */
export interface QueueConfig {
  readonly maxQueuedMessages: number;
  /** Of their records. */
  readonly maxQueuedBytes: number;
  readonly maxQueuedAgeMs: number;
  /** What happens to a message that a limit has no room for; `block`: its publisher waits. */
  readonly queueFull: "drop_oldest" | "drop_newest" | "block";
  /** Whether messages of QoS 0 wait, in RAM, for a receiver that is away or does not keep up. */
  readonly queueQoS0: boolean;
}

/** How fast what waits for a connection is sent. Unlimited is `Infinity`. */
export interface DrainConfig {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** Bounds on what the daemon holds for others; the queues are clients'. Unlimited is `Infinity`. */
export interface Limits extends QueueConfig {
  /** Messages of QoS 1 and 2 on their way to one receiver without its acknowledgement. */
  readonly maxInflightMessages: number;
  /** What is kept for all clients together. */
  readonly maxTotalQueuedMessages: number;
  readonly maxTotalQueuedBytes: number;
  /** How long a publisher waits for room in a queue with `block`. */
  readonly blockTimeoutMs: number;
  /** RAM that all queues share; what is stored beyond it is read back when its turn comes. */
  readonly maxQueueMemoryBytes: number;
  /** Bytes taken from publishers and not yet on disk. */
  readonly maxUncommittedBytes: number;
  /** Largest packet taken from a peer. */
  readonly maxPacketSizeBytes: number;
  /** Free room on the store's disk below which it counts as full. */
  readonly storeMinFreeBytes: number;
  /** Largest CONNECT taken; what a stranger announces beyond it is refused unread. */
  readonly maxConnectBytes: number;
  /** Time a new connection has for its CONNECT. */
  readonly connectTimeoutMs: number;
  /** Clients that are connected at a time, to all listeners together. */
  readonly maxConnections: number;
  /** Clients that are connected or have a session that waits for them. */
  readonly maxClients: number;
  /** Connections from one address (IPv6: from one /64) at a time, to all listeners together. */
  readonly maxConnectionsPerAddress: number;
  /** Output that waits for a peer to read it before QoS 0 for it is dropped and nothing is read from it. */
  readonly maxUnsentBytes: number;
}

/** Where something stands: in the configuration file or in one that it includes. */
export interface Place {
  readonly file: string;
  /** Counts from 1; 0 for what no line says. */
  readonly line: number;
}

/** What the clients of a listener may have; all of it can change while the listener is open. */
export interface ListenerOptions {
  readonly maxConnections: number;
  readonly protocolVersions: readonly ProtocolVersion[];
  /** Highest QoS that is taken from them and granted to them. */
  readonly maxQoS: QoS;
  /** Topic aliases that a client of MQTT 5 may use. */
  readonly maxTopicAlias: number;
  /** Topic aliases that it is sent. */
  readonly maxTopicAliasSent: number;
  /** Whether a client's user name stands in for its client identifier. */
  readonly userNameIsClientId: boolean;
  /** Beginning of the identifiers that we give. */
  readonly clientIdPrefix: string;
  /** Whether clients without a user name are served; undefined: as the rules of access say. */
  readonly allowAnonymous: boolean | undefined;
}

export interface ListenerConfig extends Place, ListenerOptions {
  /** 0 with a Unix socket. */
  readonly port: number;
  /** A Unix socket instead of a port. */
  readonly socketPath?: string;
  /** Undefined: all addresses. */
  readonly host: string | undefined;
  /** The network interface whose addresses these have to be; undefined: any. */
  readonly bindInterface: string | undefined;
  readonly ipv6: boolean | undefined;
  readonly mountPoint: string;
  /** auto: told apart by the first byte. */
  readonly protocol: ListenerProtocol;
  /** Folder served over HTTP; undefined: none. */
  readonly httpDirectory: string | undefined;
  readonly httpPlace: Place & { readonly column: number };
  /** Origins from which a WebSocket may be opened; none: all. */
  readonly webSocketOrigins: readonly string[];
  /** Longest head of an HTTP request. */
  readonly maxHttpHeaderBytes: number;
  /** Undefined: TCP alone. */
  readonly tls: ServerTls | undefined;
  readonly tlsPlaces: TlsPlaces;
}

export const listenerProtocols = ["mqtt", "websockets", "auto"] as const;
export type ListenerProtocol = (typeof listenerProtocols)[number];

/** What is spoken at an address: MQTT on TCP or TLS, or over a WebSocket on either. */
export type Scheme = "mqtt" | "mqtts" | "ws" | "wss";

export interface AddressConfig {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
  /** Of the WebSocket, with its query; empty without one. */
  readonly path: string;
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
  /** For the addresses where TLS is spoken; undefined if there are none. */
  readonly tls: ClientTls | undefined;
  readonly tlsPlaces: TlsPlaces;
  /** The HTTP proxy that is asked for a tunnel; undefined: none. */
  readonly proxy: ProxyConfig | undefined;
  /** Address that we dial from; undefined: the system chooses. */
  readonly localAddress: string | undefined;
}

export interface ProxyConfig {
  readonly host: string;
  readonly port: number;
  /** `user:password`, if the proxy wants them. */
  readonly credentials: string | undefined;
}

/** A keyword and where its value stands. */
export interface KeywordPlace extends Place {
  readonly keyword: string;
  readonly column: number;
}

/** Where the settings of TLS stand, for what is found out about the files that they name. */
export type TlsPlaces = ReadonlyMap<TlsSubject, KeywordPlace>;

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
  readonly protocolVersion: ProtocolVersion;
  /** MQTT 5: how long the remote is to keep our session without a connection; 4294967295: for ever. */
  readonly sessionExpirySeconds: number;
  /** MQTT 5: what the remote may send unacknowledged. */
  readonly receiveMaximum: number;
  /** MQTT 5: aliases that the remote may use for its topics. */
  readonly maxTopicAlias: number;
  /** Largest packet that is sent to the remote, whatever it takes. */
  readonly maxSentPacketBytes: number;
  readonly outgoingRetain: boolean;
  readonly queue: QueueConfig;
  readonly drain: DrainConfig;
}

/** Where the rules of access stand. */
export interface AccessConfig {
  readonly passwordFile: string | undefined;
  /** Where a listener does not say otherwise. */
  readonly allowAnonymous: boolean;
  /** Clients of some listener have user names that are in no password file: certificates or keys prove them. */
  readonly provesUsers: boolean;
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
  /** Longest keep alive of a client; Infinity: also none. */
  readonly maxKeepAliveSeconds: number;
  /** What a client's session expiry interval is cut to. */
  readonly maxSessionExpiryMs: number;
  /** Whether messages may be published with RETAIN. */
  readonly retainAvailable: boolean;
  /** Whether a client of MQTT 3.1.1 or 5 may leave its identifier to us. */
  readonly allowEmptyClientId: boolean;
  readonly connectionMessages: boolean;
  /** Figures below $SYS are published so often; Infinity: at the start only. */
  readonly sysIntervalMs: number;
}

/** Something that is wrong with a configuration file. Columns count from 1. */
export interface Problem extends Place {
  readonly column: number;
  readonly severity: "error" | "warning" | "note";
  readonly message: string;
}

/** Line 0 is the default listener, which stands nowhere. */
export const problemText = ({ file, line, column, severity, message }: Problem): string =>
  `${file}${line === 0 ? "" : `:${line}:${column}`}: ${severity}: ${message}`;
