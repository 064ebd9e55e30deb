import { logLevels } from "../../log/console.ts";
import { boolean, connectionCount, limit, oneOf, string, whole, type Keyword } from "../keyword.ts";

const DAY_SECONDS = 86_400;

/** Keywords that stand before the first section, or anywhere a section has none of the same name. */
export const globalKeywords = [
  { name: "port", aliases: [], type: whole(1, 65535), default: 1883, doc: "Port of the default listener." },
  { name: "bind_address", aliases: [], type: string, default: undefined, doc: "Address of the default listener; without it all addresses." },
  { name: "max_connections", aliases: [], type: connectionCount, default: Infinity, doc: "Clients the default listener serves at one time." },
  { name: "ipv6", aliases: [], type: boolean, default: undefined, doc: "false: the default listener takes IPv4 only." },
  { name: "log_level", aliases: [], type: oneOf(...logLevels), default: "info", doc: "Least level of console lines." },
  { name: "connection_messages", aliases: [], type: boolean, default: true, doc: "Log clients that connect and disconnect." },
  { name: "max_inflight_messages", aliases: [], type: whole(1, 4096), default: 10, doc: "Messages of QoS 1 and 2 on their way to one receiver without its acknowledgement." },
  { name: "max_queued_messages", aliases: [], type: limit("messages"), default: 1000, doc: "Messages kept for one client beyond its in-flight window; the newest is discarded when it is reached. Connections have no limit." },
  { name: "max_packet_size", aliases: ["message_size_limit"], type: limit("bytes"), default: 1_048_576, doc: "Largest packet taken from a peer." },
  { name: "max_queue_memory", aliases: [], type: limit("bytes"), default: 16_777_216, doc: "RAM that all queues share; what is stored beyond it is read back when its turn comes." },
  { name: "max_uncommitted_bytes", aliases: [], type: limit("bytes"), default: 8_388_608, doc: "Bytes taken from publishers and not yet on disk; an eighth of it from one connection." },
  { name: "store_min_free", aliases: [], type: whole(0, Number.MAX_SAFE_INTEGER, "bytes"), default: 67_108_864, doc: "Free room on the store's disk below which it counts as full." },
  { name: "persistence", aliases: ["retained_persistence"], type: boolean, default: true, doc: "Keep messages, subscriptions and retained messages on disk." },
  { name: "persistence_location", aliases: [], type: string, default: undefined, doc: "Prefix of the store's folder; it ends in / to be a folder itself." },
  { name: "durability", aliases: [], type: oneOf("power", "process"), default: "power", doc: "What an acknowledged message survives: power (a power cut; the disk is synced before each acknowledgement) or process (the end of the process)." },
  { name: "commit_interval_ms", aliases: [], type: whole(0, 60_000, "ms"), default: 0, doc: "Time to collect changes for one sync; acknowledgements wait for it." },
  { name: "strict_store", aliases: [], type: boolean, default: false, doc: "Refuse to start on a damaged store instead of setting it aside." },
  { name: "autosave_interval", aliases: [], type: whole(-1, DAY_SECONDS * 365, "seconds"), default: 5, doc: "Retained messages of QoS 0 reach the disk for good at the latest after this; 0 or -1: with the next change that is synced. Everything acknowledged is on disk at once." },
  { name: "autosave_on_changes", aliases: [], type: boolean, default: false, doc: "Read for compatibility: changes are written as they come." },
  { name: "retry_interval", aliases: [], type: whole(0, DAY_SECONDS, "seconds"), default: 20, doc: "Read for compatibility: messages are sent again when a client reconnects, as the standard wants." },
  { name: "max_log_entries", aliases: [], type: whole(0, 1_000_000), default: 100, doc: "Read for compatibility; has no effect yet." },
  { name: "max_trace_entries", aliases: [], type: whole(0, 1_000_000), default: 400, doc: "Read for compatibility; has no effect yet." },
  { name: "trace_level", aliases: [], type: oneOf("minimum", "medium", "maximum"), default: "minimum", doc: "Read for compatibility; has no effect yet." },
  { name: "trace_output", aliases: [], type: string, default: "off", doc: "Read for compatibility; has no effect yet." },
  { name: "ffdc_output", aliases: [], type: string, default: undefined, doc: "Read for compatibility; has no effect yet." },
  { name: "allow_anonymous", aliases: [], type: boolean, default: true, doc: "Serve clients without a user name. Password files are not supported yet, so false is refused." },
] as const satisfies readonly Keyword[];
