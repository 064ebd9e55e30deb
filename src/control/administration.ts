import type { LogLevel } from "../log/console.ts";

/** A command that can't be done; the message says why. */
export class CommandError extends Error {}

/** What an operator may ask of a running daemon. Each gives a line or more for him, or throws CommandError. */
export interface Administration {
  requestStop(): string;
  reload(): Promise<string>;
  /** What runs, in lines. */
  status(): string;
  startConnection(name: string): string;
  stopConnection(name: string): string;
  /** Ends the connection and drops its queue. */
  deleteConnection(name: string): Promise<string>;
  /** `text`: a `connection NAME` line and those that belong to it. Kept over a restart. */
  addConnection(name: string, text: string): Promise<string>;
  /** `list`, `retry` or `drop` what is put aside for a connection because its remote ends connections on which it is sent. */
  parked(name: string, what: string): Promise<string>;
  /** Drops what is queued for a client that is not connected, or for a connection that is not configured any more. */
  purge(name: string): Promise<string>;
  clearRetained(filter: string): Promise<string>;
  /** Stays until the next start or reload. */
  /** `protocol`: a console line for each packet; `off`: none. Until the next start or reload. */
  setTraceOutput(output: string): string;
  setTraceLevel(level: string): string;
  setMaxEntries(kind: "log" | "trace", count: string): string;
  /** Writes what was logged and traced last to `stdout`, `stderr` or a file. */
  dumpTrace(destination: string): string;
  /** Writes a capture file. */
  capture(reason: string): string;
  setLogLevel(level: LogLevel): string;
}
