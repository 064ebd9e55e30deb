import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";

const scenarios = import.meta.dirname;
const document = readFileSync(path.join(scenarios, "..", "..", "doc", "mqtt5.md"), "utf8");

/** Rows of the first table: feature, what is done, and its tests as `file` or `file: beginning of a name`, with `;` between. */
const rows = document
  .split("\n## ")[1]
  ?.split("\n")
  .filter((line) => line.startsWith("|"))
  .slice(2)
  .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));

it.each((rows ?? []).filter(([, , tests]) => tests !== ""))("doc/mqtt5.md on %s names tests that exist", (_feature, _here, tests = "") => {
  for (const named of tests.split(";")) {
    const [file = "", beginning = ""] = named.split(":").map((part) => part.trim());
    const source = path.join(scenarios, `mqtt5-${file}.test.ts`);
    expect(existsSync(source), source).toBe(true);
    const text = readFileSync(source, "utf8");
    // A test, a group of them, or a row of a table of tests.
    expect(["(\"", "[\"", "(`"].some((before) => text.includes(before + beginning)), `${file}: ${beginning}`).toBe(true);
  }
});

it("doc/mqtt5.md has its table", () => expect(rows?.length).toBeGreaterThan(20));
