import { isValidUtf8 } from "../mqtt/utf8.ts";

/** Longest topic name or filter: its length field has two bytes [MQTT-4.7.3-3]. */
export const MAX_TOPIC_BYTES = 65_535;

/** Most levels a filter may have. Our limit, not the protocol's: it bounds the depth of the subscription tree. */
export const MAX_FILTER_LEVELS = 200;

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

/** Whether the filter stands for more than one topic. */
export function hasWildcard(filter: string): boolean {
  return filter.includes("+") || filter.includes("#");
}

/** What is wrong with a topic filter, as a sentence for people, or undefined if it is valid [MQTT-4.7.1-2] [MQTT-4.7.1-3]. */
export function filterProblem(filter: string): string | undefined {
  if (filter === "") return "a topic filter must not be empty";
  if (filter.includes("\0")) return "a topic filter must not contain the character U+0000";
  if (hasLoneSurrogate(filter)) return "a topic filter must be valid Unicode";
  if (Buffer.byteLength(filter) > MAX_TOPIC_BYTES) return `a topic filter must not be longer than ${MAX_TOPIC_BYTES} bytes`;
  const levels = filter.split("/");
  if (levels.length > MAX_FILTER_LEVELS) return `a topic filter must not have more than ${MAX_FILTER_LEVELS} levels`;
  for (const [i, level] of levels.entries()) {
    if (level.length > 1 && level.includes("#")) return `'#' must stand alone in the last level: ${suggestion(levels)}`;
    if (level.length > 1 && level.includes("+")) return `'+' must stand alone in its level: ${suggestion(levels)}`;
    if (level === "#" && i < levels.length - 1) return `'#' must be the last level: ${suggestion(levels)}`;
  }
  return undefined;
}

/** The filter with each wildcard put in a level of its own, and `#` before the end made the `+` it was meant as. */
function suggestion(levels: readonly string[]): string {
  const separated = levels.flatMap((level) => (level === "" ? [""] : level.split(/([+#])/).filter((part) => part !== "")));
  const corrected = separated.map((level, i) => (level === "#" && i < separated.length - 1 ? "+" : level));
  return `did you mean ${corrected.join("/")}?`;
}

/** A surrogate that is not half of a pair has no UTF-8 form [MQTT-1.5.3-1]. */
function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}
