import { readFileSync } from "node:fs";
import { checkConfig } from "./checker.ts";
import { problemText, type Config, type Problem } from "./config.ts";
import { parseConfig, type ParseOptions } from "./parser.ts";

export interface ReadResult {
  /** Undefined when a problem is an error. */
  readonly config: Config | undefined;
  /** One line each. */
  readonly problems: readonly string[];
}

/** Reads and checks a configuration file. */
export function readConfig(file: string, options: ParseOptions = {}): ReadResult {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    return { config: undefined, problems: [`${file}: error: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const { config, problems } = parseConfig(text, file, options);
  const parsed = problems.some(isError);
  const all: Problem[] = parsed ? problems : [...problems, ...checkConfig(config)];
  all.sort((a, b) => a.line - b.line || a.column - b.column);
  return { config: all.some(isError) ? undefined : config, problems: all.map(problemText) };
}

const isError = ({ severity }: Problem): boolean => severity === "error";
