// The library: what `import ... from "amqtdd"` gives.
export { createDaemon, StartError, type Daemon, type DaemonOptions } from "./daemon.ts";
export { defaultConfig } from "./config/default-config.ts";
export { readConfig, type ReadResult } from "./config/read-config.ts";
export { parseConfig } from "./config/parser.ts";
export type { ParseOptions } from "./config/parse-options.ts";
export { checkConfig } from "./config/checker.ts";
export { problemText, type Config, type Problem } from "./config/config.ts";
