import { isIP } from "node:net";
import type { ListenerConfig } from "./config/config.ts";
import { listenedAddresses } from "./config/interface-addresses.ts";
import { freeSocketPath } from "./control/socket-path.ts";
import type { Door } from "./link/door.ts";
import type { Accepted } from "./link/secure.ts";
import type { Strangers } from "./link/strangers.ts";
import { TcpServer } from "./link/tcp-server.ts";
import type { WebOptions } from "./link/web-server.ts";
import type { Accept, Server } from "./listener/listeners.ts";
import type { Log } from "./log/console.ts";
import { secureBy } from "./secure-by.ts";

export interface PortContext {
  readonly accept: Accept;
  readonly door: Door;
  readonly strangers: Strangers;
  readonly log: Log;
}

/** What takes the connections of a port. */
interface Taker {
  take(accepted: Accepted): void;
  change?(config: ListenerConfig): Promise<() => void>;
  close?(): void;
}

/** Opens a listener's port. Rejects with the system's error. */
export async function openPort(config: ListenerConfig, context: PortContext): Promise<Server> {
  const { port, socketPath } = config;
  const taker = await takerOf(config, context);
  const secure = config.tls && (await secureBy(config, context.log));
  const close = (): void => {
    taker.close?.();
    secure?.close();
  };
  const servers: TcpServer[] = [];
  const closeServers = (): void => servers.forEach((server) => server.close());
  const open = async (place: { port: number; host?: string } | { path: string }): Promise<void> => {
    const server = new TcpServer((accepted) => taker.take(accepted), context.door, secure);
    await server.listen(place);
    servers.push(server);
  };
  try {
    if (socketPath !== undefined) {
      await freeSocketPath(socketPath);
      await open({ path: socketPath });
    } else {
      for (const host of await hostsOf(config)) await open({ port, ...(host === undefined ? {} : { host }) });
    }
  } catch (error) {
    closeServers();
    close();
    throw error;
  }
  return {
    port: servers[0]?.port ?? port,
    change: async (changed) => {
      const changes = [await taker.change?.(changed), secure?.change(changed)];
      return () => changes.forEach((change) => change?.());
    },
    close: () => {
      closeServers();
      close();
    },
  };
}

/** The addresses that a listener is at; undefined: all. */
async function hostsOf({ host, ipv6, bindInterface }: ListenerConfig): Promise<(string | undefined)[]> {
  // Without an address: IPv6 and IPv4 where the system offers both, IPv4 alone if the configuration says `ipv6 false`.
  const wanted = host ?? (ipv6 === false ? "0.0.0.0" : undefined);
  const address = wanted === undefined || isIP(wanted) !== 0 ? wanted : await addressOf(wanted);
  return bindInterface === undefined ? [address] : listenedAddresses(bindInterface, address);
}

async function addressOf(host: string): Promise<string> {
  const { lookup } = await import("node:dns/promises"); // most give an address, or none
  return (await lookup(host)).address;
}

async function takerOf(config: ListenerConfig, { accept, strangers }: PortContext): Promise<Taker> {
  const takeMqtt = ({ transport, user }: Accepted): void => accept(transport, user);
  if (config.protocol === "mqtt") return { take: takeMqtt };
  const { WebServer } = await import("./link/web-server.ts"); // with what it needs, of no use to others
  const web = new WebServer(await webOptions(config), accept, strangers);
  return {
    take: (accepted) => (config.protocol === "auto" ? web.takeEither(accepted, takeMqtt) : web.take(accepted)),
    change: async (changed) => {
      const options = await webOptions(changed);
      return () => void (web.options = options);
    },
    close: () => web.close(),
  };
}

/** Rejects if the folder can't be served. */
async function webOptions({ httpDirectory, webSocketOrigins, maxHttpHeaderBytes }: ListenerConfig): Promise<WebOptions> {
  const folder = httpDirectory === undefined ? undefined : await (await import("./link/web-folder.ts")).WebFolder.open(httpDirectory);
  return { maxHeaderBytes: maxHttpHeaderBytes, origins: webSocketOrigins, folder };
}
