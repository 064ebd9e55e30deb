import { describe, it, expect } from "vitest";
import fc from "fast-check";
import { filterCovers, filterMatches, filtersOverlap } from "../../src/topic/matching.ts";
import { SubscriptionTree } from "../../src/topic/subscription-tree.ts";
import { isValidTopicName } from "../../src/mqtt/topic-name.ts";
import { filterProblem, hasWildcard } from "../../src/topic/validity.ts";

const nameLevel = fc.constantFrom("a", "b", "", "$x");
const name = fc.array(nameLevel, { minLength: 1, maxLength: 4 }).map((l) => l.join("/")).filter((n) => n !== "");
const filter = fc
  .tuple(fc.array(fc.oneof(nameLevel, fc.constant("+")), { maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => (hash ? [...levels, "#"] : levels).join("/"))
  .filter((f) => f !== "");

/** Every name of up to five levels of this small alphabet. */
const allNames: string[] = [];
for (let levels = [""], depth = 0; depth < 5; depth++) {
  const atDepth = levels.flatMap((l) => ["a", "b", "", "$x"].map((next) => (depth === 0 ? next : `${l}/${next}`)));
  allNames.push(...atDepth.filter((n) => n !== ""));
  levels = atDepth;
}

/** The rules of [MQTT-4.7] as a regular expression. */
function naive(f: string, n: string): boolean {
  if (/^[+#]/.test(f) && n.startsWith("$")) return false;
  if (f === "#") return true;
  const body = f.replace(/\/#$/, "").split("/").map((l) => (l === "+" ? "[^/]*" : l.replace("$", "\\$"))).join("/");
  return new RegExp(`^${body}${f.endsWith("/#") ? "(/.*)?" : ""}$`).test(n);
}

describe("filterMatches", () => {
  it.each([
    ["a/#", "a", true], ["a/#", "a/b/c", true], ["#", "a/b", true], ["#", "$SYS/x", false], ["+/x", "$SYS/x", false],
    ["$SYS/#", "$SYS/x", true], ["a/+", "a", false], ["a/+", "a/", true], ["+", "/a", false], ["+/+", "/a", true],
    ["/+", "/a", true], ["a", "A", false], ["a/+/#", "a", false], ["a/+", "a/$x", true],
  ])("%s against %s: %s", (f, n, result) => expect(filterMatches(f, n)).toBe(result));

  it("agrees with the rules written as a regular expression", () => {
    fc.assert(fc.property(filter, name, (f, n) => filterMatches(f, n) === naive(f, n)), { numRuns: 2000 });
  });
});

describe("filterCovers and filtersOverlap", () => {
  it("agree with trying every name", () => {
    fc.assert(
      fc.property(filter, filter, (f, g) => {
        const ofG = allNames.filter((n) => filterMatches(g, n));
        expect(filterCovers(f, g)).toBe(ofG.every((n) => filterMatches(f, n)));
        expect(filtersOverlap(f, g)).toBe(ofG.some((n) => filterMatches(f, n)));
      }),
      { numRuns: 500 },
    );
  });
});

describe("SubscriptionTree", () => {
  it("matches what a list of filters matches, through any additions and removals", () => {
    const keys = [{}, {}];
    const change = fc.record({ filter, key: fc.nat(1), remove: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), name, (changes, n) => {
        const tree = new SubscriptionTree<string>();
        const model = new Map<string, string>();
        for (const c of changes) {
          const id = `${c.filter} ${c.key}`;
          const before = tree.generation;
          const key = keys[c.key] as object;
          const former = c.remove ? tree.remove(c.filter, key) : tree.add(c.filter, key, id);
          expect(former).toBe(model.get(id));
          expect(tree.generation !== before).toBe(!c.remove || model.has(id));
          if (c.remove) model.delete(id);
          else model.set(id, id);
        }
        const expected = [...model.keys()].filter((id) => filterMatches(id.slice(0, -2), n));
        expect(tree.match(n).sort()).toEqual(expected.sort());
        expect(tree.size).toBe(model.size);
        expect(tree.filtersCount).toBe(new Set([...model.keys()].map((id) => id.slice(0, -2))).size);
      }),
      { numRuns: 500 },
    );
  });
});

describe("validity", () => {
  it.each([
    ["meters+/power", "'+' must stand alone in its level: did you mean meters/+/power?"],
    ["+meters", "'+' must stand alone in its level: did you mean +/meters?"],
    ["a#", "'#' must stand alone in the last level: did you mean a/#?"],
    ["a/#/b", "'#' must be the last level: did you mean a/+/b?"],
  ])("explains what is wrong with %s", (f, problem) => expect(filterProblem(f)).toBe(problem));

  it.each(["", "a\0", "\ud800", "a/".repeat(200), "x".repeat(65_536)])("refuses filter %#", (f) => {
    expect(filterProblem(f)).toBeDefined();
  });

  it("accepts every well-formed filter", () => {
    fc.assert(fc.property(filter, (f) => filterProblem(f) === undefined));
    expect(hasWildcard("a/+")).toBe(true);
    expect(hasWildcard("a/b")).toBe(false);
  });

  it("accepts a topic name of 1 to 65535 bytes without wildcards", () => {
    const check = (n: string): boolean => isValidTopicName(Buffer.from(n), 0, Buffer.byteLength(n));
    expect(["a", "/", "$SYS/x", "ü", "x".repeat(65_535)].every(check)).toBe(true);
    expect(["", "+", "a/#", "a\0", "x".repeat(65_536)].some(check)).toBe(false);
  });
});
