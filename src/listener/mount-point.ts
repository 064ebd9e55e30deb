import type { Access } from "../access/access.ts";
import type { Broker } from "../broker/broker.ts";
import type { Clock } from "../clock/clock.ts";
import type { AckGate } from "../link/ack-gate.ts";
import type { LinkLimits } from "../link/link.ts";
import type { Strangers } from "../link/strangers.ts";
import type { ListenerOptions } from "../config/config.ts";
import type { ReasonCode } from "../mqtt/reason.ts";
import type { Log } from "../log/console.ts";
import { MountedTopics } from "../topic/topic-table.ts";
import type { Logins } from "./logins.ts";

export interface ListenerSettings {
  readonly maxInflightMessages: number;
  /** Largest CONNECT taken; what a stranger announces beyond it is refused unread. */
  readonly maxConnectBytes: number;
  /** Time a new connection has to send its CONNECT. */
  readonly connectTimeoutMs: number;
  /** Clients that are connected at a time, to all listeners together. */
  readonly maxConnections: number;
  /** Clients that are connected or have a session that waits for them. */
  readonly maxClients: number;
  readonly connectionMessages: boolean;
  readonly allowEmptyClientId: boolean;
  readonly maxKeepAliveSeconds: number;
  /** What a client's session expiry interval is cut to, and what ends sessions whatever that is. */
  readonly maxSessionExpiryMs: number;
  readonly sessionExpiryMs: number;
  readonly retainAvailable: boolean;
}

export interface ListenerContext {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly log: Log;
  readonly gate: AckGate;
  readonly linkLimits: LinkLimits;
  /** As they are now: a reload changes them. */
  readonly settings: ListenerSettings;
  /** The part behind the configured prefix. */
  newClientId(): string;
  /** Clients that have passed CONNECT, of all listeners together. */
  readonly connected: { clients: number };
  readonly strangers: Strangers;
  readonly logins: Logins;
}

/** A connection as its listener sees it. */
export interface OpenConnection {
  readonly clientId: string;
  /** Whether its CONNECT has been accepted. */
  readonly isConnected: boolean;
  /** Its CONNECT has come and its password is being checked, or was wrong and the answer waits. */
  readonly isAuthenticating: boolean;
  readonly connectedAtMs: number;
  /** How long nothing has been heard of it. */
  silentMs(nowMs: number): number;
  /** Silence for longer than this ends it; 0: never. */
  readonly keepAliveMs: number;
  /** Ends the connection from our side; its will is published. */
  close(text: string, code?: ReasonCode): void;
  /** The rules of access have changed: ends the connection if they no longer admit it. */
  recheckAccess(before: Access): void;
  /** The daemon stops. The client has not said goodbye: its will is published [MQTT-3.1.2-8]. */
  shutDown(): void;
}

/** What the connections of one listener share: its mount point, its limits, who is connected. */
export class MountPoint {
  readonly prefixBytes: Buffer;
  readonly topics: MountedTopics;
  readonly open = new Set<OpenConnection>();
  /** Connections that have passed CONNECT. */
  connected = 0;

  constructor(
    /** As the log names it: a Unix socket by its path. */
    readonly port: number | string,
    readonly prefix: string,
    /** May change while it is open. */
    public options: ListenerOptions,
    broker: Broker,
  ) {
    this.prefixBytes = Buffer.from(prefix);
    this.topics = new MountedTopics(broker.topics, prefix);
  }

  admits(): boolean {
    return this.connected < this.options.maxConnections;
  }
}
