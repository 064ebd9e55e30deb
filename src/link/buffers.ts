const SMALL_BYTES = 2 * 1024;
export const LARGE_BYTES = 64 * 1024;
const HUGE_BYTES = 2 * 1024 * 1024;
const MAX_POOLED = { small: 256, large: 64 } as const;
const MAX_POOLED_HUGE_BYTES = 4 * 1024 * 1024;

const small: Buffer[] = [];
const large: Buffer[] = [];
/** Of several sizes; given back longest ago first. */
const huge: Buffer[] = [];
let hugeBytes = 0;

/**
 * Output buffers, and those for input that can't be handed on yet, come in two sizes: 2 KiB to begin with, 64 KiB once that has filled within a turn. For large packets in powers of two above, up to 2 MiB,
 * and to measure beyond.
 * They are used again: whenever some tens of MiB of new ones have been made, V8 looks through the whole heap.
 */
export function takeBuffer(atLeastBytes: number): Buffer {
  if (atLeastBytes <= SMALL_BYTES) return small.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  if (atLeastBytes <= LARGE_BYTES) return large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  return atLeastBytes <= HUGE_BYTES ? takeHuge(2 ** Math.ceil(Math.log2(atLeastBytes))) : Buffer.allocUnsafeSlow(atLeastBytes);
}

function takeHuge(bytes: number): Buffer {
  const index = huge.findLastIndex(({ length }) => length === bytes);
  if (index < 0) return Buffer.allocUnsafeSlow(bytes);
  hugeBytes -= bytes;
  return huge.splice(index, 1)[0] as Buffer; // there is one at index
}

/** For what has come and can't be handed on yet: up to half of a read made to measure, as thousands of peers may have that. */
export const takeInputBuffer = (atLeastBytes: number): Buffer =>
  atLeastBytes <= LARGE_BYTES / 2 ? Buffer.allocUnsafeSlow(atLeastBytes) : takeBuffer(atLeastBytes);

/** Nothing may look at it from now on. */
export function giveBack(buffer: Buffer): void {
  if (buffer.length > LARGE_BYTES) giveBackHuge(buffer);
  else if (buffer.length === SMALL_BYTES && small.length < MAX_POOLED.small) small.push(buffer);
  else if (buffer.length === LARGE_BYTES && large.length < MAX_POOLED.large) large.push(buffer);
}

/** The sizes that are in use drive out those that were. */
function giveBackHuge(buffer: Buffer): void {
  if (buffer.length > HUGE_BYTES) return;
  huge.push(buffer);
  hugeBytes += buffer.length;
  while (hugeBytes > MAX_POOLED_HUGE_BYTES) hugeBytes -= huge.shift()?.length ?? 0;
}
