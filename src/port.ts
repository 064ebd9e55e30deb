import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { ListenerConfig } from "./config/config.ts";
import { TcpServer } from "./link/tcp.ts";
import type { Accept, Server } from "./listener/listeners.ts";
import type { Log } from "./log/console.ts";
import { secureBy } from "./secure-by.ts";

export interface PortContext {
  readonly accept: Accept;
  /** A socket was one too many for the process. */
  readonly onRefused: (sockets: number) => void;
  readonly log: Log;
}

/** Opens a listener's port. Rejects with the system's error. */
export async function openPort(config: ListenerConfig, { accept, onRefused, log }: PortContext): Promise<Server> {
  const { port, host, ipv6 } = config;
  const secure = config.tls && (await secureBy(config, log));
  const server = new TcpServer(({ transport, user }) => accept(transport, user), onRefused, secure);
  // Without an address: IPv6 and IPv4 where the system offers both, IPv4 alone if the configuration says `ipv6 false`.
  const wanted = host ?? (ipv6 === false ? "0.0.0.0" : undefined);
  const address = wanted === undefined || isIP(wanted) !== 0 ? wanted : (await lookup(wanted)).address;
  try {
    await server.listen({ port, ...(address === undefined ? {} : { host: address }) });
  } catch (error) {
    secure?.close();
    throw error;
  }
  return {
    port: server.port,
    change: (changed) => secure?.change(changed) ?? (() => undefined),
    close: () => {
      server.close();
      secure?.close();
    },
  };
}
