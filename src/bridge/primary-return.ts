import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import { MAX_CLIENT_ID_BYTES_31 } from "./client-id.ts";
import type { BridgeContext } from "./context.ts";
import { PrimaryProbe } from "./primary-probe.ts";

const MAX_RETURN_DOUBLINGS = 6;

/** While a connection is at another address its first one is asked from time to time whether it is alive. */
export class PrimaryReturn {
  private probe: { cancel(): void } | undefined;
  private nextProbeMs = 0;
  /** How often we have gone back without staying there. */
  private returns = 0;

  constructor(
    private readonly config: ConnectionConfig,
    private readonly context: BridgeContext,
    private readonly clientId: string,
    private readonly onAlive: (primary: AddressConfig) => void,
  ) {}

  /** A connection begins. */
  begin(nowMs: number): void {
    this.nextProbeMs = nowMs + this.config.reconnectIntervalMs * 2 ** Math.min(this.returns, MAX_RETURN_DOUBLINGS);
  }

  goingBack(): void {
    this.returns += 1;
  }

  /** The first address has kept us. */
  stayed(): void {
    this.returns = 0;
  }

  check(primary: AddressConfig, nowMs: number): void {
    if (this.probe || nowMs < this.nextProbeMs) return;
    this.nextProbeMs = nowMs + this.config.reconnectIntervalMs;
    const probe = new PrimaryProbe(this.context, primary, `${this.clientId.slice(0, MAX_CLIENT_ID_BYTES_31 - 1)}-`, this.config, (alive) => {
      this.probe = undefined;
      if (alive) this.onAlive(primary);
    });
    this.probe = probe;
    probe.start();
  }

  cancel(): void {
    this.probe?.cancel();
  }
}
