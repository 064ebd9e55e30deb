import { crc32 } from "node:zlib";
import { paddingKey } from "./keys.ts";

/** A small record that stands on a page instead of by itself. */
export interface Rider {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** No message record is as long as that: a page that begins with a length of this size begins with the length of its load. */
const IS_LOADED = 0x8000_0000;
const HEADER_BYTES = 4;
const CRC_BYTES = 4;
/** Of a rider, beside key and value. */
const FRAME_BYTES = 5;

/** What padding takes at least, on a page that carries nothing yet. */
export const PADDING_FRAME_BYTES = HEADER_BYTES + CRC_BYTES + FRAME_BYTES + paddingKey.length;

export const riderBytes = ({ key, value }: Rider): number => FRAME_BYTES + key.length + value.length;

/** `key`, here as below: the page's in generation 0. The page with its records, and with the riders behind them: u32 2^31 + length of the load, records, load. `doc/store-format.md` tells the rest. */
export function loadPage(key: Buffer, records: Buffer, riders: readonly Rider[]): Buffer {
  let loadBytes = CRC_BYTES;
  for (const rider of riders) loadBytes += riderBytes(rider);
  const page = Buffer.allocUnsafe(HEADER_BYTES + records.length + loadBytes);
  page.writeUInt32BE(IS_LOADED + loadBytes, 0);
  const loadAt = HEADER_BYTES + records.copy(page, HEADER_BYTES);
  let at = loadAt;
  for (const rider of riders) {
    at = page.writeUInt8(rider.key.length, at);
    at += rider.key.copy(page, at);
    at = page.writeUInt32BE(rider.value.length, at);
    at += rider.value.copy(page, at);
  }
  page.writeUInt32BE(crc32(page.subarray(loadAt, at), crc32(key)), at);
  return page;
}

/** The page, longer by `bytes`, at least `PADDING_FRAME_BYTES`. */
export function paddedPage(key: Buffer, page: Buffer, bytes: number): Buffer {
  const loaded = loadAtOf(page) === 0 ? loadPage(key, page, []) : page;
  const crcAt = loaded.length - CRC_BYTES;
  const padded = Buffer.alloc(page.length + bytes);
  loaded.copy(padded, 0, 0, crcAt);
  padded.writeUInt32BE(loaded.readUInt32BE(0) + padded.length - loaded.length, 0);
  padded.writeUInt8(paddingKey.length, crcAt);
  paddingKey.copy(padded, crcAt + 1);
  const zeroesAt = crcAt + FRAME_BYTES + paddingKey.length;
  const end = padded.length - CRC_BYTES;
  padded.writeUInt32BE(end - zeroesAt, zeroesAt - 4);
  padded.writeUInt32BE(crc32(padded.subarray(crcAt, end), loaded.readUInt32BE(crcAt)), end);
  return padded;
}

/** Where the load begins; 0 if there is none, or no length of one that can be. */
function loadAtOf(page: Buffer): number {
  const length = page.length < HEADER_BYTES + CRC_BYTES ? 0 : page.readUInt32BE(0) - IS_LOADED;
  return length >= CRC_BYTES && length <= page.length - HEADER_BYTES ? page.length - length : 0;
}

/**
 * The message records of a page as it is stored. Always a Buffer of Node's making: those of native code are of another shape, for which V8 would compile the
 * whole way of a message once more.
 */
export function recordsOf(page: Buffer): Buffer {
  const loadAt = loadAtOf(page);
  return loadAt === 0 ? page.subarray(0) : page.subarray(HEADER_BYTES, loadAt);
}

/** What rides on the page; undefined if nothing does, or it is damaged. */
export function ridersOf(key: Buffer, page: Buffer): Rider[] | undefined {
  const from = loadAtOf(page);
  const to = page.length - CRC_BYTES;
  if (from === 0 || crc32(page.subarray(from, to), crc32(key)) !== page.readUInt32BE(to)) return undefined;
  const riders: Rider[] = [];
  for (let at = from; at < to; ) {
    const valueAt = at + 1 + page.readUInt8(at) + 4;
    const end = valueAt + page.readUInt32BE(valueAt - 4);
    const rider = { key: page.subarray(at + 1, valueAt - 4), value: page.subarray(valueAt, end) };
    if (!rider.key.equals(paddingKey)) riders.push(rider);
    at = end;
  }
  return riders;
}
