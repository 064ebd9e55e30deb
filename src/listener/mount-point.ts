import type { Broker } from "../broker/broker.ts";
import type { Route } from "../broker/subscriptions.ts";
import type { Clock } from "../clock/clock.ts";
import type { AckGate } from "../link/ack-gate.ts";
import type { LinkLimits } from "../link/link.ts";
import type { Log } from "../log/console.ts";
import { MountedTopics } from "../topic/topic-table.ts";

export interface ListenerContext {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly log: Log;
  readonly gate: AckGate;
  readonly linkLimits: LinkLimits;
  readonly maxPacketSizeBytes: number;
  readonly maxInflightMessages: number;
  /** Time a new connection has to send its CONNECT. */
  readonly connectTimeoutMs: number;
  readonly connectionMessages: boolean;
  newClientId(): string;
}

/** A connection as its listener sees it. */
export interface OpenConnection {
  readonly clientId: string;
  /** Whether its CONNECT has been accepted. */
  readonly isConnected: boolean;
  readonly connectedAtMs: number;
  readonly lastReceivedMs: number;
  /** Silence for longer than this ends it; 0: never. */
  readonly keepAliveMs: number;
  /** Ends the connection from our side; its will is published. */
  close(text: string): void;
  /** The daemon stops: no will is published. */
  shutDown(): void;
}

/** What the connections of one listener share: its mount point, its limits, who is connected. */
export class MountPoint {
  readonly prefixBytes: Buffer;
  readonly topics: MountedTopics<Route>;
  readonly open = new Set<OpenConnection>();
  /** Connections that have passed CONNECT. */
  connected = 0;

  constructor(
    readonly port: number,
    readonly prefix: string,
    readonly maxConnections: number,
    broker: Broker,
  ) {
    this.prefixBytes = Buffer.from(prefix);
    this.topics = new MountedTopics(broker.topics, prefix);
  }

  admits(): boolean {
    return this.connected < this.maxConnections;
  }
}
