import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { seal, unseal } from "../../src/store/checked.ts";
import { type Database, type OpenDatabase, openLevelDatabase } from "../../src/store/database.ts";
import { GroupRecords } from "../../src/store/group.ts";
import { connectionKey, goneKey, pageKey, queueKey, sessionKey, subscriptionKey } from "../../src/store/keys.ts";
import { openStore, type StoreEvent } from "../../src/store/open.ts";
import { RecordCopy, restoreCopied } from "../../src/store/record-copy.ts";
import type { StoredRecord } from "../../src/store/store.ts";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { Uncertainty } from "../../src/store/uncertainty.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { untilStored } from "./contract.ts";

const AFTER_MS = 5_000;
const RETRY_MS = 60_000;
const MIN_CHANGED_BYTES = 256 * 1024;

type Change = readonly [key: Buffer, value: string | undefined];
const session = (number: number, value = `session ${number}`): Change => [sessionKey(number), value];
const subscription = (number: number, filter: string, value = "options"): Change => [subscriptionKey(number, filter), value];
const without = ([key]: Change): Change => [key, undefined];
const connection = (name: string, value = `connection ${name}`): Change => [connectionKey(name), value];

let folder: string;
let database: Database;
let clock: VirtualClock;
let hasLost: boolean;
let damaged: string[];
let copy: RecordCopy;
/** While the copy reads them. */
let onRead: () => void;

const source = {
  get hasLost(): boolean {
    return hasLost;
  },
  async read(ranges: () => Iterable<{ readonly from: Buffer; readonly to: Buffer }>): Promise<StoredRecord[]> {
    const found: StoredRecord[] = [];
    for (const { from, to } of ranges()) {
      // One at a time: each is a slice.
      for (const [key, value] of await database.iterator({ gte: from, lt: to, limit: 1 }).all()) found.push([key, unseal(key, value) ?? Buffer.alloc(0)]);
    }
    onRead();
    return found;
  },
};

beforeEach(async () => {
  folder = makeFolder("copy");
  database = await openLevelDatabase(path.join(folder, "database"));
  clock = new VirtualClock();
  hasLost = false;
  damaged = [];
  onRead = () => undefined;
  copy = new RecordCopy(folder, clock, source);
});

afterEach(async () => {
  await database.close();
  removeFolder(folder);
});

function note(...changes: readonly Change[]): void {
  const records = new GroupRecords();
  for (const [key, value] of changes) {
    if (value === undefined) records.delete(key);
    else records.put(key, Buffer.from(value));
  }
  copy.note(records);
}

async function store(...changes: readonly Change[]): Promise<void> {
  for (const [key, value] of changes) {
    if (value === undefined) await database.del(key);
    else await database.put(key, seal(key, Buffer.from(value)));
  }
}

function pass(ms: number): void {
  clock.after(ms, () => undefined);
  clock.step();
}

async function written(): Promise<void> {
  copy.write();
  await copy.close();
}

async function lose(): Promise<void> {
  await database.clear();
}

async function restored(): Promise<Change[]> {
  await restoreCopied(database, folder, (detail) => void damaged.push(detail));
  return (await database.iterator().all()).map(([key, value]) => [key, String(unseal(key, value))]);
}

describe("the second copy of sessions, subscriptions and connections", () => {
  it("holds what the store does, and what has changed since, deletions too, and nothing else", async () => {
    await store(session(1), session(2), subscription(1, "a"), subscription(1, "b"), subscription(2, "c"), connection("x"), [queueKey(1, 0), "progress"]);
    pass(AFTER_MS);
    await written();
    note(session(3), subscription(3, "d"), [queueKey(3, 0), "progress"], [pageKey(3, 0, 1), "messages"]);
    note(without(subscription(1, "b")), session(2, "changed"), without(connection("x")));
    await written();
    await lose();
    expect(await restored()).toEqual([session(1), session(2, "changed"), session(3), subscription(1, "a"), subscription(2, "c"), subscription(3, "d")]);
  });

  it("is written whole no sooner than 5 s after the start, and not where there is too little room; what has changed is added before", async () => {
    await store(session(1));
    note(session(2));
    pass(AFTER_MS - 1);
    await written();
    pass(1);
    note(session(3));
    copy.write(false);
    await copy.close();
    await lose();
    expect(await restored()).toEqual([session(2), session(3)]);
  });

  it("is written whole once, also when there is nothing to write", async () => {
    pass(AFTER_MS);
    await written();
    const { mtimeMs } = statSync(path.join(folder, "copy"));
    onRead = () => expect.fail("it is read again");
    await written();
    expect(statSync(path.join(folder, "copy")).mtimeMs).toBe(mtimeMs);
  });

  it("has what changes while the store is read", async () => {
    await store(session(1), session(2), subscription(1, "a"));
    pass(AFTER_MS);
    onRead = () => note(session(9), without(subscription(1, "a")));
    await written();
    await lose();
    expect(await restored()).toEqual([session(1), session(2), session(9)]);
  });

  it("is not taken from a database that has lost something, not even amid that", async () => {
    await store(session(1), subscription(1, "a"));
    pass(AFTER_MS);
    await written();
    const grown = session(1, "x".repeat(MIN_CHANGED_BYTES));
    await store(grown);
    note(grown);
    await written();
    onRead = () => {
      hasLost = true;
    };
    await database.del(subscriptionKey(1, "a"));
    await written();
    await written();
    await lose();
    expect(await restored()).toEqual([grown, subscription(1, "a")]);
  });

  it("is written anew when the changes have grown, and so stays as small as what it holds", async () => {
    await store(session(1));
    pass(AFTER_MS);
    for (let round = 0; round < 20; round++) {
      note(session(1, `${round}`.repeat(40_000)));
      await written();
    }
    expect(statSync(path.join(folder, "copy")).size).toBeLessThan(2 * MIN_CHANGED_BYTES);
    await lose();
    expect((await restored())[0]?.[1]).toBe("19".repeat(40_000));
  });

  it("does without a line that is damaged or torn", async () => {
    await store(session(1), session(2), session(3));
    pass(AFTER_MS);
    await written();
    const file = path.join(folder, "copy");
    const lines = readFileSync(file, "latin1").split("\n");
    lines[1] = `${lines[1]?.slice(0, -3)}A==`;
    writeFileSync(file, `${lines.join("\n").trimEnd()}\n${lines[0]?.slice(0, 20)}`);
    note(session(4));
    await written();
    await lose();
    expect(await restored()).toEqual([session(1), session(3), session(4)]);
  });

  it("has all that could not be written as soon as that can be, and is written whole a minute later", async () => {
    const file = path.join(folder, "copy");
    mkdirSync(file);
    await store(session(1), session(2));
    pass(AFTER_MS);
    note(session(2));
    await written();
    expect(existsSync(`${file}.new`)).toBe(false);
    note(session(2, "changed"));
    rmSync(file, { recursive: true });
    await written();
    expect(readFileSync(file, "latin1").trim().split("\n")).toHaveLength(1);
    await store(session(2, "changed"));
    pass(RETRY_MS);
    await written();
    await lose();
    expect(await restored()).toEqual([session(1), session(2, "changed")]);
  });
});

describe("what is restored", () => {
  beforeEach(async () => {
    await store(session(1), session(2), subscription(1, "a"), subscription(2, "b"), connection("x"));
    pass(AFTER_MS);
    await written();
  });

  it("is nothing of a session that has ended, nor what is there", async () => {
    await database.clear();
    await store(session(1, "newer"), [goneKey(2), ""]);
    expect(await restored()).toEqual([connection("x"), [goneKey(2), ""], session(1, "newer"), subscription(1, "a")]);
  });

  it("is what is damaged; what is damaged and not to be had is told of and removed", async () => {
    await database.put(sessionKey(1), Buffer.from("no such CRC"));
    await database.put(sessionKey(3), Buffer.from("no such CRC"));
    expect(await restored()).toEqual([connection("x"), session(1), session(2), subscription(1, "a"), subscription(2, "b")]);
    expect(damaged).toEqual([`record ${sessionKey(3).toString("hex")}`]);
  });

  it("is nothing without the file", async () => {
    await database.clear();
    expect(await restoreCopied(database, path.join(folder, "elsewhere"), () => expect.fail("nothing is damaged"))).toBe(0);
  });
});

describe("a store", () => {
  const events: StoreEvent[] = [];
  const open = (openDatabase: OpenDatabase = openLevelDatabase): ReturnType<typeof openStore> =>
    openStore({
      openDatabase, directory: path.join(folder, "store"), durability: "power", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, report: (event) => events.push(event),
    });
  const change = async (how: (database: Database) => Promise<void>): Promise<void> => {
    const raw = await openLevelDatabase(path.join(folder, "store"));
    await how(raw);
    await raw.close();
  };

  beforeEach(async () => {
    events.length = 0;
    const first = await open();
    await untilStored(first, first.touch({ writeTo: (group) => group.put(sessionKey(7), Buffer.from("seven")) }, "synced"));
    await first.close();
  });

  it.each(["lost", "damaged"])("has a session's record back that is %s, and says so", async (how) => {
    await change(async (raw) => {
      if (how === "lost") await raw.del(sessionKey(7));
      else await raw.put(sessionKey(7), Buffer.from("damaged"));
    });
    if (how === "lost") new Uncertainty(path.join(folder, "store")).noteLoss();
    const again = await open();
    expect(await again.read(sessionKey(0), sessionKey(9), 1_000)).toEqual([[sessionKey(7), Buffer.from("seven")]]);
    expect(events).toEqual([{ kind: "repaired", detail: expect.stringContaining("from their copy (1 records)") as string }]);
    await again.close();
  });

  it("that begins anew, as it could not be repaired, has them too", async () => {
    let attempts = 0;
    const damaged = async (): Promise<never> => Promise.reject(Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" }));
    for (let start = 0; start < 2; start++) {
      const again = await open((at) => (++attempts <= 2 ? damaged() : openLevelDatabase(at)));
      expect(await again.read(sessionKey(0), sessionKey(9), 1_000)).toEqual([[sessionKey(7), Buffer.from("seven")]]);
      await again.close();
    }
    expect(events.map(({ kind }) => kind)).toEqual(["setAside", "repaired"]);
  });

  it("that could not be repaired stays where it is until the new one is written", async () => {
    const damaged = async (): Promise<never> => Promise.reject(Object.assign(new Error("Corruption: block"), { code: "LEVEL_CORRUPTION" }));
    writeFileSync(path.join(folder, "store.new"), "");
    await expect(open(damaged)).rejects.toThrow("EEXIST");
    rmSync(path.join(folder, "store.new"));
    let attempts = 0;
    const again = await open((at) => (++attempts <= 2 ? damaged() : openLevelDatabase(at)));
    expect(await again.read(sessionKey(0), sessionKey(9), 1_000)).toEqual([[sessionKey(7), Buffer.from("seven")]]);
    expect(readdirSync(folder)).not.toContain("store.new");
    await again.close();
  });

  it("has it back, too, if the start that LevelDB told of a damaged log was killed", async () => {
    await change((raw) => raw.del(sessionKey(7)));
    new Uncertainty(path.join(folder, "store")).note();
    writeFileSync(path.join(folder, "store", "LOG"), "2026/11/23-12:00:00.000000 7f0 000005.log: dropping 100 bytes; Corruption: checksum mismatch\n");
    const again = await open();
    expect(await again.read(sessionKey(0), sessionKey(9), 1_000)).toEqual([[sessionKey(7), Buffer.from("seven")]]);
    await again.close();
  });

  it.each(["stopped", "killed while it was opened"])("that is undamaged and was %s believes itself", async (how) => {
    await change((raw) => raw.del(sessionKey(7)));
    if (how !== "stopped") new Uncertainty(path.join(folder, "store")).note();
    const again = await open();
    expect(await again.read(sessionKey(0), sessionKey(9), 1_000)).toEqual([]);
    expect(events).toEqual([]);
    await again.close();
  });

  it("writes the copy by itself while it runs", { timeout: 30_000 }, async () => {
    writeFileSync(path.join(folder, "store", "copy"), "");
    const again = await open();
    await vi.waitUntil(() => readFileSync(path.join(folder, "store", "copy"), "latin1").includes(Buffer.from("seven").toString("base64")), { timeout: 20_000 });
    await again.close();
  });
});
