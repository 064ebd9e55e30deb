import type { Clock, Rng } from "../../src/clock/clock.ts";
import { StoreFigures } from "../../src/store/figures.ts";
import { type ClosedGroup, CollectingGroup } from "../../src/store/group.ts";
import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "../../src/store/store.ts";

/** Key (latin1, so that it sorts as bytes do) to value. */
export type Disk = Map<string, Buffer>;

const SOON_MS = 1000;
const RETRY_MS = 100;

/**
 * A store on a Map that can crash. A group takes a random time to be written. A synced one survives; an unsynced one survives or not, each
 * on its own, though later ones survive: what LevelDB's log rotation can do. A group is all or nothing, as a batch is. It can fail, too: the
 * group in flight reaches the disk or not, is not called stored, and is written again until that works.
 */
export class SimulatedStore implements Store {
  readonly durable = true;
  readonly figures = new StoreFigures();
  /** Never, so that the simulation can hold everybody to DUP. */
  readonly writesFail = false;
  /** From now on no write works. */
  failsWrites = false;
  /** Longest time that a read takes, if any; and who hears that one is over and its promise settled. */
  maxReadMs = 0;
  onRead: () => void = () => undefined;
  #isFull = false;
  /** The group in flight has failed at least once. */
  #hasFailed = false;
  #state: StoreState = "healthy";
  readonly #stateListeners: ((state: StoreState) => void)[] = [];
  readonly #clock: Clock;
  readonly #rng: Rng;
  readonly #maxWriteMs: () => number;
  readonly #storedListeners: ((upTo: GroupNumber) => void)[] = [];
  /** What reads see: all that was written. */
  readonly #written: Disk;
  /** What a power cut leaves. */
  readonly #surviving: Disk;
  #current = new CollectingGroup(1);
  #inFlight: ClosedGroup | undefined;
  #isBusy = false;
  #stored: GroupNumber = 0;
  #hasEnded = false;

  /** `maxWriteMs`: the longest a group takes to reach the disk. */
  constructor(clock: Clock, rng: Rng, surviving: Disk = new Map(), maxWriteMs: () => number = () => 20) {
    this.#clock = clock;
    this.#rng = rng;
    this.#maxWriteMs = maxWriteMs;
    this.#written = new Map(surviving);
    this.#surviving = new Map(surviving);
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Little room is left: new messages are not to be admitted, what is written is stored all the same. */
  set isFull(isFull: boolean) {
    this.#isFull = isFull;
    this.#updateState();
  }

  #updateState(): void {
    const state = this.#hasFailed ? "failed" : this.#isFull ? "full" : "healthy";
    if (state === this.#state || this.#hasEnded) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  get stored(): GroupNumber {
    return this.#stored;
  }

  /** What reads see. */
  get written(): ReadonlyMap<string, Buffer> {
    return this.#written;
  }

  touch(keeper: Keeper, need: Need): GroupNumber {
    const group = this.#current;
    group.touch(keeper, need);
    this.#schedule();
    return group.number;
  }

  onStored(listener: (upTo: GroupNumber) => void): void {
    this.#storedListeners.push(listener);
  }

  onState(listener: (state: StoreState) => void): void {
    this.#stateListeners.push(listener);
  }

  read(from: Uint8Array, to: Uint8Array, maxBytes: number): Promise<StoredRecord[]> {
    const [first, end] = [keyText(from), keyText(to)];
    if (this.maxReadMs === 0) {
      this.onRead();
      return Promise.resolve(this.#recordsBetween(first, end, maxBytes));
    }
    return new Promise((resolve) => {
      this.#clock.after(this.#rng() * this.maxReadMs, () => {
        if (this.#hasEnded) return;
        this.onRead();
        resolve(this.#recordsBetween(first, end, maxBytes));
      });
    });
  }

  #recordsBetween(first: string, end: string, maxBytes: number): StoredRecord[] {
    const records: StoredRecord[] = [];
    let bytes = 0;
    const keys: string[] = [];
    for (const key of this.#written.keys()) if (key >= first && key < end) keys.push(key);
    for (const key of keys.sort()) {
      const value = this.#written.get(key) ?? Buffer.alloc(0);
      if (records.length > 0 && bytes + value.length > maxBytes) break;
      records.push([Buffer.from(key, "latin1"), value]);
      bytes += value.length;
    }
    return records;
  }

  close(): Promise<void> {
    if (this.#inFlight !== undefined) this.#finish(this.#inFlight);
    const last = this.#takeCurrent();
    this.#finish({ number: last.number, need: "synced", records: last.records });
    this.#hasEnded = true;
    for (const [key, value] of this.#written) this.#surviving.set(key, value);
    for (const key of this.#surviving.keys()) if (!this.#written.has(key)) this.#surviving.delete(key);
    return Promise.resolve();
  }

  /** Power cut; or, after `close`, what it left. The group in flight may have reached the disk. Nothing happens in this store afterwards. */
  crash(): Disk {
    this.#hasEnded = true;
    if (this.#inFlight !== undefined && this.#rng() < 0.5) apply(this.#inFlight, this.#surviving);
    this.#inFlight = undefined;
    return new Map(this.#surviving);
  }

  #schedule(): void {
    const group = this.#current;
    if (this.#isBusy || this.#hasEnded || group.isEmpty) return;
    if (group.need === "synced") this.#clock.endOfTurn(() => this.#write(group));
    else this.#clock.after(this.#rng() * SOON_MS, () => this.#write(group));
  }

  #write(group: CollectingGroup): void {
    if (this.#current !== group || this.#isBusy || this.#hasEnded) return;
    this.#isBusy = true;
    const closed = this.#takeCurrent();
    this.#inFlight = closed;
    this.#try(closed);
  }

  #try(group: ClosedGroup): void {
    this.#clock.after(this.#rng() * this.#maxWriteMs(), () => {
      if (this.#inFlight !== group) return;
      if (!this.failsWrites) return this.#finish(group);
      if (this.#rng() < 0.5) apply(group, this.#surviving); // the failed batch may be there after all
      this.#hasFailed = true;
      this.#updateState();
      this.#clock.after(RETRY_MS, () => this.#try(group));
    });
  }

  #takeCurrent(): ClosedGroup {
    const group = this.#current;
    this.#current = new CollectingGroup(group.number + 1);
    return group.close();
  }

  #finish(group: ClosedGroup): void {
    this.#inFlight = undefined;
    this.#isBusy = false;
    apply(group, this.#written);
    if (group.need === "synced" || this.#rng() < 0.5) apply(group, this.#surviving);
    this.#stored = group.number;
    this.#hasFailed = false;
    this.#updateState();
    for (const listener of this.#storedListeners) listener(group.number);
    this.#schedule();
  }
}

function apply({ records }: ClosedGroup, disk: Disk): void {
  for (const [index, key] of records.keys.entries()) {
    const value = records.values[index];
    if (value === undefined) disk.delete(keyText(key));
    else disk.set(keyText(key), Buffer.from(value));
  }
}

function keyText(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}
