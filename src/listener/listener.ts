import type { Access } from "../access/access.ts";
import type { Timer } from "../clock/clock.ts";
import { Reason } from "../mqtt/reason.ts";
import { Link } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import { ClientConnection } from "./client.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";

const SWEEP_MS = 500;

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

  /** A connection has been accepted; `open` makes its transport. `user`: the name that it has proved already. */
  accept(open: (listener: TransportListener) => Transport, user?: string): void {
    const { context } = this;
    const connection = new ClientConnection(this.mount, context, user);
    const { clock, gate, linkLimits, settings } = context;
    const link = new Link(connection, linkLimits, clock, gate, Math.min(settings.maxConnectBytes, linkLimits.maxPacketSizeBytes));
    connection.use(link);
    this.mount.open.add(connection);
    context.strangers.add(connection, () => connection.giveWay());
    link.open(open(link));
  }

  recheckAccess(before: Access): void {
    for (const connection of [...this.mount.open]) connection.recheckAccess(before);
  }

  private sweep(): void {
    const now = this.context.clock.nowMs();
    for (const connection of this.mount.open) {
      if (!connection.isConnected) {
        if (!connection.isAuthenticating && now - connection.connectedAtMs > this.context.settings.connectTimeoutMs) connection.close("no CONNECT in time");
      } else if (connection.keepAliveMs > 0 && connection.silentMs(now) > connection.keepAliveMs) {
        this.context.log.write("keepAliveExpired", { client: connection.clientId });
        connection.close("keep alive expired", Reason.KeepAliveTimeout);
      }
    }
  }
}
