import { type Database, type OpenDatabase, repairLevelDatabase } from "./database.ts";
import { damageOfNames, openTellingLosses } from "./damage.ts";
import { isCopied, type KeyRange } from "./keys.ts";
import { Found, readRange } from "./read-range.ts";
import type { StoredRecord } from "./store.ts";
import type { StoreDirectory } from "./store-directory.ts";
import { describeError, isCorruption, isNotOpen, isOutOfRoom, StoreError, type StoreEvent } from "./store-error.ts";
import type { Uncertainty } from "./uncertainty.ts";

export interface HandleParts {
  readonly directory: StoreDirectory;
  readonly openDatabase: OpenDatabase;
  readonly report: (event: StoreEvent) => void;
  readonly uncertainty: Uncertainty;
}

/**
 * The open database.
 *
 * A failed batch ends its handle's use for writing: LevelDB would append behind torn bytes and drop at recovery what it has acknowledged. Before
 * the next batch the database is closed and opened again. While the disk takes nothing, the spoilt handle is still read from.
 */
export class DatabaseHandle {
  readonly #parts: HandleParts;
  /** Undefined while none can be opened. */
  #database: Database | undefined;
  #isSpoilt = false;
  #isClosed = false;
  #hasLost = false;
  #wakeReaders: (() => void)[] = [];

  constructor(database: Database, parts: HandleParts) {
    this.#database = database;
    this.#parts = parts;
  }

  /** The open database, fit for writing or not. */
  get database(): Database | undefined {
    return this.#database;
  }

  /** Records may have been lost since the start. While it runs all that they tell is in RAM; they are written again only as they change. */
  get hasLost(): boolean {
    return this.#hasLost;
  }

  /** A batch has failed. */
  spoil(): void {
    this.#isSpoilt = this.#database !== undefined;
  }

  /** A database to write `bytes` to. `settle`: ends what else uses the one that has to be closed. Rejects when the disk takes nothing. */
  async forWriting(bytes: number, settle: () => Promise<void>): Promise<Database> {
    const spoilt = this.#database;
    if (spoilt !== undefined) {
      if (!this.#isSpoilt) return spoilt;
      // It still reads: it is not closed before the disk takes what opening another one writes.
      const isFilledByTables = await this.#isFilledByTables(bytes);
      await settle();
      this.#database = undefined;
      await spoilt.close().catch(() => undefined);
      if (isFilledByTables) await this.#parts.directory.removeObsolete();
    }
    const database = await this.#reopen();
    this.#isSpoilt = false;
    this.#database = database;
    this.#releaseReaders();
    return database;
  }

  /**
   * Tries whether the disk takes what opening the database writes. If what fills it are tables of a compaction that found no room, true: LevelDB
   * removes them when it has been opened, for which there is none.
   */
  async #isFilledByTables(bytes: number): Promise<boolean> {
    const { directory } = this.#parts;
    try {
      await directory.tryWriting(bytes);
      return false;
    } catch (error) {
      if (isOutOfRoom(error) && (await directory.hasRoomInObsolete(bytes))) return true;
      throw error;
    }
  }

  /** Damage is repaired here too, but never set aside: what is in RAM builds on what is on disk. */
  async #reopen(): Promise<Database> {
    const { directory, openDatabase, report, uncertainty } = this.#parts;
    const { path } = directory;
    const open = async (): Promise<Database> => {
      const { database, hasDropped } = await openTellingLosses(path, openDatabase, report);
      this.#hasLost ||= hasDropped;
      return database;
    };
    let damage = damageOfNames(path); // a repair has not come to its end
    try {
      if (damage === undefined) return await open();
    } catch (error) {
      if (!isCorruption(error)) throw error;
      damage = describeError(error);
    }
    this.#hasLost = true;
    uncertainty.noteRepair();
    await repairLevelDatabase(path);
    report({ kind: "repaired", detail: `store ${path} was damaged (${damage}) and has been repaired` });
    return open();
  }

  /** What stands in one range after the other; whoever reads pages misses the numbers of those that are damaged. Waits while no database is open. Rejects with StoreError `closed`, `corrupt` or `unwritable`. */
  async read(ranges: () => Iterable<KeyRange>, maxBytes: number): Promise<StoredRecord[]> {
    for (;;) {
      if (this.#isClosed) throw new StoreError("closed", "the store is closed");
      const database = this.#database;
      if (database === undefined) {
        await new Promise<void>((wake) => this.#wakeReaders.push(wake));
        continue;
      }
      try {
        const onDamaged = (detail: string, key?: Buffer): void => {
          if (key && isCopied(key)) this.#hasLost = true;
          this.#parts.report({ kind: "damaged", detail });
        };
        const found = new Found(maxBytes);
        for (const range of ranges()) {
          await readRange(database, range, found, onDamaged);
          if (found.isFull) break;
        }
        return found.records;
      } catch (error) {
        if (isNotOpen(error) && (this.#isClosed || this.#database !== database)) continue;
        if (!isCorruption(error)) this.#parts.report({ kind: "readFailed", detail: describeError(error) });
        throw new StoreError(isCorruption(error) ? "corrupt" : "unwritable", `reading the store: ${describeError(error)}`, error);
      }
    }
  }

  /** Nothing is read from now on. */
  refuseReads(): void {
    this.#isClosed = true;
    this.#releaseReaders();
  }

  #releaseReaders(): void {
    const readers = this.#wakeReaders;
    this.#wakeReaders = [];
    for (const wake of readers) wake();
  }

  async close(): Promise<void> {
    await this.#database?.close();
    this.#database = undefined;
  }
}
