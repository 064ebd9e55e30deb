import { readFileSync, statSync, truncateSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises"; // not at a start: to load it takes 5 ms
import { basename, join } from "node:path";

const NAME = "logged";
const EVERY_MS = 5_000;
/** It is written in place, always as long: so the system writes a page now and then, and no other. */
const BYTES = 40;

/**
 * A file beside LevelDB's that tells how much of its log has been synced. To LevelDB a log that ends too early is what a power cut has left; by this file a start can
 * tell it from one. It is never synced itself: what it tells is true whenever it comes to the disk.
 */
export class LogMark {
  readonly #path: string;
  readonly #directory: string;
  #file: Promise<FileHandle | undefined> | undefined;
  #nextMs: number | undefined;

  constructor(directory: string) {
    this.#directory = directory;
    this.#path = join(directory, NAME);
  }

  /** What is missing of the log, in words; undefined if nothing is known to be. To be asked before the database is opened, which puts the log away. */
  loss(): string | undefined {
    try {
      const [, name = "", bytes = ""] = /^(\d+\.log) (\d+) *\n$/.exec(readFileSync(this.#path, "latin1")) ?? [];
      const { size } = statSync(join(this.#directory, name));
      return size < Number(bytes) ? `log ${name} ends after ${size} bytes, of which there were ${bytes}: what followed is lost` : undefined;
    } catch {
      return undefined; // LevelDB has removed the log: all of it is in tables
    }
  }

  /** The loss has been told. The file stays: it may be open. */
  forget(): void {
    try {
      truncateSync(this.#path);
    } catch {
      // there is none
    }
  }

  /** Not at once: a start has other things to do. */
  isDue(nowMs: number): boolean {
    this.#nextMs ??= nowMs + EVERY_MS;
    return nowMs >= this.#nextMs;
  }

  /** So much of the log is synced. */
  async note(log: string, bytes: number, nowMs: number): Promise<void> {
    this.#nextMs = nowMs + EVERY_MS;
    this.#file ??= open(this.#path, "w", 0o600).catch(() => (this.#file = undefined)); // the next note tries again
    try {
      await (await this.#file)?.write(`${`${basename(log)} ${bytes}`.padEnd(BYTES - 1)}\n`, 0, "latin1");
    } catch {
      // a full disk, or one that can't be written
    }
  }

  async close(): Promise<void> {
    await (await this.#file)?.close();
  }
}
