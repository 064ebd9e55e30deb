import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openLevelDatabase, repairLevelDatabase } from "../../src/store/database.ts";
import { KnownTables } from "../../src/store/known-tables.ts";
import { openStore } from "../../src/store/open.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const LIST_AFTER_MS = 5_000;
/** Another process: a lock does not keep its own one out. */
const HOLD = `const { ClassicLevel } = require("classic-level");
const database = new ClassicLevel(process.argv[1]);
database.open().then(() => console.log("open"));
setInterval(() => undefined, 60_000);`;

let folder: string;
let clock: VirtualClock;
let table: string;

beforeEach(async () => {
  folder = makeFolder("tables");
  clock = new VirtualClock();
  const database = await openLevelDatabase(folder);
  for (let index = 0; index < 100; index++) await database.put(Buffer.from(`p${index}`), Buffer.alloc(500, index));
  await database.compactRange(Buffer.from("a"), Buffer.from("z"));
  await database.close();
  [table = ""] = readdirSync(folder).filter((name) => name.endsWith(".ldb"));
});

afterEach(() => removeFolder(folder));

function damage(): void {
  const file = path.join(folder, table);
  const bytes = readFileSync(file);
  bytes.fill(0, 0, 100);
  writeFileSync(file, bytes);
}

const wait = (ms: number): void => {
  clock.after(ms, () => undefined);
  clock.step();
};

it("finds a table that has been damaged since it was listed", async () => {
  const tables = new KnownTables(folder, clock);
  expect(await tables.lookThrough()).toEqual([]);
  wait(LIST_AFTER_MS);
  await tables.note(readdirSync(folder));
  damage();
  expect(await new KnownTables(folder, clock).lookThrough()).toEqual([table]);
});

it("lists a table that has been seen twice alike, and trusts it at the next start; not at the one after, if that start was not survived for 5 s", async () => {
  damage(); // so that it shows whether it was looked through
  const tables = new KnownTables(folder, clock);
  await tables.note(readdirSync(folder));
  wait(LIST_AFTER_MS);
  await tables.note(readdirSync(folder));
  expect(readFileSync(path.join(folder, "tables"), "latin1")).toContain(table);
  expect(await new KnownTables(folder, clock).lookThrough()).toEqual([]);
  expect(existsSync(path.join(folder, "tables"))).toBe(false);
  expect(await new KnownTables(folder, clock).lookThrough()).toEqual([table]);
});

/** A process of `ms` that finds these tables damaged. */
async function live(ms: number, isClosed: boolean): Promise<string[]> {
  const tables = new KnownTables(folder, clock);
  const found = await tables.lookThrough();
  await tables.note(readdirSync(folder));
  wait(ms);
  await tables.note(readdirSync(folder));
  if (isClosed) await tables.close();
  return found;
}

it("trusts no list when two processes have died one after the other, but in a power cut", async () => {
  await live(LIST_AFTER_MS, true);
  const listPath = path.join(folder, "tables");
  const rot = readFileSync(listPath, "latin1"); // of a table whose times rot has not changed
  damage();
  const status = statSync(path.join(folder, table));
  writeFileSync(listPath, rot.replace(new RegExp(`${table} .*`), `${table} ${status.size} ${status.mtimeMs} ${status.ctimeMs}`));
  for (let count = 0; count < 4; count++) expect(await live(LIST_AFTER_MS, true)).toEqual([]);
  expect(await live(LIST_AFTER_MS, false)).toEqual([]);
  expect(await live(LIST_AFTER_MS, false)).toEqual([]);
  const list = readFileSync(listPath, "latin1");
  expect(await live(LIST_AFTER_MS, false)).toEqual([table]);
  writeFileSync(listPath, list.replace(/^boot [^ ]*/, "boot another"));
  expect(await live(LIST_AFTER_MS, false)).toEqual([]);
  expect(await live(LIST_AFTER_MS, false)).toEqual([]);
  expect(await live(LIST_AFTER_MS, false)).toEqual([table]);
});

it("mends a table so that the database can be opened, keeps the damaged one, and says how much is left", async () => {
  damage();
  const tables = new KnownTables(folder, clock);
  await tables.lookThrough();
  const told = await tables.mend();
  expect(told).toEqual([expect.stringMatching(new RegExp(`^${table}: \\d+ of \\d+ bytes are intact$`))]);
  expect(readdirSync(path.join(folder, "lost"))).toEqual([table]);
  await repairLevelDatabase(folder);
  const database = await openLevelDatabase(folder);
  const found = await database.values().all();
  expect(found.length).toBeGreaterThan(50);
  for (const value of found) expect(value.every((byte) => byte === value[0])).toBe(true);
  await database.close();
});

/** What a process leaves that died while it wrote a table. */
function leaveUnfinished(): void {
  const bytes = readFileSync(path.join(folder, table));
  writeFileSync(path.join(folder, "000099.ldb"), bytes.subarray(0, bytes.length / 2));
}

it("leaves a table alone that was in the making when the process died, unless LevelDB misses it", async () => {
  leaveUnfinished();
  const reports: unknown[] = [];
  const options = { directory: folder, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, report: (event: unknown) => reports.push(event) } as const;
  await expect(openStore(options)).rejects.toMatchObject({ code: "format" }); // it is not a store of ours: it was opened
  expect(reports).toEqual([]);
});

it("mends the others when a table that was in the making has been removed meanwhile", async () => {
  leaveUnfinished();
  damage();
  const tables = new KnownTables(folder, clock);
  await tables.lookThrough();
  rmSync(path.join(folder, "000099.ldb")); // as LevelDB does when it opens the database, before it finds out what else is damaged
  expect(await tables.mend()).toEqual([expect.stringMatching(new RegExp(`^${table}: `))]);
});

it("leaves the tables of a store alone that another process has open", async () => {
  const holder = spawn(process.execPath, ["-e", HOLD, folder], { cwd: import.meta.dirname, stdio: ["pipe", "pipe", "inherit"] });
  try {
    await once(holder.stdout, "data");
    damage();
    const before = readFileSync(path.join(folder, table));
    const options = { directory: folder, durability: "power", commitIntervalMs: 0, clock, strict: false, minFreeBytes: 0, report: () => undefined } as const;
    await expect(openStore(options)).rejects.toMatchObject({ code: "locked" });
    expect(readFileSync(path.join(folder, table)).equals(before)).toBe(true);
    expect(readdirSync(folder)).not.toContain("lock");
  } finally {
    holder.kill("SIGKILL");
    await once(holder, "exit");
  }
});
