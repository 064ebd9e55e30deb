import type { KeyRange } from "../store/keys.ts";
import type { Store } from "../store/store.ts";

const SLICE_BYTES = 1024 * 1024;

/** Reads a whole range in slices, in key order. */
export async function readAll(store: Store, range: KeyRange, take: (key: Buffer, value: Buffer) => void): Promise<void> {
  let from: Buffer = range.from;
  for (;;) {
    const slice = await store.read(from, range.to, SLICE_BYTES);
    for (const [key, value] of slice) take(key, value);
    const last = slice.at(-1);
    if (!last) return;
    from = Buffer.concat([last[0], ZERO]);
  }
}

const ZERO = Buffer.alloc(1);
