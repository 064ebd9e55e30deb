/** Up to here a loop, four bytes at a time, is faster than the call into native code. */
const SHORT_COPY_BYTES = 128;

/** Copies a range, fast for short ones too; returns the position after it. */
export function copyBytes(target: Buffer, at: number, source: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length <= SHORT_COPY_BYTES) {
    let from = start;
    let to = at;
    for (const fours = end - 3; from < fours; from += 4, to += 4) {
      target[to] = source[from] as number;
      target[to + 1] = source[from + 1] as number;
      target[to + 2] = source[from + 2] as number;
      target[to + 3] = source[from + 3] as number;
    }
    for (; from < end; from++, to++) target[to] = source[from] as number;
  } else if (start === 0 && end === source.length) {
    target.set(source, at);
  } else {
    // Buffer's copy takes any Uint8Array and, unlike set, needs no subarray object for a range.
    Buffer.prototype.copy.call(source, target, at, start, end);
  }
  return at + length;
}
