import { LinkTotals } from "./totals.ts";
import type { Trace } from "./trace.ts";

/** What holds acknowledgements; a link. */
export interface Holding {
  /** Group `upTo` is stored: sends what waited for it. Returns true when nothing is held any more. */
  releaseHeld(upTo: number): boolean;
}

/** Knows how far the store is and which links hold acknowledgements for groups that are not on disk yet. */
export class AckGate {
  stored = 0;
  /** Bytes that all links have taken and that are not on disk yet. */
  heldBytes = 0;
  readonly totals = new LinkTotals();
  /** Told of every packet of all links, while somebody wants to know. */
  trace: Trace | undefined;
  private readonly holding = new Set<Holding>();

  constructor(
    /** More than this in all: no link that holds something reads on. */
    private readonly maxHeldBytes: number,
  ) {}

  get isFull(): boolean {
    return this.heldBytes > this.maxHeldBytes;
  }

  hold(link: Holding): void {
    this.holding.add(link);
  }

  forget(link: Holding): void {
    this.holding.delete(link);
  }

  release(upTo: number): void {
    this.stored = upTo;
    for (const link of this.holding) if (link.releaseHeld(upTo)) this.holding.delete(link);
  }
}
