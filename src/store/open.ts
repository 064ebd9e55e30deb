import { link, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock/clock.ts";
import { unseal } from "./checked.ts";
import { damageOfNames, openTellingLosses } from "./damage.ts";
import { type Database, type OpenDatabase, openLevelDatabase, repairLevelDatabase } from "./database.ts";
import { findGenerations, recoverGenerations, sourceOf } from "./find-generations.ts";
import { ensureFormat } from "./format.ts";
import { isCopied, isQueueKey, type KeyRange, withoutPages } from "./keys.ts";
import { KnownTables } from "./known-tables.ts";
import { LevelStore } from "./level-store.ts";
import { makeDirectory } from "./make-directory.ts";
import { allOf } from "./read-range.ts";
import { restoreCopied, takeCopy } from "./record-copy.ts";
import { RESERVE_BYTES, StoreDirectory } from "./store-directory.ts";
import { describeError, isCorruption, isForbidden, isLocked, isOfDatabase, isOutOfRoom, mayPass, StoreError, type StoreEvent } from "./store-error.ts";
import { Uncertainty } from "./uncertainty.ts";
import { unloadRiders } from "./unload-riders.ts";

export { StoreError, type StoreEvent } from "./store-error.ts";

export interface StoreOptions {
  readonly directory: string;
  /** What an acknowledged message survives: a power cut (fsync before each acknowledgement), or the end of the process only. */
  readonly durability: "power" | "process";
  /** How long a group that somebody waits for collects; 0: to the end of the turn. */
  readonly commitIntervalMs: number;
  readonly clock: Clock;
  /** Refuse to start on a store that cannot be repaired, instead of setting it aside. */
  readonly strict: boolean;
  /** Below this, or without a reserve below its size if that is more, or of a smaller disk below about half, the store is `full`. */
  readonly minFreeBytes: number;
  readonly report: (event: StoreEvent) => void;
  /** For tests of failure. */
  readonly openDatabase?: OpenDatabase;
  /** For tests of failure. */
  readonly freeBytes?: () => Promise<number>;
  /** Size of the reserve file; 0: none. Default 16 MiB. */
  readonly reserveBytes?: number;
  /** For tests: after how much of pages alone LevelDB is made to write a table. */
  readonly cutBytes?: number;
}

/**
 * Opens the store, creating it if it is missing. Only corruption leads to repair, and only a repair that ends in corruption to setting
 * the store aside: a full or read-only disk leaves it where it is. Rejects with StoreError; `unavailable` may be tried again.
 */
export async function openStore(options: StoreOptions): Promise<LevelStore> {
  try {
    return await openWithReserve(options);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    const isUnavailable = mayPass(error) || (isForbidden(error) && (await mayBeThere(options.directory)));
    throw new StoreError(isUnavailable ? "unavailable" : "unwritable", `store ${options.directory}: ${describeError(error)}`, error);
  }
}

/** On a full disk the room for opening is what the reserve takes, and then what a compaction has left that a kill has ended. */
async function openWithReserve(options: StoreOptions): Promise<LevelStore> {
  const directory = new StoreDirectory(options.directory, 0);
  const open = (): Promise<LevelStore> => openOnce(options);
  return open()
    .catch(async (error: unknown) => {
      if (!isOutOfRoom(error)) throw error;
      if (!(await directory.giveUpReserve())) throw error;
      return open();
    })
    .catch(async (error: unknown) => {
      // LevelDB finds that out when it has the lock: nobody else is about to finish its tables.
      if (!isOutOfRoom(error) || !isOfDatabase(error)) throw error;
      if (!(await directory.removeObsolete())) throw error;
      return open();
    });
}

/** Whether the directory holds anything, or can't be looked into. */
async function mayBeThere(directory: string): Promise<boolean> {
  try {
    return (await readdir(directory)).length > 0;
  } catch {
    return (await stat(directory).catch(() => undefined)) !== undefined;
  }
}

async function openOnce(options: StoreOptions): Promise<LevelStore> {
  const { directory, openDatabase = openLevelDatabase } = options;
  makeDirectory(directory);
  const tables = new KnownTables(directory, options.clock);
  const { database, lacksRecords } = await openOrRepair(options, openDatabase, tables);
  const uncertainty = new Uncertainty(directory);
  const storeDirectory = new StoreDirectory(directory, options.reserveBytes ?? RESERVE_BYTES, tables);
  try {
    const { isNoted } = uncertainty;
    const format = await ensureFormat(database, directory, isNoted, options.clock);
    const generations = await recoverGenerations(database, format, { areCertain: !isNoted });
    await unloadRiders(database, generations, { areCertain: !isNoted }, (detail) => {
      uncertainty.note();
      options.report({ kind: "damaged", detail });
    });
    // A damaged record stays until the queue's next one takes its place, which tells of all that was taken up.
    const isOutdated = uncertainty.isNoted || lacksRecords;
    // A start that was only killed has lost nothing: what the copy has more is what was deleted last.
    if (uncertainty.hasLost || lacksRecords) {
      const restored = await restoreCopied(database, directory, (detail) => options.report({ kind: "damaged", detail }));
      if (restored > 0) options.report({ kind: "repaired", detail: `store ${directory}: what was lost of sessions, subscriptions and connections has been taken from their copy (${restored} records)` });
    }
    await storeDirectory.syncNames();
    const store = new LevelStore(database, {
      directory: storeDirectory,
      syncs: options.durability === "power",
      commitIntervalMs: options.commitIntervalMs,
      clock: options.clock,
      minFreeBytes: await storeDirectory.minFreeBytes(options.minFreeBytes),
      minFreeUnreservedBytes: await storeDirectory.minFreeUnreservedBytes(options.minFreeBytes),
      freeBytes: options.freeBytes ?? (() => storeDirectory.freeBytes()),
      openDatabase,
      report: options.report,
      generations,
      cutBytes: options.cutBytes,
      wasRepaired: isOutdated,
      uncertainty,
      isReserveGiven: storeDirectory.isReserveGiven,
    });
    await store.watchRoom();
    return store;
  } catch (error) {
    await database.close().catch(() => undefined);
    throw error;
  }
}

async function openOrRepair(options: StoreOptions, openDatabase: OpenDatabase, tables: KnownTables): Promise<OpenAttempt> {
  const { directory } = options;
  const dangerous = await tables.lookThrough();
  const first: Attempt = dangerous.length === 0 ? await tryOpen(options, openDatabase) : { damage: `damaged tables: ${dangerous.join(", ")}` };
  if (first.database !== undefined) return first;

  const second = await repairAndOpen(options, openDatabase, tables);
  if (second.database !== undefined) {
    options.report({ kind: "repaired", detail: `store ${directory} was damaged (${first.damage}) and has been repaired; messages may be missing` });
    return second;
  }

  if (options.strict) throw new StoreError("corrupt", `store ${directory} is damaged beyond repair: ${second.damage}`);
  const aside = `${directory}.corrupt-${timestamp(options.clock.wallMs())}`;
  // Whole before it takes the place: where there is no room for it, or the start is killed, the next one finds the damage again.
  const begun = `${directory}.new`;
  makeDirectory(begun);
  await takeCopy(directory, begun);
  new Uncertainty(begun).noteLoss();
  await rename(directory, aside);
  await rename(begun, directory);
  makeDirectory(directory); // it is there; its name is synced
  options.report({ kind: "setAside", detail: `store ${directory} is damaged beyond repair (${second.damage}): moved to ${aside}, starting without what it held` });
  return { database: await openDatabase(directory), lacksRecords: false };
}

interface OpenAttempt {
  readonly database: Database;
  /** Records of sessions and queues are damaged: without them nobody knows whose a queue is, and what it still owes. */
  readonly lacksRecords: boolean;
  readonly damage?: never;
}

type Attempt = OpenAttempt | { readonly database?: never; readonly damage: string };

/**
 * Runs `task` while no other process can open the database: a database beside it takes the lock, whose file is a link to the same one.
 * Rejects with StoreError if another process has it.
 */
async function withLock(directory: string, task: () => Promise<void>): Promise<void> {
  const beside = join(directory, "lock");
  await rm(beside, { recursive: true, force: true });
  await mkdir(beside, { mode: 0o700 });
  try {
    await link(join(directory, "LOCK"), join(beside, "LOCK")).catch(() => undefined); // no such file yet, or a file system without links
    const database = await openLevelDatabase(beside);
    try {
      await task();
    } finally {
      await database.close();
    }
  } catch (error) {
    throw isLocked(error) ? new StoreError("locked", `store ${directory} is in use by another process`, error) : error;
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
}

/** Resolves with the damage when it is corruption; every other error is thrown. */
async function tryOpen(options: StoreOptions, openDatabase: OpenDatabase): Promise<Attempt> {
  const { directory } = options;
  const damage = damageOfNames(directory);
  if (damage !== undefined) return { damage };
  try {
    const { database } = await openTellingLosses(directory, openDatabase, options.report);
    try {
      return { database, lacksRecords: await readAllButPages(database) };
    } catch (error) {
      await database.close();
      throw error;
    }
  } catch (error) {
    if (isLocked(error)) throw new StoreError("locked", `store ${directory} is in use by another process`, error);
    if (!isDamage(error)) throw error;
    return { damage: describeError(error) };
  }
}

/** What a start needs must be readable: damage there is repaired now. Damaged pages show, and are passed over, when they are read. Resolves with whether a record that tells of a queue is damaged in itself. */
async function readAllButPages(database: Database): Promise<boolean> {
  let isDamaged = false;
  const read = async (range: KeyRange): Promise<void> => {
    for await (const entries of allOf(database, range)) isDamaged ||= entries.some(([key, value]) => tellsOfQueue(key) && unseal(key, value) === undefined);
  };
  await Promise.all(withoutPages.map(read));
  await findGenerations(sourceOf(database), { areExpected: true, areCertain: true });
  return isDamaged;
}

const tellsOfQueue = (key: Buffer): boolean => isQueueKey(key) || isCopied(key);

async function repairAndOpen(options: StoreOptions, openDatabase: OpenDatabase, tables: KnownTables): Promise<Attempt> {
  const { directory, report } = options;
  await withLock(directory, async () => {
    new Uncertainty(directory).noteRepair();
    for (const detail of await tables.mend()) report({ kind: "damaged", detail: `table ${detail}` });
  });
  try {
    await repairLevelDatabase(directory);
  } catch (error) {
    if (isLocked(error)) throw new StoreError("locked", `store ${directory} is in use by another process`, error);
    if (!isDamage(error)) throw error;
    return { damage: describeError(error) };
  }
  return tryOpen(options, openDatabase);
}

/** LevelDB reads beyond the end of a table that is cut short ("invalid argument"). It says "not found" or "no such file" when a file that its manifest names is missing; the directory itself is there by now. */
function isDamage(error: unknown): boolean {
  return isCorruption(error) || /Corruption|No such file|does not exist|NotFound|\.(ldb|sst): Invalid argument/i.test(describeError(error));
}

/** YYYYMMDDHHMMSS, UTC. */
function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\D/g, "").slice(0, 14);
}
