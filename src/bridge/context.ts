import type { Broker } from "../broker/broker.ts";
import type { Clock, Rng } from "../clock/clock.ts";
import type { AddressConfig, ConnectionConfig, DialConfig } from "../config/config.ts";
import type { AckGate } from "../link/ack-gate.ts";
import type { LinkLimits } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import type { EchoGuards } from "./echo-guard.ts";
import type { Log } from "../log/console.ts";
import type { Trail } from "./trail.ts";

export interface DialOptions {
  readonly config: DialConfig;
  readonly maxPacketBytes: number;
  /** Certificate files have changed and can't be used: what they held before stays in use. */
  onNotRenewed(problem: string): void;
}

/** Opens a connection to an address; the callbacks come later, one of them, once. */
export type Dial = (
  address: AddressConfig,
  options: DialOptions,
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

/** How the addresses of a connection are dialled. */
export function dialOptionsOf({ name, dial }: ConnectionConfig, { linkLimits, log }: BridgeContext): DialOptions {
  return {
    config: dial,
    maxPacketBytes: linkLimits.maxPacketSizeBytes,
    onNotRenewed: (problem) => log.write("bridgeTlsNotRenewed", { name, problem }),
  };
}
