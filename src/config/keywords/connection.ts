import type { ProtocolVersion } from "../../mqtt/protocol.ts";
import { age, boolean, limit, localAddress, oneOf, only, string, Unaccepted, whole, type Keyword, type ValueType } from "../keyword.ts";
import { tlsConnectionKeywords } from "./tls.ts";

const DAY_SECONDS = 86_400;
/** Session expiry that stands for "never" [MQTT 5.0 section 3.1.2.11.2]. */
const NEVER_SECONDS = 0xffff_ffff;
/** mosquitto's names of the versions and plain ones. */
export const bridgeProtocols: ReadonlyMap<string, ProtocolVersion> = new Map([["mqttv31", 3], ["mqttv311", 4], ["mqttv50", 5], ["3.1", 3], ["3.1.1", 4], ["5", 5]]);
const NOTICED = "Read for compatibility: a remote that is gone is noticed by keepalive_interval.";
const LOCAL = "Read for compatibility: here a connection is known by its name.";

/** `auto` is the document's spelling. */
const startType: ValueType = {
  name: "automatic, manual, lazy, once",
  parse: (text) => {
    const word = text.toLowerCase() === "auto" ? "automatic" : text.toLowerCase();
    return ["automatic", "manual", "lazy", "once"].includes(word) ? word : new Unaccepted("one of automatic, manual, lazy, once");
  },
};

/** Keywords of a `connection NAME` section; `topic` has a grammar of its own. */
export const connectionKeywords = [
  { name: "address", aliases: ["addresses"], type: string, list: true, default: undefined, doc: "Where the remote broker is: host or host:port, [IPv6]:port, behind mqtt://, mqtts:// (TLS), ws:// or wss:// (WebSocket; a path may follow). Several are tried in turn." },
  { name: "clientid", aliases: ["remote_clientid"], type: string, default: undefined, doc: "Client identifier at the remote; host name, dot, connection name if not given." },
  { name: "cleansession", aliases: [], type: boolean, default: undefined, doc: "Ask the remote for a clean session; default true with more than one address. The local queue is kept either way." },
  { name: "keepalive_interval", aliases: [], type: whole(0, 65535, "seconds"), default: 60, doc: "Keep alive of the connection; at least 5." },
  { name: "notifications", aliases: [], type: boolean, default: true, doc: "Publish 1 and 0 (retained) on the notification topic, here and at the remote, as the connection comes and goes." },
  { name: "notification_topic", aliases: [], type: string, default: undefined, doc: "Default $SYS/broker/connection/CLIENTID/state." },
  { name: "username", aliases: ["remote_username"], type: string, default: undefined, doc: "User name for the remote." },
  { name: "password", aliases: ["remote_password"], type: string, default: undefined, doc: "Password for the remote." },
  { name: "try_private", aliases: [], type: boolean, default: true, doc: "Tell the remote that we are a bridge, so that it does not echo our messages; falls back if it refuses." },
  { name: "round_robin", aliases: [], type: boolean, default: false, doc: "true: all addresses are equal. false: the first is the main one and is gone back to." },
  { name: "reconnect_interval", aliases: ["restart_timeout"], second: "max_reconnect_interval", type: whole(1, DAY_SECONDS, "seconds"), default: 20, doc: "First wait before a new attempt; doubled with each failure up to four times, or up to max_reconnect_interval." },
  { name: "max_reconnect_interval", aliases: [], type: whole(1, DAY_SECONDS, "seconds"), default: undefined, doc: "Longest wait before a new attempt." },
  { name: "connect_timeout", aliases: [], type: whole(1, DAY_SECONDS, "seconds"), default: 30, doc: "Time for TCP and CONNACK." },
  { name: "start_type", aliases: [], type: startType, default: "automatic", doc: "automatic: keep the connection up. manual: only when told. lazy: when threshold messages wait, or the oldest has waited max_age, until idle_timeout. once: one session, then no more." },
  { name: "threshold", aliases: [], type: whole(1, 1_000_000_000), default: 10, doc: "Queued messages that start a lazy connection." },
  { name: "idle_timeout", aliases: [], type: whole(1, DAY_SECONDS, "seconds"), default: 60, doc: "A lazy connection without traffic for so long is ended." },
  { name: "max_age", aliases: [], type: whole(0, DAY_SECONDS, "seconds"), default: 0, doc: "A lazy connection is started when the oldest queued message is so old, whatever the threshold; 0: never for that." },
  { name: "max_queued_messages", aliases: [], type: limit("messages"), default: Infinity, doc: "Messages kept for the connection beyond its in-flight window; see queue_full. Without a limit they are kept until store_min_free is reached." },
  { name: "max_queued_bytes", aliases: [], type: limit("bytes"), default: Infinity, doc: "Size of the messages kept for the connection beyond its in-flight window: topic, payload and 23 bytes each." },
  { name: "max_queued_age", aliases: [], type: age, default: Infinity, doc: "A message that has waited for so long without being sent is dropped." },
  { name: "queue_full", aliases: [], type: oneOf("drop_oldest", "drop_newest", "block"), default: "drop_oldest", doc: "What happens to a message for the connection when its queue has reached a limit: drop_oldest: the oldest gives way. drop_newest: it is dropped. block: its publisher waits, see block_timeout." },
  { name: "drain_rate", aliases: [], second: "drain_rate_bytes", type: limit("messages a second"), default: Infinity, doc: "How fast messages that have waited are sent; a second value is drain_rate_bytes. What can be sent as it comes is not held back, but counts." },
  { name: "drain_rate_bytes", aliases: [], type: limit("bytes a second"), default: Infinity, doc: "The same in bytes of topics and payloads." },
  { name: "queue_qos0_messages", aliases: [], type: boolean, default: false, doc: "Messages of QoS 0 wait while the remote is away or does not keep up: in RAM, within the limits of the queue." },
  { name: "notifications_local_only", aliases: [], type: boolean, default: false, doc: "Publish the connection's state here, not at the remote." },
  { name: "bridge_protocol_version", aliases: [], type: oneOf(...bridgeProtocols.keys()), default: "mqttv311", doc: "What is spoken to the remote; one that refuses it is asked with the next older version." },
  { name: "bridge_session_expiry_interval", aliases: [], type: whole(0, NEVER_SECONDS, "seconds"), default: NEVER_SECONDS, doc: "MQTT 5: how long the remote keeps our session, and what it holds for us, while there is no connection; 4294967295: for ever. With cleansession true it keeps nothing." },
  { name: "bridge_receive_maximum", aliases: [], type: whole(1, 65535, "messages"), default: 1000, doc: "MQTT 5: messages of QoS 1 and 2 that the remote may send without our acknowledgement." },
  { name: "bridge_max_topic_alias", aliases: [], type: whole(0, 65535, "aliases"), default: 10, doc: "MQTT 5: aliases that the remote may use for its topics." },
  { name: "bridge_outgoing_retain", aliases: [], type: boolean, default: true, doc: "false: what is sent to the remote is never retained there." },
  { name: "bridge_attempt_unsubscribe", aliases: [], type: boolean, default: true, doc: "Read for compatibility: a subscription that the connection no longer has is given up at the remote." },
  { name: "bridge_fatal_sub_errors", aliases: [], type: only("false"), default: "false", doc: "A subscription that the remote refuses is logged; the connection stays." },
  { name: "bridge_reload_type", aliases: [], type: oneOf("immediate", "lazy"), default: "immediate", doc: "Read for compatibility: a reload takes up a connection's changes at once." },
  { name: "bridge_tcp_keepalive", aliases: [], type: string, list: true, default: undefined, doc: NOTICED },
  { name: "bridge_tcp_user_timeout", aliases: [], type: string, default: undefined, doc: NOTICED },
  { name: "bridge_max_packet_size", aliases: [], type: limit("bytes"), default: Infinity, doc: "Largest packet sent to the remote; a larger message is dropped for it, logged and counted. With MQTT 5 the smaller of this and what the remote takes." },
  ...tlsConnectionKeywords,
  { name: "bridge_bind_address", aliases: [], type: localAddress, default: undefined, doc: "Address of this machine that the connection is made from, where it is to take a certain network; a remote's name is then looked up for its family only." },
  { name: "bridge_proxy", aliases: [], type: string, default: undefined, doc: "HTTP proxy that is asked for a tunnel (CONNECT) to each address: http://[user:password@]host:port." },
  { name: "local_cleansession", aliases: [], type: only("false"), default: "false", doc: "The queue is kept while the connection is down." },
  { name: "local_clientid", aliases: [], type: string, default: undefined, doc: LOCAL },
  { name: "local_username", aliases: [], type: string, default: undefined, doc: LOCAL },
  { name: "local_password", aliases: [], type: string, default: undefined, doc: LOCAL },
] as const satisfies readonly Keyword[];
