import type { Entry } from "../broker/entry.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";

/**
 * The limit that keeps a client out who is about to be admitted; undefined if there is room. `known`: the session of its client identifier,
 * which it takes up or replaces; `left`: the listener of the connection whose place it takes, if that is still there.
 */
export function whatIsFull(mount: MountPoint, { broker, connected, settings, log }: ListenerContext, known: Entry | undefined, left: MountPoint | undefined): string | undefined {
  const { maxConnections, maxClients } = settings;
  if (left !== mount && !mount.admits()) {
    log.write("listenerFull", { port: mount.port, limit: mount.options.maxConnections });
    return "the listener's max_connections";
  }
  if (!left && connected.clients >= maxConnections) {
    log.write("limitReached", { keyword: "global_max_connections", limit: maxConnections });
    return "global_max_connections";
  }
  if (!known && broker.sessions.clients >= maxClients) {
    log.write("limitReached", { keyword: "global_max_clients", limit: maxClients });
    return "global_max_clients";
  }
  return undefined;
}
