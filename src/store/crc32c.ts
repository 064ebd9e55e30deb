const POLYNOMIAL = 0x82f63b78;
const MASK_DELTA = 0xa282ead8;

/** Eight tables, so that eight bytes are taken at a time. */
const TABLES = Array.from({ length: 8 }, () => new Uint32Array(256));
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array]; // made above
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  T0[byte] = crc;
}
for (let table = 1; table < 8; table++) {
  const [before, next] = [TABLES[table - 1] ?? T0, TABLES[table] ?? T0];
  for (let byte = 0; byte < 256; byte++) next[byte] = ((before[byte] ?? 0) >>> 8) ^ (T0[(before[byte] ?? 0) & 0xff] ?? 0);
}

/** The sum before the first byte. */
export const CRC32C_START = 0xffffffff;

/** Takes one byte more into a sum that began with CRC32C_START. */
export const crc32cStep = (sum: number, byte: number): number => (sum >>> 8) ^ (T0[(sum ^ byte) & 0xff] ?? 0);

/** LevelDB's way of writing the sum of what lies beside it. */
export function maskedCrc32c(sum: number): number {
  const crc = ~sum >>> 0;
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

/** CRC-32C (Castagnoli) of a part, as `crc32cStep` would have summed it. */
export function crc32cSum(bytes: Buffer, from: number, to: number): number {
  let sum = CRC32C_START;
  let at = from;
  for (; at + 8 <= to; at += 8) {
    const low = sum ^ ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24));
    sum =
      (T7[low & 0xff] ?? 0) ^ (T6[(low >>> 8) & 0xff] ?? 0) ^ (T5[(low >>> 16) & 0xff] ?? 0) ^ (T4[low >>> 24] ?? 0) ^
      (T3[bytes[at + 4] ?? 0] ?? 0) ^ (T2[bytes[at + 5] ?? 0] ?? 0) ^ (T1[bytes[at + 6] ?? 0] ?? 0) ^ (T0[bytes[at + 7] ?? 0] ?? 0);
  }
  for (; at < to; at++) sum = crc32cStep(sum, bytes[at] ?? 0);
  return sum;
}
