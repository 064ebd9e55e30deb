import type { Link } from "./link.ts";

/** Knows how far the store is and which links hold acknowledgements for groups that are not on disk yet. */
export class AckGate {
  stored = 0;
  private readonly holding = new Set<Link>();

  hold(link: Link): void {
    this.holding.add(link);
  }

  forget(link: Link): void {
    this.holding.delete(link);
  }

  release(upTo: number): void {
    this.stored = upTo;
    for (const link of this.holding) if (link.releaseHeld(upTo)) this.holding.delete(link);
  }
}
