import { writeFileSync } from "node:fs";
import type { Config } from "./config/config.ts";
import { CommandError } from "./control/administration.ts";
import type { Host } from "./host.ts";
import type { AckGate } from "./link/ack-gate.ts";
import { writeCapture } from "./log/capture.ts";
import type { Level } from "./log/messages.ts";

const MAX_ENTRIES = 1_000_000;
const CAPTURE_INTERVAL_MS = 60_000;

/** What shows an operator why the daemon does what it does: packet traces, lines that are remembered, capture files. */
export class Diagnosis {
  private remembersPackets = false;
  private capturedMs = -Infinity;

  constructor(
    private readonly host: Host,
    private readonly gate: () => AckGate,
    private readonly status: () => string,
  ) {
    if (host.surroundings.hasControl) host.log.onLine = (line, level) => this.captureIfSevere(level, line);
  }

  setTraceOutput(output: string): string {
    if (output !== "protocol" && output !== "off") throw new CommandError(`trace_output ${output}: wanted is protocol or off`);
    this.host.log.writesTraces = output === "protocol";
    this.trace();
    return `trace_output is ${output}`;
  }

  setTraceLevel(level: string): string {
    if (!["minimum", "medium", "maximum"].includes(level)) throw new CommandError(`trace_level ${level}: wanted is minimum, medium or maximum`);
    this.remembersPackets = level !== "minimum";
    this.trace();
    return `trace_level is ${level}`;
  }

  setMaxEntries(kind: "log" | "trace", text: string): string {
    const count = Number(text);
    if (!/^\d+$/.test(text) || count > MAX_ENTRIES) throw new CommandError(`max_${kind}_entries ${text}: wanted is a number from 0 to ${MAX_ENTRIES}`);
    const { log } = this.host;
    (kind === "log" ? log.recentLines : log.recentTraces).limit = count;
    return `max_${kind}_entries is ${count}`;
  }

  dumpTrace(destination: string): string {
    const lines = this.host.log.recent();
    const text = lines.map((line) => `${line}\n`).join("");
    if (destination === "stdout" || destination === "stderr") process[destination].write(text);
    else this.attempt(`trace_dump ${destination}`, () => writeFileSync(destination, text, { mode: 0o600 }));
    return `${lines.length} lines written to ${destination}`;
  }

  capture(reason: string): string {
    const { capturePrefix } = this.host.config;
    if (capturePrefix === undefined) throw new CommandError("ffdc_output is off");
    const { log, surroundings } = this.host;
    const content = { reason, wallMs: surroundings.clock.wallMs(), status: this.status(), recent: log.recent() };
    return `written: ${this.attempt("take_ffdc", () => writeCapture(capturePrefix, content))}`;
  }

  private attempt<T>(what: string, task: () => T): T {
    try {
      return task();
    } catch (error) {
      throw new CommandError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** What is traced and remembered goes by a configuration now. */
  takeUp({ tracePackets, remembersPackets, maxLogEntries, maxTraceEntries }: Config): void {
    const { log } = this.host;
    log.recentLines.limit = maxLogEntries;
    log.recentTraces.limit = maxTraceEntries;
    log.writesTraces = tracePackets;
    this.remembersPackets = remembersPackets;
    this.trace();
  }

  private trace(): void {
    const { log } = this.host;
    this.gate().trace = log.writesTraces || this.remembersPackets ? (text) => log.trace(text) : undefined;
  }

  /** What is severe leaves a capture file, not more than one in a while. */
  private captureIfSevere(level: Level, line: string): void {
    const nowMs = this.host.surroundings.clock.nowMs();
    if ((level !== "S" && level !== "F") || nowMs - this.capturedMs < CAPTURE_INTERVAL_MS || this.host.config.capturePrefix === undefined) return;
    this.capturedMs = nowMs;
    try {
      this.capture(line);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error; // a disk that takes no file has been told of already
    }
  }
}
