import type { Broker } from "../broker/broker.ts";
import type { Clock, Rng } from "../clock/clock.ts";
import type { AddressConfig, DialConfig } from "../config/config.ts";
import type { AckGate } from "../link/ack-gate.ts";
import type { LinkLimits } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import type { EchoGuards } from "./echo-guard.ts";
import type { Log } from "../log/console.ts";
import type { Trail } from "./trail.ts";

/** Opens a connection to an address; the callbacks come later, one of them, once. */
export type Dial = (
  address: AddressConfig,
  config: DialConfig,
  onConnected: (open: (listener: TransportListener) => Transport) => void,
  onFailed: (error: Error) => void,
) => { cancel(): void };

export interface BridgeContext {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly log: Log;
  readonly gate: AckGate;
  readonly linkLimits: LinkLimits;
  /** As it is now: a reload changes it. */
  readonly settings: { readonly maxInflightMessages: number };
  readonly dial: Dial;
  readonly hostName: string;
  readonly echoes: EchoGuards;
  readonly trail: Trail;
}
