import type * as nodeFs from "node:fs";
import { readdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { damageOfNames } from "../../src/store/damage.ts";
import { openLevelDatabase } from "../../src/store/database.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";

let readBytes = 0;

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof nodeFs>();
  return {
    ...fs,
    readFileSync: (...given: Parameters<typeof fs.readFileSync>) => {
      const read = fs.readFileSync(...given);
      readBytes += read.length;
      return read;
    },
    readSync: (...given: [number, NodeJS.ArrayBufferView, number, number, number]) => {
      const read = fs.readSync(...given);
      readBytes += read;
      return read;
    },
  };
});

let directory: string;

beforeEach(() => {
  directory = makeFolder("damage");
  readBytes = 0;
});
afterEach(() => removeFolder(directory));

const namesOf = (kind: RegExp): string[] => readdirSync(directory).filter((name) => kind.test(name));

/** So many tables, each of which the manifest tells of with two keys. */
async function fill(tables: number, keyBytes: number): Promise<void> {
  const database = await openLevelDatabase(directory);
  for (let number = 0; number < tables; number++) {
    await database.put(Buffer.alloc(keyBytes, String.fromCharCode(48 + number)), Buffer.alloc(10));
    await database.compactRange(Buffer.from([0]), Buffer.from([0]));
  }
  await database.close();
}

it("looks for the log by the end of a manifest that has grown for long", async () => {
  await fill(70, 1_500);
  const [manifest = ""] = namesOf(/^MANIFEST/);
  expect(statSync(path.join(directory, manifest)).size).toBeGreaterThan(200_000);
  expect(damageOfNames(directory)).toBeUndefined();
  for (const log of namesOf(/\.log$/)) rmSync(path.join(directory, log));
  expect(damageOfNames(directory)).toMatch(/the log \d+ is missing/);
  expect(readBytes).toBeLessThan(2 * 70_000);
});

it("looks for it in all of the manifest where its last record is longer than what is read of its end", async () => {
  await fill(3, 50_000);
  expect(damageOfNames(directory)).toBeUndefined();
  for (const log of namesOf(/\.log$/)) rmSync(path.join(directory, log));
  expect(damageOfNames(directory)).toMatch(/the log \d+ is missing/);
});
