import { contentLines, type FileProblem } from "./file-problem.ts";
import { parsePassword, type StoredPassword } from "./password-hash.ts";

export type Passwords = ReadonlyMap<string, StoredPassword>;

/**
 * Reads `user:password` lines, the password clear (the original's format) or hashed (mosquitto's). The first line of a user counts.
 * Blanks are significant; a password may contain `:`.
 */
export function parsePasswordFile(text: string): { passwords: Passwords; problems: FileProblem[] } {
  const passwords = new Map<string, StoredPassword>();
  const problems: FileProblem[] = [];
  const clear: number[] = [];
  for (const { line, content } of contentLines(text, { indentedComments: false })) {
    const report = (severity: FileProblem["severity"], message: string): void => void problems.push({ line, severity, message });
    const colon = content.indexOf(":");
    const user = content.slice(0, colon);
    if (colon <= 0 || colon === content.length - 1) {
      report("error", "wanted is user:password");
      continue;
    }
    if (passwords.has(user)) {
      report("warning", `user ${user} has a password already; this one is ignored`);
      continue;
    }
    const password = parsePassword(content.slice(colon + 1));
    if (typeof password === "string") report("error", `user ${user}: ${password}`);
    else passwords.set(user, password);
    if (typeof password !== "string" && password.kind === "clear") clear.push(line);
  }
  const [first] = clear;
  if (first !== undefined) {
    const which = clear.length === 1 ? "a password is" : `${clear.length} passwords are`;
    problems.push({ line: first, severity: "warning", message: `${which} in clear text; \`amqtdd passwd FILE USER\` writes hashed ones` });
  }
  return { passwords, problems };
}
