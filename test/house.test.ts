import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { allowedRooms, arrows, roomOf } from "../scripts/house.mjs";

const src = path.join(import.meta.dirname, "..", "src");

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

/** Files of src/ that each file of src/ imports, type imports included. */
const importsOf = new Map(
  files.map((file) => {
    const text = readFileSync(path.join(src, file), "utf8");
    const targets = [...text.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*)["'](\.{1,2}\/[^"']+)["']/g)].map((match) =>
      path.normalize(path.join(path.dirname(file), match[1] ?? "")).replace(/\.js$/, ".ts"),
    );
    return [file, targets] as const;
  }),
);

function findCircle(): string[] | undefined {
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (file: string): string[] | undefined => {
    const seenAt = way.indexOf(file);
    if (seenAt >= 0) return [...way.slice(seenAt), file];
    if (done.has(file)) return undefined;
    way.push(file);
    for (const target of importsOf.get(file) ?? []) {
      const circle = visit(target);
      if (circle !== undefined) return circle;
    }
    way.pop();
    done.add(file);
    return undefined;
  };
  for (const file of files) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

describe("the house", () => {
  it("has a rule for every room", () => {
    const rooms = new Set(files.map(roomOf).filter((room) => room !== undefined));
    expect([...rooms].filter((room) => !(room in arrows))).toEqual([]);
  });

  it("imports only what lies below (R1)", () => {
    const wrong: string[] = [];
    for (const [file, targets] of importsOf) {
      const room = roomOf(file);
      if (room === undefined) continue;
      const allowed = allowedRooms(room);
      for (const target of targets) {
        const to = roomOf(target);
        if (to === undefined || !allowed.has(to)) wrong.push(`${file} -> ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("has no circles between files", () => {
    expect(findCircle()).toBeUndefined();
  });

  it("has no circles between rooms", () => {
    const circles = Object.keys(arrows).filter((room) => (arrows[room] ?? []).some((below) => allowedRooms(below).has(room)));
    expect(circles).toEqual([]);
  });
});
