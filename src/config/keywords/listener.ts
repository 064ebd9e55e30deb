import { boolean, connectionCount, oneOf, only, string, type Keyword } from "../keyword.ts";
import { tlsListenerKeywords } from "./tls.ts";

/** Keywords of a `listener PORT [ADDRESS [PROTOCOL]]` section. */
export const listenerKeywords = [
  { name: "max_connections", aliases: [], reload: true, type: connectionCount, default: Infinity, doc: "Clients this listener serves at one time." },
  { name: "mount_point", aliases: [], reload: true, type: string, default: "", doc: "Put before all topics of this listener's clients, and taken off what they receive; normally ends in /." },
  { name: "bind_address", aliases: [], reload: true, type: string, default: undefined, doc: "Address of this listener, if the listener line has none." },
  { name: "ipv6", aliases: [], reload: true, type: boolean, default: undefined, doc: "false: this listener takes IPv4 only." },
  { name: "protocol", aliases: [], type: only("mqtt"), default: "mqtt", doc: "What is spoken on the listener." },
  { name: "socket_domain", aliases: [], reload: true, type: oneOf("ipv4", "ipv6"), default: undefined, doc: "ipv4: as `ipv6 false`." },
  { name: "max_qos", aliases: [], type: only("2"), default: "2", doc: "Highest QoS of the listener." },
  { name: "use_username_as_clientid", aliases: [], type: only("false"), default: "false", doc: "Client identifiers are the clients' own." },
  ...tlsListenerKeywords,
] as const satisfies readonly Keyword[];
