import { isIPv6 } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import type { AddressConfig, ListenerConfig } from "./config.ts";

const DEFAULT_PORT = 1883;

/** `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; undefined if it is none of them. */
export function parseAddress(text: string): AddressConfig | undefined {
  if (isIPv6(text)) return addressOf(text, undefined);
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed) return isIPv6(bracketed[1] ?? "") ? addressOf(bracketed[1] ?? "", bracketed[2]) : undefined;
  const plain = /^([^\s:[\]]+)(?::(\d+))?$/.exec(text);
  return plain ? addressOf(plain[1] ?? "", plain[2]) : undefined;
}

function addressOf(host: string, portText: string | undefined): AddressConfig | undefined {
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  return port >= 1 && port <= 65535 ? { host, port } : undefined;
}

export function isLoopback(host: string | undefined): boolean {
  return host?.toLowerCase() === "localhost" || host === "::1" || (host?.startsWith("127.") ?? false);
}

/** Whether who dials `address` on this machine comes to `listener`; names other than localhost are not looked up. */
export function reaches(address: AddressConfig, listener: ListenerConfig): boolean {
  if (address.port !== listener.port) return false;
  const dialled = address.host.toLowerCase();
  const host = listener.host?.toLowerCase();
  if (host === undefined) return isOurs(dialled) && !(listener.ipv6 === false && isIPv6(dialled));
  if (host === "::") return isOurs(dialled);
  if (host === "0.0.0.0") return isOurs(dialled) && !isIPv6(dialled);
  return host === dialled || (isLoopback(host) && isLoopback(dialled) && (host === "localhost" || dialled === "localhost"));
}

/** An address of this machine, or its name. */
function isOurs(host: string): boolean {
  if (isLoopback(host) || host === hostname().toLowerCase()) return true;
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address.toLowerCase() === host));
}
