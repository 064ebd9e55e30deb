import type { QoS } from "../mqtt/protocol.ts";
import type { TopicLine } from "./config.ts";
import type { Word } from "./lexer.ts";
import type { Report } from "./section.ts";

const DIRECTIONS = ["in", "out", "both"] as const;
const PRIORITIES = ["high", "normal", "low"] as const;

/** `topic PATTERN [DIRECTION] [QOS] [LOCAL_PREFIX [REMOTE_PREFIX [PRIORITY]]]`; the QoS is mosquitto's and is known by its digit. */
export function parseTopicLine(values: readonly Word[], line: number, report: Report): TopicLine | undefined {
  const [pattern, direction, ...rest] = values;
  if (!pattern) {
    report(line, 1, "error", "topic needs a pattern");
    return undefined;
  }
  const directionWord = DIRECTIONS.find((word) => word === direction?.text.toLowerCase());
  if (direction && !directionWord) {
    report(line, direction.column, "error", `topic direction ${direction.text}: wanted is one of ${DIRECTIONS.join(", ")}`);
    return undefined;
  }
  let qos: QoS = 2;
  if (rest[0] && /^[0-2]$/.test(rest[0].text)) {
    qos = Number(rest[0].text) as QoS;
    rest.shift();
  }
  const [localPrefix, remotePrefix, priority] = rest;
  const priorityWord = PRIORITIES.find((word) => word === priority?.text.toLowerCase());
  if (priority && !priorityWord) {
    report(line, priority.column, "error", `topic priority ${priority.text}: wanted is one of ${PRIORITIES.join(", ")}`);
    return undefined;
  }
  return {
    pattern: pattern.text,
    direction: directionWord ?? "out",
    qos,
    localPrefix: localPrefix?.text ?? "",
    remotePrefix: remotePrefix?.text ?? "",
    priority: priorityWord ?? "normal",
    line,
    column: pattern.column,
  };
}
