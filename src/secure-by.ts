import type { ListenerConfig } from "./config/config.ts";
import { tlsWarnings, usableMaterial } from "./config/tls-files.ts";
import type { RenewableTls, TlsSource } from "./link/renewable-tls.ts";
import type { Secure } from "./link/secure.ts";
import type { Log } from "./log/console.ts";

/** Handshakes fail thousands of times a minute when somebody tries. */
const LOG_INTERVAL_MS = 10_000;

/** What secures a listener's sockets; `change` reads the files of another configuration, and what it returns puts them in force. */
export interface ListenerTls extends Secure {
  /** @throws if the files can't be used; nothing is changed then. */
  change(config: ListenerConfig): () => void;
  close(): void;
}

/** Rejects if the listener's files can't be used. */
export async function secureBy(config: ListenerConfig, log: Log): Promise<ListenerTls> {
  const { RenewableTls: Tls } = await import("./link/renewable-tls.ts"); // with node:tls, of no use to those who do without
  const { port } = config;
  let failures = 0;
  let loggedMs = -Infinity;
  const tls: RenewableTls = new Tls(sourceOf(config), {
    onRenewed: () => log.write("tlsRenewed", { port }),
    onNotRenewed: (problem) => log.write("tlsNotRenewed", { port, problem }),
    onWarnings: (warnings) => warnings.forEach((problem) => log.write("accessProblem", { problem })),
    onHandshakeFailed: (address, reason) => {
      failures += 1;
      if (performance.now() - loggedMs < LOG_INTERVAL_MS) return;
      loggedMs = performance.now();
      log.write("tlsHandshakeFailed", { port, address, reason, failures });
    },
  });
  return {
    begin: (socket, onReady) => tls.begin(socket, onReady),
    change: (changed) => tls.change(sourceOf(changed)),
    close: () => tls.close(),
  };
}

/** A listener that goes from TLS to TCP alone, or back, is another listener. */
function sourceOf({ tls, tlsPlaces }: ListenerConfig): TlsSource {
  if (!tls) throw new Error("the listener has no TLS");
  return { settings: tls, read: () => usableMaterial(tls, tlsPlaces), warnings: () => tlsWarnings(tls, tlsPlaces) };
}
