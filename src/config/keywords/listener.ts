import { listenerProtocols } from "../config.ts";
import { boolean, connectionCount, oneOf, protocolVersions, string, whole, type Keyword } from "../keyword.ts";
import { tlsListenerKeywords } from "./tls.ts";

/** Keywords of a `listener PORT [ADDRESS [PROTOCOL]]` section. */
export const listenerKeywords = [
  { name: "max_connections", aliases: [], reload: true, type: connectionCount, default: Infinity, doc: "Clients this listener serves at one time." },
  { name: "mount_point", aliases: [], reload: true, type: string, default: "", doc: "Put before all topics of this listener's clients, and taken off what they receive; normally ends in /." },
  { name: "bind_address", aliases: [], reload: true, type: string, default: undefined, doc: "Address of this listener, if the listener line has none." },
  { name: "bind_interface", aliases: [], reload: true, type: string, default: undefined, doc: "Network interface, as eth0: the listener is at the addresses only that it has when the listener is opened, all of them or, with an address or `ipv6 false`, those that this leaves." },
  { name: "ipv6", aliases: [], reload: true, type: boolean, default: undefined, doc: "false: this listener takes IPv4 only." },
  { name: "protocol", aliases: [], reload: true, type: oneOf(...listenerProtocols), default: "mqtt", doc: "What is spoken on the listener: MQTT, MQTT over WebSocket, or auto, both on one port, told apart by the first byte that a client sends." },
  { name: "http_dir", aliases: [], reload: true, type: string, default: undefined, doc: "Folder whose files are served over HTTP on a listener with WebSockets, see doc/websockets.md; without it there is nothing but WebSockets." },
  { name: "websockets_origin", aliases: [], reload: true, type: string, list: true, default: undefined, doc: "Origins that a WebSocket may be opened from, as https://example.org or example.org; a client that names another one or none is refused. Without it all are served." },
  { name: "socket_domain", aliases: [], reload: true, type: oneOf("ipv4", "ipv6"), default: undefined, doc: "ipv4: as `ipv6 false`." },
  { name: "accept_protocol_versions", aliases: [], reload: true, type: protocolVersions, default: undefined, doc: "Protocol versions that this listener serves." },
  { name: "max_qos", aliases: ["maximum_qos"], reload: true, type: whole(0, 2), default: undefined, doc: "Highest QoS of this listener: more is not taken, nor granted." },
  { name: "max_topic_alias", aliases: [], reload: true, type: whole(0, 65535), default: undefined, doc: "Topic aliases that a client of this listener may use; 0: none." },
  { name: "max_topic_alias_broker", aliases: [], reload: true, type: whole(0, 65535), default: undefined, doc: "Topic aliases that we use to a client of this listener, no more than it takes; 0: none." },
  { name: "listener_allow_anonymous", aliases: [], reload: true, type: boolean, default: undefined, doc: "Serve clients without a user name on this listener; without it as allow_anonymous says." },
  { name: "listener_auto_id_prefix", aliases: [], reload: true, type: string, default: undefined, doc: "Beginning of identifiers that are given to clients of this listener; without it auto_id_prefix." },
  { name: "use_username_as_clientid", aliases: [], reload: true, type: boolean, default: false, doc: "A client's user name takes the place of its client identifier; a client without one is refused." },
  ...tlsListenerKeywords,
] as const satisfies readonly Keyword[];
