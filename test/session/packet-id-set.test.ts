import fc from "fast-check";
import { expect, it } from "vitest";
import { PacketIdSet } from "../../src/session/packet-id-set.ts";

it("is a set of packet identifiers", () => {
  const step = fc.record({ isAdded: fc.boolean(), id: fc.oneof(fc.integer({ min: 1, max: 65_535 }), fc.constantFrom(1, 31, 32, 33, 255, 256, 257, 65_535)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const model = new Set<number>();
      const ids = new PacketIdSet();
      for (const { isAdded, id } of steps) {
        expect(ids.has(id)).toBe(model.has(id));
        if (isAdded) {
          expect(ids.add(id)).toBe(!model.has(id));
          model.add(id);
        } else {
          expect(ids.delete(id)).toBe(model.delete(id));
        }
      }
      expect(Array.from({ length: 65_535 }, (_, i) => i + 1).filter((id) => ids.has(id))).toEqual([...model].sort((a, b) => a - b));
    }),
    { numRuns: 50 },
  );
});
