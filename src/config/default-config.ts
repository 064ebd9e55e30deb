import type { Config } from "./config.ts";
import { parseConfig } from "./parser.ts";

/** The embedded default: without a configuration file only this machine is served. */
export function defaultConfig(port = 1883): Config {
  return { ...parseConfig("bind_address 127.0.0.1\n", "", { port }).config, file: undefined };
}
