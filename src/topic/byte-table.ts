/**
 * Differs from process to process, so that nobody can prepare names that all fall into one bucket. Drawn as V8 draws that of its own tables: a start
 * does without node:crypto.
 */
// eslint-disable-next-line no-restricted-properties -- nothing that is simulated depends on it
const SEED = Math.floor(Math.random() * 2 ** 32) | 0;
const FNV_PRIME = 0x0100_0193;

/** FNV-1a over `bytes[start, end)`, with the high bits folded in for use with a mask. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = SEED;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), FNV_PRIME);
  return hash ^ (hash >>> 15);
}

/** What a ByteTable holds. `next` belongs to the table the entry is in, and an entry is in one table at most. */
export interface Entry<E> {
  readonly bytes: Buffer;
  readonly hash: number;
  next: E | undefined;
}

/** Cost of an entry besides its bytes, estimated: object, Buffer object and bucket. */
const ENTRY_OVERHEAD_BYTES = 200;

/**
 * A bounded cache from byte strings to entries, in two generations: when the young one is full the old one is dropped
 * and the young becomes old; an entry found in the old one moves to the young. So what is in use stays,
 * without bookkeeping on a hit in the young generation.
 * Invariant: an entry is in one generation at most; `size <= maxEntries`, memory about `maxBytes` at most.
 */
export class ByteTable<E extends Entry<E>> {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  #young: Generation<E> = new Generation();
  #old: Generation<E> = new Generation();

  constructor(maxEntries: number, maxBytes: number) {
    this.#maxEntries = Math.max(1, maxEntries >> 1);
    this.#maxBytes = maxBytes / 2;
  }

  get size(): number {
    return this.#young.count + this.#old.count;
  }

  /** The entry for `bytes[start, end)`, whose hash the caller has; undefined if it is not (or no longer) kept. */
  find(bytes: Uint8Array, start: number, end: number, hash: number): E | undefined {
    const found = this.#young.find(bytes, start, end, hash);
    if (found !== undefined || this.#old.count === 0) return found;
    const aged = this.#old.find(bytes, start, end, hash);
    if (aged === undefined) return undefined;
    this.#old.remove(aged);
    this.add(aged);
    return aged;
  }

  /** Adds an entry whose bytes are not in the table. */
  add(entry: E): void {
    if (this.#young.count >= this.#maxEntries || this.#young.bytes >= this.#maxBytes) {
      this.#old = this.#young;
      this.#young = new Generation();
    }
    this.#young.add(entry);
  }
}

/** A chained hash table; the number of buckets is a power of two and doubles with the entries. */
class Generation<E extends Entry<E>> {
  #buckets: (E | undefined)[] = new Array<E | undefined>(64).fill(undefined);
  count = 0;
  bytes = 0;

  find(bytes: Uint8Array, start: number, end: number, hash: number): E | undefined {
    let entry = this.#buckets[hash & (this.#buckets.length - 1)];
    while (entry !== undefined) {
      if (entry.hash === hash && sameBytes(entry.bytes, bytes, start, end)) return entry;
      entry = entry.next;
    }
    return undefined;
  }

  add(entry: E): void {
    if (this.count >= this.#buckets.length) this.#grow();
    const slot = entry.hash & (this.#buckets.length - 1);
    entry.next = this.#buckets[slot];
    this.#buckets[slot] = entry;
    this.count++;
    this.bytes += entry.bytes.length + ENTRY_OVERHEAD_BYTES;
  }

  /** Takes out an entry that is in this generation. */
  remove(entry: E): void {
    const slot = entry.hash & (this.#buckets.length - 1);
    let before = this.#buckets[slot];
    if (before === entry) {
      this.#buckets[slot] = entry.next;
    } else {
      while (before !== undefined && before.next !== entry) before = before.next;
      if (before !== undefined) before.next = entry.next;
    }
    entry.next = undefined;
    this.count--;
    this.bytes -= entry.bytes.length + ENTRY_OVERHEAD_BYTES;
  }

  #grow(): void {
    const former = this.#buckets;
    this.#buckets = new Array<E | undefined>(former.length * 2).fill(undefined);
    for (const head of former) {
      let entry = head;
      while (entry !== undefined) {
        const next: E | undefined = entry.next;
        const slot = entry.hash & (this.#buckets.length - 1);
        entry.next = this.#buckets[slot];
        this.#buckets[slot] = entry;
        entry = next;
      }
    }
  }
}

/** Whether `bytes[start, end)` are these. */
export function sameBytes(kept: Buffer, bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (kept.length !== length) return false;
  // Names that are alike mostly differ at their end.
  for (let i = length - 1; i >= 0; i--) {
    if (kept[i] !== bytes[start + i]) return false;
  }
  return true;
}
