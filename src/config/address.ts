import type { AddressConfig } from "./config.ts";

const DEFAULT_PORT = 1883;

/** `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; undefined if it is none of them. */
export function parseAddress(text: string): AddressConfig | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  if (bracketed) return addressOf(bracketed[1] ?? "", bracketed[2]);
  if (text.split(":").length > 2) return addressOf(text, undefined);
  const plain = /^([^\s:]+)(?::(\d+))?$/.exec(text);
  return plain ? addressOf(plain[1] ?? "", plain[2]) : undefined;
}

function addressOf(host: string, portText: string | undefined): AddressConfig | undefined {
  const port = portText === undefined ? DEFAULT_PORT : Number(portText);
  return port >= 1 && port <= 65535 ? { host, port } : undefined;
}
