import { randomFillSync } from "node:crypto";
import { open, readdir, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";

const MIB = 1024 * 1024;

/** Given up when the disk is full all the same, so that progress and deletion have room. */
export const RESERVE_BYTES = 16 * MIB;
export const RESERVE_NAME = "reserve";

/** What the store does with its directory beside LevelDB: free room, the reserve file, fsync of its names. */
export class StoreDirectory {
  readonly path: string;
  readonly #reserveBytes: number;
  readonly #reservePath: string;
  /** Names that an fsync of the directory has covered. */
  #syncedNames = new Set<string>();

  constructor(path: string, reserveBytes: number) {
    this.path = path;
    this.#reserveBytes = reserveBytes;
    this.#reservePath = join(path, RESERVE_NAME);
  }

  /** What a process without privileges may still write. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path);
    return bavail * bsize;
  }

  /** LevelDB does not fsync the directory when it starts a new log: ext4 commits the name with the file's own fsync, others need not. */
  async syncNames(): Promise<void> {
    const names = await readdir(this.path);
    if (names.every((name) => this.#syncedNames.has(name))) return;
    const handle = await open(this.path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    this.#syncedNames = new Set(names);
  }

  /** Makes the reserve if it is missing or cut short and well within `spareBytes`. It holds random bytes: a sparse or compressed file would reserve nothing. */
  async makeReserve(spareBytes: number): Promise<void> {
    if (this.#reserveBytes === 0 || spareBytes < 2 * this.#reserveBytes) return;
    const present = await stat(this.#reservePath).catch(() => undefined);
    if (present?.size === this.#reserveBytes) return;
    try {
      await this.#fillReserve();
    } catch {
      await this.giveUpReserve();
    }
  }

  async #fillReserve(): Promise<void> {
    const block = randomFillSync(Buffer.allocUnsafe(Math.min(MIB, this.#reserveBytes)));
    const handle = await open(this.#reservePath, "w", 0o600);
    try {
      for (let written = 0; written < this.#reserveBytes; written += block.length) {
        await handle.write(block, 0, Math.min(block.length, this.#reserveBytes - written));
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async giveUpReserve(): Promise<void> {
    await rm(this.#reservePath, { force: true }).catch(() => undefined);
  }
}
