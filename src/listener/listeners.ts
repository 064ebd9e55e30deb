import type { ListenerConfig } from "../config/config.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import { Listener } from "./listener.ts";
import { MountPoint, type ListenerContext } from "./mount-point.ts";

/** An open port. */
export interface Server {
  readonly port: number;
  /** Takes up what may change while the port is open. Rejects with what is wrong; nothing is changed then. */
  change?(config: ListenerConfig): Promise<() => void>;
  /** Accepts nothing more; connections stay. */
  close(): void;
}

/** Takes a connection; `open` makes its transport. `user`: the name that its other side has proved already, where the listener takes it from there. */
export type Accept = (open: (listener: TransportListener) => Transport, user?: string) => void;

/** Opens a port. Rejects with the system's error. */
export type Listen = (config: ListenerConfig, accept: Accept) => Promise<Server>;

interface Open {
  config: ListenerConfig;
  readonly listener: Listener;
  readonly server: Server;
}

/** All listeners that are open. */
export class Listeners {
  private open: Open[] = [];
  /** For good. */
  private isClosed = false;

  constructor(
    private readonly context: ListenerContext,
    private readonly listen: Listen,
  ) {}

  get ports(): number[] {
    return this.open.flatMap(({ config, server }) => (config.socketPath === undefined ? [server.port] : []));
  }

  /** Ports and Unix sockets. */
  get places(): (number | string)[] {
    return this.open.map(({ config, server }) => config.socketPath ?? server.port);
  }

  /** Rejects with the system's error. */
  async add(config: ListenerConfig): Promise<void> {
    const { log, broker } = this.context;
    const mount = new MountPoint(config.socketPath ?? config.port, config.mountPoint, config, broker);
    const listener = new Listener(mount, this.context);
    try {
      const server = await this.listen(config, (open, user) => listener.accept(open, user));
      if (this.isClosed) {
        server.close();
        throw new Error("the daemon stops");
      }
      listener.start();
      this.open.push({ config, listener, server });
      log.write("listening", { port: config.socketPath ?? server.port });
    } catch (error) {
      log.write("listenerFailed", { port: config.socketPath ?? config.port, reason: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  /**
   * Opens what a new configuration has besides, before anything else is changed. `commit` then closes what it has no more; clients of a
   * listener that stays are not disturbed. Rejects with the system's error; nothing is changed then.
   */
  async prepare(wanted: readonly ListenerConfig[]): Promise<{ commit(): void }> {
    const kept = new Map<Open, ListenerConfig>();
    const missing: ListenerConfig[] = [];
    for (const config of wanted) {
      const same = this.open.find((open) => !kept.has(open) && isSame(open.config, config));
      if (same) kept.set(same, config);
      else missing.push(config);
    }
    const changes = await Promise.all([...kept].map(([{ server }, config]) => server.change?.(config)));
    const dropped = this.open.filter((open) => !kept.has(open));
    // A place that changes hands has to be left first.
    const replaced = dropped.filter(({ config }) => missing.some(({ port }) => port === config.port));
    for (const open of replaced) this.close(open);
    this.open = this.open.filter((open) => !replaced.includes(open));
    const opened = this.open.length;
    try {
      for (const config of missing) await this.add(config);
    } catch (error) {
      for (const open of this.open.splice(opened)) this.close(open);
      for (const { config } of replaced) await this.add(config);
      throw error;
    }
    return {
      commit: () => {
        for (const change of changes) change?.();
        for (const [open, config] of kept) {
          open.config = config;
          open.listener.mount.options = config;
        }
        for (const open of dropped) if (!replaced.includes(open)) this.close(open);
        this.open = this.open.filter((open) => !dropped.includes(open));
      },
    };
  }

  /** The rules of access have changed. */
  recheckAccess(before: Parameters<Listener["recheckAccess"]>[0]): void {
    for (const { listener } of this.open) listener.recheckAccess(before);
  }

  closeAll(): void {
    this.isClosed = true;
    for (const open of this.open) this.close(open);
    this.open = [];
  }

  private close({ server, listener }: Open): void {
    server.close();
    listener.stop();
    this.context.log.write("listenerStopped", { port: listener.mount.port });
  }
}

/** What can't change under clients that are connected. */
function isSame(a: ListenerConfig, b: ListenerConfig): boolean {
  return (
    a.port === b.port && a.socketPath === b.socketPath && a.host === b.host && a.bindInterface === b.bindInterface && a.ipv6 === b.ipv6 && a.mountPoint === b.mountPoint && a.protocol === b.protocol &&
    a.maxHttpHeaderBytes === b.maxHttpHeaderBytes && isSameProof(a, b)
  );
}

/** Who is let in by what: the clients that are there have shown what was asked for then. Files, versions and ciphers may change. */
function isSameProof({ tls: a }: ListenerConfig, { tls: b }: ListenerConfig): boolean {
  if (!a || !b) return a === b;
  return a.requireCertificate === b.requireCertificate && a.userFrom === b.userFrom && a.usesPsk === b.usesPsk;
}
