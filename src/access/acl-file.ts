import { filterProblem } from "../topic/validity.ts";
import { contentLines, type FileProblem } from "./file-problem.ts";

/** How rules before the first `user` line are meant: for everybody (the original), or for anonymous clients alone (mosquitto). */
export type AclStyle = "amqtdd" | "mosquitto";

export interface Rule {
  readonly line: number;
  /** Topic filter; in a `pattern` rule with %c and %u. */
  readonly filter: string;
  readonly read: boolean;
  readonly write: boolean;
  readonly deny: boolean;
}

export interface AclFile {
  readonly style: AclStyle;
  /** Rules before the first `user` or `connection` line. */
  readonly general: readonly Rule[];
  readonly users: ReadonlyMap<string, readonly Rule[]>;
  /** Rules of bridges, by the name of their connection. */
  readonly connections: ReadonlyMap<string, readonly Rule[]>;
  readonly patterns: readonly Rule[];
}

const ACCESS = {
  read: { read: true, write: false, deny: false },
  write: { read: false, write: true, deny: false },
  readwrite: { read: true, write: true, deny: false },
  deny: { read: true, write: true, deny: true },
} as const;

const RULE = /^\s*(topic|pattern)\s+(?:(read|write|readwrite|deny)[ \t]+)?(\S.*?)\s*$/i;
const SECTION = /^\s*(user|connection)\s+(\S.*?)\s*$/i;

/**
 * Reads an ACL file: the original's `topic [read|write] FILTER` and `user NAME`, mosquitto's `readwrite`, `deny` and `pattern`, and
 * `connection NAME` for bridges. Without `style` the file's own words decide.
 */
export function parseAclFile(text: string, options: { style?: AclStyle; isUser: (name: string) => boolean }): { acl: AclFile; problems: FileProblem[] } {
  const problems: FileProblem[] = [];
  const general: Rule[] = [];
  const patterns: Rule[] = [];
  const users = new Map<string, Rule[]>();
  const connections = new Map<string, Rule[]>();
  const unknownUsers: { line: number; name: string }[] = [];
  let rules = general;
  let usesMosquittoWords = false;
  for (const { line, content } of contentLines(text, { indentedComments: true })) {
    const report = (message: string): void => void problems.push({ line, severity: "error", message });
    const section = SECTION.exec(content);
    if (section) {
      const [, kind = "", name = ""] = section;
      const isUser = kind.toLowerCase() === "user";
      const sections = isUser ? users : connections;
      rules = sections.get(name) ?? [];
      sections.set(name, rules);
      if (isUser && !options.isUser(name)) unknownUsers.push({ line, name });
      continue;
    }
    const match = RULE.exec(content);
    if (!match) {
      report(`wanted is topic [read|write|readwrite|deny] FILTER, pattern ..., user NAME or connection NAME`);
      continue;
    }
    const [, word = "", accessWord, filter = ""] = match;
    const access = (accessWord?.toLowerCase() ?? "readwrite") as keyof typeof ACCESS;
    const isPattern = word.toLowerCase() === "pattern";
    if (isPattern || access === "deny" || accessWord?.toLowerCase() === "readwrite") usesMosquittoWords = true;
    const problem = filterProblem(filter);
    if (problem !== undefined) report(`topic filter ${filter}: ${problem}`);
    else (isPattern ? patterns : rules).push({ line, filter, ...ACCESS[access] });
  }
  const style = options.style ?? (usesMosquittoWords ? "mosquitto" : "amqtdd");
  for (const { line, name } of unknownUsers) {
    const severity = style === "amqtdd" ? "error" : "warning";
    problems.push({ line, severity, message: `user ${name} is not in the password file` });
  }
  return { acl: { style, general, users, connections, patterns }, problems };
}
