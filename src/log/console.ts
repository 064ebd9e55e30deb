import { Ring } from "./ring.ts";
import { messages, type Level, type MessageKey, type MessageValues } from "./messages.ts";

export const logLevels = ["config", "detail", "info", "audit", "warning", "error", "severe", "fatal"] as const;
export type LogLevel = (typeof logLevels)[number];

const DEFAULT_LINES = 100;
const DEFAULT_TRACES = 400;
const TIME_LENGTH = "YYYYMMDD HHMMSS.mmm".length;
const LETTERS = "CDIAWESF";
/** Of one kind of lines that a peer can make with each packet so many are written in so long. */
const MAX_LIKE = 20;
const LIKE_MS = 10_000;

/** Takes each line that is written; for `$SYS/broker/log`. */
export type LineListener = (line: string, level: Level, id: number) => void;

/** The console: one line a message, `YYYYMMDD HHMMSS.mmm CWNANnnnnL text`, local time. */
export class Log {
  onLine: LineListener | undefined;
  /** Console lines and traced packets, for `trace_dump` and capture files. */
  readonly recentLines = new Ring(DEFAULT_LINES);
  readonly recentTraces = new Ring(DEFAULT_TRACES);
  /** Whether traces are written out as well. */
  writesTraces = false;
  private lowest: number;
  private readonly like = new Map<MessageKey, { readonly begunMs: number; written: number; leftOut: number }>();

  constructor(
    private readonly writeLine: (line: string) => void,
    private readonly clock: { wallMs(): number },
    level: LogLevel,
  ) {
    this.lowest = logLevels.indexOf(level);
  }

  get level(): LogLevel {
    return logLevels[this.lowest] ?? "info";
  }

  setLevel(level: LogLevel): void {
    this.lowest = logLevels.indexOf(level);
  }

  write<K extends MessageKey>(key: K, values: MessageValues<K>): void {
    const { id, level } = messages[key];
    if (LETTERS.indexOf(level) < this.lowest) return;
    const line = lineOf(key, values, this.clock.wallMs());
    this.recentLines.add(line);
    this.writeLine(line);
    this.onLine?.(line, level, id);
  }

  /** As `write`, for what a peer can cause as often as it likes: the first of many, and later how many more there were. */
  writeSome<K extends MessageKey>(key: K, values: MessageValues<K>): void {
    const nowMs = this.clock.wallMs();
    const known = this.like.get(key);
    if (known && nowMs >= known.begunMs && nowMs - known.begunMs < LIKE_MS) {
      if (known.written === MAX_LIKE) return void (known.leftOut += 1);
      known.written += 1;
    } else {
      this.like.set(key, { begunMs: nowMs, written: 1, leftOut: 0 });
      if (known && known.leftOut > 0) this.write("linesLeftOut", { lines: known.leftOut, like: idText(key) });
    }
    this.write(key, values);
  }

  /** A packet, in words. */
  trace(text: string): void {
    const line = `${timestamp(this.clock.wallMs())} ${printable(text)}`;
    this.recentTraces.add(line);
    if (this.writesTraces) this.writeLine(line);
  }

  /** What was written and traced last, in the order of time. */
  recent(): string[] {
    const time = (line: string): string => line.slice(0, TIME_LENGTH);
    return [...this.recentLines.all(), ...this.recentTraces.all()].sort((a, b) => (time(a) < time(b) ? -1 : time(a) > time(b) ? 1 : 0));
  }
}

/** A line as it is written. */
export function lineOf<K extends MessageKey>(key: K, values: MessageValues<K>, wallMs: number): string {
  const { text } = messages[key];
  const filled = text.replace(/\{(\w+)\}/g, (_, name: string) => printable((values as Record<string, string | number>)[name] ?? ""));
  return `${timestamp(wallMs)} ${idText(key)} ${filled}`;
}

function idText(key: MessageKey): string {
  const { id, level } = messages[key];
  return `CWNAN${String(id).padStart(4, "0")}${level}`;
}

/** Client identifiers and topics come from anybody: control characters must not reach the operator's terminal. */
function printable(value: string | number): string {
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** Local time: `YYYYMMDD HHMMSS.mmm`. */
export function timestamp(ms: number): string {
  const time = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  const date = `${time.getFullYear()}${two(time.getMonth() + 1)}${two(time.getDate())}`;
  return `${date} ${two(time.getHours())}${two(time.getMinutes())}${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}
