import type { ConnectionConfig } from "../config/config.ts";
import type { Session } from "../session/session.ts";
import type { Outgoing } from "./outgoing.ts";

/** When a lazy connection is worth having: it begins with enough messages, or one that is old enough, and ends when nothing has gone over it for a while. */
export class Laziness {
  lastTrafficMs = 0;

  constructor(
    private readonly config: ConnectionConfig,
    private readonly session: Session,
    private readonly outgoing: Outgoing,
  ) {}

  mustBegin(nowMs: number): boolean {
    const { threshold, maxAgeMs } = this.config;
    const { queuedMessages } = this.session;
    if (queuedMessages >= threshold) return true;
    return maxAgeMs > 0 && queuedMessages > 0 && nowMs - (this.session.oldestMs ?? nowMs) >= maxAgeMs;
  }

  mayEnd(nowMs: number): boolean {
    if (this.outgoing.takeHasDelivered() || this.session.hasOpenExchanges) this.lastTrafficMs = nowMs;
    return nowMs - this.lastTrafficMs >= this.config.idleTimeoutMs;
  }
}
