import type { Clock } from "../clock/clock.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import type { Store, StoreState } from "../store/store.ts";

/** The connection that a message comes on, as far as it matters whether the message is taken; a link is one. */
export interface Publisher {
  /** From 5 on it can be told that a message is not taken. */
  readonly version: ProtocolVersion;
  /** Its client identifier, or the one that we have there. */
  readonly peerName: string;
  /** What it has sent and what is not on disk yet is more than its share. */
  readonly isOverShare: boolean;
  readonly isClosed: boolean;
  /** Nothing more is taken from it until `resumeReading`. */
  stopReading(): void;
  resumeReading(): void;
  close(reason: { readonly kind: "local"; readonly text: string; readonly code: ReasonCode }): void;
}

/** How long a client whose message was not taken waits before it is disconnected, so that it sends again. */
const CLOSE_AFTER_MS = 10_000;
const REASON = { kind: "local", text: "the store can't take what it publishes", code: Reason.QuotaExceeded } as const;

/**
 * Whether messages that must be stored are taken. With a full store none are, with one that fails each connection's share is; what is not taken
 * is neither stored nor delivered nor acknowledged. Order: when one message of a connection was not taken, none that needs an acknowledgement is
 * until it connects again.
 */
export class Admission {
  /** All is taken from everybody: what the hot path asks. */
  isOpen: boolean;
  /** Connections that lost a message, to their ends. */
  private readonly refused = new Map<Publisher, "client" | "bridge">();
  private state: StoreState;

  constructor(
    store: Store,
    private readonly clock: Clock,
    /** What all connections have sent and what is not on disk yet is more than it may be. */
    private readonly isOverTotal: () => boolean,
    private readonly onRefused: (connections: number) => void,
    /** New messages are taken again. */
    private readonly onRoom: () => void,
  ) {
    this.state = store.state;
    this.isOpen = this.state === "healthy";
    store.onState((state) => this.onState(state));
  }

  /** Whether the store takes new messages; `isOpen` may still be false for those whose turn is over. */
  get storeTakes(): boolean {
    return this.state === "healthy";
  }

  private onState(state: StoreState): void {
    this.state = state;
    if (state !== "healthy") {
      this.isOpen = false;
      return;
    }
    // A bridge's queue drained meanwhile: it is not closed before what its remote sends again will be taken.
    for (const [publisher, kind] of this.refused) if (kind === "bridge") this.release(publisher);
    this.isOpen = this.refused.size === 0;
    this.onRoom();
  }

  isRefused(publisher: Publisher): boolean {
    return this.refused.has(publisher);
  }

  /** Whether there is room for what must be stored. `publisher`: whose share it takes; undefined: the daemon's own. */
  hasRoom(publisher: Publisher | undefined): boolean {
    if (this.state === "healthy") return true;
    return this.state === "failed" && publisher?.isOverShare !== true && !this.isOverTotal();
  }

  refuse(publisher: Publisher, kind: "client" | "bridge"): void {
    this.refused.set(publisher, kind);
    this.onRefused(this.refused.size);
    if (kind === "client") this.clock.after(CLOSE_AFTER_MS, () => this.release(publisher));
  }

  private release(publisher: Publisher): void {
    this.refused.delete(publisher);
    publisher.close(REASON);
    this.isOpen = this.storeTakes && this.refused.size === 0;
  }
}
