import { connectionKey, connectionRange } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

/** Definitions of bridge connections that were added by a command: configuration text by name, kept in the store. */
export class AddedConnections {
  private readonly texts = new Map<string, string>();
  private readonly records: Records;

  constructor(private readonly store: Store) {
    this.records = new Records(store);
  }

  async recover(): Promise<void> {
    if (!this.store.durable) return;
    await readAll(this.store, connectionRange, (key, value) => this.texts.set(key.toString("utf8", 1), value.toString()));
  }

  all(): IterableIterator<[name: string, text: string]> {
    return this.texts.entries();
  }

  has(name: string): boolean {
    return this.texts.has(name);
  }

  /** Returns the group that holds it. */
  set(name: string, text: string): GroupNumber {
    this.texts.set(name, text);
    return this.records.put(connectionKey(name), Buffer.from(text), "synced");
  }

  /** Returns the group that holds the removal, 0 if there is nothing to remove. */
  delete(name: string): GroupNumber {
    return this.texts.delete(name) ? this.records.delete(connectionKey(name), "synced") : 0;
  }
}
