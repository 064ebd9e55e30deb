import { connectionKeywords } from "./keywords/connection.ts";
import { wordsOf } from "./lexer.ts";
import { checkConfig } from "./checker.ts";
import { connectionTlsProblems } from "./tls-files.ts";
import { problemText, type Config, type ConnectionConfig, type Problem } from "./config.ts";
import { parseConfig } from "./parser.ts";

/** Reads a connection's definition that came by a command, and checks it beside what runs. Without `connection` the problems say why. */
export function parseAddedConnection(text: string, running: Pick<Config, "listeners" | "connections">): { connection: ConnectionConfig | undefined; problems: string[] } {
  const { config, problems } = parseConfig(text, "command");
  const isError = ({ severity }: Problem): boolean => severity === "error";
  const [connection] = config.connections;
  for (const { word, line } of wordsOfLines(text)) {
    if (line > 1 && !isConnectionWord(word)) problems.push({ file: config.file ?? "", line, column: 1, severity: "error", message: `${word} does not belong into a connection section` });
  }
  const others = running.connections.filter(({ name }) => name !== connection?.name);
  const together = { ...config, listeners: running.listeners, connections: [...others, ...config.connections] };
  // What is wrong with the rest has been said when it was read.
  const ofConnection = checkConfig(together).filter(({ file }) => file === config.file);
  const ofFiles = connection ? connectionTlsProblems(connection).filter(({ severity }) => severity !== "note") : [];
  const all = problems.some(isError) ? problems : [...problems, ...ofConnection, ...ofFiles];
  return { connection: all.some(isError) ? undefined : connection, problems: all.map(problemText) };
}

/** Whether two definitions say the same, wherever they stand. */
export function isSameConnection(a: ConnectionConfig, b: ConnectionConfig): boolean {
  const places = new Set(["file", "line", "column"]);
  const meaning = (config: ConnectionConfig): string => JSON.stringify(config, (key, value: unknown) => (places.has(key) ? undefined : value));
  return meaning(a) === meaning(b);
}

function* wordsOfLines(text: string): Generator<{ word: string; line: number }> {
  for (const [index, content] of text.split("\n").entries()) {
    const word = wordsOf(content)[0]?.text.toLowerCase();
    if (word !== undefined) yield { word, line: index + 1 };
  }
}

const isConnectionWord = (word: string): boolean =>
  word === "topic" || connectionKeywords.some(({ name, aliases }) => name === word || (aliases as readonly string[]).includes(word));
