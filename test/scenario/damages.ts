/** What can become of a file: each way of damage makes other bytes of its bytes. */
export const damages: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  truncated: (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2)),
  zeroed: (bytes) => Buffer.from(bytes).fill(0, Math.floor(bytes.length / 3), Math.min(bytes.length, Math.floor(bytes.length / 3) + 4096)),
  flipped: (bytes) => {
    const flipped = Buffer.from(bytes);
    for (let part = 1; part < 8; part++) {
      const at = Math.floor((bytes.length * part) / 8);
      flipped[at] = (flipped[at] ?? 0) ^ 0x10;
    }
    return flipped;
  },
};
