import type { SessionNumber } from "./keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Need } from "./store.ts";

/** Some pages of one queue. */
export interface DiscardedPages {
  readonly session: SessionNumber;
  readonly lane: number;
  readonly firstSeqs: number[];
  readonly bytes: number;
}

/** The records of one closed group, in the order they were given: a later one of the same key wins. */
export class GroupRecords implements GroupWriter {
  readonly keys: Buffer[] = [];
  /** `undefined` deletes the key at the same index. */
  readonly values: (Buffer | undefined)[] = [];
  readonly discarded: DiscardedPages[] = [];
  bytes = 0;

  get count(): number {
    return this.keys.length;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.keys.push(asBuffer(key));
    this.values.push(asBuffer(value));
    this.bytes += key.length + value.length;
  }

  delete(key: Uint8Array): void {
    this.keys.push(asBuffer(key));
    this.values.push(undefined);
    this.bytes += key.length;
  }

  discard(session: SessionNumber, lane: number, firstSeqs: number[], bytes: number): void {
    this.discarded.push({ session, lane, firstSeqs, bytes });
  }
}

/** A group whose records are fixed: what is written, and written again after a failure, as often as it takes. */
export interface ClosedGroup {
  readonly number: GroupNumber;
  readonly need: Need;
  readonly records: GroupRecords;
}

/** The group that collects now. It knows who changed, not what changed: that is asked when it closes. */
export class CollectingGroup {
  readonly number: GroupNumber;
  /** Changes that somebody waits for. */
  awaited = 0;
  touchedLast: Keeper | undefined;
  readonly #keepers = new Set<Keeper>();

  constructor(number: GroupNumber) {
    this.number = number;
  }

  /** `synced` as soon as one touch asked for it. */
  get need(): Need {
    return this.awaited > 0 ? "synced" : "soon";
  }

  get isEmpty(): boolean {
    return this.#keepers.size === 0;
  }

  touch(keeper: Keeper, need: Need): void {
    this.#keepers.add(keeper);
    this.touchedLast = keeper;
    if (need === "synced") this.awaited += 1;
  }

  /** Asks each keeper once. The next group must be in place by now: a keeper that touches while it is asked belongs to the next one. */
  close(): ClosedGroup {
    const records = new GroupRecords();
    const keepers = [...this.#keepers];
    this.#keepers.clear();
    for (const keeper of keepers) keeper.writeTo(records);
    return { number: this.number, need: this.need, records };
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
