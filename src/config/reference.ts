import { listenerProtocols } from "./config.ts";
import type { Keyword, Value } from "./keyword.ts";
import { connectionKeywords } from "./keywords/connection.ts";
import { globalKeywords } from "./keywords/global.ts";
import { listenerKeywords } from "./keywords/listener.ts";
import { notYetKeywords } from "./keywords/not-yet.ts";
import { DIRECTIONS, PRIORITIES, TOPIC_DEFAULTS, TOPIC_GRAMMAR } from "./topic-line.ts";

/** `doc/configuration.md`: every keyword and line of a configuration file, in Markdown. */
export function configurationReference(): string {
  return `${[
    "# Configuration",
    "Generated from the tables in `src/config/keywords` by `npx vitest run test/config/reference.test.ts -u`: change those, not this file.",
    `A configuration file has one keyword and its values a line. Keywords may be in any case. A line whose first word begins with \`#\` is a
comment; there are none behind a value. A value with blanks in it is put in double quotes, and a doubled quote inside stands for one. When a
keyword is given again, the last line counts; those that are marked "any number" add up instead.`,
    `What is unknown or has a bad value stops the start, with file, line and column. With \`--lenient\` an unknown keyword or a bad value of one
is warned of and its line left out, and so is a second connection of one name; a bad port or address still stops the start. \`amqtdd check FILE\` says what is wrong with a file.`,
    `A reload (SIGHUP) takes up what is marked so, and says what wants a restart. All keywords of a connection section are taken up by a reload.`,
    "## Everywhere",
    "Before the first section, or inside one that has no keyword of the same name.",
    table(globalKeywords),
    "## listener",
    codeBlock("listener PORT [ADDRESS [PROTOCOL]]"),
    `Begins the section of one more listener; it goes on to the next \`listener\` or \`connection\` line. ADDRESS is that of a network interface,
INADDR_ANY or nothing for all of them; \`listener 0 PATH\` is a Unix socket. PROTOCOL is ${wordList(listenerProtocols)}. The default listener (\`port\`, \`bind_address\`,
\`bind_interface\`, \`max_connections\`, \`ipv6\` outside a listener section) exists if one of its keywords is given, or if there is no listener section.`,
    table(listenerKeywords),
    "## connection",
    codeBlock("connection NAME"),
    "Begins the section of one connection to another broker, a bridge. Its queue is kept under NAME, here and across restarts.",
    table(connectionKeywords, { allReload: true }),
    "### topic",
    codeBlock(TOPIC_GRAMMAR),
    `A line of a connection section, any number of them: which messages go over the connection.

- PATTERN: a topic filter. \`""\` stands for the prefixes alone.
- DIRECTION: ${wordList(DIRECTIONS)}; out is from here to the remote. Default ${TOPIC_DEFAULTS.direction}.
- QOS: 0, 1 or 2, the highest that is used. It is known by its digit and may be left out. Default ${TOPIC_DEFAULTS.qos}.
- LOCAL_PREFIX, REMOTE_PREFIX: put before PATTERN here and at the remote; a topic has the one taken off and the other put on as it crosses. \`""\`
  stands for none.
- PRIORITY: ${wordList(PRIORITIES)}: which messages leave first when several wait. Default ${TOPIC_DEFAULTS.priority}.

A message goes by one line of its direction: the most specific that matches it.`,
    "## Not yet",
    "Known and not supported yet. They stop the start, with `--lenient` too, because what they ask for can't be left out in silence.",
    notYetKeywords.map(({ about, names }) => `- ${about}: ${wordList(names)}`).join("\n"),
  ].join("\n\n")}\n`;
}

function table(keywords: readonly Keyword[], { allReload = false } = {}): string {
  const rows = keywords.map((keyword) => [
    code(keyword.name), wordList(keyword.aliases), valueOf(keyword), defaultOf(keyword.default), allReload || keyword.reload ? "yes" : "no", keyword.doc,
  ]);
  const heading = ["keyword", "synonyms", "value", "default", "reload", "meaning"];
  return [heading, heading.map(() => "---"), ...rows].map((cells) => `| ${cells.map(escaped).join(" | ")} |`).join("\n");
}

function valueOf({ type, list, second }: Keyword): string {
  if (list) return `${type.name}; any number`;
  return second === undefined ? type.name : `${type.name}; a second one is ${code(second)}`;
}

function defaultOf(value: Value | undefined): string {
  if (value === undefined) return "";
  if (value === Infinity) return "no limit";
  return value === "" ? code('""') : code(String(value));
}

const code = (text: string): string => `\`${text}\``;
const wordList = (words: readonly string[]): string => words.map(code).join(", ");
const codeBlock = (text: string): string => `\`\`\`\n${text}\n\`\`\``;
const escaped = (cell: string): string => cell.replaceAll("|", "\\|");
