import type { Rights } from "../access/acl.ts";
import type { Identity } from "../access/identity.ts";
import type { Session } from "../session/session.ts";
import type { GroupNumber } from "../store/store.ts";
import type { SmallMap } from "../topic/small-map.ts";
import type { SubscriptionOptions } from "./subscription-options.ts";

/** Whose messages a session keeps: a client's, a bridge connection's, or those of a shared subscription until one of its members takes them. */
export type SessionKind = "client" | "bridge" | "share";

/** A connection that holds a session at the moment. */
export interface Holder {
  /** Another connection takes the session over [MQTT-3.1.4-2]. */
  takenOver(): void;
}

/** A session with its owner's name and subscriptions. */
export interface Entry {
  readonly kind: SessionKind;
  readonly session: Session;
  /** Who holds the session, or held it last. */
  identity: Identity;
  /** What that identity may do; undefined: everything. */
  rights: Rights | undefined;
  readonly filters: SmallMap<string, SubscriptionOptions>;
  /** When the session was made, and when its connection ended last. */
  sinceMs: number;
  leftMs: number;
  /** Whether the session's record tells when that was: while a connection is there it must not. */
  hasLeftRecorded: boolean;
  /** How long after that it ends; 0 with the connection, Infinity never. */
  expiryMs: number;
  /** Bridges only. */
  remotes: RemotesRecord;
  /** The group that holds the session's record. */
  createdIn: GroupNumber;
  /** The peer calls itself a bridge: it gets the RETAIN flag of live messages, and nothing back that it sent. */
  peerIsBridge: boolean;
  holder: Holder | undefined;
}

/** What a bridge remembers of its remote's addresses. */
export interface RemotesRecord {
  /** Where no packet identifiers of the past are left, and where there are. */
  readonly inStep: readonly string[];
  readonly stale: readonly string[];
  /** Which keep sessions of their own, as has been seen. */
  readonly apart?: readonly string[];
  /** Where it was connected last. */
  readonly last: string | undefined;
  /** Where the retained messages have been sent, or queued to be, with what topic lines; an address goes from here when another one is used. */
  readonly retainedSent: readonly string[];
  /** When the last of those was queued. */
  readonly retainedQueuedMs?: number | undefined;
  /** Where some are still to be queued; the remote that was connected last comes last. Absent: nowhere. */
  readonly retainedOwed?: readonly OwedRetained[] | undefined;
  /** The topic lines whose messages are queued, and since when without a gap; absent while none are. */
  readonly queued?: { readonly lines: string; readonly sinceMs: number } | undefined;
  /** Since when the remote misses what goes with QoS 0; absent while it misses nothing. */
  readonly missedSinceMs?: number | undefined;
}

/** The retained messages that a remote, with these topic lines, is owed and that are not queued yet: those whose names come behind `upTo`. */
export interface OwedRetained {
  readonly mark: string;
  readonly upTo: string;
  /** Received before that time: later ones were queued as they came. Absent: another remote has taken of those since. */
  readonly beforeMs?: number;
  /** What the remote had got when it was left for another one: what was received before that time, of the names up to that one, or of all. */
  readonly left?: { readonly sinceMs: number; readonly upTo?: string } | undefined;
}

export const NO_REMOTES: RemotesRecord = { inStep: [], stale: [], last: undefined, retainedSent: [] };

/** `doc/store-format.md`, session. */
interface SessionRecord {
  readonly clientId: string;
  readonly kind: SessionKind;
  readonly since: number;
  /** Ms; absent: it does not end by itself. */
  readonly expiry?: number;
  /** When its last connection ended; absent while one is there, or if nobody asks for it. */
  readonly left?: number;
  /** Authenticated user; undefined for anonymous clients. */
  readonly user?: string;
  /** Mount point below which its client was last; absent: none. */
  readonly mount?: string;
  readonly remotes?: RemotesRecord;
}

export function encodeSession({ kind, session, identity, sinceMs, expiryMs, leftMs, hasLeftRecorded, remotes }: Entry): Buffer {
  const record: SessionRecord = {
    clientId: identity.id,
    kind,
    since: sinceMs,
    ...(expiryMs < Infinity ? { expiry: expiryMs } : {}),
    ...(hasLeftRecorded ? { left: leftMs } : {}),
    ...(identity.user === undefined ? {} : { user: identity.user }),
    ...(session.mountPrefix === "" ? {} : { mount: session.mountPrefix }),
    ...(kind === "bridge" ? { remotes } : {}),
  };
  return Buffer.from(JSON.stringify(record));
}

export function decodeSession(record: Buffer): SessionRecord {
  return JSON.parse(record.toString()) as SessionRecord;
}
