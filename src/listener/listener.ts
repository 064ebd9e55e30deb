import type { Clock, Timer } from "../clock/clock.ts";
import type { Broker } from "../broker/broker.ts";
import type { Route } from "../broker/subscriptions.ts";
import type { AckGate } from "../link/ack-gate.ts";
import { Link, type LinkLimits } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import type { Log } from "../log/console.ts";
import { MountedTopics } from "../topic/topic-table.ts";
import { ClientConnection } from "./client.ts";

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

/** Largest first packet: a CONNECT with a will of moderate size; announced lengths beyond it are refused unread. */
const MAX_CONNECT_BYTES = 256 * 1024;
const SWEEP_MS = 500;

/** What the connections of one listener share: its mount point, its limits, who is connected. */
export class MountPoint {
  readonly prefixBytes: Buffer;
  readonly topics: MountedTopics<Route>;
  readonly open = new Set<ClientConnection>();
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

/** The server's side of connections: gives each a link and a handler, and ends those that are silent. */
export class Listener {
  private sweeper: Timer | undefined;

  constructor(
    readonly mount: MountPoint,
    private readonly context: ListenerContext,
  ) {}

  start(): void {
    this.sweeper = this.context.clock.after(SWEEP_MS, () => {
      this.sweep();
      this.start();
    });
  }

  stop(): void {
    this.sweeper?.cancel();
    for (const connection of [...this.mount.open]) connection.shutDown();
  }

  /** A connection has been accepted; `open` makes its transport. */
  accept(open: (listener: TransportListener) => Transport): void {
    const { context } = this;
    const connection = new ClientConnection(this.mount, context);
    const limits = { ...context.linkLimits, maxPacketSizeBytes: Math.min(MAX_CONNECT_BYTES, context.linkLimits.maxPacketSizeBytes) };
    const link = new Link(connection, limits, context.clock, context.gate);
    connection.use(link);
    this.mount.open.add(connection);
    link.open(open(link));
  }

  private sweep(): void {
    const now = this.context.clock.nowMs();
    for (const connection of this.mount.open) {
      if (!connection.isConnected) {
        if (now - connection.connectedAtMs > this.context.connectTimeoutMs) connection.close("no CONNECT in time");
      } else if (connection.keepAliveMs > 0 && now - connection.lastReceivedMs > connection.keepAliveMs) {
        this.context.log.write("keepAliveExpired", { client: connection.clientId });
        connection.close("keep alive expired");
      }
    }
  }
}
