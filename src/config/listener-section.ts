import { resolve } from "node:path";
import type { ProtocolVersion, QoS } from "../mqtt/protocol.ts";
import { MAX_SOCKET_PATH_BYTES } from "./address.ts";
import { listenerProtocols, type ListenerConfig, type ListenerOptions } from "./config.ts";
import { tlsListenerKeywords } from "./keywords/tls.ts";
import type { ParseOptions } from "./parse-options.ts";
import { placeOf, type Report, type Section } from "./section.ts";
import { buildServerTls } from "./tls-section.ts";

const DEFAULT_HTTP_HEADER_BYTES = 8_192;

/** The default listener exists if one of its keywords is given, or if there is no other; it is opened last. */
export function buildListeners(global: Section, sections: readonly Section[], { port, lenient = false }: ParseOptions, report: Report): ListenerConfig[] {
  const listeners = sections.map((section) => buildListener(section, global, lenient, report));
  const wanted = port !== undefined || ["port", "bind_address", "bind_interface", "max_connections", "ipv6", ...tlsListenerKeywords.map(({ name }) => name)].some((name) => global.has(name));
  if (wanted || sections.length === 0) {
    listeners.push({
      port: port ?? global.number("port"),
      host: global.string("bind_address"),
      bindInterface: global.string("bind_interface"),
      ipv6: global.optionalBoolean("ipv6"),
      mountPoint: "",
      maxConnections: global.number("max_connections"),
      protocol: "mqtt",
      httpDirectory: undefined,
      httpPlace: global.place("http_dir"),
      webSocketOrigins: [],
      maxHttpHeaderBytes: headerBytesOf(global),
      ...buildOptions(global, global),
      ...buildServerTls(global, global, report),
      ...placeOf(global.place("port")),
    });
  }
  return listeners;
}

const headerBytesOf = (global: Section): number => global.number("websockets_headers_size") || DEFAULT_HTTP_HEADER_BYTES;

function buildListener(section: Section, global: Section, lenient: boolean, report: Report): ListenerConfig {
  const [portWord, addressWord, protocolWord] = section.title;
  const port = Number(portWord?.text);
  const socketPath = portWord?.text === "0" && addressWord ? resolve(addressWord.text) : undefined;
  if (socketPath !== undefined && Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    report(section, addressWord?.column ?? 1, "error", `listener 0 ${socketPath}: a Unix socket's path must not be longer than ${MAX_SOCKET_PATH_BYTES} bytes`);
  }
  if (portWord && socketPath === undefined && !(/^\d+$/.test(portWord.text) && port >= 1 && port <= 65535)) {
    report(section, portWord.column, "error", `listener ${portWord.text}: wanted is a port number, or 0 and the path of a Unix socket`);
  }
  const protocolText = protocolWord?.text.toLowerCase() ?? section.string("protocol");
  const protocol = listenerProtocols.find((name) => name === protocolText);
  if (protocolWord && !protocol) {
    const message = `listener protocol ${protocolWord.text}: wanted is one of ${listenerProtocols.join(", ")}`;
    // Who writes mqtts wants TLS, or, in the original, another transport: MQTT as it is would be less than was asked for.
    const isPassedOver = lenient && protocolText !== "mqtts";
    report(section, protocolWord.column, isPassedOver ? "warning" : "error", isPassedOver ? `${message}; taken as mqtt` : message);
  }
  const tls = buildServerTls(section, global, report);
  if (section.optionalBoolean("listener_allow_anonymous") === false && !global.has("password_file") && tls.tls?.userFrom === undefined) {
    const at = section.place("listener_allow_anonymous");
    report(at, at.column, "error", "listener_allow_anonymous false needs a password_file, or user names from certificates: without them nobody could connect");
  }
  const address = addressWord?.text === "INADDR_ANY" ? undefined : addressWord?.text.replace(/^\[(.*)\]$/, "$1");
  return {
    port,
    ...(socketPath === undefined ? { host: address ?? section.string("bind_address") } : { host: undefined, socketPath }),
    bindInterface: section.string("bind_interface"),
    ipv6: section.has("socket_domain") ? section.string("socket_domain") === "ipv6" : section.optionalBoolean("ipv6"),
    mountPoint: section.string("mount_point") ?? "",
    maxConnections: section.number("max_connections"),
    protocol: protocol ?? "mqtt",
    httpDirectory: section.path("http_dir"),
    httpPlace: section.place("http_dir"),
    webSocketOrigins: section.list("websockets_origin").map(({ value }) => value),
    maxHttpHeaderBytes: headerBytesOf(global),
    ...buildOptions(section, global),
    ...tls,
    ...placeOf(section),
  };
}

/** What a section does not say the global keywords say. */
function buildOptions(section: Section, global: Section): Omit<ListenerOptions, "maxConnections"> {
  const from = (name: string): Section => (section.has(name) ? section : global);
  return {
    protocolVersions: (from("accept_protocol_versions").string("accept_protocol_versions") ?? "").split(",").map((text) => Number(text) as ProtocolVersion),
    maxQoS: from("max_qos").number("max_qos") as QoS,
    maxTopicAlias: from("max_topic_alias").number("max_topic_alias"),
    maxTopicAliasSent: from("max_topic_alias_broker").number("max_topic_alias_broker"),
    userNameIsClientId: section.boolean("use_username_as_clientid"),
    allowAnonymous: section.optionalBoolean("listener_allow_anonymous"),
    clientIdPrefix: section.string("listener_auto_id_prefix") ?? global.string("auto_id_prefix") ?? "",
  };
}
