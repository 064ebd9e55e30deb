/** Up to here a loop is faster than the call into native code. */
const SHORT_COPY_BYTES = 32;

/** Copies a range, fast for short ones too; returns the position after it. */
export function copyBytes(target: Buffer, at: number, source: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length <= SHORT_COPY_BYTES) {
    for (let i = 0; i < length; i++) target[at + i] = source[start + i] as number;
  } else if (start === 0 && end === source.length) {
    target.set(source, at);
  } else {
    // Buffer's copy takes any Uint8Array and, unlike set, needs no subarray object for a range.
    Buffer.prototype.copy.call(source, target, at, start, end);
  }
  return at + length;
}
