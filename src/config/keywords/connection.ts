import { boolean, oneOf, string, whole, type Keyword } from "../keyword.ts";

const DAY_SECONDS = 86_400;

/** Keywords of a `connection NAME` section; `topic` has a grammar of its own. */
export const connectionKeywords = [
  { name: "address", aliases: ["addresses"], type: string, list: true, default: undefined, doc: "Where the remote broker is: host or host:port, [IPv6]:port; several are tried in turn." },
  { name: "clientid", aliases: ["remote_clientid"], type: string, default: undefined, doc: "Client identifier at the remote; host name, dot, connection name if not given." },
  { name: "cleansession", aliases: [], type: boolean, default: undefined, doc: "Ask the remote for a clean session; default true with more than one address. The local queue is kept either way." },
  { name: "keepalive_interval", aliases: [], type: whole(0, 65535, "seconds"), default: 60, doc: "Keep alive of the connection; at least 5." },
  { name: "notifications", aliases: [], type: boolean, default: true, doc: "Publish 1 and 0 (retained) on the notification topic, here and at the remote, as the connection comes and goes." },
  { name: "notification_topic", aliases: [], type: string, default: undefined, doc: "Default $SYS/broker/connection/CLIENTID/state." },
  { name: "username", aliases: ["remote_username"], type: string, default: undefined, doc: "User name for the remote." },
  { name: "password", aliases: ["remote_password"], type: string, default: undefined, doc: "Password for the remote." },
  { name: "try_private", aliases: [], type: boolean, default: true, doc: "Tell the remote that we are a bridge, so that it does not echo our messages; falls back if it refuses." },
  { name: "round_robin", aliases: [], type: boolean, default: false, doc: "true: all addresses are equal. false: the first is the main one and is gone back to." },
  { name: "reconnect_interval", aliases: ["restart_timeout"], type: whole(1, DAY_SECONDS, "seconds"), default: 20, doc: "First wait before a new attempt; doubled with each failure up to four times, or up to max_reconnect_interval." },
  { name: "max_reconnect_interval", aliases: [], type: whole(1, DAY_SECONDS, "seconds"), default: undefined, doc: "Longest wait before a new attempt." },
  { name: "connect_timeout", aliases: [], type: whole(1, DAY_SECONDS, "seconds"), default: 30, doc: "Time for TCP and CONNACK." },
  { name: "start_type", aliases: [], type: oneOf("automatic", "auto"), default: "automatic", doc: "automatic: keep the connection up. Other start types are not supported yet." },
] as const satisfies readonly Keyword[];
