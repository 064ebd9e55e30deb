import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { argon2id } from "hash-wasm";
import { expect, it } from "vitest";
import { Access, OPEN_TO_ALL } from "../../src/access/access.ts";
import { parsePasswordFile } from "../../src/access/password-file.ts";
import { hashPassword } from "../../src/access/password-hash.ts";
import { verifyArgon2id } from "../../src/argon2id.ts";

const hasMosquittoPasswd = spawnSync("mosquitto_passwd", ["-h"]).error === undefined;

function access(text: string, options: { allowAnonymous?: boolean; clientIdPrefixes?: string[] } = {}): Access {
  const { passwords, problems } = parsePasswordFile(text);
  expect(problems.filter(({ severity }) => severity === "error")).toEqual([]);
  return new Access({ ...OPEN_TO_ALL, allowAnonymous: false, passwords, ...options }, verifyArgon2id);
}

const admit = (rules: Access, user?: string, password?: string): Promise<unknown> =>
  Promise.resolve(rules.admit("c1", user, password === undefined ? undefined : Buffer.from(password)));
const admitted = (user?: string): unknown => ({ kind: "client", id: "c1", user });

it("reads the document's password file (figure 43)", async () => {
  const rules = access("Fred:Fredpassword\nBarney:Barneypassword\n");
  expect(await admit(rules, "Fred", "Fredpassword")).toEqual(admitted("Fred"));
  expect(await admit(rules, "Barney", "Fredpassword")).toBe("credentials");
  expect(await admit(rules, "fred", "Fredpassword")).toBe("credentials");
  expect(await admit(rules)).toBe("anonymous");
});

it("does not give a user's rights to a name without a password, even where anonymous clients are served", async () => {
  const rules = access("Fred:Fredpassword\n", { allowAnonymous: true });
  expect(await admit(rules, "Fred")).toBe("credentials");
  expect(await admit(rules)).toEqual(admitted());
});

it("keeps blanks and further colons of a password", async () => {
  const rules = access("john smith: a:b \n");
  expect(await admit(rules, "john smith", " a:b ")).toEqual(admitted("john smith"));
  expect(await admit(rules, "john smith", "a:b")).toBe("credentials");
});

it("refuses client identifiers with none of the prefixes", async () => {
  const rules = access("Fred:pw\n", { clientIdPrefixes: ["x", "c"] });
  expect(await admit(rules, "Fred", "pw")).toEqual(admitted("Fred"));
  expect(await admit(access("Fred:pw\n", { clientIdPrefixes: ["x"] }), "Fred", "pw")).toBe("identifier");
});

it("checks its own hashes, and wrong passwords against them, more than once", async () => {
  const rules = access(`fred:${await hashPassword(Buffer.from("secret"))}\n`);
  for (let round = 0; round < 2; round++) {
    expect(await admit(rules, "fred", "wrong")).toBe("credentials");
    expect(await admit(rules, "fred", "secret")).toEqual(admitted("fred"));
  }
});

it("remembers a password that was right, so that reconnecting costs no hash", async () => {
  const rules = access(`fred:${await hashPassword(Buffer.from("secret"))}\n`);
  expect(rules.admit("c1", "fred", Buffer.from("secret"))).toBeInstanceOf(Promise);
  await admit(rules, "fred", "secret");
  expect(rules.admit("c1", "fred", Buffer.from("secret"))).toEqual(admitted("fred"));
});

it.runIf(hasMosquittoPasswd)("reads what mosquitto_passwd writes, $7$ and $6$, and mosquitto_passwd -U reads ours", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-passwd-"));
  try {
    const file = path.join(folder, "passwords");
    writeFileSync(file, "");
    execFileSync("mosquitto_passwd", ["-b", file, "seven", "pw7"]);
    execFileSync("mosquitto_passwd", ["-H", "sha512", "-b", file, "six", "pw6"]);
    const text = readFileSync(file, "utf8");
    expect(text).toMatch(/^seven:\$7\$/m);
    expect(text).toMatch(/^six:\$6\$/m);
    const rules = access(text);
    expect(await admit(rules, "seven", "pw7")).toEqual(admitted("seven"));
    expect(await admit(rules, "six", "pw6")).toEqual(admitted("six"));
    expect(await admit(rules, "six", "pw7")).toBe("credentials");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it.each(["onlyname", ":password", "name:", "name:$7$0$c2FsdA==$aGFzaA==", "name:$6$$"])("names the line of %j, which is not user:password", (line) => {
  const { problems } = parsePasswordFile(`# users\n\nfred:$6$${"c2FsdA=="}$${Buffer.alloc(64).toString("base64")}\n${line}\n`);
  expect(problems).toEqual([expect.objectContaining({ line: 4, severity: "error" })]);
});

it("warns of clear text once", () => {
  const { problems } = parsePasswordFile("a:x\nb:y\n");
  expect(problems).toEqual([expect.objectContaining({ line: 1, severity: "warning" })]);
});

it("lets the first line of a user count", async () => {
  const { passwords, problems } = parsePasswordFile("a:x\na:y\n");
  expect(passwords.get("a")?.text).toBe("x");
  expect(problems.map(({ line }) => line)).toContain(2);
  expect(await admit(access("a:x\na:y\n"), "a", "y")).toBe("credentials");
});

it("checks argon2id hashes in a worker", async () => {
  const hash = await argon2id({ password: "secret", salt: Buffer.alloc(16, 7), iterations: 1, memorySize: 256, parallelism: 1, hashLength: 32, outputType: "encoded" });
  const verify = async (encoded: string, password: Buffer): Promise<boolean> => {
    const built = new URL("../../dist/argon2id-worker.js", import.meta.url);
    return verifyArgon2id(encoded, password, built);
  };
  const { passwords } = parsePasswordFile(`fred:${hash}\n`);
  const rules = new Access({ ...OPEN_TO_ALL, passwords }, verify);
  expect(await admit(rules, "fred", "secret")).toEqual(admitted("fred"));
  expect(await admit(rules, "fred", "wrong")).toBe("credentials");
});
