import { MAX_TOPIC_BYTES } from "../mqtt/topic-name.ts";

/** Most levels of a topic filter or name. Our limit, not the protocol's: it bounds the depth of the subscription tree, and the work for one name. */
export const MAX_LEVELS = 200;

/** Whether a topic name has more levels than are taken. */
export function isTooDeep(name: Uint8Array, start = 0, end = name.length): boolean {
  let levels = 1;
  for (let at = start; at < end; at++) if (name[at] === SLASH) levels += 1;
  return levels > MAX_LEVELS;
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
  if (levels.length > MAX_LEVELS) return `a topic filter must not have more than ${MAX_LEVELS} levels`;
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

const SLASH = 0x2f;
