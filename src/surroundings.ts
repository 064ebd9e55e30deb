import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { Dial } from "./bridge/context.ts";
import type { Clock, Rng } from "./clock/clock.ts";
import { SystemClock } from "./clock/system-clock.ts";
import type { ListenerConfig } from "./config/config.ts";
import { dialTcp, TcpServer } from "./link/tcp.ts";
import type { Transport, TransportListener } from "./link/transport.ts";
import { openStore, type StoreOptions } from "./store/open.ts";
import type { Store } from "./store/store.ts";

export interface Server {
  readonly port: number;
  /** Accepts nothing more; connections stay. */
  close(): void;
}

/** What lies around a daemon and is handed to it: time, chance, disk and network. The simulation brings its own. */
export interface Surroundings {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly hostName: string;
  readonly dial: Dial;
  newClientId(): string;
  /** Rejects with StoreError. */
  openStore(options: StoreOptions): Promise<Store>;
  /** Resolves when the port is open; rejects with the system's error. */
  listen(listener: ListenerConfig, accept: (open: (listener: TransportListener) => Transport) => void): Promise<Server>;
}

export function machine(): Surroundings {
  return {
    clock: new SystemClock(),
    rng: Math.random,
    hostName: hostname(),
    dial: dialTcp,
    newClientId: () => `auto-${randomBytes(12).toString("hex")}`,
    openStore,
    listen: async ({ port, host, ipv6 }, accept) => {
      const server = new TcpServer(accept);
      // Without an address: IPv6 and IPv4 where the system offers both, IPv4 alone if the configuration says `ipv6 false`.
      const wanted = host ?? (ipv6 === false ? "0.0.0.0" : undefined);
      const address = wanted === undefined || isIP(wanted) !== 0 ? wanted : (await lookup(wanted)).address;
      await server.listen({ port, ...(address === undefined ? {} : { host: address }) });
      return server;
    },
  };
}
