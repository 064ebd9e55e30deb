import { Reason } from "./reason.ts";
import { isValidUtf8 } from "./utf8.ts";
import { malformed, ProtocolViolation } from "./violation.ts";

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

/** What is wrong with a packet whose topic name is not valid: it can't be read [MQTT-1.5.4-1] [MQTT-1.5.4-2], or it names no topic [MQTT-3.3.2-2]. */
export function topicNameViolation(place: string, bytes: Uint8Array, start: number, end: number): ProtocolViolation {
  if (!isValidUtf8(bytes, start, end)) return malformed(`${place} that is not UTF-8 without NUL`);
  return new ProtocolViolation(Reason.TopicNameInvalid, `${place} that is empty or has a wildcard [MQTT-3.3.2-2]`);
}
