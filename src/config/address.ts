import { isIPv6 } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { interfaceAddresses, isSame } from "./interface-addresses.ts";
import type { AddressConfig, ListenerConfig, ProxyConfig, Scheme } from "./config.ts";

const DEFAULT_PORTS: Readonly<Record<Scheme, number>> = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 };
const DEFAULT_PATH = "/mqtt";

/** A Unix socket's path has its place in 108 bytes, the last one is 0. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Whether TLS is spoken there. */
export const isSecure = (scheme: Scheme): boolean => scheme === "mqtts" || scheme === "wss";
export const isWeb = (scheme: Scheme): boolean => scheme === "ws" || scheme === "wss";

/**
 * `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address, behind `mqtt://`, `mqtts://`, `ws://`, `wss://` or nothing; with ws and wss
 * a path may follow. Undefined if it is none of them. Without a scheme it is `usual`, and the port is that of mqtt, as mosquitto has it.
 */
export function parseAddress(text: string, usual: "mqtt" | "mqtts" = "mqtt"): AddressConfig | undefined {
  const [, schemeText, place = "", pathText = ""] = /^(?:(\w+):\/\/)?([^/?\s]*)([/?]\S*)?$/.exec(text) ?? [];
  const scheme = schemeText === undefined ? usual : schemeText.toLowerCase();
  if (!isScheme(scheme) || (pathText !== "" && pathText !== "/" && !isWeb(scheme)) || (pathText !== "" && schemeText === undefined)) return undefined;
  const hostAndPort = parsePlace(place);
  if (!hostAndPort) return undefined;
  const { host, port = DEFAULT_PORTS[schemeText === undefined ? "mqtt" : scheme] } = hostAndPort;
  const path = isWeb(scheme) ? pathText.replace(/^(?!\/)/, pathText === "" ? DEFAULT_PATH : "/") : "";
  return { scheme, host, port, path };
}

const isScheme = (text: string): text is Scheme => Object.hasOwn(DEFAULT_PORTS, text);

/** `host` or `host:port`, IPv6 in brackets or bare. */
export function parsePlace(text: string): { host: string; port?: number } | undefined {
  if (isIPv6(text)) return { host: text };
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^\s:@[\]]+))(?::(\d+))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed))) return undefined;
  if (portText === undefined) return { host };
  const port = Number(portText);
  return port >= 1 && port <= 65535 ? { host, port } : undefined;
}

/** `http://[user:password@]host:port`; undefined if it is not that. */
export function parseProxy(text: string): ProxyConfig | undefined {
  const [, credentials, place = ""] = /^http:\/\/(?:([^@/]*:[^@/]*)@)?([^@/]+)\/?$/i.exec(text) ?? [];
  const { host, port } = parsePlace(place) ?? {};
  if (host === undefined || port === undefined) return undefined;
  try {
    return { host, port, credentials: credentials === undefined ? undefined : decodeURIComponent(credentials) };
  } catch {
    return undefined; // a % that stands for nothing
  }
}

export function isLoopback(host: string | undefined): boolean {
  return host?.toLowerCase() === "localhost" || host === "::1" || (host?.startsWith("127.") ?? false);
}

/** Whether who dials `address` on this machine comes to `listener`; names other than localhost are not looked up. */
export function reaches(address: Pick<AddressConfig, "host" | "port">, listener: ListenerConfig): boolean {
  if (address.port !== listener.port) return false;
  const dialled = address.host.toLowerCase();
  const host = listener.host?.toLowerCase();
  const { bindInterface } = listener;
  if (bindInterface !== undefined && !interfaceAddresses(bindInterface).some((own) => isSame(own, dialled) || (dialled === "localhost" && isLoopback(own)))) return false;
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
