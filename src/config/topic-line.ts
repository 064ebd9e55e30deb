import type { QoS } from "../mqtt/protocol.ts";
import type { Place, TopicLine } from "./config.ts";
import type { Word } from "./lexer.ts";
import type { Report } from "./section.ts";

export const DIRECTIONS = ["in", "out", "both"] as const;
export const PRIORITIES = ["high", "normal", "low"] as const;
/** What a line means that says no more than its pattern. */
export const TOPIC_DEFAULTS = { direction: "out", qos: 2, priority: "normal" } as const;
export const TOPIC_GRAMMAR = "topic PATTERN [DIRECTION] [QOS] [LOCAL_PREFIX [REMOTE_PREFIX [PRIORITY]]]";

/** A line of TOPIC_GRAMMAR; the QoS is mosquitto's and is known by its digit. Lenient: a wrong word gives way to the default, as in the original. */
export function parseTopicLine(values: readonly Word[], at: Place, report: Report, lenient: boolean): TopicLine | undefined {
  const [pattern, direction, ...rest] = values;
  if (!pattern) {
    report(at, 1, "error", "topic needs a pattern");
    return undefined;
  }
  const directionWord = DIRECTIONS.find((word) => word === direction?.text.toLowerCase());
  if (direction && !directionWord) {
    const problem = `topic direction ${direction.text}: wanted is one of ${DIRECTIONS.join(", ")}`;
    if (!lenient) {
      report(at, direction.column, "error", problem);
      return undefined;
    }
    report(at, direction.column, "warning", `${problem}; taken as ${TOPIC_DEFAULTS.direction}`);
  }
  let qos: QoS = TOPIC_DEFAULTS.qos;
  if (rest[0] && /^[0-2]$/.test(rest[0].text)) {
    qos = Number(rest[0].text) as QoS;
    rest.shift();
  }
  const [localPrefix, remotePrefix, priority] = rest;
  const priorityWord = PRIORITIES.find((word) => word === priority?.text.toLowerCase());
  if (priority && !priorityWord) {
    const problem = `topic priority ${priority.text}: wanted is one of ${PRIORITIES.join(", ")}`;
    if (!lenient) {
      report(at, priority.column, "error", problem);
      return undefined;
    }
    report(at, priority.column, "warning", `${problem}; taken as ${TOPIC_DEFAULTS.priority}`);
  }
  return {
    pattern: pattern.text,
    direction: directionWord ?? TOPIC_DEFAULTS.direction,
    qos,
    localPrefix: localPrefix?.text ?? "",
    remotePrefix: remotePrefix?.text ?? "",
    priority: priorityWord ?? TOPIC_DEFAULTS.priority,
    file: at.file,
    line: at.line,
    column: pattern.column,
  };
}
