const SMALL_BYTES = 2 * 1024;
export const LARGE_BYTES = 64 * 1024;
const MAX_POOLED = { small: 256, large: 32 } as const;

const small: Buffer[] = [];
const large: Buffer[] = [];

/** Output buffers come in two sizes: 2 KiB to begin with, 64 KiB once that has filled within a turn; larger ones are made to measure. */
export function takeBuffer(atLeastBytes: number): Buffer {
  if (atLeastBytes <= SMALL_BYTES) return small.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  if (atLeastBytes <= LARGE_BYTES) return large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  return Buffer.allocUnsafeSlow(atLeastBytes);
}

export function giveBack(buffer: Buffer): void {
  if (buffer.length === SMALL_BYTES && small.length < MAX_POOLED.small) small.push(buffer);
  else if (buffer.length === LARGE_BYTES && large.length < MAX_POOLED.large) large.push(buffer);
}
