import { checkConfig } from "./checker.ts";
import { problemText, type ConnectionConfig, type Problem } from "./config.ts";
import { parseConfig } from "./parser.ts";

/** Reads a connection's definition that came by a command. Without `connection` the problems say why. */
export function parseAddedConnection(text: string): { connection: ConnectionConfig | undefined; problems: string[] } {
  const { config, problems } = parseConfig(text, "command");
  const isError = ({ severity }: Problem): boolean => severity === "error";
  // A text without listeners has the default one: what is said of that is not meant here.
  const all = problems.some(isError) ? problems : [...problems, ...checkConfig({ ...config, listeners: [] })];
  return { connection: all.some(isError) ? undefined : config.connections[0], problems: all.map(problemText) };
}

/** Whether two definitions say the same, wherever they stand. */
export function isSameConnection(a: ConnectionConfig, b: ConnectionConfig): boolean {
  const places = new Set(["file", "line", "column"]);
  const meaning = (config: ConnectionConfig): string => JSON.stringify(config, (key, value: unknown) => (places.has(key) ? undefined : value));
  return meaning(a) === meaning(b);
}
