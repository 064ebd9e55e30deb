import { isValidUtf8 } from "./utf8.ts";

/** Longest topic name or filter: its length field has two bytes [MQTT-4.7.3-3]. */
export const MAX_TOPIC_BYTES = 65_535;

const PLUS = 0x2b;
const HASH = 0x23;

/** Whether `bytes[start, end)` may name a topic: 1 to 65535 bytes of UTF-8 without NUL, `+` and `#` [MQTT-4.7.1-1] [MQTT-4.7.3-1]. */
export function isValidTopicName(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (length < 1 || length > MAX_TOPIC_BYTES) return false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte === PLUS || byte === HASH) return false;
  }
  return isValidUtf8(bytes, start, end);
}
