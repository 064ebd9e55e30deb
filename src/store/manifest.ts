import { writeVarint } from "./varint.ts";

/** LevelDB's logs, of which the manifest is one, are blocks of parts of records: CRC u32, length u16, kind u8, bytes (doc/log_format.md there). */
const BLOCK_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
/** Before level and number of a table in the record that adds it. */
const NEW_TABLE = 7;
const LEVELS = 7;

/** Whether the manifest may have added a table of this number to the database. It says so, too, of what looks alike. */
export function mayName(manifest: Buffer, table: number): boolean {
  const text = withoutHeaders(manifest);
  const number = writeVarint(table);
  for (let level = 0; level < LEVELS; level++) {
    const entry = Buffer.concat([Buffer.from([NEW_TABLE, level]), number]);
    if (text.includes(entry) || manifest.includes(entry)) return true;
  }
  return false;
}

function withoutHeaders(log: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let block = 0; block < log.length; block += BLOCK_BYTES) {
    const end = Math.min(block + BLOCK_BYTES, log.length);
    for (let at = block; at + HEADER_BYTES <= end; ) {
      const next = Math.min(at + HEADER_BYTES + log.readUInt16LE(at + 4), end);
      parts.push(log.subarray(at + HEADER_BYTES, next));
      at = next;
    }
  }
  return Buffer.concat(parts);
}
