import type { Rights } from "../access/acl.ts";
import type { Identity } from "../access/identity.ts";
import type { QueueLimits } from "../session/bounds.ts";
import { Session } from "../session/session.ts";
import type { SessionContext } from "../session/session-context.ts";
import {
  incomingRange, nextNumberKey, nextNumberRange, queueKey, queueRange, sessionKey, sessionNumberOf, sessionRange, subscriptionKey,
  subscriptionRange, type SessionNumber,
} from "../store/keys.ts";
import type { Timer } from "../clock/clock.ts";
import type { GroupNumber, Need, Store } from "../store/store.ts";
import { PARKED_LANE } from "../session/packet-id.ts";
import { isShared } from "../topic/share.ts";
import { SmallMap } from "../topic/small-map.ts";
import { decodeSession, encodeSession, NO_REMOTES, type Entry, type Holder, type RemotesRecord, type SessionKind } from "./entry.ts";
import { type Losses, lossesOf, NO_LOSSES, sumOfLosses } from "./losses.ts";
import { GoneSessions } from "./gone-sessions.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";
import { SessionExpiry } from "./session-expiry.ts";
import { SharedGroups } from "./shared-groups.ts";
import { decodeOptions, encodeOptions, interned, type SubscriptionOptions } from "./subscription-options.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** How a connection wants its session. */
export interface SessionStart {
  /** Not the one that may be there. */
  readonly cleanStart: boolean;
  /** How long it outlives the connection: 0 not at all, Infinity for ever. */
  readonly expiryMs: number;
}

/** What happens to sessions, for those who keep something with them. */
export interface SessionEvents {
  /** A connection has taken the session up. */
  onTakenUp(entry: Entry): void;
  /** Whether it may end by itself now; if not, it is asked again. */
  mayEnd(entry: Entry): boolean;
  /** It is over; the connection that held it is, too. */
  onEnded(entry: Entry): void;
}

/** All sessions, by kind and client identifier (for bridges: the connection's name). */
export class Sessions {
  private readonly entries = new Map<string, Entry>();
  /** How many of them are of clients. */
  private clientCount = 0;
  private readonly records: Records;
  private readonly bridgeContext: SessionContext<Session>;
  /** Never given before: what is left of a session that has ended must not fall to another one. */
  private nextNumber: SessionNumber = 1;
  private readonly gone: GoneSessions;
  private readonly expiry: SessionExpiry;
  private readonly shares: SharedGroups;
  /** Of sessions that have ended, since the start. */
  private endedLosses = NO_LOSSES;
  private onExpired: (clientId: string, messages: number) => void = () => undefined;
  private checkTimer: Timer | undefined;

  constructor(
    private readonly store: Store,
    private readonly subscriptions: Subscriptions,
    private readonly context: SessionContext<Session>,
    private readonly rightsOf: (identity: Identity) => Rights | undefined,
    private readonly events: SessionEvents,
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
    this.gone = new GoneSessions(store, context.clock, this.records, (page, left) => this.shares.moveOn(page, left));
    this.expiry = new SessionExpiry(context.clock, () => this.entries.values(), (entry) => events.mayEnd(entry), (entry) => this.expire(entry));
    this.shares = new SharedGroups(subscriptions, {
      open: (name, durable) => this.openShare(name, durable),
      find: (name) => this.get("share", name)?.session,
      end: (name) => void this.endShare(name),
    });
  }

  get(kind: SessionKind, clientId: string): Entry | undefined {
    return this.entries.get(`${kind} ${clientId}`);
  }

  /** Clients that are connected, and those whose session waits for them. */
  get clients(): number {
    return this.clientCount;
  }

  all(): IterableIterator<Entry> {
    return this.entries.values();
  }

  /** Of all sessions since the start, those that have ended as well. */
  get losses(): Losses {
    let losses = this.endedLosses;
    for (const { session } of this.entries.values()) losses = sumOfLosses(losses, lossesOf(session));
    return losses;
  }

  /** Takes up what the store holds, before any listener opens. */
  async recover(): Promise<void> {
    if (!this.store.durable) return;
    const { store, gone } = this;
    await readAll(store, nextNumberRange, (_key, value) => void (this.nextNumber = value.readUInt32BE(0)));
    for (const number of await gone.recover()) this.seen(number);
    const live = new Map<SessionNumber, Entry>();
    await readAll(store, sessionRange, (key, value) => {
      const number = this.seen(sessionNumberOf(key));
      if (gone.has(number)) return void this.records.delete(key, "soon");
      const { clientId, kind, user, since, expiry, left, mount, remotes } = decodeSession(value);
      const older = this.get(kind, clientId);
      if (older) {
        // A repair has brought it back: it had ended when this one began.
        live.delete(older.session.number);
        this.end(older);
      }
      const entry = this.add({ kind: kind === "bridge" ? kind : "client", id: clientId, user }, kind, number);
      entry.sinceMs = since;
      if (left !== undefined) {
        entry.leftMs = left;
        entry.hasLeftRecorded = true;
      }
      if (expiry !== undefined) entry.expiryMs = expiry;
      if (mount !== undefined) entry.session.strippedPrefix = Buffer.from(mount);
      if (remotes) entry.remotes = remotes;
      live.set(number, entry);
    });
    const ofLive = (take: (entry: Entry, key: Buffer, value: Buffer) => void) => (key: Buffer, value: Buffer): void => {
      const entry = live.get(this.seen(sessionNumberOf(key)));
      if (entry) take(entry, key, value);
      else this.records.delete(key, "soon"); // what is left of a session that has ended
    };
    await readAll(store, incomingRange, ofLive(({ session }, _key, value) => session.incoming.recover(value)));
    await readAll(store, queueRange, ofLive(({ session }, key, value) => session.recoverQueue(key[5] ?? 0, value)));
    if (store.wasRepaired === true) {
      for (const { session } of live.values()) await session.recoverBeyondRecords();
      store.recovered?.();
    }
    // Behind the queues: those of shared subscriptions are handed on to members.
    await readAll(store, subscriptionRange, ofLive((entry, key, value) => this.note(entry, key.toString("utf8", 5), decodeOptions(value))));
    gone.removeFound();
    this.nextNumber = await gone.removeOrphansFrom(this.nextNumber);
    void gone.removeOrphansBetween([...live.keys()], this.nextNumber);
    void removeLeftovers([...live.values()]);
  }

  /** After `recover`, when all that sessions have is taken up: ends those that are over. */
  endOver(): void {
    for (const entry of [...this.entries.values()]) {
      if (entry.kind === "share" ? !this.shares.has(entry.session.clientId) : entry.expiryMs === 0) this.end(entry);
    }
    this.expiry.check();
  }

  private seen(number: SessionNumber): SessionNumber {
    this.nextNumber = Math.max(this.nextNumber, number + 1);
    return number;
  }

  private add(identity: Identity, kind: SessionKind, number: SessionNumber): Entry {
    const { id } = identity;
    const nowMs = this.context.clock.nowMs();
    const session = new Session(number, id, number > 0, kind === "bridge" ? this.bridgeContext : this.context);
    const entry: Entry = {
      kind, session, identity, rights: undefined, filters: new SmallMap(), sinceMs: nowMs, leftMs: nowMs, hasLeftRecorded: false, expiryMs: Infinity,
      remotes: NO_REMOTES, createdIn: 0, peerIsBridge: false, holder: undefined,
    };
    this.setRights(entry);
    this.entries.set(`${kind} ${id}`, entry);
    if (kind === "client") this.clientCount += 1;
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
  open(identity: Identity, { cleanStart, expiryMs }: SessionStart, holder: Holder): { entry: Entry; present: boolean; after: GroupNumber } {
    const { kind, id: clientId } = identity;
    const existing = this.get(kind, clientId);
    existing?.holder?.takenOver();
    const known = this.get(kind, clientId); // a take-over may have ended it
    if (known && !cleanStart && known.session.durable && !this.expiry.isOver(known)) {
      known.holder = holder;
      this.takeUp(known, identity, expiryMs);
      return { entry: known, present: true, after: known.createdIn };
    }
    const endedIn = known ? this.end(known) : 0;
    const entry = this.create(identity, kind, expiryMs > 0);
    entry.holder = holder;
    entry.expiryMs = expiryMs;
    if (entry.session.durable) this.keep(entry);
    return { entry, present: false, after: Math.max(endedIn, entry.createdIn) };
  }

  private create(identity: Identity, kind: SessionKind, durable: boolean): Entry {
    const entry = this.add(identity, kind, durable ? this.nextNumber++ : 0);
    if (durable) this.records.put(nextNumberKey, numberValue(this.nextNumber), "synced");
    return entry;
  }

  private takeUp(entry: Entry, identity: Identity, expiryMs: number): void {
    const isNewUser = entry.identity.user !== identity.user;
    const changes = isNewUser || entry.expiryMs !== expiryMs || entry.hasLeftRecorded;
    entry.expiryMs = expiryMs;
    if (isNewUser) this.bind(entry, identity);
    if (changes) this.keep(entry);
    this.events.onTakenUp(entry);
  }

  private keep(entry: Entry, need: Need = "synced"): void {
    entry.hasLeftRecorded = entry.holder === undefined && this.expiry.expiryOf(entry) < Infinity;
    entry.createdIn = this.records.put(sessionKey(entry.session.number), encodeSession(entry), need);
  }

  setRemotes(entry: Entry, remotes: RemotesRecord): void {
    entry.remotes = remotes;
    this.keep(entry);
  }

  /** Says below which mount point the session's client is: topics that begin with `$` there are hidden from it, also while it is away. */
  mount(entry: Entry, prefix: Buffer): void {
    const { session } = entry;
    if (prefix.equals(session.strippedPrefix)) return;
    session.strippedPrefix = prefix;
    if (session.durable) this.keep(entry);
  }

  /** Another user takes the session up: its subscriptions stay, what they give is what this user may read. */
  private bind(entry: Entry, identity: Identity): void {
    entry.identity = identity;
    this.setRights(entry);
    this.subscriptions.invalidate();
  }

  /** Says whether the session's peer is a bridge, which its subscriptions then follow. */
  setPeerIsBridge(entry: Entry, peerIsBridge: boolean): void {
    if (entry.peerIsBridge === peerIsBridge) return;
    entry.peerIsBridge = peerIsBridge;
    for (const [filter, options] of entry.filters) this.note(entry, filter, options);
  }

  /** The connection is over; a session that does not outlive it ends. */
  release(entry: Entry, holder: Holder): void {
    if (entry.holder !== holder) return;
    entry.holder = undefined;
    entry.session.detach();
    entry.leftMs = this.context.clock.nowMs();
    if (!entry.session.durable || entry.expiryMs === 0) return void this.end(entry);
    if (this.expiry.expiryOf(entry) === Infinity) return;
    this.keep(entry, "soon");
    this.expiry.left(entry);
  }

  /** Has sessions look at their queues now and then, from now on. */
  watchQueues(): void {
    const check = (): void => {
      for (const { session } of this.entries.values()) session.check();
      this.checkTimer = this.context.clock.after(CHECK_MS, check);
    };
    check();
  }

  /** Nothing happens by itself any more. */
  stopTimers(): void {
    this.checkTimer?.cancel();
    this.expiry.stop();
  }

  /** From now on clients' sessions end when nobody has taken them up for so long. */
  expireAfter(expiryMs: number, onExpired: (clientId: string, messages: number) => void): void {
    this.onExpired = onExpired;
    this.expiry.setCap(expiryMs);
    // A crash has ended their connections, or nobody has asked when they ended: the next start is to count from the same moment.
    for (const entry of this.entries.values()) if (!entry.holder && !entry.hasLeftRecorded && this.expiry.expiryOf(entry) < Infinity) this.keep(entry, "soon");
  }

  private expire(entry: Entry): void {
    const { queuedMessages, clientId } = entry.session;
    this.end(entry);
    this.onExpired(clientId, queuedMessages);
  }

  /** Ends a session: its state is removed with one group, its pages in slices behind it. */
  end(entry: Entry): GroupNumber {
    const { session, kind } = entry;
    this.entries.delete(`${kind} ${session.clientId}`);
    if (kind === "client") this.clientCount -= 1;
    for (const filter of entry.filters.keys()) this.forget(entry, filter);
    this.endedLosses = sumOfLosses(this.endedLosses, { ...lossesOf(session), parked: 0 });
    const left = this.shares.sessionEnds(session);
    this.events.onEnded(entry);
    session.discard();
    if (!session.durable) return 0;
    const { number } = session;
    for (const filter of entry.filters.keys()) this.records.delete(subscriptionKey(number, filter), "synced");
    for (let lane = 0; lane <= PARKED_LANE; lane++) this.records.delete(queueKey(number, lane), "synced");
    this.gone.note(number, left);
    const group = this.records.delete(sessionKey(number), "synced");
    this.gone.removePages(number, group, left);
    return group;
  }

  private openShare(name: string, durable: boolean): Session {
    const entry = this.create({ kind: "client", id: name, user: undefined }, "share", durable);
    if (durable) this.keep(entry);
    return entry.session;
  }

  private endShare(name: string): void {
    const entry = this.get("share", name);
    if (entry) this.end(entry);
  }

  /** Which limit one more subscription would break; undefined if none. */
  limitFor(entry: Entry, filter: string): string | undefined {
    if (entry.filters.has(filter)) return undefined;
    return this.subscriptions.limitFor(entry.session, filter) ?? (isShared(filter) ? this.shares.limitFor(entry, filter) : undefined);
  }

  /** How long the session outlives its connection from now on; the connection is there. */
  setExpiry(entry: Entry, expiryMs: number): void {
    if (entry.expiryMs === expiryMs) return;
    entry.expiryMs = expiryMs;
    this.keep(entry);
  }

  /** Adds or changes a subscription; returns the group that holds it. */
  subscribe(entry: Entry, filter: string, options: SubscriptionOptions): GroupNumber {
    this.note(entry, filter, interned(options));
    if (!entry.session.durable) return 0;
    return this.records.put(subscriptionKey(entry.session.number, filter), encodeOptions(options), "synced");
  }

  private note(entry: Entry, filter: string, options: SubscriptionOptions): void {
    entry.filters.set(filter, options);
    if (entry.kind === "bridge") return; // its topic lines subscribe
    if (isShared(filter)) return this.shares.join(entry, filter, options);
    const { session, peerIsBridge } = entry;
    const { qos, identifier } = options;
    const retainAsPublished = peerIsBridge || options.retainAsPublished;
    this.subscriptions.place(filter, session, { qos, receiver: session, retainAsPublished, noLocal: peerIsBridge || options.noLocal, identifier });
  }

  private forget(entry: Entry, filter: string): void {
    if (isShared(filter)) this.shares.leave(entry, filter);
    else this.subscriptions.remove(filter, entry.session);
  }

  /** Returns the group that holds it; undefined if there is no such subscription. */
  unsubscribe(entry: Entry, filter: string): GroupNumber | undefined {
    if (!entry.filters.delete(filter)) return undefined;
    this.forget(entry, filter);
    return entry.session.durable ? this.records.delete(subscriptionKey(entry.session.number, filter), "synced") : 0;
  }
}

function numberValue(number: SessionNumber): Buffer {
  const value = Buffer.allocUnsafe(4);
  value.writeUInt32BE(number, 0);
  return value;
}

/** One session after the other: thousands of reads at a time take their room, and none of them is urgent. */
async function removeLeftovers(entries: readonly Entry[]): Promise<void> {
  for (const { session } of entries) await session.removeLeftovers();
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
const CHECK_MS = 1_000;
