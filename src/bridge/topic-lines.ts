import { createHash } from "node:crypto";
import type { TopicLine } from "../config/config.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { isValidTopicName } from "../mqtt/topic-name.ts";
import { filterMatches } from "../topic/matching.ts";

/** A topic line seen from one side: what arrives under `from`+pattern leaves under `to`. */
interface Mapping {
  readonly filter: string;
  readonly from: string;
  readonly to: string;
  readonly qos: QoS;
  readonly lane: number;
  /** Filter of the names on the other side. */
  readonly target: string;
  readonly line: number;
}

export interface Mapped {
  /** Name on the other side, UTF-8. */
  readonly name: Buffer;
  readonly qos: QoS;
  readonly lane: number;
  /** Of the line. */
  readonly filter: string;
}

/** Lanes of `session/`: 0 normal, 1 high, 2 low. */
const LANE_OF = { normal: 0, high: 1, low: 2 } as const;
const MAX_CACHED_NAMES = 4096;

/** One direction of a connection's topic lines. */
export class TopicMap {
  private readonly mappings: readonly Mapping[];
  private readonly cache = new Map<string, Mapped | undefined>();

  private constructor(mappings: Mapping[]) {
    this.mappings = mappings.sort((a, b) => compareSpecificity(a.filter, b.filter));
  }

  static outgoing(lines: readonly TopicLine[]): TopicMap {
    return new TopicMap(lines.filter(({ direction }) => direction !== "in").map((line) => mapping(line, line.localPrefix, line.remotePrefix)));
  }

  static incoming(lines: readonly TopicLine[]): TopicMap {
    return new TopicMap(lines.filter(({ direction }) => direction !== "out").map((line) => mapping(line, line.remotePrefix, line.localPrefix)));
  }

  /** What to subscribe to on the side the messages come from, each filter once. */
  get subscriptions(): { filter: string; qos: QoS }[] {
    const highest = new Map<string, QoS>();
    for (const { filter, qos } of this.mappings) highest.set(filter, Math.max(qos, highest.get(filter) ?? 0) as QoS);
    return [...highest].map(([filter, qos]) => ({ filter, qos }));
  }

  /** Changes with the lines. */
  get digest(): string {
    const lines = this.mappings.map(({ filter, from, to, qos }) => [filter, from, to, qos]);
    return createHash("sha256").update(JSON.stringify(lines)).digest("hex").slice(0, 8);
  }

  /** The configuration line that takes messages of this name, or gives them it. */
  lineFrom(name: string): number | undefined {
    return this.mappings.find(({ filter }) => filterMatches(filter, name))?.line;
  }

  lineTo(name: string): number | undefined {
    return this.mappings.find(({ target }) => filterMatches(target, name))?.line;
  }

  /** The name on the other side by the most specific line that matches; undefined if none does, or the name would be empty or too long. */
  map(name: string): Mapped | undefined {
    if (this.cache.has(name)) return this.cache.get(name);
    const line = this.mappings.find(({ filter }) => filterMatches(filter, name));
    const mapped = line && { name: Buffer.from(line.to + name.slice(line.from.length)), qos: line.qos, lane: line.lane, filter: line.filter };
    const isValid = mapped && isValidTopicName(mapped.name, 0, mapped.name.length);
    if (this.cache.size >= MAX_CACHED_NAMES) this.cache.clear();
    this.cache.set(name, isValid ? mapped : undefined);
    return isValid ? mapped : undefined;
  }
}

function mapping(line: TopicLine, from: string, to: string): Mapping {
  return { filter: from + line.pattern, from, to, qos: line.qos, lane: LANE_OF[line.priority], target: to + line.pattern, line: line.line };
}

/** The more specific filter first: level by level a name beats `+`, which beats `#`. Filters that are alike keep their order. */
function compareSpecificity(a: string, b: string): number {
  const aLevels = a.split("/");
  const bLevels = b.split("/");
  for (let index = 0; index < Math.max(aLevels.length, bLevels.length); index++) {
    const difference = rank(aLevels[index]) - rank(bLevels[index]);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** A filter that has ended is as specific as a name: `a` before `a/#`. */
function rank(level: string | undefined): number {
  if (level === "#") return 2;
  return level === "+" ? 1 : 0;
}
