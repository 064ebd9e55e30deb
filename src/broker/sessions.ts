import type { Rights } from "../access/acl.ts";
import type { Identity } from "../access/identity.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { QueueLimits } from "../session/bounds.ts";
import { Session, type SessionContext } from "../session/session.ts";
import {
  goneKey, goneRange, incomingRange, MAX_SESSION_NUMBER, nextNumberKey, nextNumberRange, pagesBetween, pagesOf, queueKey, queueRange,
  sessionKey, sessionNumberOf, sessionRange, subscriptionKey, subscriptionRange, type SessionNumber,
} from "../store/keys.ts";
import type { Timer } from "../clock/clock.ts";
import type { GroupNumber, Need, Store } from "../store/store.ts";
import { PARKED_LANE } from "../session/packet-id.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";
import type { Subscriptions } from "./subscriptions.ts";

export type SessionKind = "client" | "bridge";

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
  readonly filters: Map<string, QoS>;
  /** When the session was made, and when its connection ended last. */
  sinceMs: number;
  leftMs: number;
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
  /** Where it was connected last. */
  readonly last: string | undefined;
  /** Where the retained messages have been sent, with what topic lines. */
  readonly retainedSent: readonly string[];
}

const NO_REMOTES: RemotesRecord = { inStep: [], stale: [], last: undefined, retainedSent: [] };

interface SessionRecord {
  readonly clientId: string;
  readonly kind: SessionKind;
  readonly since: number;
  /** When its last connection ended; absent while one is there, or if nobody asks for it. */
  readonly left?: number;
  /** Authenticated user; undefined for anonymous clients. */
  readonly user?: string;
  readonly remotes?: RemotesRecord;
}

/** How many bytes of a gone session's pages are removed in one go. */
const REMOVAL_SLICE_BYTES = 256 * 1024;

/** All sessions, by kind and client identifier (for bridges: the connection's name). */
export class Sessions {
  private readonly entries = new Map<string, Entry>();
  private readonly records: Records;
  private readonly bridgeContext: SessionContext;
  /** Never given before: what is left of a session that has ended must not fall to another one. */
  private nextNumber: SessionNumber = 1;
  private expiryMs = Infinity;
  private expiryTimer: Timer | undefined;
  private ageTimer: Timer | undefined;

  constructor(
    private readonly store: Store,
    private readonly subscriptions: Subscriptions,
    private readonly context: SessionContext,
    private readonly rightsOf: (identity: Identity) => Rights | undefined,
  ) {
    this.records = new Records(store);
    const { limits } = context;
    const bridgeLimits = {
      ...BRIDGE_LIMITS,
      get maxInflightMessages(): number {
        return limits.maxInflightMessages;
      },
    };
    // Full client queues never take a bridge's room.
    this.bridgeContext = { ...context, limits: bridgeLimits, totals: { messages: 0, bytes: 0 } };
  }

  get(kind: SessionKind, clientId: string): Entry | undefined {
    return this.entries.get(`${kind} ${clientId}`);
  }

  all(): IterableIterator<Entry> {
    return this.entries.values();
  }

  /** Takes up what the store holds, before any listener opens. */
  async recover(): Promise<void> {
    if (!this.store.durable) return;
    const { store } = this;
    await readAll(store, nextNumberRange, (_key, value) => void (this.nextNumber = value.readUInt32BE(0)));
    const gone = new Set<SessionNumber>();
    await readAll(store, goneRange, (key) => void gone.add(this.seen(key)));
    const live = new Map<SessionNumber, Entry>();
    await readAll(store, sessionRange, (key, value) => {
      const number = this.seen(key);
      if (gone.has(number)) return void this.records.delete(key, "soon");
      const { clientId, kind, user, since, left, remotes } = JSON.parse(value.toString()) as SessionRecord;
      const entry = this.add({ kind, id: clientId, user }, number);
      entry.sinceMs = since;
      if (left !== undefined) entry.leftMs = left;
      if (remotes) entry.remotes = remotes;
      live.set(number, entry);
    });
    const ofLive = (take: (entry: Entry, key: Buffer, value: Buffer) => void) => (key: Buffer, value: Buffer): void => {
      const entry = live.get(this.seen(key));
      if (entry) take(entry, key, value);
      else this.records.delete(key, "soon"); // what is left of a session that has ended
    };
    await readAll(store, subscriptionRange, ofLive((entry, key, value) => this.note(entry, key.toString("utf8", 5), ((value[0] ?? 0) & 3) as QoS)));
    await readAll(store, incomingRange, ofLive(({ session }, _key, value) => session.incoming.recover(value)));
    await readAll(store, queueRange, ofLive(({ session }, key, value) => session.recoverQueue(key[5] ?? 0, value)));
    for (const number of gone) this.removePages(number, 0);
    await this.removeOrphans(this.nextNumber, MAX_SESSION_NUMBER); // before one of those numbers is given
    void this.removeOrphansBetween([...live.keys(), ...gone]);
  }

  private seen(key: Buffer): SessionNumber {
    const number = sessionNumberOf(key);
    this.nextNumber = Math.max(this.nextNumber, number + 1);
    return number;
  }

  /** A power cut, or a repair, may bring back pages of a session that was removed. Not worth a start's time; looks only where no session is. */
  private async removeOrphansBetween(known: SessionNumber[]): Promise<void> {
    let from = 1;
    try {
      for (const number of [...known, this.nextNumber].sort((a, b) => a - b)) {
        if (from < number) await this.removeOrphans(from, number);
        from = number + 1;
      }
    } catch {
      // the store tells of its own failure; the next start tries again
    }
  }

  /** Takes sessions `from` to `before` that have pages for ended. */
  private async removeOrphans(from: SessionNumber, before: SessionNumber): Promise<void> {
    for (let next = from; ; ) {
      const range = pagesBetween(next, before);
      const [page] = await this.store.read(range.from, range.to, 1);
      if (!page) return;
      const number = this.seen(page[0]);
      this.removePages(number, this.records.put(goneKey(number), NOTHING, "soon"));
      next = number + 1;
    }
  }

  private add(identity: Identity, number: SessionNumber): Entry {
    const { kind, id } = identity;
    const nowMs = this.context.clock.nowMs();
    const session = new Session(number, id, number > 0, kind === "bridge" ? this.bridgeContext : this.context);
    const entry: Entry = { kind, session, identity, rights: undefined, filters: new Map(), sinceMs: nowMs, leftMs: nowMs, remotes: NO_REMOTES, createdIn: 0, peerIsBridge: false, holder: undefined };
    this.setRights(entry);
    this.entries.set(`${kind} ${id}`, entry);
    return entry;
  }

  /** The rules have changed: gives each session the rights that they now give its user. */
  bindRights(): void {
    for (const entry of this.entries.values()) this.setRights(entry);
  }

  /** A bridge's topics are checked by their local names, before they are mapped: not here. */
  private setRights(entry: Entry): void {
    if (entry.kind === "client") entry.session.rights = entry.rights = this.rightsOf(entry.identity);
  }

  /** Opens the session for a connection that begins. `after`: the group that holds its creation or deletion. */
  open(identity: Identity, clean: boolean, holder: Holder): { entry: Entry; present: boolean; after: GroupNumber } {
    const { kind, id: clientId } = identity;
    const existing = this.get(kind, clientId);
    existing?.holder?.takenOver();
    const known = this.get(kind, clientId); // a take-over may have ended it
    if (known && !clean && known.session.durable) {
      known.holder = holder;
      if (known.identity.user !== identity.user) this.bind(known, identity);
      return { entry: known, present: true, after: known.createdIn };
    }
    const endedIn = known ? this.end(known) : 0;
    const entry = this.add(identity, clean ? 0 : this.nextNumber++);
    if (!clean) {
      this.records.put(nextNumberKey, numberValue(this.nextNumber), "synced");
      this.keep(entry);
    }
    entry.holder = holder;
    return { entry, present: false, after: Math.max(endedIn, entry.createdIn) };
  }

  private keep(entry: Entry, need: Need = "synced"): void {
    const { kind, id: clientId, user } = entry.identity;
    const left = entry.holder === undefined && this.expiryMs < Infinity ? { left: entry.leftMs } : {};
    const record: SessionRecord = { clientId, kind, since: entry.sinceMs, ...left, ...(user === undefined ? {} : { user }), ...(kind === "bridge" ? { remotes: entry.remotes } : {}) };
    entry.createdIn = this.records.put(sessionKey(entry.session.number), Buffer.from(JSON.stringify(record)), need);
  }

  setRemotes(entry: Entry, remotes: RemotesRecord): void {
    entry.remotes = remotes;
    this.keep(entry);
  }

  /** Another user takes the session up: its subscriptions stay, what they give is what this user may read. */
  private bind(entry: Entry, identity: Identity): void {
    entry.identity = identity;
    this.setRights(entry);
    this.subscriptions.invalidate();
    this.keep(entry);
  }

  /** Says whether the session's peer is a bridge, which its subscriptions then follow. */
  setPeerIsBridge(entry: Entry, peerIsBridge: boolean): void {
    if (entry.peerIsBridge === peerIsBridge) return;
    entry.peerIsBridge = peerIsBridge;
    for (const [filter, qos] of entry.filters) this.note(entry, filter, qos);
  }

  /** The connection is over; a session that does not outlive it ends. */
  release(entry: Entry, holder: Holder): void {
    if (entry.holder !== holder) return;
    entry.holder = undefined;
    entry.session.detach();
    entry.leftMs = this.context.clock.nowMs();
    if (!entry.session.durable) this.end(entry);
    else if (this.expiryMs < Infinity && entry.kind === "client") this.keep(entry, "soon");
  }

  /** Has messages that are too old for their queues dropped, from now on. */
  watchAges(): void {
    const check = (): void => {
      for (const { session } of this.entries.values()) session.dropOld();
      this.ageTimer = this.context.clock.after(AGE_CHECK_MS, check);
    };
    check();
  }

  /** Nothing happens by itself any more. */
  stopTimers(): void {
    this.ageTimer?.cancel();
    this.expiryTimer?.cancel();
  }

  /** From now on clients' sessions end when nobody has taken them up for so long. */
  expireAfter(expiryMs: number, onExpired: (clientId: string, messages: number) => void): void {
    this.expiryTimer?.cancel();
    this.expiryMs = expiryMs;
    if (expiryMs === Infinity) return;
    const check = (): void => {
      const limitMs = this.context.clock.nowMs() - expiryMs;
      for (const entry of [...this.entries.values()]) {
        if (entry.kind !== "client" || entry.holder || entry.leftMs > limitMs) continue;
        const { queuedMessages, clientId } = entry.session;
        this.end(entry);
        onExpired(clientId, queuedMessages);
      }
      this.expiryTimer = this.context.clock.after(Math.min(expiryMs / 2, EXPIRY_CHECK_MS), check);
    };
    check();
  }

  /** Ends a session: its state is removed with one group, its pages in slices behind it. */
  end(entry: Entry): GroupNumber {
    const { session, kind } = entry;
    this.entries.delete(`${kind} ${session.clientId}`);
    for (const filter of entry.filters.keys()) this.subscriptions.remove(filter, session);
    session.discard();
    if (!session.durable) return 0;
    const { number } = session;
    for (const filter of entry.filters.keys()) this.records.delete(subscriptionKey(number, filter), "synced");
    for (let lane = 0; lane <= PARKED_LANE; lane++) this.records.delete(queueKey(number, lane), "synced");
    this.records.put(goneKey(number), NOTHING, "synced");
    const group = this.records.delete(sessionKey(number), "synced");
    this.removePages(number, group);
    return group;
  }

  /** `after`: the group of the session's end. Until it is stored a group with pages of the session may be on its way to the disk. */
  private removePages(number: SessionNumber, after: GroupNumber): void {
    if (!this.store.durable) return;
    const { from, to } = pagesOf(number);
    const next = (): void => {
      if (this.store.stored < after) return void this.context.clock.after(REMOVAL_PAUSE_MS, next);
      this.store.read(from, to, REMOVAL_SLICE_BYTES).then((pages) => {
        for (const [key] of pages) this.records.delete(key, "soon");
        if (pages.length === 0) this.records.delete(goneKey(number), "soon");
        else this.context.clock.after(REMOVAL_PAUSE_MS, next);
      }, () => undefined); // the gone record stays: the next start goes on
    };
    this.context.clock.after(REMOVAL_PAUSE_MS, next);
  }

  /** Adds or changes a subscription; returns the group that holds it. */
  subscribe(entry: Entry, filter: string, qos: QoS): GroupNumber {
    this.note(entry, filter, qos);
    if (!entry.session.durable) return 0;
    return this.records.put(subscriptionKey(entry.session.number, filter), Buffer.from([qos]), "synced");
  }

  private note(entry: Entry, filter: string, qos: QoS): void {
    entry.filters.set(filter, qos);
    if (entry.kind === "bridge") return; // its topic lines subscribe
    const { session, peerIsBridge } = entry;
    this.subscriptions.add(filter, session, { qos, receiver: session, retainAsPublished: peerIsBridge, noLocal: peerIsBridge });
  }

  unsubscribe(entry: Entry, filter: string): GroupNumber {
    if (!entry.filters.delete(filter)) return 0;
    this.subscriptions.remove(filter, entry.session);
    return entry.session.durable ? this.records.delete(subscriptionKey(entry.session.number, filter), "synced") : 0;
  }
}

function numberValue(number: SessionNumber): Buffer {
  const value = Buffer.allocUnsafe(4);
  value.writeUInt32BE(number, 0);
  return value;
}

/** What waits for a remote broker is bounded by the disk, unless its connection says otherwise. */
const BRIDGE_LIMITS: QueueLimits = {
  maxQueuedMessages: Infinity,
  maxQueuedBytes: Infinity,
  maxQueuedAgeMs: Infinity,
  queueFull: "drop_oldest",
  queueQoS0: false,
  maxTotalQueuedMessages: Infinity,
  maxTotalQueuedBytes: Infinity,
};
const NOTHING = Buffer.alloc(0);
const AGE_CHECK_MS = 1_000;
const EXPIRY_CHECK_MS = 60_000;
const REMOVAL_PAUSE_MS = 1_100;
