import { crc32 } from "node:zlib";
import { formatKey, holdsMessages } from "./keys.ts";

const CRC_BYTES = 4;

/** Pages and retained messages carry the CRCs of their message records; the format record is read before it is known what a value looks like. */
export const isSealed = (key: Buffer): boolean => !holdsMessages(key) && !key.equals(formatKey);

/** The value with the CRC-32 of key and value behind it: LevelDB, as bound here, checks no block checksum on reads. */
export function seal(key: Buffer, value: Buffer): Buffer {
  const sealed = Buffer.allocUnsafe(value.length + CRC_BYTES);
  value.copy(sealed);
  sealed.writeUInt32BE(crc32(value, crc32(key)), value.length);
  return sealed;
}

/** The value without its CRC; undefined if it is damaged. */
export function unseal(key: Buffer, sealed: Buffer): Buffer | undefined {
  const length = sealed.length - CRC_BYTES;
  if (length < 0) return undefined;
  const value = sealed.subarray(0, length);
  return crc32(value, crc32(key)) === sealed.readUInt32BE(length) ? value : undefined;
}
