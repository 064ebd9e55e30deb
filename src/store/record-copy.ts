import { appendFile, open, readFile, rename, rm, writeFile } from "node:fs/promises"; // none of these at a start: to load them takes 5 ms
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Clock } from "../clock/clock.ts";
import { seal, unseal } from "./checked.ts";
import type { Database, WriteOperation } from "./database.ts";
import type { GroupRecords } from "./group.ts";
import { copiedRanges, goneKey, goneRange, isConnectionKey, isCopied, isSubscriptionKey, justBehind, type KeyRange, sessionKey, sessionNumberOf } from "./keys.ts";
import { allOf } from "./read-range.ts";
import type { StoredRecord } from "./store.ts";

const NAME = "copy";
/** When the changes take so much, or more than all did, all is written anew. */
const MIN_CHANGED_BYTES = 256 * 1024;
/** All is written so long after a start: that has other things to do. */
const AFTER_MS = 5_000;
/** When that has failed it is tried again so much later. */
const RETRY_MS = 60_000;
/** Values in one turn, of a few bytes each: more would keep others waiting. */
const SLICE_BYTES = 2 * 1024;
const SESSION_KEY_BYTES = sessionKey(0).length;
/** In place of a value: there is no such record any more. */
const DELETED = "-";

/** The database that is copied. */
export interface CopySource {
  /** It may hold less than the copy. */
  readonly hasLost: boolean;
  /** Records of these ranges in key order, at least one if there is any, then up to `maxBytes` of values. */
  read(ranges: () => Iterable<KeyRange>, maxBytes: number): Promise<StoredRecord[]>;
}

/**
 * A second copy, in a file beside LevelDB's, of the records that nothing else tells of: sessions, subscriptions, connections. They are small, so that one damaged block may hold them
 * all, and without its session's record nobody knows whose a page is. The file is some seconds behind the store, and is asked only for what that has lost.
 */
export class RecordCopy {
  private readonly path: string;
  /** Lines that are not in the file yet, by key. */
  private lines = new Map<string, string>();
  /** Of the file when this process wrote all of it; undefined as long as it has not. */
  private wholeBytes: number | undefined;
  private changedBytes = 0;
  private writing: Promise<void> | undefined;
  /** Not before then is all written. */
  private wholeFromMs: number;

  constructor(
    directory: string,
    private readonly clock: Clock,
    private readonly source: CopySource,
  ) {
    this.path = join(directory, NAME);
    this.wholeFromMs = clock.nowMs() + AFTER_MS;
  }

  /** Some of these may be copied ones. */
  note({ keys, values }: GroupRecords): void {
    for (const [index, key] of keys.entries()) {
      if (isCopied(key)) this.lines.set(key.toString("latin1"), lineOf(key, values[index]));
    }
  }

  /** Brings the file up to date, synced; if that is under way, nothing. `hasRoom`: all may be written. */
  write(hasRoom = true): void {
    this.writing ??= this.writeChanges(hasRoom).finally(() => {
      this.writing = undefined;
    });
  }

  /** The database is still open. */
  async close(): Promise<void> {
    await this.writing;
    await this.append().catch(() => undefined);
  }

  /** Never rejects: what could not be written is, the next time. */
  private async writeChanges(hasRoom: boolean): Promise<void> {
    const isGrown = this.wholeBytes === undefined || this.changedBytes > Math.max(MIN_CHANGED_BYTES, this.wholeBytes);
    try {
      if (!isGrown || !hasRoom || this.clock.nowMs() < this.wholeFromMs || !(await this.writeWhole())) await this.append();
    } catch {
      // the lines are kept
    }
  }

  private append(): Promise<void> {
    // What a full disk has left of a line is not to spoil the next one.
    return this.withLines(async (lines) => {
      if (lines === "") return;
      await appendFile(this.path, `\n${lines}`, { mode: 0o600, flush: true });
      this.changedBytes += lines.length;
    });
  }

  /** Returns false if the database does not give all that it should, or the file can't be written. */
  private async writeWhole(): Promise<boolean> {
    const path = `${this.path}.new`;
    try {
      const file = await open(path, "w", 0o600);
      try {
        let bytes = 0;
        for (const range of copiedRanges) {
          for await (const lines of linesOf(range, this.source)) bytes += (await file.write(lines)).bytesWritten;
        }
        // Among these are those of groups that were not stored yet when they were looked for.
        await this.withLines(async (lines) => {
          await file.write(lines);
          await file.sync();
          if (this.source.hasLost) throw new Error("records are lost");
          await rename(path, this.path);
        });
        this.wholeBytes = bytes;
        this.changedBytes = 0;
        return true;
      } finally {
        await file.close();
      }
    } catch {
      this.wholeFromMs = this.clock.nowMs() + RETRY_MS;
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
      return false;
    }
  }

  /** Takes the lines; those of a task that fails are kept, but for what has changed since. */
  private async withLines(task: (lines: string) => Promise<void>): Promise<void> {
    const { lines } = this;
    this.lines = new Map();
    try {
      await task([...lines.values()].join(""));
    } catch (error) {
      this.lines = new Map([...lines, ...this.lines]);
      throw error;
    }
  }
}

/**
 * Puts back what the database has lost and the copy still has, with subscriptions of sessions that are there. What is damaged and not to be had is told of and removed: it would make each start look here.
 * Resolves with how many records were put back. Rejects with LevelDB's error.
 */
export async function restoreCopied(database: Database, directory: string, onDamaged: (detail: string) => void): Promise<number> {
  const copied = recordsIn(await readFile(join(directory, NAME), "latin1").catch(() => ""));
  const intact = new Set<string>();
  const damaged: Buffer[] = [];
  for (const range of [...copiedRanges, goneRange]) {
    for await (const entries of allOf(database, range)) {
      for (const [key, value] of entries) {
        if (unseal(key, value)) intact.add(key.toString("latin1"));
        else damaged.push(key);
      }
    }
  }
  const has = (key: Buffer): boolean => intact.has(key.toString("latin1"));
  const changes: WriteOperation[] = [];
  for (const [key, value] of copied) {
    if (value === undefined || has(key) || !isWanted(key, has)) continue;
    intact.add(key.toString("latin1"));
    changes.push({ type: "put", key, value: seal(key, value) });
  }
  const restored = changes.length;
  for (const key of damaged) {
    if (has(key)) continue;
    onDamaged(`record ${key.toString("hex", 0, 64)}`);
    changes.push({ type: "del", key });
  }
  if (changes.length > 0) await database.batch(changes, { sync: true });
  return restored;
}

/** For a store that begins anew: of the one before all else is lost. Synced. Rejects with the system's error if it can't be written. */
export async function takeCopy(from: string, to: string): Promise<void> {
  const copied = await readFile(join(from, NAME)).catch(() => Buffer.alloc(0));
  await writeFile(join(to, NAME), copied, { mode: 0o600, flush: true });
}

/** A connection, a session that has not ended, or a subscription of one that is there. */
function isWanted(key: Buffer, has: (key: Buffer) => boolean): boolean {
  if (isConnectionKey(key)) return true;
  if (key.length < SESSION_KEY_BYTES) return false; // not of ours
  const number = sessionNumberOf(key);
  return isSubscriptionKey(key) ? has(sessionKey(number)) : !has(goneKey(number));
}

/** Lines of all records in the range, slice by slice. */
async function* linesOf({ from, to }: KeyRange, source: CopySource): AsyncGenerator<string> {
  for (let next = from; ; ) {
    const range = { from: next, to };
    const records = await source.read(() => [range], SLICE_BYTES);
    const last = records.at(-1);
    if (!last) return;
    yield records.map(([key, value]) => lineOf(key, value)).join("");
    next = justBehind(last[0]);
  }
}

/** CRC-32 in hexadecimal digits, key, value, all but the first in base64. */
function lineOf(key: Buffer, value: Buffer | undefined): string {
  const record = `${key.toString("base64")} ${value?.toString("base64") ?? DELETED}`;
  return `${crc32(record).toString(16)} ${record}\n`;
}

/** By key: sessions before their subscriptions. Of each the last line that is intact. */
function recordsIn(text: string): [key: Buffer, value: Buffer | undefined][] {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [crc = "", key = "", value = ""] = line.split(" ");
    if (Number.parseInt(crc, 16) === crc32(`${key} ${value}`)) values.set(key, value);
  }
  const records = [...values].map(([key, value]): [Buffer, Buffer | undefined] => [Buffer.from(key, "base64"), value === DELETED ? undefined : Buffer.from(value, "base64")]);
  return records.sort(([a], [b]) => Buffer.compare(a, b));
}
