import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "./store.ts";

/** `persistence false`: nothing is kept, nothing need be waited for, keepers are never asked. */
export class MemoryStore implements Store {
  readonly durable = false;
  readonly state: StoreState = "healthy";
  readonly writesFail = false;
  readonly stored: GroupNumber = 0;

  touch(_keeper: Keeper, _need: Need): GroupNumber {
    return 0;
  }

  /** Never called: no group has a number. */
  onStored(_listener: (upTo: GroupNumber) => void): void {}

  onState(_listener: (state: StoreState) => void): void {}

  read(_from: Uint8Array, _to: Uint8Array, _maxBytes: number): Promise<StoredRecord[]> {
    return Promise.resolve([]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
