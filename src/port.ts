import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { ListenerConfig } from "./config/config.ts";
import type { Accepted, Secure } from "./link/secure.ts";
import { TcpServer } from "./link/tcp.ts";
import type { WebOptions } from "./link/web-server.ts";
import type { Accept, Server } from "./listener/listeners.ts";
import { readMaterial } from "./tls/material.ts";
import type { ServerTls } from "./tls/settings.ts";

export interface PortContext {
  readonly accept: Accept;
  /** A socket was one too many for the process. */
  readonly onRefused: (sockets: number) => void;
}

/** What takes the connections of a port. */
interface Taker {
  take(accepted: Accepted): void;
  change?(config: ListenerConfig): Promise<() => void>;
  close?(): void;
}

/** Opens a listener's port. Rejects with the system's error. */
export async function openPort(config: ListenerConfig, context: PortContext): Promise<Server> {
  const { port, host, ipv6, tls } = config;
  const taker = await takerOf(config, context);
  const server = new TcpServer((accepted) => taker.take(accepted), context.onRefused, tls && (await secureBy(tls)));
  // Without an address: IPv6 and IPv4 where the system offers both, IPv4 alone if the configuration says `ipv6 false`.
  const wanted = host ?? (ipv6 === false ? "0.0.0.0" : undefined);
  const address = wanted === undefined || isIP(wanted) !== 0 ? wanted : (await lookup(wanted)).address;
  await server.listen({ port, ...(address === undefined ? {} : { host: address }) });
  return {
    port: server.port,
    change: (changed) => taker.change?.(changed) ?? Promise.resolve(() => undefined),
    close: () => {
      server.close();
      taker.close?.();
    },
  };
}

async function takerOf(config: ListenerConfig, { accept }: PortContext): Promise<Taker> {
  const takeMqtt = ({ transport, user }: Accepted): void => accept(transport, user);
  if (config.protocol === "mqtt") return { take: takeMqtt };
  const { WebServer } = await import("./link/web-server.ts"); // with what it needs, of no use to others
  const web = new WebServer(await webOptions(config), accept);
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

async function secureBy(settings: ServerTls): Promise<Secure> {
  const { TlsServer } = await import("./link/tls-server.ts"); // costs those nothing who do without
  return new TlsServer(settings, readMaterial(settings), () => undefined);
}
