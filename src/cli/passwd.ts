import { chmodSync, chownSync, existsSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { hashPassword } from "../access/password-hash.ts";

const OWNER_ONLY = 0o600;

/** Sets or removes a user's line in a password file; all other lines stay. Returns the exit code. */
export async function passwd(file: string, user: string, { remove }: { remove: boolean }): Promise<number> {
  if (user === "" || user.startsWith("#") || /[:\r\n]/.test(user)) return fail(`${user}: a user name must not be empty, begin with # or contain a colon`);
  const lines = existsSync(file) ? readFileSync(file, "utf8").replace(/\n$/, "").split("\n") : [];
  if (lines.length === 1 && lines[0] === "") lines.pop();
  const at = lines.findIndex((line) => line.startsWith(`${user}:`));
  if (remove) {
    if (at < 0) return fail(`${file}: there is no user ${user}`);
    save(file, lines.filter((line) => !line.startsWith(`${user}:`)));
    return 0;
  }
  const password = await askPassword();
  if (password === undefined) return fail("the passwords are not the same");
  if (password === "") return fail("a password must not be empty");
  const line = `${user}:${await hashPassword(Buffer.from(password))}`;
  if (at < 0) lines.push(line);
  else lines[at] = line;
  save(file, lines);
  return 0;
}

/** A reader of the file sees all of the old lines or all of the new. */
function save(file: string, lines: readonly string[]): void {
  const before = existsSync(file) ? statSync(file) : undefined;
  const target = before ? realpathSync(file) : file;
  const temporary = `${target}.${process.pid}.tmp`;
  writeFileSync(temporary, lines.map((line) => `${line}\n`).join(""), { mode: OWNER_ONLY, flush: true });
  if (before) {
    // The daemon may run as somebody else: who could read the file still can.
    chmodSync(temporary, before.mode);
    if (process.getuid?.() === 0) chownSync(temporary, before.uid, before.gid);
  }
  renameSync(temporary, target);
}

/** Asks twice on a terminal, without echo; otherwise takes a line of standard input. Undefined: the two differ. */
async function askPassword(): Promise<string | undefined> {
  if (!process.stdin.isTTY) return firstLine();
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({ input: process.stdin, output: silent, terminal: true });
  const ask = (prompt: string): Promise<string> =>
    new Promise((resolve) => {
      process.stderr.write(prompt);
      reader.question("", (answer) => {
        process.stderr.write("\n");
        resolve(answer);
      });
    });
  try {
    const password = await ask("Password: ");
    return (await ask("Again: ")) === password ? password : undefined;
  } finally {
    reader.close();
  }
}

async function firstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line;
  return "";
}

function fail(text: string): 1 {
  process.stderr.write(`${text}\n`);
  return 1;
}
