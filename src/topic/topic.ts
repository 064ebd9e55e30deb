import type { Entry } from "./byte-table.ts";

const SYSTEM = Buffer.from("$SYS/");

/**
 * A topic name with what was worked out for it.
 * Two Topic objects with one name may exist after an eviction; compare `bytes` or `name`, not identity.
 */
export class Topic implements Entry<Topic> {
  /** The full local name, mount point included. Never written to. */
  readonly bytes: Buffer;
  readonly hash: number;
  /** Whether the name may be published to; one that may not is not kept in any table. */
  readonly valid: boolean;
  /** Whether it lies below `$SYS/`, where the daemon speaks of itself. */
  readonly isSystem: boolean;
  /** For the table that keeps this topic. */
  next: Topic | undefined = undefined;
  /** Where `Routes` keep its route, while `routesNumber` is theirs: not the route, which would keep sessions that have ended. */
  routeIndex = 0;
  routesNumber = 0;
  /** Whose rights allow to write to it, as access control numbers them; 0: not known of any. */
  writableBy = 0;
  #name: string | undefined = undefined;

  constructor(bytes: Buffer, hash: number, valid: boolean) {
    this.bytes = bytes;
    this.hash = hash;
    this.valid = valid;
    this.isSystem = bytes.length >= SYSTEM.length && SYSTEM.compare(bytes, 0, SYSTEM.length) === 0;
  }

  get name(): string {
    return (this.#name ??= this.bytes.toString("utf8"));
  }
}
