import type { QoS } from "../mqtt/protocol.ts";
import { Session, type SessionContext } from "../session/session.ts";
import {
  goneKey, goneRange, incomingKey, incomingRange, pagesOf, queueKey, queueRange, sessionKey, sessionNumberOf, sessionRange,
  subscriptionKey, subscriptionRange, type SessionNumber,
} from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import { LANES } from "../session/packet-id.ts";
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
  readonly filters: Map<string, QoS>;
  /** The group that holds the session's record. */
  createdIn: GroupNumber;
  /** The peer calls itself a bridge: it gets the RETAIN flag of live messages, and nothing back that it sent. */
  peerIsBridge: boolean;
  holder: Holder | undefined;
}

interface SessionRecord {
  readonly clientId: string;
  readonly kind: SessionKind;
  readonly since: number;
}

/** How many bytes of a gone session's pages are removed in one go. */
const REMOVAL_SLICE_BYTES = 256 * 1024;

/** All sessions, by kind and client identifier (for bridges: the connection's name). */
export class Sessions {
  private readonly entries = new Map<string, Entry>();
  private readonly records: Records;
  private readonly bridgeContext: SessionContext;
  private nextNumber: SessionNumber = 1;

  constructor(
    private readonly store: Store,
    private readonly subscriptions: Subscriptions,
    private readonly context: SessionContext,
  ) {
    this.records = new Records(store);
    // What waits for a remote broker is bounded by the disk, not by a count: full client queues never take a bridge's room.
    this.bridgeContext = { ...context, limits: { ...context.limits, maxQueuedMessages: Infinity } };
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
    const byNumber = new Map<SessionNumber, Entry>();
    await readAll(this.store, sessionRange, (key, value) => {
      const { clientId, kind } = JSON.parse(value.toString()) as SessionRecord;
      const number = sessionNumberOf(key);
      byNumber.set(number, this.add(kind, clientId, number));
      this.nextNumber = Math.max(this.nextNumber, number + 1);
    });
    await readAll(this.store, subscriptionRange, (key, value) => {
      const entry = byNumber.get(sessionNumberOf(key));
      if (entry) this.note(entry, key.toString("utf8", 5), ((value[0] ?? 0) & 3) as QoS);
    });
    await readAll(this.store, incomingRange, (key, value) => byNumber.get(sessionNumberOf(key))?.session.incoming.recover(value));
    await readAll(this.store, queueRange, (key, value) => byNumber.get(sessionNumberOf(key))?.session.recoverQueue(key[5] ?? 0, value));
    const gone: SessionNumber[] = [];
    await readAll(this.store, goneRange, (key) => gone.push(sessionNumberOf(key)));
    for (const number of gone) {
      this.nextNumber = Math.max(this.nextNumber, number + 1);
      this.removePages(number);
    }
  }

  private add(kind: SessionKind, clientId: string, number: SessionNumber): Entry {
    const session = new Session(number, clientId, number > 0, kind === "bridge" ? this.bridgeContext : this.context);
    const entry: Entry = { kind, session, filters: new Map(), createdIn: 0, peerIsBridge: false, holder: undefined };
    this.entries.set(`${kind} ${clientId}`, entry);
    return entry;
  }

  /** Opens the session for a connection that begins. `after`: the group that holds its creation or deletion. */
  open(kind: SessionKind, clientId: string, clean: boolean, holder: Holder): { entry: Entry; present: boolean; after: GroupNumber } {
    const existing = this.get(kind, clientId);
    existing?.holder?.takenOver();
    const known = this.get(kind, clientId); // a take-over may have ended it
    if (known && !clean && known.session.durable) {
      known.holder = holder;
      return { entry: known, present: true, after: known.createdIn };
    }
    const endedIn = known ? this.end(known) : 0;
    const entry = this.add(kind, clientId, clean ? 0 : this.nextNumber++);
    if (!clean) {
      const record: SessionRecord = { clientId, kind, since: 0 };
      entry.createdIn = this.records.put(sessionKey(entry.session.number), Buffer.from(JSON.stringify(record)), "synced");
    }
    entry.holder = holder;
    return { entry, present: false, after: Math.max(endedIn, entry.createdIn) };
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
    if (!entry.session.durable) this.end(entry);
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
    for (let lane = 0; lane < LANES; lane++) this.records.delete(queueKey(number, lane), "synced");
    this.records.delete(incomingKey(number), "synced");
    this.records.put(goneKey(number), NOTHING, "synced");
    const group = this.records.delete(sessionKey(number), "synced");
    this.removePages(number);
    return group;
  }

  private removePages(number: SessionNumber): void {
    if (!this.store.durable) return;
    const { from, to } = pagesOf(number);
    const next = (): void => {
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

const NOTHING = Buffer.alloc(0);
const REMOVAL_PAUSE_MS = 1_100;
