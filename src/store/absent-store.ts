import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "./store.ts";

/** Stands in for a store that can't be opened: it is empty, and no group is ever stored. Nobody is to be told that anything was. */
export class AbsentStore implements Store {
  readonly durable = true;
  readonly state: StoreState = "absent";
  readonly writesFail = false;
  readonly stored: GroupNumber = 0;

  /** A group that never is stored. */
  touch(_keeper: Keeper, _need: Need): GroupNumber {
    return 1;
  }

  onStored(_listener: (upTo: GroupNumber) => void): void {}

  onState(_listener: (state: StoreState) => void): void {}

  read(_from: Uint8Array, _to: Uint8Array, _maxBytes: number): Promise<StoredRecord[]> {
    return Promise.resolve([]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
