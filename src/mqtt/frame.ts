import { malformed, type ProtocolViolation } from "./violation.ts";

/** Largest remaining length: four bytes of seven bits [MQTT 3.1.1 table 2.4]. */
export const MAX_REMAINING_LENGTH = 268_435_455;

/**
 * Reads a variable byte integer at `at`. Returns its value, or -1 if it goes on past `end`.
 * Its size on the wire is not always `remainingLengthSize(value)`: 3.1.1 does not forbid padded encodings.
 * @throws ProtocolViolation if a fifth byte would be needed [MQTT 3.1.1 section 2.2.3].
 */
export function readRemainingLength(bytes: Uint8Array, at: number, end: number): number {
  let value = 0;
  for (let i = 0; i < 4; i++) {
    if (at + i >= end) return -1;
    const byte = bytes[at + i] as number;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return value;
  }
  throw malformed("remaining length longer than four bytes");
}

/**
 * The same for MQTT 5, which demands the shortest encoding [MQTT-1.5.5-1].
 * @throws ProtocolViolation for a longer one.
 */
export function readShortestLength(bytes: Uint8Array, at: number, end: number): number {
  const value = readRemainingLength(bytes, at, end);
  if (value >= 0 && (bytes[at + remainingLengthSize(value) - 1] as number) >= 0x80) throw notShortest();
  return value;
}

/** Checks that the remaining length of a packet of MQTT 5 is written in its shortest form. @throws ProtocolViolation */
export function checkShortestHeader(frameStart: number, bodyStart: number, bodyEnd: number): void {
  if (bodyStart - frameStart - 1 !== remainingLengthSize(bodyEnd - bodyStart)) throw notShortest();
}

function notShortest(): ProtocolViolation {
  return malformed("variable byte integer that is longer than needed [MQTT-1.5.5-1]");
}

/** Bytes that the shortest encoding of `n` takes. */
export function remainingLengthSize(n: number): 1 | 2 | 3 | 4 {
  if (n < 0x80) return 1;
  if (n < 0x4000) return 2;
  if (n < 0x20_0000) return 3;
  return 4;
}

/** Writes `n` as a variable byte integer; returns the position after it. `n` must not exceed MAX_REMAINING_LENGTH. */
export function writeRemainingLength(target: Uint8Array, at: number, n: number): number {
  let rest = n;
  let position = at;
  while (rest >= 0x80) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}
