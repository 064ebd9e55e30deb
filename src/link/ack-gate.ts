import { ReadOutput } from "./read-output.ts";
import { LinkTotals, LinkTraffic } from "./totals.ts";
import type { Trace } from "./trace.ts";
import { Turn } from "./turn.ts";
import { UnfinishedPackets } from "./unfinished.ts";

/** What waits for the store: a link that holds acknowledgements, a bridge that has queued a lot at once. */
export interface Holding {
  /** Group `upTo` is stored: what waited for it goes on. Returns true when nothing is held any more; `hold` is not called meanwhile. */
  releaseHeld(upTo: number): boolean;
  /** Whether it reads may have changed. */
  regulateReading?(): void;
}

/** Knows how far the store is and who waits for groups that are not on disk yet. */
export class AckGate {
  stored = 0;
  /** Bytes that all links have taken and that are not on disk yet. */
  heldBytes = 0;
  private isHealthy = true;
  readonly totals = new LinkTotals();
  readonly traffic = new LinkTraffic();
  readonly readOutput = new ReadOutput();
  readonly turn = new Turn();
  readonly unfinished = new UnfinishedPackets(() => this.isHealthy && this.isFull);
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

  /** A link over its share is not read until the disk has caught up; from a store that fails nobody knows when that is, so that nobody is paused. */
  get pauses(): boolean {
    return this.isHealthy;
  }

  onStoreState(isHealthy: boolean): void {
    this.isHealthy = isHealthy;
    for (const link of this.holding) link.regulateReading?.();
    this.unfinished.release();
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
    this.unfinished.release();
  }
}
