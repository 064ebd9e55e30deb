import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { filterMatches, isHiddenBelow } from "../../src/topic/matching.ts";
import { NameTree } from "../../src/topic/name-tree.ts";

// Deep names are longer than the levels that the tree indexes.
const level = fc.constantFrom("a", "b", "", "$x");
const name = fc
  .tuple(fc.constantFrom(0, 0, 14, 30), fc.array(level, { minLength: 1, maxLength: 4 }))
  .map(([above, levels]) => "a/".repeat(above) + levels.join("/"))
  .filter((one) => one !== "");
const filter = fc
  .tuple(fc.constantFrom("", "", "a/".repeat(14), "+/".repeat(15), "a/".repeat(30)), fc.array(fc.oneof(level, fc.constant("+")), { maxLength: 4 }), fc.boolean())
  .map(([above, levels, hash]) => above + (hash ? [...levels, "#"] : levels).join("/"))
  .filter((one) => one !== "");

function stepsOf(tree: NameTree<string>, wanted: string): (string | undefined)[] {
  const found: (string | undefined)[] = [];
  const steps = tree.find(wanted);
  for (let step = steps.next(); step.done !== true; step = steps.next()) found.push(step.value);
  return found;
}

const namesIn = (tree: NameTree<string>, wanted: string): string[] => stepsOf(tree, wanted).filter((one) => one !== undefined);

describe("NameTree", () => {
  it("finds what filterMatches says, through any additions and removals", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.boolean()), { maxLength: 40 }), filter, (changes, wanted) => {
        const tree = new NameTree<string>();
        const model = new Set<string>();
        for (const [one, remove] of changes) {
          if (remove) tree.delete(one);
          else tree.set(one, one);
          if (remove) model.delete(one);
          else model.add(one);
        }
        expect(namesIn(tree, wanted).sort()).toEqual([...model].filter((one) => filterMatches(wanted, one)).sort());
        for (const one of model) tree.delete(one);
        expect(stepsOf(tree, "#")).toEqual([undefined]);
      }),
      { numRuns: 2000 },
    );
  });

  it("takes as many steps as the filter has levels when nothing matches, however many names there are", () => {
    const tree = new NameTree<string>();
    for (let i = 0; i < 10_000; i++) tree.set(`site/${i}/state`, "x");
    for (const wanted of ["other/#", "site/none/+", "site/1/state/below/+", "other/+/+/+"]) expect(stepsOf(tree, wanted).length).toBeLessThan(5);
  });

  it("finds every name that stays, whatever comes and goes while it is gone through", () => {
    const tree = new NameTree<string>();
    for (let i = 0; i < 100; i++) tree.set(`stays/${i}/x`, `stays/${i}/x`);
    for (let i = 0; i < 100; i++) tree.set(`goes/${i}/x`, `goes/${i}/x`);
    const found = new Set<string | undefined>();
    const steps = tree.find("+/+/x");
    for (let step = steps.next(), i = 0; step.done !== true; step = steps.next(), i++) {
      found.add(step.value);
      tree.delete(`goes/${i % 100}/x`);
      if (i < 200) tree.set(`comes/${i}/x`, "new");
    }
    expect([...found].filter((one) => one?.startsWith("stays")).length).toBe(100);
  });
});

it.each([
  ["plant/", "plant/#", "plant/$x/a", true],
  ["plant/", "plant/+/a", "plant/$x/a", true],
  ["plant/", "plant/$x/#", "plant/$x/a", false],
  ["plant/", "plant/a/#", "plant/a/$x", false],
  ["plant/", "#", "plant/$x", true],
  ["plant/", "+/$x", "plant/$x", true],
  ["plant/", "plant/#", "plant/x", false],
  ["", "$x/#", "$x/a", false],
])("below %j, %s hides %s: %s [MQTT-4.7.2-1]", (prefix, wanted, one, hidden) => expect(isHiddenBelow(prefix, wanted, one)).toBe(hidden));
