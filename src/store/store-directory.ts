import { randomFillSync } from "node:crypto";
import { closeSync, fsync as fsyncWith, openSync, readdir as readdirWith, statfs as statfsWith, statSync } from "node:fs";
import { open, rm, truncate } from "node:fs/promises"; // none of these at a start: to load them takes 5 ms
import { join } from "node:path";
import { promisify } from "node:util";
import { fileStatus } from "./file-status.ts";
import type { KnownTables } from "./known-tables.ts";
import { LogMark } from "./log-mark.ts";
import { namedTables } from "./manifest.ts";

const MIB = 1024 * 1024;

const fsync = promisify(fsyncWith);
const readdir = promisify(readdirWith);
const statfs = promisify(statfsWith);

/** Given up when the disk is full all the same, so that progress and deletion have room. */
export const RESERVE_BYTES = 16 * MIB;
export const RESERVE_NAME = "reserve";
/** A disk may have to be free by one part of so many at most. With less room than that a compaction may find none. */
const MAX_FREE_SHARE = 2;
/** What a store that fills fast takes beyond that: room is looked at after each MiB. */
const PASSED_BYTES = 2 * MIB;
const PROBE_NAME = "probe";
const PROBE_BYTES = 256 * 1024;
/** A change to the directory as long ago as this can be told from a later one by its time. */
const TICK_MS = 50;

/** What the store does with its directory beside LevelDB: free room, the reserve file, fsync of its names, the list of its tables, how far the log is synced. */
export class StoreDirectory {
  readonly path: string;
  readonly #reserveBytes: number;
  readonly #reservePath: string;
  /** Names that an fsync of the directory has covered. */
  #syncedNames = new Set<string>();
  /** The directory's time when it held no others; undefined while a later change might have the same. */
  #syncedAtMs: number | undefined;
  /** The newest log of LevelDB among them. */
  #logPath: string | undefined;
  readonly #mark: LogMark;

  constructor(
    path: string,
    reserveBytes: number,
    private readonly tables?: KnownTables,
  ) {
    this.path = path;
    this.#reserveBytes = reserveBytes;
    this.#mark = new LogMark(path);
    this.#reservePath = join(path, RESERVE_NAME);
  }

  /** What a process without privileges may still write. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path);
    return bavail * bsize;
  }

  /** The room below which the store counts as full: `wantedBytes`, but never so much of a small disk that hardly anything could be stored. */
  async minFreeBytes(wantedBytes: number): Promise<number> {
    const { blocks, bsize } = await statfs(this.path);
    return Math.min(wantedBytes, Math.floor(blocks / MAX_FREE_SHARE) * bsize);
  }

  /**
   * The same while there is no reserve: as much as that has. Of a small disk more than a half, since all that is stored may stand in LevelDB's log, which
   * opening the database writes again, as tables.
   */
  async minFreeUnreservedBytes(wantedBytes: number): Promise<number> {
    const { blocks, bsize } = await statfs(this.path);
    return Math.min(Math.max(wantedBytes, this.#reserveBytes), Math.floor(blocks / MAX_FREE_SHARE) * bsize + PASSED_BYTES);
  }

  /** LevelDB does not fsync the directory when it starts a new log: ext4 commits the name with the file's own fsync, others need not. */
  async syncNames(): Promise<void> {
    const names = await this.#sync();
    await this.tables?.note(names);
  }

  /** The same, if the directory has changed since. Cheap enough for each group. Returns whether there were new names. */
  async syncNewNames(): Promise<boolean> {
    if (statSync(this.path).mtimeMs === this.#syncedAtMs) return false;
    const before = this.#syncedNames;
    await this.#sync();
    return this.#syncedNames !== before;
  }

  async #sync(): Promise<string[]> {
    const { mtimeMs } = statSync(this.path);
    const isOld = Date.now() - mtimeMs > TICK_MS;
    const names = await readdir(this.path);
    if (!names.every((name) => this.#syncedNames.has(name))) {
      const directory = openSync(this.path, "r");
      try {
        await fsync(directory);
      } finally {
        closeSync(directory);
      }
      this.#syncedNames = new Set(names);
      const [log] = names.filter((name) => name.endsWith(".log")).sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
      this.#logPath = log && join(this.path, log);
    }
    this.#syncedAtMs = isOld ? mtimeMs : undefined;
    return names;
  }

  /** Size of LevelDB's log as of the names that were synced last; undefined if there is none by now, or the disk does not answer. It may have begun another one since. */
  logBytes(): number | undefined {
    return this.#logPath === undefined ? undefined : fileStatus(this.#logPath)?.size;
  }

  /** All that LevelDB has been given is synced, and nothing is under way. */
  async markLog(nowMs: number): Promise<void> {
    const bytes = this.#mark.isDue(nowMs) ? this.logBytes() : undefined;
    if (this.#logPath !== undefined && bytes !== undefined) await this.#mark.note(this.#logPath, bytes, nowMs);
  }

  async close(): Promise<void> {
    await this.#mark.close();
    await this.tables?.close().catch(() => undefined); // who can't write it has the tables looked through some time
  }

  /** What has to be free for the reserve to be made. */
  get spareForReserveBytes(): number {
    return 2 * this.#reserveBytes;
  }

  /** Whether the reserve is there, whole. */
  get hasReserve(): boolean {
    return fileSize(this.#reservePath) === this.#reserveBytes;
  }

  /** Makes the reserve if it is missing or cut short and well within `spareBytes`. Resolves with its size, whole or 0. */
  async makeReserve(spareBytes: number): Promise<number> {
    const bytes = this.#reserveBytes;
    if (this.hasReserve) return bytes;
    if (spareBytes < this.spareForReserveBytes) return 0;
    try {
      await writeRandom(this.#reservePath, bytes);
      return bytes;
    } catch {
      await rm(this.#reservePath, { force: true }).catch(() => undefined);
      return 0;
    }
  }

  /**
   * Rejects with the system's error if the disk does not take as much as opening the database writes (its logs as tables, a manifest) and `bytes`
   * more. The file is removed again.
   */
  async tryWriting(bytes: number): Promise<void> {
    const wanted = await this.#roomToOpen(bytes);
    const path = join(this.path, PROBE_NAME);
    try {
      await writeRandom(path, wanted);
    } finally {
      await rm(path, { force: true }).catch(() => undefined);
    }
  }

  /** What opening the database writes, and `bytes` more. */
  async #roomToOpen(bytes: number): Promise<number> {
    let wanted = bytes + PROBE_BYTES;
    for (const name of await readdir(this.path)) if (/^(MANIFEST-\d+|\d+\.log)$/.test(name)) wanted += fileSize(join(this.path, name));
    return wanted;
  }

  /** Whether there would be room to open the database, and for `bytes` more, without the tables that are not its. */
  async hasRoomInObsolete(bytes: number): Promise<boolean> {
    let room = await this.freeBytes();
    for (const name of (await this.#obsoleteTables())?.names ?? []) room += fileSize(join(this.path, name));
    return room >= (await this.#roomToOpen(bytes));
  }

  /** The database must not be open: otherwise a compaction may just finish some of them. Returns whether there were any. */
  async removeObsolete(): Promise<boolean> {
    const obsolete = await this.#obsoleteTables();
    if (obsolete === undefined || obsolete.names.length === 0) return false;
    // What a process that was killed has written last is perhaps not on disk; without it tables would be missing after a power cut.
    for (const path of [obsolete.manifest, this.path]) {
      const file = await open(path, "r");
      await file.sync().finally(() => file.close());
    }
    for (const name of obsolete.names) await rm(join(this.path, name), { force: true });
    return true;
  }

  /**
   * Tables that are not the database's, which LevelDB removes when it has been opened: a compaction has not finished them, or has made them anew, and after a failure
   * LevelDB removes none. Without CURRENT they may be what a repair has made: undefined; so it is if the manifest is damaged.
   */
  async #obsoleteTables(): Promise<{ readonly manifest: string; readonly names: readonly string[] } | undefined> {
    const named = namedTables(this.path);
    return named && { manifest: named.manifest, names: (await readdir(this.path)).filter((name) => /^\d+\.ldb$/.test(name) && !named.has(name)) };
  }

  /** Leaves the file without a byte, so that the next start knows of it. Returns whether there was a reserve. */
  async giveUpReserve(): Promise<boolean> {
    const bytes = fileSize(this.#reservePath);
    if (bytes > 0) await truncate(this.#reservePath).catch(() => undefined);
    return bytes > 0;
  }

  /** Whether the reserve was given up, be it by an earlier process, and has not been made again. */
  get isReserveGiven(): boolean {
    return this.#reserveBytes > 0 && fileStatus(this.#reservePath)?.size === 0;
  }
}

/** Random, because a sparse or compressed file would take no room. */
async function writeRandom(path: string, bytes: number): Promise<void> {
  const block = randomFillSync(Buffer.allocUnsafe(Math.min(MIB, bytes)));
  const handle = await open(path, "w", 0o600);
  try {
    for (let written = 0; written < bytes; ) {
      written += (await handle.write(block, 0, Math.min(block.length, bytes - written))).bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function fileSize(path: string): number {
  return fileStatus(path)?.size ?? 0;
}
