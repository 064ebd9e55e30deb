const MAX_BYTES = 7;

/** A number in LevelDB's and Snappy's variable length, and where it ends; undefined if there is none, or one beyond what a file can hold. */
export function readVarint(bytes: Buffer, at: number): { readonly value: number; readonly end: number } | undefined {
  let value = 0;
  let factor = 1;
  for (let index = at; index < bytes.length && index < at + MAX_BYTES; index++) {
    const byte = bytes[index] ?? 0;
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return { value, end: index + 1 };
    factor *= 128;
  }
  return undefined;
}

export function writeVarint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  bytes.push(value);
  return Buffer.from(bytes);
}

/** How many bytes a number takes so. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}
