import { boolean, connectionCount, string, type Keyword } from "../keyword.ts";

/** Keywords of a `listener PORT [ADDRESS [PROTOCOL]]` section. */
export const listenerKeywords = [
  { name: "max_connections", aliases: [], type: connectionCount, default: Infinity, doc: "Clients this listener serves at one time." },
  { name: "mount_point", aliases: [], type: string, default: "", doc: "Put before all topics of this listener's clients, and taken off what they receive; normally ends in /." },
  { name: "bind_address", aliases: [], type: string, default: undefined, doc: "Address of this listener, if the listener line has none." },
  { name: "ipv6", aliases: [], type: boolean, default: undefined, doc: "false: this listener takes IPv4 only." },
] as const satisfies readonly Keyword[];
