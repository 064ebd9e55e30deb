import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openLevelDatabase } from "../../src/store/database.ts";
import { logByEnd, tablesOf } from "../../src/store/manifest.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "amqtdd-manifest-"));
});

afterEach(() => rm(directory, { recursive: true }));

it("knows the tables of a database by its manifest, over blocks' ends too, and not those that it had", async () => {
  // Long keys, so that what the manifest says of a table is longer than a part of a block.
  const database = await openLevelDatabase(directory);
  for (let number = 0; number < 60; number++) {
    const key = Buffer.alloc(1_500, String.fromCharCode(48 + number));
    await database.put(key, Buffer.alloc(10));
    await database.compactRange(Buffer.from([0]), Buffer.from([0]));
  }
  await database.compactRange(Buffer.from([48]), Buffer.from([58]));
  await database.close();
  const names = await readdir(directory);
  const [name = ""] = names.filter((entry) => entry.startsWith("MANIFEST-"));
  const manifest = await readFile(join(directory, name));
  expect(manifest.length).toBeGreaterThan(4 * 32 * 1024);
  const tables = names.filter((entry) => entry.endsWith(".ldb")).map((entry) => Number.parseInt(entry, 10));
  expect(tables.length).toBeGreaterThan(30);
  expect([...(tablesOf(manifest) ?? [])].sort((a, b) => a - b)).toEqual(tables.sort((a, b) => a - b));

  expect(logByEnd(manifest)).toBe(Math.max(...names.filter((entry) => entry.endsWith(".log")).map((entry) => Number.parseInt(entry, 10))));

  expect(tablesOf(manifest.subarray(0, manifest.length - 1))).toBeInstanceOf(Set);
  for (const length of [0, 5, 20]) expect(tablesOf(manifest.subarray(0, length))).toBeUndefined();
  for (const at of [0, 5, 6, 7, 100, 32 * 1024, manifest.length - 1]) {
    const flipped = Buffer.from(manifest);
    flipped[at] = (flipped[at] ?? 0) ^ 0x10;
    expect(tablesOf(flipped)).toBeUndefined();
  }
});
