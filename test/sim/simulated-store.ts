import type { Clock, Rng } from "../../src/clock/clock.ts";
import { isSealed, seal, unseal } from "../../src/store/checked.ts";
import type { Database, WriteOperation } from "../../src/store/database.ts";
import { Discards } from "../../src/store/discards.ts";
import { StoreFigures } from "../../src/store/figures.ts";
import { findGenerations } from "../../src/store/find-generations.ts";
import { Generations, type Place } from "../../src/store/generations.ts";
import { CollectingGroup } from "../../src/store/group.ts";
import { formatKey, generationOf, isPageKey, keyOfRider, plainKey, ridersKey } from "../../src/store/keys.ts";
import { recordsOf } from "../../src/store/page-load.ts";
import { Riders } from "../../src/store/riders.ts";
import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "../../src/store/store.ts";
import { unloadRiders } from "../../src/store/unload-riders.ts";

/** Key (latin1, so that it sorts as bytes do) to value. */
export type Disk = Map<string, Buffer>;

const SOON_MS = 1000;
const RETRY_MS = 100;
/** So many generations' worth of pages that nobody asks for any more may wait, and so many of them are deleted at once. */
const WAITING_GENERATIONS = 3;
const DISCARDED_AT_ONCE = 3;
const FORMAT = Buffer.from("{}");
/** Of a generation's own record, where a rider has its key: no key begins with it. */
const FIRST_OF_NOTE = 0;

/** As it is written, as often as it takes. */
interface WrittenGroup {
  readonly number: GroupNumber;
  readonly isSynced: boolean;
  readonly operations: readonly WriteOperation[];
}

/**
 * A store on a Map that can crash. A group takes a random time to be written. A synced one survives; an unsynced one survives or not, each
 * on its own, though later ones survive: what LevelDB's log rotation can do. A group is all or nothing, as a batch is. It can fail, too: the
 * group in flight reaches the disk or not, is not called stored, and is written again until that works.
 *
 * Pages stand in generations and small records ride, as in the real store, if `generationBytes` says after how many bytes a generation ends.
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
  #inFlight: WrittenGroup | undefined;
  #isBusy = false;
  #stored: GroupNumber = 0;
  #hasEnded = false;
  #generations = new Generations({ places: [], records: new Map(), unused: 0, ridesFrom: 0 }, FORMAT);
  readonly #riders = new Riders();
  readonly #discards: Discards;
  readonly #generationBytes: number;
  #bytes = 0;

  /** `maxWriteMs`: the longest a group takes to reach the disk. */
  constructor(clock: Clock, rng: Rng, surviving: Disk = new Map(), maxWriteMs: () => number = () => 20, generationBytes = Infinity) {
    this.#clock = clock;
    this.#rng = rng;
    this.#maxWriteMs = maxWriteMs;
    this.#generationBytes = generationBytes;
    this.#discards = new Discards(generationBytes * WAITING_GENERATIONS, DISCARDED_AT_ONCE);
    this.#written = new Map(surviving);
    this.#surviving = new Map(surviving);
  }

  /** What a start does. */
  async recover(): Promise<this> {
    if (!this.#hasRiders) return this;
    const source = {
      getMany: (keys: Buffer[]) => Promise.resolve(keys.map((key) => this.#written.get(keyText(key)))),
      firstKeys: (from: Buffer, to: Buffer, limit: number) => Promise.resolve(this.#keysBetween(keyText(from), keyText(to)).slice(0, limit).map(bytesOf)),
    };
    this.#generations = new Generations(await findGenerations(source, { areExpected: this.#written.has(keyText(formatKey)), areCertain: true }), FORMAT);
    await unloadRiders(databaseOn([this.#written, this.#surviving]), this.#generations, { areCertain: true }, (damage) => {
      throw new Error(`damaged: ${damage}`);
    });
    return this;
  }

  get #hasRiders(): boolean {
    return this.#generationBytes < Infinity;
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

  /** What a start would find. */
  get written(): ReadonlyMap<string, Buffer> {
    return this.#hasRiders ? withoutRiders(this.#written) : this.#written;
  }

  /** What a power cut would leave, without the group in flight. */
  get surviving(): ReadonlyMap<string, Buffer> {
    return this.#surviving;
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
    const range = [Buffer.from(from), Buffer.from(to)] as const;
    if (this.maxReadMs === 0) {
      this.onRead();
      return Promise.resolve(this.#recordsBetween(...range, maxBytes));
    }
    return new Promise((resolve) => {
      this.#clock.after(this.#rng() * this.maxReadMs, () => {
        if (this.#hasEnded) return;
        this.onRead();
        resolve(this.#recordsBetween(...range, maxBytes));
      });
    });
  }

  #recordsBetween(from: Buffer, to: Buffer, maxBytes: number): StoredRecord[] {
    const records: StoredRecord[] = [];
    let bytes = 0;
    for (const range of this.#generations.ranges(from, to)) {
      for (const key of this.#keysBetween(keyText(range.from), keyText(range.to))) {
        const value = this.#valueOf(bytesOf(key), this.#written.get(key) ?? Buffer.alloc(0));
        if (records.length > 0 && bytes + value.length > maxBytes) return records;
        records.push([plainKey(bytesOf(key)), value]);
        bytes += value.length;
      }
    }
    return records;
  }

  #valueOf(key: Buffer, stored: Buffer): Buffer {
    if (!this.#hasRiders) return stored;
    return isPageKey(key) ? recordsOf(stored) : isSealed(key) ? (unseal(key, stored) ?? Buffer.alloc(0)) : stored;
  }

  #keysBetween(from: string, to: string): string[] {
    return [...this.#written.keys()].filter((key) => key >= from && key < to).sort();
  }

  close(): Promise<void> {
    if (this.#inFlight !== undefined) this.#finish(this.#inFlight);
    this.#discards.close();
    this.#finish({ ...this.#takeCurrent(), isSynced: true });
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

  #try(group: WrittenGroup): void {
    this.#clock.after(this.#rng() * this.#maxWriteMs(), () => {
      if (this.#inFlight !== group) return;
      if (!this.failsWrites) return this.#finish(group);
      if (this.#rng() < 0.5) apply(group, this.#surviving); // the failed batch may be there after all
      this.#hasFailed = true;
      this.#updateState();
      this.#clock.after(RETRY_MS, () => this.#try(group));
    });
  }

  #takeCurrent(): WrittenGroup {
    const group = this.#current;
    this.#current = new CollectingGroup(group.number + 1);
    const { number, need, records } = group.close();
    const discarded = this.#discards.dueWith(records, this.#generations.current > 0);
    if (this.#hasRiders) {
      const { operations, mustSync } = this.#riders.batchOf(records, this.#generations.current, discarded);
      const noteBytes = this.#generations.place(operations);
      return { number, isSynced: need === "synced" || mustSync || noteBytes > 0, operations: operations.map(copied) };
    }
    const operations = records.keys.map((key, index): WriteOperation => {
      const value = records.values[index];
      return value === undefined ? { type: "del", key } : { type: "put", key, value: Buffer.from(value) };
    });
    for (const key of discarded) operations.push({ type: "del", key });
    return { number, isSynced: need === "synced", operations };
  }

  #finish(group: WrittenGroup): void {
    this.#inFlight = undefined;
    this.#isBusy = false;
    apply(group, this.#written);
    if (group.isSynced || this.#rng() < 0.5) apply(group, this.#surviving);
    this.#turnGeneration(group);
    this.#stored = group.number;
    this.#hasFailed = false;
    this.#updateState();
    for (const listener of this.#storedListeners) listener(group.number);
    if (this.#discards.areWaiting) this.touch(this.#discards, "soon");
    this.#schedule();
  }

  #turnGeneration({ operations }: WrittenGroup): void {
    for (const operation of operations) if (operation.type === "put") this.#bytes += operation.value.length;
    if (this.#bytes < this.#generationBytes) return;
    this.#bytes = 0;
    this.#generations.begin();
    const { grown, riding } = this.#generations;
    // What a power cut brings back counts: no progress beyond it is sure.
    const found = placesIn(new Map([...this.#written, ...this.#surviving]));
    const keysOf = (generation: number): Buffer[] => [...this.#written.keys()].map(bytesOf).filter((key) => generationOf(key) === generation);
    this.#generations.keepOnly(found, grown, new Map(this.#generations.emptied(found, riding).map((generation) => [generation, keysOf(generation)])));
    if (this.#generations.hasLeft) this.touch(this.#generations, "soon");
  }
}

/** Of each queue the first page in each generation. */
function placesIn(disk: Disk): Place[] {
  const places = new Map<string, Place>();
  for (const text of [...disk.keys()].sort()) {
    const key = bytesOf(text);
    const generation = generationOf(key);
    if (!isPageKey(key) || generation === 0) continue;
    const queue = text.slice(0, -6);
    if (!places.has(queue)) places.set(queue, { first: keyText(plainKey(key)), generation });
  }
  return [...places.values()];
}

const copied = (operation: WriteOperation): WriteOperation => (operation.type === "put" ? { ...operation, value: Buffer.from(operation.value) } : operation);

interface Range {
  readonly gte?: Buffer;
  readonly gt?: Buffer;
  readonly lt: Buffer;
  readonly reverse?: boolean;
  readonly limit?: number;
}

/** As much of a database as a start needs for what rides; what it writes is on all disks. */
function databaseOn(disks: readonly [Disk, ...Disk[]]): Database {
  const entries = ({ gte, gt, lt, reverse = false, limit = Infinity }: Range): [Buffer, Buffer][] => {
    const from = keyText(gte ?? gt ?? Buffer.alloc(0));
    const found = [...disks[0]].filter(([key]) => (gt === undefined ? key >= from : key > from) && key < keyText(lt)).sort(([a], [b]) => (a < b ? -1 : 1));
    return (reverse ? found.reverse() : found).slice(0, limit).map(([key, value]) => [bytesOf(key), value]);
  };
  const database = {
    get: (key: Buffer) => Promise.resolve(disks[0].get(keyText(key))),
    keys: (range: Range) => ({ all: () => Promise.resolve(entries(range).map(([key]) => key)) }),
    iterator: (range: Range) => {
      const found = entries(range);
      return { all: () => Promise.resolve(found), [Symbol.iterator]: () => found[Symbol.iterator]() };
    },
    batch: (operations: WriteOperation[]) => Promise.resolve(disks.forEach((disk) => apply({ operations }, disk))),
  };
  return database as unknown as Database;
}

/** The disk as it is when what rides in generations stands by itself, as it was put last. */
function withoutRiders(disk: Disk): Disk {
  const isRider = (key: Buffer): boolean => generationOf(key) > 0 && !isPageKey(key) && keyOfRider(key)[0] !== FIRST_OF_NOTE;
  const riders = [...disk].map(([key, value]) => [bytesOf(key), value] as const).filter(([key]) => isRider(key)).sort(([a], [b]) => generationOf(a) - generationOf(b));
  const seen = new Map([...disk].filter(([key]) => !isRider(bytesOf(key))));
  const from = disk.get(keyText(ridersKey));
  if (from === undefined || generationOf(from) === 0) return seen;
  for (const [key, sealed] of riders) {
    if (generationOf(key) < generationOf(from)) continue;
    const value = unseal(key, sealed);
    if (value === undefined || value.length === 0) seen.delete(keyText(keyOfRider(key)));
    else seen.set(keyText(keyOfRider(key)), isSealed(keyOfRider(key)) ? seal(keyOfRider(key), value) : value);
  }
  return seen;
}

function apply({ operations }: Pick<WrittenGroup, "operations">, disk: Disk): void {
  for (const operation of operations) {
    if (operation.type === "del") disk.delete(keyText(operation.key));
    else disk.set(keyText(operation.key), operation.value);
  }
}

function keyText(key: Uint8Array): string {
  return Buffer.from(key).toString("latin1");
}

const bytesOf = (text: string): Buffer => Buffer.from(text, "latin1");
