import { writeFileSync } from "node:fs";
import { timestamp } from "./console.ts";

export interface Capture {
  readonly reason: string;
  readonly wallMs: number;
  /** What runs, in lines. */
  readonly status: string;
  /** Console lines and traced packets. */
  readonly recent: readonly string[];
}

/** Writes a capture file, the original's FFDC: `<prefix>FFDC.CWNAN.YYYYMMDD.HHMMSS.mmm.dmp`. Returns its path; throws the system's error. */
export function writeCapture(prefix: string, { reason, wallMs, status, recent }: Capture): string {
  const time = timestamp(wallMs);
  const path = `${prefix}FFDC.CWNAN.${time.replace(" ", ".")}.dmp`;
  const memory = Object.entries(process.memoryUsage()).map(([name, bytes]) => `${name} ${bytes}`);
  const version = `${process.env["AMQTDD_VERSION"] ?? "unbuilt"}, ${process.env["AMQTDD_BUILT"] ?? ""}`;
  const sections = [
    ["file", path], ["product", "amqtdd"], ["version", version], ["node", process.version], ["time", time], ["reason", reason],
  ].map(([name, value]) => `${name}: ${value}`);
  const text = [...sections, "", "status", status, "", "memory", ...memory, "", "console and trace", ...recent, ""].join("\n");
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
