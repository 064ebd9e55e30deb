import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { VerifyArgon2id } from "./access/password-hash.ts";
import { verifyArgon2id } from "./argon2id.ts";
import type { Dial } from "./bridge/context.ts";
import type { Clock, Rng } from "./clock/clock.ts";
import { SystemClock } from "./clock/system-clock.ts";
import type { ProcessUsage } from "./control/system-topics.ts";
import type { ListenerConfig } from "./config/config.ts";
import { dial } from "./link/dial.ts";
import type { Secure } from "./link/secure.ts";
import { TcpServer } from "./link/tcp.ts";
import type { Accept, Server } from "./listener/listeners.ts";
import { readMaterial } from "./tls/material.ts";
import type { ServerTls } from "./tls/settings.ts";
import { openStore, type StoreOptions } from "./store/open.ts";
import type { Store } from "./store/store.ts";

/** What lies around a daemon and is handed to it: time, chance, disk and network. The simulation brings its own. */
export interface Surroundings {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly hostName: string;
  readonly dial: Dial;
  /** The part behind the configured prefix. */
  newClientId(): string;
  /** Whether commands are taken from a file and a socket beside the store. */
  readonly hasControl: boolean;
  readonly verifyArgon2id: VerifyArgon2id;
  /** What the process takes. */
  usage(): ProcessUsage;
  /** Rejects with StoreError. */
  openStore(options: StoreOptions): Promise<Store>;
  /** Resolves when the port is open; rejects with the system's error. `onRefused`: a socket was one too many for the process. */
  listen(listener: ListenerConfig, accept: Accept, onRefused: (sockets: number) => void): Promise<Server>;
}

export function machine(): Surroundings {
  return {
    clock: new SystemClock(),
    rng: Math.random,
    hostName: hostname(),
    dial: ({ host, port }, { tls }, onConnected, onFailed) => dial({ host, port, tls }, onConnected, onFailed),
    newClientId: () => randomBytes(12).toString("hex"),
    hasControl: true,
    verifyArgon2id,
    usage: () => {
      const { heapUsed, rss } = process.memoryUsage();
      return { heapBytes: heapUsed, residentBytes: rss, writtenBytes: writtenBytes() };
    },
    openStore,
    listen: async ({ port, host, ipv6, tls }, accept, onRefused) => {
      const server = new TcpServer(({ transport, user }) => accept(transport, user), onRefused, tls && (await secureBy(tls)));
      // Without an address: IPv6 and IPv4 where the system offers both, IPv4 alone if the configuration says `ipv6 false`.
      const wanted = host ?? (ipv6 === false ? "0.0.0.0" : undefined);
      const address = wanted === undefined || isIP(wanted) !== 0 ? wanted : (await lookup(wanted)).address;
      await server.listen({ port, ...(address === undefined ? {} : { host: address }) });
      return server;
    },
  };
}

async function secureBy(settings: ServerTls): Promise<Secure> {
  const { TlsServer } = await import("./link/tls-server.ts"); // costs those nothing who do without
  return new TlsServer(settings, readMaterial(settings), () => undefined);
}

/** Linux counts it. */
function writtenBytes(): number | undefined {
  try {
    const bytes = /^write_bytes: (\d+)$/m.exec(readFileSync("/proc/self/io", "latin1"))?.[1];
    return bytes === undefined ? undefined : Number(bytes);
  } catch {
    return undefined;
  }
}
