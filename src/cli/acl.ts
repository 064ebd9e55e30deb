import { rightsOf } from "../access/acl.ts";
import type { Rule } from "../access/acl-file.ts";
import { identityText, type Identity } from "../access/identity.ts";
import { readAccessFiles } from "../config/access-files.ts";
import { problemText } from "../config/config.ts";
import { readConfig } from "../config/read-config.ts";
import { filterProblem, hasWildcard } from "../topic/validity.ts";

export interface AclQuestion {
  readonly topic: string;
  readonly user?: string;
  readonly client: string;
  readonly connection?: string;
}

/** Prints what somebody may do with a topic and which line says so. Returns the exit code: 1 if the question can't be answered. */
export function explainAcl(file: string, { topic, user, client, connection }: AclQuestion): number {
  const { config, problems } = readConfig(file);
  if (!config) return fail(problems.join("\n"));
  const { rules, problems: accessProblems } = readAccessFiles(config.access);
  const { passwordFile, aclFile } = config.access;
  if (!rules.acl || aclFile === undefined) return fail(accessProblems.map(problemText).join("\n") || `${file}: there is no acl_file: everybody may do everything`);
  const problem = filterProblem(topic);
  if (problem !== undefined) return fail(`${topic}: ${problem}`);
  if (user !== undefined && rules.passwords && !rules.passwords.has(user)) return fail(`user ${user} is not in ${passwordFile ?? "the password file"}: the client is refused`);
  const identity: Identity = connection === undefined ? { kind: "client", id: client, user } : { kind: "bridge", id: connection, user: undefined };
  const rights = rightsOf(rules.acl, identity);
  const who = identityText(identity);
  if (!rights) return print(`${who} may do everything: the ACL file has no \`connection ${connection ?? ""}\` line`);
  if (hasWildcard(topic)) {
    const may = rights.maySubscribe(topic);
    return print(`${who} ${may ? "may" : "may not"} subscribe to ${topic}${may ? "; each delivery is checked" : ": no rule lets it read anything that this matches"}`);
  }
  const source = (rule: Rule | undefined): string => (rule ? `${aclFile}:${rule.line}: ${rule.deny ? "deny" : "allow"} ${rule.filter}` : `no rule of ${aclFile} allows it`);
  for (const access of ["read", "write"] as const) {
    const { allowed, rule } = rights.decide(access, topic);
    print(`${who} ${allowed ? "may" : "may not"} ${access} ${topic} (${source(rule)})`);
  }
  return 0;
}

function print(text: string): 0 {
  process.stdout.write(`${text}\n`);
  return 0;
}

function fail(text: string): 1 {
  process.stderr.write(`${text}\n`);
  return 1;
}
