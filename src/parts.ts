import type { Access } from "./access/access.ts";
import { Bridges } from "./bridge/bridges.ts";
import { EchoGuards } from "./bridge/echo-guard.ts";
import { Trail } from "./bridge/trail.ts";
import { AddedConnections } from "./broker/added-connections.ts";
import { Broker, type BrokerEvents } from "./broker/broker.ts";
import type { Config } from "./config/config.ts";
import type { Host } from "./host.ts";
import { AckGate } from "./link/ack-gate.ts";
import { Door } from "./link/door.ts";
import type { LinkLimits } from "./link/link.ts";
import { Strangers } from "./link/strangers.ts";
import { Listeners } from "./listener/listeners.ts";
import { Logins } from "./listener/logins.ts";
import type { ListenerSettings } from "./listener/mount-point.ts";
import { MemoryBudget } from "./queue/memory-budget.ts";
import { StoreClock } from "./store/store-clock.ts";
import type { Store } from "./store/store.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Values that every part reads anew: a reload changes them in place. */
export type Settings = Mutable<ListenerSettings & Config["limits"]>;

/** What exists while the daemon runs. */
export interface Parts {
  /** Store time: what all parts go by. */
  readonly clock: StoreClock;
  readonly store: Store;
  readonly gate: AckGate;
  readonly broker: Broker;
  readonly listeners: Listeners;
  readonly bridges: Bridges;
  readonly added: AddedConnections;
  readonly settings: Settings;
  readonly linkLimits: Mutable<LinkLimits>;
}

export function settingsOf(config: Config): Settings {
  const { limits, connectionMessages, allowEmptyClientId, maxKeepAliveSeconds, maxSessionExpiryMs, sessionExpiryMs, retainAvailable } = config;
  return { ...limits, connectionMessages, allowEmptyClientId, maxKeepAliveSeconds, maxSessionExpiryMs, sessionExpiryMs, retainAvailable };
}

/** A connection's share of what may wait for the disk is an eighth. */
export function linkLimitsOf({ limits }: Config): Mutable<LinkLimits> {
  const { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes } = limits;
  return { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes: Math.ceil(maxUncommittedBytes / 8) };
}

/** Makes the parts, with what the store holds. */
export async function assemble({ config, surroundings, log }: Host, store: Store, access: Access, events: BrokerEvents): Promise<Parts> {
  const settings = settingsOf(config);
  const { rng, dial, hostName } = surroundings;
  const clock = new StoreClock(surroundings.clock, store);
  await clock.recover();
  const gate = new AckGate(config.limits.maxUncommittedBytes);
  store.onStored((upTo) => gate.release(upTo));
  gate.onStoreState(store.state === "healthy");
  store.onState((state) => gate.onStoreState(state === "healthy"));
  const broker = new Broker({
    store,
    clock,
    budget: new MemoryBudget(config.limits.maxQueueMemoryBytes),
    limits: settings,
    maxUncommittedBytes: config.limits.maxUncommittedBytes,
    autosaveIntervalMs: config.autosaveIntervalMs,
    access,
    events,
  });
  await broker.recover();
  const added = new AddedConnections(store);
  await added.recover();
  const linkLimits = linkLimitsOf(config);
  const common = { broker, clock, log, gate, linkLimits, settings };
  const bridges = new Bridges({ ...common, rng, dial, hostName, echoes: new EchoGuards(clock), trail: new Trail(rng) });
  const strangers = new Strangers();
  const door = new Door(settings, strangers, log, clock);
  const listeners = new Listeners(
    { ...common, newClientId: () => surroundings.newClientId(), connected: { clients: 0 }, strangers, logins: new Logins(clock) },
    (listener, accept) => surroundings.listen(listener, { accept, door, strangers, log }),
  );
  return { clock, store, gate, broker, listeners, bridges, added, settings, linkLimits };
}
