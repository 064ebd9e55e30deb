import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32cSum, maskedCrc32c } from "./crc32c.ts";
import { readVarint } from "./varint.ts";

/** LevelDB's logs, of which the manifest is one, are blocks of parts of records: CRC u32, length u16, kind u8, bytes (doc/log_format.md there). */
const BLOCK_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
const FULL = 1;
const FIRST = 2;
const LAST = 4;

/** What a record of the manifest tells, each behind its number (VersionEdit there): fields are numbers or, where a length stands before them, bytes. */
const FIELDS = new Map<number, readonly ("number" | "bytes")[]>([
  [1, ["bytes"]], // comparator
  [2, ["number"]], // log
  [3, ["number"]], // next file
  [4, ["number"]], // last sequence number
  [5, ["number", "bytes"]], // where to compact next: level, key
  [6, ["number", "number"]], // table removed: level, number
  [7, ["number", "number", "number", "bytes", "bytes"]], // table added: level, number, size, first and last key
  [9, ["number"]], // log before
]);
const LOG = 2;
const REMOVED = 6;
const ADDED = 7;
/** Without these LevelDB calls it corrupt. */
const NEEDED = [2, 3, 4];

/** The tables that a database has by the manifest that its CURRENT names. */
export interface NamedTables {
  /** Its path. */
  readonly manifest: string;
  has(table: string): boolean;
}

/** Undefined if there is no such manifest, or it can't be read or is damaged. */
export function namedTables(directory: string): NamedTables | undefined {
  try {
    const manifest = join(directory, readFileSync(join(directory, "CURRENT"), "latin1").trimEnd());
    const tables = tablesOf(readFileSync(manifest));
    return tables && { manifest, has: (table) => tables.has(Number.parseInt(table, 10)) };
  } catch {
    return undefined;
  }
}

/** Numbers of the tables that a database has by its manifest: added, and not removed since. Undefined if it is damaged; one that ends too early tells what it does, as to LevelDB. */
export function tablesOf(manifest: Buffer): ReadonlySet<number> | undefined {
  const records = recordsOf(manifest);
  // A table that is moved to another level is removed from one and added to the other.
  const tables = new Map<string, number>();
  const told = new Map<number, number>();
  for (const record of records ?? []) if (!apply(record, tables, told)) return undefined;
  return NEEDED.every((tag) => told.has(tag)) ? new Set(tables.values()) : undefined;
}

/** Where the end of a manifest of so many bytes begins, with a block: its last record is in there, unless that one tells of hundreds of tables. */
export const endOfManifest = (bytes: number): number => Math.max(0, Math.ceil(bytes / BLOCK_BYTES) - 2) * BLOCK_BYTES;

/**
 * Number of the oldest log that is not in tables yet, by the manifest's end alone: a manifest grows while its database is open, be it for months, and every record but the first
 * tells of the log. 0 if there has been none, or the end is damaged; undefined if it does not tell.
 */
export function logByEnd(end: Buffer): number | undefined {
  const records = recordsOf(end, { isEnd: true });
  const last = records?.at(-1);
  const told = new Map<number, number>();
  if (records === undefined || (last !== undefined && !apply(last, new Map(), told))) return 0;
  return told.get(LOG);
}

/** Notes in `told` what the record tells, the first number of each kind. Returns whether it was understood. */
function apply(record: Buffer, tables: Map<string, number>, told: Map<number, number>): boolean {
  for (let at = 0; at < record.length; ) {
    const tag = readVarint(record, at);
    const fields = tag && FIELDS.get(tag.value);
    if (!tag || !fields) return false;
    at = tag.end;
    const numbers: number[] = [];
    for (const field of fields) {
      const read = readVarint(record, at);
      if (!read) return false;
      at = read.end;
      if (field === "bytes") at += read.value;
      else numbers.push(read.value);
    }
    if (at > record.length) return false;
    const [level = 0, table = 0] = numbers;
    told.set(tag.value, level);
    if (tag.value === ADDED) tables.set(`${level} ${table}`, table);
    else if (tag.value === REMOVED) tables.delete(`${level} ${table}`);
  }
  return true;
}

/** Undefined if there is damage. `isEnd`: of a log whose record before these may have begun in an earlier block. */
function recordsOf(log: Buffer, { isEnd = false } = {}): Buffer[] | undefined {
  const records: Buffer[] = [];
  let parts: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= log.length; ) {
    const left = BLOCK_BYTES - (at % BLOCK_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    const [end, kind] = [at + HEADER_BYTES + log.readUInt16LE(at + 4), log.readUInt8(at + 6)];
    if (end > at + left) return undefined;
    if (end > log.length) break;
    if (maskedCrc32c(crc32cSum(log, at + 6, end)) !== log.readUInt32LE(at)) return undefined;
    const isOfEarlier = isEnd && records.length === 0 && parts.length === 0 && kind > FIRST && kind <= LAST;
    if (isOfEarlier) {
      at = end;
      continue;
    }
    if (kind < FULL || kind > LAST || (kind === FULL || kind === FIRST) !== (parts.length === 0)) return undefined;
    parts.push(log.subarray(at + HEADER_BYTES, end));
    if (kind === FULL || kind === LAST) {
      records.push(Buffer.concat(parts));
      parts = [];
    }
    at = end;
  }
  return records;
}
