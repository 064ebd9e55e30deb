/**
 * A map that mostly has one entry, which then lies in two fields: a `Map` of its own for each level of each topic filter would cost ten
 * times as much. Entries may come and go while one iterates; what comes during that may or may not be seen.
 */
export class SmallMap<K extends string | object, V> {
  #onlyKey: K | undefined = undefined;
  #onlyValue: V | undefined = undefined;
  /** Made for the second entry, and kept from then on. */
  #map: Map<K, V> | undefined = undefined;

  get size(): number {
    if (this.#map !== undefined) return this.#map.size;
    return this.#onlyKey === undefined ? 0 : 1;
  }

  get(key: K): V | undefined {
    if (this.#map !== undefined) return this.#map.get(key);
    return this.#onlyKey === key ? this.#onlyValue : undefined;
  }

  set(key: K, value: V): void {
    const onlyKey = this.#onlyKey;
    if (this.#map !== undefined) {
      this.#map.set(key, value);
    } else if (onlyKey === undefined || onlyKey === key) {
      this.#onlyKey = key;
      this.#onlyValue = value;
    } else {
      this.#map = new Map<K, V>([[onlyKey, this.#onlyValue as V], [key, value]]); // a key has a value
      this.#onlyKey = this.#onlyValue = undefined;
    }
  }

  has(key: K): boolean {
    return this.#map !== undefined ? this.#map.has(key) : this.#onlyKey === key;
  }

  /** Returns whether there was such an entry. */
  delete(key: K): boolean {
    if (this.#map !== undefined) return this.#map.delete(key);
    if (this.#onlyKey !== key) return false;
    this.#onlyKey = this.#onlyValue = undefined;
    return true;
  }

  entries(): IterableIterator<[K, V]> {
    if (this.#map !== undefined) return this.#map.entries();
    return (this.#onlyKey === undefined ? [] : [[this.#onlyKey, this.#onlyValue as V] as [K, V]]).values();
  }

  keys(): IterableIterator<K> {
    if (this.#map !== undefined) return this.#map.keys();
    return (this.#onlyKey === undefined ? [] : [this.#onlyKey]).values();
  }

  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries();
  }

  /** Appends all values to `target`. */
  copyValuesTo(target: V[]): void {
    if (this.#map !== undefined) for (const value of this.#map.values()) target.push(value);
    else if (this.#onlyKey !== undefined) target.push(this.#onlyValue as V);
  }
}
