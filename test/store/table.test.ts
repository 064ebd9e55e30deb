import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openLevelDatabase, repairLevelDatabase } from "../../src/store/database.ts";
import { isIntactTable, mendedTable } from "../../src/store/table.ts";
import { makeFolder, removeFolder } from "../scenario/process.ts";

const RECORDS = 400;
const BLOCK_BYTES = 4096;

let folder: string;
let table: Buffer;
const values = new Map<string, string>();

/** Tables that LevelDB has written: values that it packs, values that it does not, small and large ones. */
beforeAll(async () => {
  folder = makeFolder("table");
  const directory = path.join(folder, "origin");
  const database = await openLevelDatabase(directory);
  const batch = database.batch();
  for (let index = 0; index < RECORDS; index++) {
    const key = `key ${String(index).padStart(6, "0")}`;
    const value = index % 3 === 0 ? "x".repeat(500) : randomBytes(index % 50 === 0 ? 9_000 : 300).toString("hex");
    values.set(key, value);
    batch.put(Buffer.from(key), Buffer.from(value));
  }
  await batch.write();
  await database.compactRange(Buffer.from("a"), Buffer.from("z"));
  await database.close();
  const [name = ""] = readdirSync(directory).filter((entry) => entry.endsWith(".ldb"));
  table = readFileSync(path.join(directory, name));
});

afterAll(() => removeFolder(folder));

/** What LevelDB reads of a database that has this table alone. */
async function readBy(bytes: Buffer): Promise<Map<string, string>> {
  const directory = path.join(folder, "copy");
  mkdirSync(directory);
  writeFileSync(path.join(directory, "000005.ldb"), bytes);
  await repairLevelDatabase(directory);
  const database = await openLevelDatabase(directory);
  const found = new Map<string, string>();
  for await (const [key, value] of database.iterator()) found.set(key.toString(), value.toString());
  for (const key of values.keys()) expect((await database.get(Buffer.from(key)))?.toString()).toBe(found.get(key));
  await database.close();
  rmSync(directory, { recursive: true });
  return found;
}

function damagedAt(from: number, damage: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(table);
  damage(copy.subarray(from, from + BLOCK_BYTES));
  return copy;
}

describe("a table", () => {
  it("is intact as LevelDB has written it", () => {
    expect(isIntactTable(table)).toBe(true);
  });

  it("is not when any single byte of it is another, but for what the footer does not use", () => {
    const unnoticed: number[] = [];
    for (let at = 0; at < table.length; at += 97) {
      const copy = Buffer.from(table);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      if (isIntactTable(copy)) unnoticed.push(at);
    }
    expect(unnoticed.filter((at) => at < table.length - 48)).toEqual([]);
  });

  it.each([
    ["zeroed", (bytes: Buffer) => void bytes.fill(0)],
    ["flipped in one bit", (bytes: Buffer) => void bytes.writeUInt8(bytes.readUInt8(9) ^ 4, 9)],
    ["overwritten", (bytes: Buffer) => void bytes.fill(randomBytes(64))],
  ])("gives back what lies outside a part that was %s, wherever that is", { timeout: 120_000 }, async (_kind, damage) => {
    for (let from = 0; from < table.length; from += Math.ceil(table.length / 25)) {
      const mended = mendedTable(damagedAt(from, damage));
      if (!mended) throw new Error(`nothing is left with damage at ${from} of ${table.length}`);
      expect(isIntactTable(mended)).toBe(true);
      const found = await readBy(mended);
      for (const [key, value] of found) expect(value).toBe(values.get(key));
      // The damaged part, and the rest of the blocks that it lies in.
      const lostBytes = [...values].filter(([key]) => !found.has(key)).reduce((sum, [, value]) => sum + value.length, 0);
      expect(lostBytes).toBeLessThan(10 * BLOCK_BYTES);
    }
  });

  it("gives back what stands before its end when it is cut short", async () => {
    for (const part of [0.2, 0.5, 0.9, 0.999]) {
      const mended = mendedTable(table.subarray(0, Math.floor(table.length * part)));
      const found = await readBy(mended ?? Buffer.alloc(0));
      for (const [key, value] of found) expect(value).toBe(values.get(key));
      expect(found.size).toBeGreaterThan(values.size * part * 0.7);
    }
  });

  it("is given up when nothing of it can be read", () => {
    expect(mendedTable(Buffer.alloc(0))).toBeUndefined();
    expect(mendedTable(Buffer.alloc(10_000))).toBeUndefined();
    expect(mendedTable(randomBytes(10_000))).toBeUndefined();
  });
});
