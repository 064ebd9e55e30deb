import { CRC32C_START, crc32cStep, crc32cSum, maskedCrc32c } from "./crc32c.ts";
import { unpackSnappy } from "./snappy.ts";
import { readVarint, writeVarint } from "./varint.ts";

/*
 * A table of LevelDB (doc/table_format.md there): blocks, each followed by its kind (0 plain, 1 Snappy) and its masked CRC-32C; an index block that
 * says where they are; a footer that says where the index is. LevelDB, as bound here, believes all of it unseen, and a block of zeroes
 * ends the process (an assertion in dbformat.h). So tables are looked through before LevelDB gets them.
 */

const TRAILER_BYTES = 5;
const FOOTER_BYTES = 48;
const MAGIC = Buffer.from("57fb808b247547db", "hex");
/** Sequence number and type, behind each key. */
const KEY_SUFFIX_BYTES = 8;
/** A larger block is not looked for where the index is lost. */
const MAX_BLOCK_BYTES = 2 * 1024 * 1024;
const SNAPPY = 1;

/** Where a block lies, its trailer not counted. */
interface Place {
  readonly from: number;
  readonly to: number;
}

/** A block with messages, and a key that is not below any of its own. */
interface DataBlock extends Place {
  readonly lastKey: Buffer;
}

interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Whether the table has its end. */
const isFinishedTable = (table: Buffer): boolean => table.length >= FOOTER_BYTES && table.subarray(-MAGIC.length).equals(MAGIC);

/** Whether every block of the table is as it was written. */
export function isIntactTable(table: Buffer): boolean {
  const places = placesOf(table);
  return places !== undefined && places.all.every((place) => isIntactBlock(table, place));
}

/** A table of the blocks that are intact; undefined if none is. What it has no more is a filter, which saves time only. */
export function mendedTable(table: Buffer): Buffer | undefined {
  const blocks = placesOf(table)?.data.filter((place) => isIntactBlock(table, place)) ?? blocksFoundIn(table);
  if (blocks.length === 0) return undefined;
  const parts: Buffer[] = [];
  let length = 0;
  const append = (bytes: Buffer): Place => {
    parts.push(bytes);
    length += bytes.length;
    return { from: length - bytes.length, to: length - TRAILER_BYTES };
  };
  const index = blocks.map((block) => ({ key: block.lastKey, value: handleOf(append(table.subarray(block.from, block.to + TRAILER_BYTES))) }));
  const metaHandle = handleOf(append(withTrailer(encodeBlock([]))));
  const indexHandle = handleOf(append(withTrailer(encodeBlock(index))));
  const footer = Buffer.alloc(FOOTER_BYTES);
  Buffer.concat([metaHandle, indexHandle]).copy(footer);
  MAGIC.copy(footer, FOOTER_BYTES - MAGIC.length);
  return Buffer.concat([...parts, footer]);
}

/** Undefined if footer or index is damaged. */
function placesOf(table: Buffer): { readonly all: readonly Place[]; readonly data: readonly DataBlock[] } | undefined {
  if (!isFinishedTable(table)) return undefined;
  const footer = table.subarray(-FOOTER_BYTES);
  const meta = placeAt(footer, 0);
  const index = meta && placeAt(footer, meta.end);
  const entries = index && entriesOf(table, index.place);
  if (!meta || !index || !entries) return undefined;
  const data: DataBlock[] = [];
  for (const { key, value } of entries) {
    const place = placeAt(value, 0)?.place;
    if (!place || key.length < KEY_SUFFIX_BYTES) return undefined;
    data.push({ ...place, lastKey: key });
  }
  const filters = (entriesOf(table, meta.place) ?? []).flatMap(({ value }) => placeAt(value, 0)?.place ?? []);
  return { all: [...data, ...filters, meta.place], data };
}

/** Blocks from the beginning on as far as one follows the other: each ends where its sum comes true. */
function blocksFoundIn(table: Buffer): DataBlock[] {
  const blocks: DataBlock[] = [];
  for (let from = 0; ; ) {
    const to = endOfBlock(table, from);
    const entries = to === undefined ? undefined : entriesOf(table, { from, to });
    const [first, last] = [entries?.[0], entries?.at(-1)];
    // Behind the blocks of messages comes the filter, which is no block of entries.
    if (to === undefined || !first || !last || !entries?.every(({ key }) => key.length >= KEY_SUFFIX_BYTES)) return blocks;
    blocks.push({ from, to, lastKey: last.key });
    from = to + TRAILER_BYTES;
  }
}

function endOfBlock(table: Buffer, from: number): number | undefined {
  let sum = CRC32C_START;
  const last = Math.min(table.length - TRAILER_BYTES, from + MAX_BLOCK_BYTES);
  for (let at = from; at <= last; at++) {
    const byte = table[at] ?? 0;
    sum = crc32cStep(sum, byte);
    if (byte <= SNAPPY && maskedCrc32c(sum) === table.readUInt32LE(at + 1)) return at;
  }
  return undefined;
}

function isIntactBlock(table: Buffer, { from, to }: Place): boolean {
  if (to < from || to + TRAILER_BYTES > table.length) return false;
  return maskedCrc32c(crc32cSum(table, from, to + 1)) === table.readUInt32LE(to + 1);
}

function placeAt(bytes: Buffer, at: number): { readonly place: Place; readonly end: number } | undefined {
  const offset = readVarint(bytes, at);
  const size = offset && readVarint(bytes, offset.end);
  return offset && size && { place: { from: offset.value, to: offset.value + size.value }, end: size.end };
}

const handleOf = ({ from, to }: Place): Buffer => Buffer.concat([writeVarint(from), writeVarint(to - from)]);

/** Undefined if the block is damaged, or holds no entries. */
function entriesOf(table: Buffer, place: Place): Entry[] | undefined {
  if (!isIntactBlock(table, place)) return undefined;
  const packed = table.subarray(place.from, place.to);
  const block = table[place.to] === SNAPPY ? unpackSnappy(packed) : packed;
  if (!block || block.length < 4) return undefined;
  const end = block.length - 4 * (block.readUInt32LE(block.length - 4) + 1);
  if (end < 0) return undefined;
  const entries: Entry[] = [];
  let key: Buffer = Buffer.alloc(0);
  for (let at = 0; at < end; ) {
    const shared = readVarint(block, at);
    const rest = shared && readVarint(block, shared.end);
    const length = rest && readVarint(block, rest.end);
    if (!shared || !rest || !length || shared.value > key.length || length.end + rest.value + length.value > end) return undefined;
    const valueAt = length.end + rest.value;
    key = Buffer.concat([key.subarray(0, shared.value), block.subarray(length.end, valueAt)]);
    at = valueAt + length.value;
    entries.push({ key, value: block.subarray(valueAt, at) });
  }
  return entries;
}

/** Each entry can be begun at: nothing is shared. */
function encodeBlock(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const starts: number[] = [];
  let length = 0;
  for (const { key, value } of entries) {
    const entry = Buffer.concat([writeVarint(0), writeVarint(key.length), writeVarint(value.length), key, value]);
    starts.push(length);
    parts.push(entry);
    length += entry.length;
  }
  if (starts.length === 0) starts.push(0);
  const tail = Buffer.alloc(4 * (starts.length + 1));
  starts.forEach((start, index) => tail.writeUInt32LE(start, 4 * index));
  tail.writeUInt32LE(starts.length, 4 * starts.length);
  return Buffer.concat([...parts, tail]);
}

function withTrailer(block: Buffer): Buffer {
  const whole = Buffer.alloc(block.length + TRAILER_BYTES);
  block.copy(whole);
  whole.writeUInt32LE(maskedCrc32c(crc32cSum(whole, 0, block.length + 1)), block.length + 1);
  return whole;
}
