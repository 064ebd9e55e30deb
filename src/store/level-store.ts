import type { Clock, Timer } from "../clock/clock.ts";
import { isSealed, seal } from "./checked.ts";
import { type Database, type OpenDatabase, repairLevelDatabase } from "./database.ts";
import { type ClosedGroup, CollectingGroup } from "./group.ts";
import { formatKey, isPageKey } from "./keys.ts";
import { behindDamage, readRange } from "./read-range.ts";
import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "./store.ts";
import type { StoreDirectory } from "./store-directory.ts";
import { describeError, isCorruption, isNotOpen, isOutOfRoom, StoreError, type StoreEvent } from "./store-error.ts";

/** A group that nobody waits for collects this long, so that acknowledged progress does not cost a batch each turn. */
const SOON_MS = 1000;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;
const ROOM_CHECK_MS = 5000;
/** After so much the directory is looked at: less than LevelDB's write buffer, after which it starts a new log. */
const INSPECT_AFTER_BYTES = 1024 * 1024;
/** Every key of the store lies between them. */
const FIRST_KEY = Buffer.from([0]);
const LAST_KEY = Buffer.from([0xff]);

export interface LevelStoreParts {
  readonly directory: StoreDirectory;
  readonly syncs: boolean;
  readonly commitIntervalMs: number;
  readonly clock: Clock;
  readonly minFreeBytes: number;
  readonly freeBytes: () => Promise<number>;
  readonly openDatabase: OpenDatabase;
  readonly report: (event: StoreEvent) => void;
  /** Value of the format record. */
  readonly format: Buffer;
}

/**
 * The store on LevelDB: one group in flight, one collecting, each group one batch.
 *
 * LevelDB closes a full log without fsync, so a record written unsynced may be lost in a power cut although a later synced one survives.
 * Hence whoever touches `soon` writes records that hold a keeper's whole state: every later one supersedes those that may be missing.
 *
 * A failed batch ends its handle's use for writing: LevelDB would append behind torn bytes and drop at recovery what it has acknowledged. So:
 * close, reopen, write the same records again, and only then go on. While the disk takes nothing, the spoilt handle is still read from. Whether the failed batch reached the disk does not matter: puts and deletes repeat.
 */
export class LevelStore implements Store {
  readonly durable = true;
  readonly #parts: LevelStoreParts;
  readonly #storedListeners: ((upTo: GroupNumber) => void)[] = [];
  readonly #stateListeners: ((state: StoreState) => void)[] = [];
  /** Undefined while none can be opened. */
  #database: Database | undefined;
  /** A batch has failed: the handle is only read from, until it may be replaced. */
  #isSpoilt = false;
  #current = new CollectingGroup(1);
  /** Closed, not yet stored: at most one. Nothing else is written before it, whatever it takes. */
  #unwritten: ClosedGroup | undefined;
  /** From before a group's keepers are asked until it is stored: what they touch meanwhile is scheduled afterwards. */
  #isBusy = false;
  #stored: GroupNumber = 0;
  #state: StoreState = "healthy";
  #failure: "failed" | "full" | undefined;
  #isShortOfRoom = false;
  /** A batch since the last synced one was not synced. */
  #hasUnsynced = false;
  #retryMs = FIRST_RETRY_MS;
  #closeTimer: Timer | undefined;
  /** The group whose closing at the end of this turn is on its way. */
  #closing: CollectingGroup | undefined;
  #retryTimer: Timer | undefined;
  #roomTimer: Timer | undefined;
  #uninspectedBytes = 0;
  /** Keys between which records have been deleted since that was compacted. What was deleted before the start is not known. */
  #deletedFrom: Buffer | undefined = FIRST_KEY;
  #deletedTo: Buffer = LAST_KEY;
  #compaction: Promise<void> | undefined;
  #inspection: Promise<void> | undefined;
  #reserving: Promise<void> | undefined;
  #work: Promise<void> = Promise.resolve();
  #wakeReaders: (() => void)[] = [];
  #closed: Promise<void> | undefined;

  constructor(database: Database, parts: LevelStoreParts) {
    this.#database = database;
    this.#parts = parts;
  }

  get state(): StoreState {
    return this.#state;
  }

  get writesFail(): boolean {
    return this.#failure !== undefined;
  }

  get stored(): GroupNumber {
    return this.#stored;
  }

  touch(keeper: Keeper, need: Need): GroupNumber {
    this.#current.touch(keeper, need);
    this.#schedule();
    return this.#current.number;
  }

  onStored(listener: (upTo: GroupNumber) => void): void {
    this.#storedListeners.push(listener);
  }

  onState(listener: (state: StoreState) => void): void {
    this.#stateListeners.push(listener);
  }

  /** Waits while no handle is open. Rejects with StoreError `closed`, `corrupt` or `unwritable`. */
  async read(from: Uint8Array, to: Uint8Array, maxBytes: number): Promise<StoredRecord[]> {
    for (;;) {
      if (this.#closed !== undefined) throw new StoreError("closed", "the store is closed");
      const database = this.#database;
      if (database === undefined) {
        await new Promise<void>((wake) => this.#wakeReaders.push(wake));
        continue;
      }
      try {
        return await this.#readIntact(database, Buffer.from(from), Buffer.from(to), maxBytes);
      } catch (error) {
        if (isNotOpen(error) && this.#database !== database) continue;
        throw new StoreError(isCorruption(error) ? "corrupt" : "unwritable", `reading the store: ${describeError(error)}`, error);
      }
    }
  }

  /** Pages that lie in damaged blocks are passed over: whoever reads misses their numbers. */
  async #readIntact(database: Database, from: Buffer, to: Buffer, maxBytes: number): Promise<StoredRecord[]> {
    const onDamaged = (detail: string): void => this.#parts.report({ kind: "damaged", detail });
    try {
      return await readRange(database, from, to, maxBytes, onDamaged);
    } catch (error) {
      const next = isCorruption(error) ? await behindDamage(database, from, to) : undefined;
      if (next === undefined) {
        if (isCorruption(error) && isPageKey(from)) return [];
        throw error;
      }
      onDamaged(describeError(error));
      return await this.#readIntact(database, next, to, maxBytes);
    }
  }

  /** A failing disk gets one more try, then it rejects with StoreError `unwritable`. */
  close(): Promise<void> {
    this.#closed ??= this.#closeAll();
    return this.#closed;
  }

  /** Looks at the free room now and every few seconds from now on. */
  async watchRoom(): Promise<void> {
    await this.#inspect();
    if (this.#closed !== undefined) return;
    this.#roomTimer = this.#parts.clock.after(ROOM_CHECK_MS, () => void this.watchRoom());
  }

  #schedule(): void {
    if (this.#isBusy || this.#closed !== undefined || this.#current.isEmpty) return;
    const group = this.#current;
    if (this.#closing === group) return;
    const { clock, commitIntervalMs } = this.#parts;
    if (group.need === "soon") {
      this.#closeTimer ??= clock.after(Math.max(SOON_MS, commitIntervalMs), () => this.#closeCurrent(group));
      return;
    }
    this.#closing = group;
    this.#closeTimer?.cancel();
    if (commitIntervalMs === 0) clock.endOfTurn(() => this.#closeCurrent(group));
    else this.#closeTimer = clock.after(commitIntervalMs, () => this.#closeCurrent(group));
  }

  #closeCurrent(group: CollectingGroup): void {
    if (this.#current !== group || this.#isBusy || this.#closed !== undefined) return;
    this.#isBusy = true;
    this.#unwritten = this.#takeCurrent();
    this.#work = this.#writeUnwritten();
  }

  #takeCurrent(): ClosedGroup {
    const group = this.#current;
    this.#closeTimer?.cancel();
    this.#closeTimer = undefined;
    this.#closing = undefined;
    this.#current = new CollectingGroup(group.number + 1);
    return group.close();
  }

  /** Never rejects: a failure is dealt with here. */
  async #writeUnwritten(): Promise<void> {
    const group = this.#unwritten;
    if (group === undefined) return;
    try {
      const database = this.#isSpoilt || this.#database === undefined ? await this.#replaceHandle(group) : this.#database;
      if (group.records.count > 0) await this.#writeBatch(database, group);
    } catch (error) {
      await this.#giveUpHandle(error);
      return;
    }
    this.#succeeded(group);
  }

  async #writeBatch(database: Database, group: ClosedGroup): Promise<void> {
    const { keys, values, bytes } = group.records;
    const sync = this.#parts.syncs && group.need === "synced";
    const batch = database.batch();
    for (let index = 0; index < keys.length; index++) {
      const key = keys[index] as Buffer; // index < length
      const value = values[index];
      if (value === undefined) {
        batch.del(key);
        this.#noteDeleted(key);
      } else batch.put(key, isSealed(key) ? seal(key, value) : value);
    }
    await batch.write({ sync });
    this.#hasUnsynced = !sync;
    this.#uninspectedBytes += bytes;
    if (this.#uninspectedBytes >= INSPECT_AFTER_BYTES) void this.#inspect();
  }

  #succeeded(group: ClosedGroup): void {
    this.#unwritten = undefined;
    this.#isBusy = false;
    this.#stored = group.number;
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      void this.#inspect(); // the new handle has made new files
      this.#retryMs = FIRST_RETRY_MS;
      this.#parts.report({ kind: "writeRecovered", detail: "the store is written again" });
      this.#updateState();
    }
    for (const listener of this.#storedListeners) listener(group.number);
    this.#schedule();
  }

  async #giveUpHandle(error: unknown): Promise<void> {
    const { clock, directory, report } = this.#parts;
    this.#isSpoilt = this.#database !== undefined;
    const outOfRoom = isOutOfRoom(error);
    if (this.#failure === undefined) report({ kind: "writeFailed", detail: describeError(error) });
    this.#failure = outOfRoom ? "full" : "failed";
    this.#updateState();
    if (outOfRoom) await directory.giveUpReserve();
    if (this.#closed !== undefined) return;
    this.#retryTimer = clock.after(this.#retryMs, () => {
      this.#work = this.#writeUnwritten();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  /** A spoilt handle still reads: it is not closed before the disk takes what opening another one writes. */
  async #replaceHandle(group: ClosedGroup): Promise<Database> {
    const spoilt = this.#database;
    if (spoilt !== undefined) {
      await this.#parts.directory.tryWriting(group.records.bytes);
      await this.#compaction;
      this.#database = undefined;
      await spoilt.close().catch(() => undefined);
    }
    const database = await this.#reopen();
    this.#isSpoilt = false;
    this.#database = database;
    this.#releaseReaders();
    return database;
  }

  /** Damage is repaired here too, but never set aside: what is in RAM builds on what is on disk. */
  async #reopen(): Promise<Database> {
    const { directory, openDatabase, report } = this.#parts;
    try {
      return await openDatabase(directory.path);
    } catch (error) {
      if (!isCorruption(error)) throw error;
      await repairLevelDatabase(directory.path);
      report({ kind: "repaired", detail: `store ${directory.path} was damaged (${describeError(error)}) and has been repaired` });
      return openDatabase(directory.path);
    }
  }

  #releaseReaders(): void {
    const readers = this.#wakeReaders;
    this.#wakeReaders = [];
    for (const wake of readers) wake();
  }

  #updateState(): void {
    const state = this.#failure ?? (this.#isShortOfRoom ? "full" : "healthy");
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  #inspect(): Promise<void> {
    this.#inspection ??= this.#inspectDirectory()
      // Nothing here is a promise to anybody: what keeps the disk from answering will fail a batch too.
      .catch(() => undefined)
      .finally(() => {
        this.#inspection = undefined;
      });
    return this.#inspection;
  }

  async #inspectDirectory(): Promise<void> {
    this.#uninspectedBytes = 0;
    const { directory, freeBytes, minFreeBytes, report } = this.#parts;
    await directory.syncNames();
    const free = await freeBytes();
    const isShort = free < minFreeBytes;
    if (isShort !== this.#isShortOfRoom) {
      this.#isShortOfRoom = isShort;
      report({ kind: isShort ? "full" : "roomAgain", detail: `${free} bytes free, ${minFreeBytes} wanted` });
      this.#updateState();
    }
    if (this.#failure !== undefined) return;
    if (isShort) this.#compact();
    else this.#makeReserve(free - minFreeBytes);
  }

  #noteDeleted(key: Buffer): void {
    if (this.#deletedFrom === undefined) {
      this.#deletedFrom = this.#deletedTo = key;
      return;
    }
    if (key.compare(this.#deletedFrom) < 0) this.#deletedFrom = key;
    if (key.compare(this.#deletedTo) > 0) this.#deletedTo = key;
  }

  /** Deleted records hold their room until LevelDB compacts, which it does with what is written: nothing more is, while the disk is full. */
  #compact(): void {
    const database = this.#database;
    const from = this.#deletedFrom;
    if (database === undefined || from === undefined || this.#compaction !== undefined || this.#closed !== undefined) return;
    const to = this.#deletedTo;
    this.#deletedFrom = undefined;
    // LevelDB counts the levels that it goes through before it writes out what is in memory: that has to be done before.
    this.#compaction = database
      .compactRange(FIRST_KEY, FIRST_KEY)
      .then(() => database.compactRange(from, to))
      .catch(() => undefined) // the next batch fails too, then
      .finally(() => {
        this.#compaction = undefined;
        void this.#inspect();
      });
  }

  /** Beside everything else: 16 MiB take a slow card seconds. */
  #makeReserve(spareBytes: number): void {
    this.#reserving ??= this.#parts.directory.makeReserve(spareBytes).finally(() => {
      this.#reserving = undefined;
    });
  }

  async #closeAll(): Promise<void> {
    this.#roomTimer?.cancel();
    this.#closeTimer?.cancel();
    this.#retryTimer?.cancel();
    this.#releaseReaders();
    await this.#work;
    if (this.#unwritten !== undefined) await this.#writeUnwritten();
    if (this.#unwritten === undefined) {
      this.#unwritten = this.#lastGroup();
      await this.#writeUnwritten();
    }
    await this.#inspection;
    await this.#reserving;
    await this.#compaction;
    const isLost = this.#unwritten !== undefined;
    await this.#database?.close();
    this.#database = undefined;
    if (isLost) throw new StoreError("unwritable", "the store could not be written when it was closed");
  }

  /** Synced, even if it holds nothing but the format record: fsync of the log covers the unsynced batches in it. */
  #lastGroup(): ClosedGroup {
    const { number, records } = this.#takeCurrent();
    if (records.count === 0 && this.#hasUnsynced) records.put(formatKey, this.#parts.format);
    return { number, need: "synced", records };
  }
}
