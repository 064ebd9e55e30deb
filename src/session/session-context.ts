import type { Clock } from "../clock/clock.ts";
import type { QueueContext } from "../queue/queue-contents.ts";
import type { QueueLimits } from "./bounds.ts";
import type { IncomingTotal } from "./incoming.ts";

/** They may change while the daemon runs. */
export interface SessionLimits extends QueueLimits {
  readonly maxInflightMessages: number;
}

/** What sessions, of type `S`, share, and who hears of them. */
export interface SessionContext<S> extends QueueContext {
  readonly clock: Clock;
  readonly incomingTotal: IncomingTotal;
  readonly limits: SessionLimits;
  /** The queue changed: it wants to hear when its group is stored. */
  readonly onAppended: (session: S) => void;
  /** A limit has cost a message; `bounds.dropped` is the count so far. */
  readonly onDropped: (session: S) => void;
  /** There may be room for messages that wait with their publishers (`queue_full block`). */
  readonly onRoom: () => void;
  /** The queue has come near its limit of messages, or is not near it any more. */
  readonly onLevel: (session: S, isNearlyFull: boolean) => void;
  readonly onLost: (session: S, messages: number) => void;
  /** A session is below another mount point than it was: what it may get has changed. */
  readonly onRemounted: (session: S) => void;
}
