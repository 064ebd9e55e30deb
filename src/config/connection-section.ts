import { isIP } from "node:net";
import { parseAddress, parseProxy } from "./address.ts";
import type { AddressConfig, ConnectionConfig, ProxyConfig, TopicLine } from "./config.ts";
import { bridgeProtocols } from "./keywords/connection.ts";
import { buildQueue } from "./queue-keywords.ts";
import { placeOf, Section, type Report } from "./section.ts";
import { buildClientTls, trustsSomebody } from "./tls-section.ts";

const MIN_KEEP_ALIVE_SECONDS = 5;

/** A connection's keywords and its topic lines. */
export class ConnectionSection extends Section {
  readonly topics: TopicLine[] = [];
}

function buildProxy(section: Section, report: Report): ProxyConfig | undefined {
  const text = section.string("bridge_proxy");
  const proxy = text === undefined ? undefined : parseProxy(text);
  const at = section.place("bridge_proxy");
  // Not with its value: it may hold a password.
  if (text !== undefined && !proxy) report(at, at.column, "error", "bridge_proxy: wanted is http://[user:password@]host:port");
  return proxy;
}

/** `dialled`: what the address has to reach. */
function buildLocalAddress(section: Section, dialled: readonly { readonly host: string }[], report: Report): string | undefined {
  const localAddress = section.string("bridge_bind_address");
  if (localAddress === undefined) return undefined;
  const family = isIP(localAddress);
  const unreachable = dialled.filter(({ host }) => isIP(host) !== 0 && isIP(host) !== family).map(({ host }) => host);
  const at = section.place("bridge_bind_address");
  if (unreachable.length > 0) report(at, at.column, "error", `bridge_bind_address ${localAddress}: ${unreachable.join(" and ")} can't be reached from an IPv${family} address`);
  return localAddress;
}

export function buildConnection(section: ConnectionSection, report: Report): ConnectionConfig {
  const addresses: AddressConfig[] = [];
  const usual = trustsSomebody(section) ? "mqtts" : "mqtt";
  for (const given of section.list("address")) {
    const address = parseAddress(given.value, usual);
    if (address) addresses.push(address);
    else report(given, given.column, "error", `address ${given.value}: wanted is host or host:port, behind mqtt://, mqtts://, ws://, wss:// or nothing`);
  }
  const maxReconnectSeconds = section.optionalNumber("max_reconnect_interval");
  const proxy = buildProxy(section, report);
  return {
    name: section.title[0]?.text ?? "",
    addresses,
    dial: { ...buildClientTls(section, addresses, report), proxy, localAddress: buildLocalAddress(section, proxy ? [proxy] : addresses, report) },
    topics: section.topics,
    clientId: section.string("clientid"),
    cleanSession: section.optionalBoolean("cleansession") ?? addresses.length > 1,
    keepAliveMs: Math.max(section.number("keepalive_interval"), MIN_KEEP_ALIVE_SECONDS) * 1000,
    notifications: section.boolean("notifications"),
    notificationTopic: section.string("notification_topic"),
    username: section.string("username"),
    password: section.string("password"),
    tryPrivate: section.boolean("try_private"),
    roundRobin: section.boolean("round_robin"),
    reconnectIntervalMs: section.number("reconnect_interval") * 1000,
    maxReconnectIntervalMs: maxReconnectSeconds === undefined ? undefined : maxReconnectSeconds * 1000,
    connectTimeoutMs: section.number("connect_timeout") * 1000,
    startType: section.string("start_type") as ConnectionConfig["startType"],
    threshold: section.number("threshold"),
    idleTimeoutMs: section.number("idle_timeout") * 1000,
    maxAgeMs: section.number("max_age") * 1000,
    notificationsLocalOnly: section.boolean("notifications_local_only"),
    protocolVersion: bridgeProtocols.get(section.string("bridge_protocol_version") ?? "") ?? 4,
    sessionExpirySeconds: section.number("bridge_session_expiry_interval"),
    receiveMaximum: section.number("bridge_receive_maximum"),
    maxTopicAlias: section.number("bridge_max_topic_alias"),
    maxSentPacketBytes: section.number("bridge_max_packet_size"),
    outgoingRetain: section.boolean("bridge_outgoing_retain"),
    queue: buildQueue(section),
    drain: { messagesPerSecond: section.number("drain_rate"), bytesPerSecond: section.number("drain_rate_bytes") },
    ...placeOf(section),
  };
}
