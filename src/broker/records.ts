import type { GroupNumber, GroupWriter, Keeper, Need, Store } from "../store/store.ts";

/** Records of a part that changes one at a time: the last change of each key goes into the next group. */
export class Records implements Keeper {
  private readonly changes = new Map<string, { readonly key: Buffer; readonly value: Buffer | undefined }>();

  constructor(private readonly store: Store) {}

  put(key: Buffer, value: Buffer, need: Need): GroupNumber {
    return this.change(key, value, need);
  }

  delete(key: Buffer, need: Need): GroupNumber {
    return this.change(key, undefined, need);
  }

  private change(key: Buffer, value: Buffer | undefined, need: Need): GroupNumber {
    if (!this.store.durable) return 0;
    this.changes.set(key.toString("latin1"), { key, value });
    return this.store.touch(this, need);
  }

  writeTo(group: GroupWriter): void {
    for (const { key, value } of this.changes.values()) {
      if (value) group.put(key, value);
      else group.delete(key);
    }
    this.changes.clear();
  }
}
