/**
 * Whether `bytes[start, end)` is well-formed UTF-8 without U+0000, as every MQTT string must be
 * [MQTT-1.5.3-1] [MQTT-1.5.3-2]: no surrogates, no overlong forms, nothing above U+10FFFF.
 */
export function isValidUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const lead = bytes[at] as number;
    if (lead < 0x80) {
      if (lead === 0) return false;
      at++;
      continue;
    }
    const length = sequenceLength(bytes, at, end, lead);
    if (length === 0) return false;
    at += length;
  }
  return true;
}

/** Length of the multi-byte sequence at `at`, or 0 if it is ill-formed [Unicode table 3-7]. */
function sequenceLength(bytes: Uint8Array, at: number, end: number, lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (at + length > end) return 0;
  const second = bytes[at + 1] as number;
  // Only the second byte has a range that depends on the lead; this is what excludes overlong forms and surrogates.
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = 2; i < length; i++) {
    if (((bytes[at + i] as number) & 0xc0) !== 0x80) return 0;
  }
  return length;
}
