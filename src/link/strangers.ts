import { socketLimit } from "./socket-limit.ts";

const MAX_STRANGERS = 1_000;

/**
 * Connections that have not said who they are. There may be so many; the oldest gives way to the newest, so that who holds connections open
 * without a word keeps nobody out: a client says who it is at once.
 */
export class Strangers {
  private readonly ends = new Map<object, () => void>();

  constructor(private readonly max = Math.min(MAX_STRANGERS, Math.ceil(socketLimit() / 2))) {}

  get size(): number {
    return this.ends.size;
  }

  /** `end`: closes it at once. */
  add(stranger: object, end: () => void): void {
    if (this.ends.size >= this.max) this.endOldest();
    this.ends.set(stranger, end);
  }

  /** It has said who it is, or it is gone. */
  delete(stranger: object): void {
    this.ends.delete(stranger);
  }

  /** False: there is none. */
  endOldest(): boolean {
    for (const [oldest, end] of this.ends) {
      this.ends.delete(oldest);
      end();
      return true;
    }
    return false;
  }
}
