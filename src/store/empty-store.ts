import { StoreFigures } from "./figures.ts";
import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "./store.ts";

/** A store in which nothing is ever kept: reads find nothing, no group is ever stored, keepers are never asked. */
export class EmptyStore implements Store {
  readonly writesFail = false;
  readonly figures = new StoreFigures();
  readonly stored: GroupNumber = 0;

  constructor(
    readonly durable: boolean,
    readonly state: StoreState,
    /** What a change is told to wait for; 0: nothing. */
    private readonly group: GroupNumber,
  ) {}

  touch(_keeper: Keeper, _need: Need): GroupNumber {
    return this.group;
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
