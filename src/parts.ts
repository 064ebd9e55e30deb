import type { Bridges } from "./bridge/bridges.ts";
import type { AddedConnections } from "./broker/added-connections.ts";
import type { Broker } from "./broker/broker.ts";
import type { Config } from "./config/config.ts";
import type { AckGate } from "./link/ack-gate.ts";
import type { LinkLimits } from "./link/link.ts";
import type { Listeners } from "./listener/listeners.ts";
import type { ListenerSettings } from "./listener/mount-point.ts";
import type { StoreClock } from "./store/store-clock.ts";
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
  const { limits, connectionMessages, allowEmptyClientId, clientIdPrefix, maxKeepAliveSeconds, maxSessionExpiryMs, sessionExpiryMs, retainAvailable } = config;
  return { ...limits, connectionMessages, allowEmptyClientId, clientIdPrefix, maxKeepAliveSeconds, maxSessionExpiryMs, sessionExpiryMs, retainAvailable };
}

/** A connection's share of what may wait for the disk is an eighth. */
export function linkLimitsOf({ limits }: Config): Mutable<LinkLimits> {
  const { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes } = limits;
  return { maxPacketSizeBytes, maxUnsentBytes, maxUncommittedBytes: Math.ceil(maxUncommittedBytes / 8) };
}
