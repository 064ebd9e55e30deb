import type { Clock, Timer } from "../clock/clock.ts";
import { Compactor } from "./compactor.ts";
import { type Database, type OpenDatabase, writeBatch } from "./database.ts";
import { Discards } from "./discards.ts";
import { StoreFigures } from "./figures.ts";
import { Gathering } from "./gathering.ts";
import type { Generations } from "./generations.ts";
import { type ClosedGroup, CollectingGroup } from "./group.ts";
import { DatabaseHandle } from "./handle.ts";
import { formatKey } from "./keys.ts";
import { fillLogPage } from "./log-page.ts";
import { RecordCopy } from "./record-copy.ts";
import { type Batch, Riders } from "./riders.ts";
import { Room } from "./room.ts";
import type { GroupNumber, Keeper, Need, Store, StoredRecord, StoreState } from "./store.ts";
import type { StoreDirectory } from "./store-directory.ts";
import { describeError, isOutOfRoom, StoreError, type StoreEvent } from "./store-error.ts";
import type { Uncertainty } from "./uncertainty.ts";

/** A group that nobody waits for collects this long, so that acknowledged progress does not cost a batch each turn. */
const SOON_MS = 1000;
const FIRST_RETRY_MS = 100;
/** Handing over what such a group holds takes milliseconds, and so does writing it: each has a turn of its own, in which others have theirs. */
const LARGE_GROUP_CHANGES = 500;
const LARGE_GROUP_BYTES = 128 * 1024;
const LAST_RETRY_MS = 5000;
/** So much that nobody needs any more may stay on the disk for some time: twice the reserve. */
const MAX_DISCARDED_BYTES = 32 * 1024 * 1024;

export interface LevelStoreParts {
  readonly directory: StoreDirectory;
  readonly syncs: boolean;
  readonly commitIntervalMs: number;
  readonly clock: Clock;
  readonly minFreeBytes: number;
  readonly minFreeUnreservedBytes: number;
  readonly freeBytes: () => Promise<number>;
  readonly openDatabase: OpenDatabase;
  readonly report: (event: StoreEvent) => void;
  readonly generations: Generations;
  readonly cutBytes: number | undefined;
  readonly wasRepaired: boolean;
  readonly uncertainty: Uncertainty;
  /** The reserve was given up, to open the database or by an earlier process. */
  readonly isReserveGiven: boolean;
}

/**
 * The store on LevelDB: one group in flight, one collecting, each group one batch.
 *
 * LevelDB closes a full log without fsync, so a record written unsynced may be lost in a power cut although a later synced one survives.
 * Hence whoever touches `soon` writes records that hold a keeper's whole state: every later one supersedes those that may be missing.
 *
 * After a failed batch the database is opened anew, the same records are written again, and only then others. Whether the failed batch reached the
 * disk does not matter: puts and deletes repeat.
 */
export class LevelStore implements Store {
  readonly durable = true;
  readonly figures = new StoreFigures();
  readonly wasRepaired: boolean;
  readonly #parts: LevelStoreParts;
  readonly #handle: DatabaseHandle;
  readonly #room: Room;
  readonly #compactor: Compactor;
  readonly #riders = new Riders();
  readonly #discards = new Discards(MAX_DISCARDED_BYTES);
  readonly #gathering = new Gathering();
  readonly #copy: RecordCopy;
  readonly #storedListeners: ((upTo: GroupNumber) => void)[] = [];
  readonly #stateListeners: ((state: StoreState) => void)[] = [];
  #current = new CollectingGroup(1);
  /** Closed, not yet stored: at most one. Nothing else is written before it, whatever it takes. */
  #unwritten: { readonly group: ClosedGroup; readonly batch: Batch } | undefined;
  /** From before a group's keepers are asked until it is stored: what they touch meanwhile is scheduled afterwards. */
  #isBusy = false;
  #stored: GroupNumber = 0;
  /** The group with which all is stored that this start has taken up. */
  #recoveredIn: GroupNumber = 0;
  #state: StoreState = "healthy";
  #failure: "failed" | "full" | undefined;
  /** A batch since the last synced one was not synced. */
  #hasUnsynced = false;
  #retryMs = FIRST_RETRY_MS;
  #closeTimer: Timer | undefined;
  /** The group whose closing at the end of this turn is on its way. */
  #closing: CollectingGroup | undefined;
  #retryTimer: Timer | undefined;
  #work: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  constructor(database: Database, parts: LevelStoreParts) {
    this.wasRepaired = parts.wasRepaired;
    const { figures } = this;
    this.#parts = parts;
    this.#handle = new DatabaseHandle(database, parts);
    this.#copy = new RecordCopy(parts.directory.path, parts.clock, this.#handle);
    this.#room = new Room({ ...parts, figures, onInspected: (isShort) => this.#onInspected(isShort) });
    this.#compactor = new Compactor({
      clock: parts.clock,
      figures,
      generations: parts.generations,
      cutBytes: parts.cutBytes,
      database: () => (this.#failure === undefined ? this.#handle.database : undefined),
      isAwaited: () => this.#isBusy || this.#current.need === "synced",
      onLeft: () => void this.touch(parts.generations, "synced"),
      onCompacted: () => void this.#room.inspect(),
    });
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
    const group = this.#current;
    // In a drain each acknowledgement touches the same queue.
    if (need === "soon" && group.touchedLast === keeper) return group.number;
    group.touch(keeper, need);
    this.#schedule();
    return group.number;
  }

  recovered(): void {
    this.#recoveredIn = this.touch({ writeTo: (group) => group.put(formatKey, this.#parts.generations.format) }, "synced");
  }

  onStored(listener: (upTo: GroupNumber) => void): void {
    this.#storedListeners.push(listener);
  }

  onState(listener: (state: StoreState) => void): void {
    this.#stateListeners.push(listener);
  }

  /** Waits while no handle is open. Rejects with StoreError `closed`, `corrupt` or `unwritable`. */
  read(from: Uint8Array, to: Uint8Array, maxBytes: number): Promise<StoredRecord[]> {
    const range = [Buffer.from(from), Buffer.from(to)] as const;
    return this.#handle.read(() => this.#parts.generations.ranges(...range), maxBytes);
  }

  /** A failing disk gets one more try, then it rejects with StoreError `unwritable`. */
  close(): Promise<void> {
    this.#closed ??= this.#closeAll();
    return this.#closed;
  }

  /** Looks at the free room now and every few seconds from now on. */
  watchRoom(): Promise<void> {
    return this.#room.watch();
  }

  #schedule(): void {
    if (this.#isBusy || this.#closed !== undefined || this.#current.isEmpty) return;
    const group = this.#current;
    if (this.#closing === group) return;
    const { clock, commitIntervalMs } = this.#parts;
    if (group.need === "soon") {
      this.#closeTimer ??= clock.after(this.#discards.areDue ? 0 : Math.max(SOON_MS, commitIntervalMs), () => this.#closeCurrent(group));
      return;
    }
    this.#closing = group;
    this.#closeTimer?.cancel();
    if (commitIntervalMs === 0) clock.endOfTurn(() => this.#closeWhole(group));
    else this.#closeTimer = clock.after(commitIntervalMs, () => this.#closeCurrent(group));
  }

  /** At the end of a turn. What comes in a later one asks again whether the group is whole. */
  #closeWhole(group: CollectingGroup): void {
    if (this.#current !== group || this.#isBusy) return;
    const waitMs = this.#gathering.waitMs(group.awaited, performance.now());
    if (waitMs === 0) {
      if (group.awaited < LARGE_GROUP_CHANGES) this.#closeCurrent(group);
      else this.#parts.clock.endOfTurn(() => this.#closeCurrent(group));
      return;
    }
    this.#closing = undefined;
    this.#closeTimer?.cancel();
    this.#closeTimer = this.#parts.clock.after(waitMs, () => this.#closeWhole(group));
  }

  #closeCurrent(group: CollectingGroup): void {
    if (this.#current !== group || this.#isBusy || this.#closed !== undefined) return;
    this.#isBusy = true;
    this.#prepare(this.#takeCurrent());
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

  /** What is written for a group is decided once, however often it is tried. */
  #prepare(group: ClosedGroup): void {
    const { generations } = this.#parts;
    this.#copy.note(group.records);
    const mayWait = generations.current > 0 && this.#state === "healthy";
    const gathered = this.#riders.batchOf(group.records, generations.current, this.#discards.dueWith(group.records, mayWait));
    const noteBytes = generations.place(gathered.operations);
    const batch = noteBytes === 0 ? gathered : { ...gathered, bytes: gathered.bytes + noteBytes, mustSync: true };
    for (const { type, key } of batch.operations) if (type === "del") this.#compactor.noteDeleted(key);
    this.#unwritten = { group, batch: this.#isSynced(group, batch) ? this.#padded(batch) : batch };
  }

  /** What later groups count on is synced whatever `durability` says: without it they would have a start believe older records than those that they go with. */
  #isSynced(group: ClosedGroup, batch: Batch): boolean {
    return batch.mustSync || ((this.#parts.syncs || group.number === this.#recoveredIn) && group.need === "synced");
  }

  /** A disk that is full or fails gets nothing that need not be. */
  #padded(batch: Batch): Batch {
    const logBytes = this.#state === "healthy" ? this.#parts.directory.logBytes() : undefined;
    return logBytes === undefined ? batch : { ...batch, bytes: batch.bytes + fillLogPage(batch.operations, logBytes) };
  }

  /** Never rejects: a failure is dealt with here. */
  async #writeUnwritten(): Promise<void> {
    if (this.#unwritten === undefined) return;
    const { group, batch } = this.#unwritten;
    if (batch.bytes > LARGE_GROUP_BYTES) await new Promise<void>((resolve) => this.#parts.clock.endOfTurn(resolve));
    try {
      const database = await this.#handle.forWriting(batch.bytes, () => this.#compactor.settled());
      if (batch.operations.length > 0) await this.#writeBatch(database, batch, { sync: this.#isSynced(group, batch) });
    } catch (error) {
      await this.#onFailure(error);
      return;
    }
    this.#succeeded(group);
  }

  async #writeBatch(database: Database, batch: Batch, { sync }: { readonly sync: boolean }): Promise<void> {
    const { figures } = this;
    const { operations, bytes, storedBytes } = batch;
    const startMs = performance.now();
    await writeBatch(database, operations, bytes, { sync });
    // LevelDB may have begun a new log for it.
    if (sync) await this.#parts.directory.syncNewNames();
    figures.groups++;
    figures.loggedBytes += bytes;
    figures.storedBytes += storedBytes;
    if (sync) {
      figures.syncs++;
      figures.lastSyncMs = performance.now() - startMs;
    }
    this.#hasUnsynced = !sync;
    this.#markLog();
    this.#room.noteWritten(bytes);
    this.#compactor.noteWritten(bytes, batch);
  }

  /** How far its log is known to be on disk. */
  #markLog(): void {
    if (!this.#hasUnsynced) void this.#parts.directory.markLog(this.#parts.clock.nowMs());
  }

  #succeeded(group: ClosedGroup): void {
    this.#unwritten = undefined;
    this.#isBusy = false;
    this.#stored = group.number;
    if (group.number === this.#recoveredIn && !this.#handle.hasLost) this.#parts.uncertainty.end();
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      void this.#room.inspect(); // the new handle has made new files
      this.#retryMs = FIRST_RETRY_MS;
      this.#parts.report({ kind: "writeRecovered", detail: "the store is written again" });
      this.#updateState();
    }
    for (const listener of this.#storedListeners) listener(group.number);
    if (this.#discards.areDue) this.touch(this.#discards, "soon");
    if (this.#parts.syncs && group.need === "synced") this.#gathering.begin(this.#current.awaited, this.figures.lastSyncMs, performance.now());
    this.#schedule();
  }

  async #onFailure(error: unknown): Promise<void> {
    const { clock, report } = this.#parts;
    this.#handle.spoil();
    this.#riders.repeat();
    this.#compactor.noteFailure();
    this.figures.failures++;
    const outOfRoom = isOutOfRoom(error);
    if (this.#failure === undefined) report({ kind: "writeFailed", detail: describeError(error) });
    this.#failure = outOfRoom ? "full" : "failed";
    this.#updateState();
    if (outOfRoom) await this.#room.giveUpReserve();
    if (this.#closed !== undefined) return;
    this.#retryTimer = clock.after(this.#retryMs, () => {
      this.#work = this.#writeUnwritten();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }

  #updateState(): void {
    const state = this.#failure ?? (this.#room.isShort ? "full" : "healthy");
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  #onInspected(isShort: boolean): void {
    this.#updateState();
    if (this.#failure !== undefined) return;
    if (!this.#isBusy) this.#markLog();
    if (this.#discards.areWaiting) this.touch(this.#discards, "soon");
    this.#compactor.compact(isShort);
    this.#copy.write(!isShort);
    if (!isShort) this.#room.makeReserve();
  }

  async #closeAll(): Promise<void> {
    this.#room.stopWatching();
    this.#closeTimer?.cancel();
    this.#retryTimer?.cancel();
    this.#handle.refuseReads();
    await this.#work;
    if (this.#unwritten !== undefined) await this.#writeUnwritten();
    if (this.#unwritten === undefined) {
      this.#prepare(this.#lastGroup());
      await this.#writeUnwritten();
    }
    await this.#compactor.close();
    await this.#room.settled();
    const isLost = this.#unwritten !== undefined;
    await this.#copy.close();
    if (!isLost) await this.#parts.directory.markLog(Infinity);
    await this.#parts.directory.close();
    await this.#handle.close();
    if (isLost) throw new StoreError("unwritable", "the store could not be written when it was closed");
  }

  /** Synced, even if it holds nothing but the format record: fsync of the log covers the unsynced batches in it. */
  #lastGroup(): ClosedGroup {
    this.#discards.close();
    const { number, records } = this.#takeCurrent();
    if (records.count === 0 && this.#hasUnsynced) records.put(formatKey, this.#parts.generations.format);
    return { number, need: "synced", records };
  }
}
