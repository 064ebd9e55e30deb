import { connectionKeywords } from "../config/keywords/connection.ts";
import { wordsOf, type Word } from "../config/lexer.ts";
import { nearest } from "../config/nearest.ts";
import { logLevels, type LogLevel } from "../log/console.ts";
import { CommandError, type Administration } from "./administration.ts";

interface Command {
  readonly name: string;
  /** The documents' other spellings. */
  readonly aliases: readonly string[];
  /** What has to follow. */
  readonly argument: string | undefined;
  readonly doc: string;
  run(administration: Administration, argument: string, second: string): string | Promise<string>;
}

/** All commands of the update-command file and of `amqtdd ctl`; `connection`, which goes over several lines, is read apart. */
export const commands: readonly Command[] = [
  { name: "help", aliases: [], argument: undefined, doc: "List the commands.", run: () => helpText() },
  { name: "status", aliases: [], argument: undefined, doc: "Say what runs: connections with their state and queue, clients, store.", run: (to) => to.status() },
  { name: "stop", aliases: [], argument: undefined, doc: "Stop the daemon.", run: (to) => to.requestStop() },
  { name: "reload", aliases: [], argument: undefined, doc: "Read the configuration, password and ACL files again, as SIGHUP does.", run: (to) => to.reload() },
  { name: "start_connection", aliases: ["connection_start"], argument: "NAME", doc: "Start a connection.", run: (to, name) => to.startConnection(name) },
  { name: "stop_connection", aliases: ["connection_stop"], argument: "NAME", doc: "Stop a connection when its exchanges are over; it stays stopped.", run: (to, name) => to.stopConnection(name) },
  { name: "delete_connection", aliases: ["connection_delete"], argument: "NAME", doc: "Stop a connection and drop its queue. One of the configuration file is back after a restart.", run: (to, name) => to.deleteConnection(name) },
  { name: "parked", aliases: [], argument: "NAME [list|retry|drop]", doc: "Messages put aside because a connection's remote ends the connection when it is sent them.", run: (to, name, what) => to.parked(name, what || "list") },
  { name: "purge", aliases: [], argument: "NAME", doc: "Drop the session and queue of a client that is not connected, or of a connection that is not configured any more.", run: (to, name) => to.purge(name) },
  { name: "clear_retained", aliases: [], argument: "FILTER", doc: "Remove the retained messages that match, $SYS excepted.", run: (to, filter) => to.clearRetained(filter) },
  { name: "log_level", aliases: [], argument: "LEVEL", doc: "Change the least level of console lines until the next start or reload.", run: (to, level) => to.setLogLevel(parseLevel(level)) },
  { name: "trace_output", aliases: [], argument: "protocol|off", doc: "Write a console line for each packet, or stop it.", run: (to, output) => to.setTraceOutput(output) },
  { name: "trace_level", aliases: [], argument: "LEVEL", doc: "medium or maximum: remember packets for trace_dump; minimum: don't.", run: (to, level) => to.setTraceLevel(level) },
  { name: "max_log_entries", aliases: [], argument: "COUNT", doc: "How many console lines are remembered.", run: (to, count) => to.setMaxEntries("log", count) },
  { name: "max_trace_entries", aliases: [], argument: "COUNT", doc: "How many packets are remembered.", run: (to, count) => to.setMaxEntries("trace", count) },
  { name: "trace_dump", aliases: [], argument: "stdout|stderr|FILE", doc: "Write what was logged and traced last, in the order of time.", run: (to, destination) => to.dumpTrace(destination) },
  { name: "take_ffdc", aliases: [], argument: "TEXT", doc: "Write a capture file with this reason.", run: (to, reason) => to.capture(reason) },
  ...["heap_dump", "xxx_create_segfault"].map((name) => ({
    name, aliases: [], argument: "VALUE", doc: "Known from the original; has no meaning here.", run: notHere(name),
  })),
];

function helpText(): string {
  const lines = commands.map(({ name, argument, doc }) => `  ${name}${argument === undefined ? "" : ` ${argument}`}: ${doc}`);
  return ["", ...lines, "  connection NAME, and the lines of the section: Add a connection, or change one that was added so. Kept over a restart."].join("\n");
}

function notHere(name: string): () => never {
  return () => {
    throw new CommandError(`${name} belongs to the original's C program and has no meaning here`);
  };
}

function parseLevel(text: string): LogLevel {
  const level = logLevels.find((one) => one === text.toLowerCase());
  if (!level) throw new CommandError(`log_level ${text}: wanted is one of ${logLevels.join(", ")}`);
  return level;
}

/** One command's outcome. */
export interface Outcome {
  readonly line: number;
  readonly command: string;
  readonly ok: boolean;
  readonly text: string;
}

/** Runs the commands of a text, one a line, in order; a wrong one does not keep the rest from running. */
export async function runCommands(text: string, administration: Administration, firstLine = 1): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const { line, command, run } of readCommands(text)) {
    try {
      outcomes.push({ line: line + firstLine - 1, command, ok: true, text: await run(administration) });
    } catch (error) {
      // Another error is our fault: it is told, and the rest still runs.
      outcomes.push({ line: line + firstLine - 1, command, ok: false, text: error instanceof CommandError ? error.message : `internal error: ${String(error)}` });
    }
  }
  return outcomes;
}

/** For the operator: what each command did. */
export function outcomeText(outcomes: readonly Outcome[]): string {
  return outcomes.map(({ line, command, ok, text }) => `${line}: ${command}: ${ok ? "done" : "ERROR"}: ${text}\n`).join("");
}

interface ReadCommand {
  readonly line: number;
  readonly command: string;
  run(administration: Administration): string | Promise<string>;
}

function* readCommands(text: string): Generator<ReadCommand> {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  for (let index = 0; index < lines.length; index++) {
    const content = lines[index] ?? "";
    const [word, ...values] = wordsOf(content);
    if (!word) continue;
    const line = index + 1;
    if (word.text.toLowerCase() !== "connection") {
      yield { line, command: content.trim(), run: (to) => runOne(to, word, values) };
      continue;
    }
    const section = [content];
    while (index + 1 < lines.length && belongsToConnection(lines[index + 1] ?? "")) section.push(lines[++index] ?? "");
    yield { line, command: content.trim(), run: (to) => addConnection(to, values[0], section) };
  }
}

/** Lines up to the next command belong to a `connection` line. */
function belongsToConnection(content: string): boolean {
  const word = wordsOf(content)[0]?.text.toLowerCase();
  return word === undefined || word === "topic" || !isCommand(word);
}

function isCommand(word: string): boolean {
  if (connectionKeywords.some(({ name }) => name === word)) return false;
  return word === "connection" || commands.some(({ name, aliases }) => name === word || aliases.includes(word));
}

function addConnection(administration: Administration, name: Word | undefined, section: readonly string[]): Promise<string> {
  if (!name) throw new CommandError("connection needs a name");
  return administration.addConnection(name.text, `${section.join("\n")}\n`);
}

function runOne(administration: Administration, word: Word, values: readonly Word[]): string | Promise<string> {
  const name = word.text.toLowerCase();
  const command = commands.find((one) => one.name === name || one.aliases.includes(name));
  if (!command) {
    const guess = nearest(name, ["connection", ...commands.map((one) => one.name)]);
    throw new CommandError(`unknown command ${word.text}${guess === undefined ? "" : `; did you mean ${guess}?`}`);
  }
  const [argument] = values;
  if (command.argument !== undefined && !argument) throw new CommandError(`${command.name} needs a value: ${command.argument}`);
  return command.run(administration, argument?.text ?? "", values[1]?.text ?? "");
}
