import fc from "fast-check";
import { expect, it } from "vitest";
import { NameHeap } from "../../src/topic/name-heap.ts";

it("gives names out in order, each as often as it was put in", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 3 })), (names) => {
      const heap = new NameHeap();
      for (const name of names) heap.add(name);
      const taken: string[] = [];
      for (let name = heap.take(); name !== undefined; name = heap.take()) taken.push(name);
      expect(taken).toEqual([...names].sort());
    }),
  );
});
