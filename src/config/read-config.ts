import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readAccessFiles } from "./access-files.ts";
import { checkConfig } from "./checker.ts";
import { problemText, type Config, type Problem } from "./config.ts";
import { checkHttpFolders } from "./http-folders.ts";
import type { ParseOptions } from "./parse-options.ts";
import { parseConfig } from "./parser.ts";
import { checkTlsFiles } from "./tls-files.ts";

export interface ReadResult {
  /** Undefined when a problem is an error. */
  readonly config: Config | undefined;
  /** One line each. */
  readonly problems: readonly string[];
  /** What is only to be known: until when certificates are valid. One line each. */
  readonly notes: readonly string[];
}

/** Reads and checks a configuration file. */
export function readConfig(file: string, options: ParseOptions = {}): ReadResult {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    return { config: undefined, notes: [], problems: [`${file}: error: ${error instanceof Error ? error.message : String(error)}`] };
  }
  const { config, problems } = parseConfig(text, file, { include: filesOf, ...options });
  const parsed = problems.some(isError);
  const found: Problem[] = parsed ? problems : [...problems, ...checkConfig(config), ...checkTlsFiles(config), ...checkHttpFolders(config)];
  const isNote = ({ severity }: Problem): boolean => severity === "note";
  const all = found.filter((problem) => !isNote(problem));
  const order = [...new Set([file, ...all.map((problem) => problem.file).sort()])];
  all.sort((a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line || a.column - b.column);
  if (!parsed) all.push(...readAccessFiles(config.access).problems);
  return { config: all.some(isError) ? undefined : config, problems: all.map(problemText), notes: found.filter(isNote).map(problemText) };
}

/** What `include_dir` reads, as mosquitto does: files that end in .conf, by name. */
function filesOf(folder: string): { file: string; text: string }[] {
  const names = readdirSync(folder).filter((name) => name.endsWith(".conf")).sort();
  return names.map((name) => ({ file: join(folder, name), text: readFileSync(join(folder, name), "utf8") }));
}

const isError = ({ severity }: Problem): boolean => severity === "error";
