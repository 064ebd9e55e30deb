import { readFileSync } from "node:fs";
import type { AccessRules } from "../access/access.ts";
import { parseAclFile } from "../access/acl-file.ts";
import type { FileProblem } from "../access/file-problem.ts";
import { parsePasswordFile, type Passwords } from "../access/password-file.ts";
import type { AccessConfig, Problem } from "./config.ts";

/** Reads the password file and the ACL file. The rules are usable only if no problem is an error. */
export function readAccessFiles(config: AccessConfig): { rules: AccessRules; problems: Problem[] } {
  const problems: Problem[] = [];
  const read = <T>(file: string, parse: (text: string) => { result: T; problems: FileProblem[] }): T | undefined => {
    let text: string;
    try {
      text = readFileSync(file, "utf8");
    } catch (error) {
      problems.push({ file, line: 1, column: 1, severity: "error", message: error instanceof Error ? error.message : String(error) });
      return undefined;
    }
    const parsed = parse(text);
    for (const { line, severity, message } of parsed.problems) problems.push({ file, line, column: 1, severity, message });
    return parsed.result;
  };
  const { passwordFile, aclFile, aclStyle, allowAnonymous, provesUsers, clientIdPrefixes } = config;
  let passwords: Passwords | undefined;
  if (passwordFile !== undefined) {
    passwords = read(passwordFile, (text) => {
      const parsed = parsePasswordFile(text);
      return { result: parsed.passwords, problems: parsed.problems };
    });
  }
  const isUser = (name: string): boolean => provesUsers || (passwords?.has(name) ?? false);
  const acl =
    aclFile === undefined
      ? undefined
      : read(aclFile, (text) => {
          const parsed = parseAclFile(text, { isUser, ...(aclStyle === undefined ? {} : { style: aclStyle }) });
          return { result: parsed.acl, problems: parsed.problems };
        });
  return { rules: { passwords, allowAnonymous, clientIdPrefixes, acl }, problems };
}
