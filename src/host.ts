import type { Changes } from "./changes.ts";
import type { Config } from "./config/config.ts";
import type { ReadResult } from "./config/read-config.ts";
import type { Log } from "./log/console.ts";
import type { Surroundings } from "./surroundings.ts";

/** The daemon, as what is done to it while it runs needs it. */
export interface Host {
  config: Config;
  /** As it was at the start: some of it holds until the next one. */
  readonly startedConfig: Config;
  readonly surroundings: Surroundings;
  readonly log: Log;
  readonly startedMs: number;
  readonly changes: Changes;
  /** Reads the configuration again; undefined if there is no file. */
  readAgain(): ReadResult | undefined;
  stopByCommand(): void;
}
