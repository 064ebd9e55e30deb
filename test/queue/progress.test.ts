import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeProgress, encodeProgress } from "../../src/queue/progress.ts";

const u48 = fc.nat({ max: 2 ** 48 - 1 });

describe("progress record", () => {
  it("brings back its numbers, and of the window what is received or acknowledged", () => {
    const runs = fc.array(u48, { maxLength: 5 }).map((numbers) => numbers.map((from) => ({ from, to: Math.min(from + 3, 2 ** 48 - 1) })));
    const ring = fc.integer({ min: 0, max: 6 }).chain((log) => fc.array(fc.nat(3), { minLength: 2 ** log, maxLength: 2 ** log }));
    const numbers = fc.record({ ackedBelow: fc.nat(2 ** 47), waiting: fc.nat(100), messages: fc.nat(2 ** 32 - 1), bytes: u48, firstPage: u48, oldestMs: u48, sentLimit: u48 });
    fc.assert(
      fc.property(numbers, ring, runs, ({ ackedBelow, waiting, messages, bytes, firstPage, oldestMs, sentLimit }, states, dropped) => {
        const nextSeq = ackedBelow + waiting;
        const slots = Uint8Array.from(states);
        const window = Array.from({ length: Math.min(waiting, slots.length) }, (_, offset) => ackedBelow + offset);
        const kept = window.map((seq) => ({ seq, state: slots[seq % slots.length] ?? 0 })).filter(({ state }) => state >= 2);
        const record = encodeProgress({ nextSeq, ackedBelow, messages, bytes }, firstPage, oldestMs, sentLimit, slots, dropped);
        expect(decodeProgress(record)).toEqual({ nextSeq, ackedBelow, firstPage, messages, bytes, oldestMs, sentLimit, slots: kept, dropped });
      }),
    );
  });

  it("lies on disk as the format describes it", () => {
    const slots = new Uint8Array(8);
    slots[(0x1_0000_0001 + 1) % 8] = 2;
    slots[(0x1_0000_0001 + 3) % 8] = 1;
    slots[(0x1_0000_0001 + 4) % 8] = 3;
    const queue = { nextSeq: 0x1_0000_0007, ackedBelow: 0x1_0000_0001, messages: 6, bytes: 0x1234 };
    expect(encodeProgress(queue, 0x1_0000_0000, 0x0199_0000_0000, 0x1_0000_0005, slots, [{ from: 0x1_0000_0002, to: 0x1_0000_0004 }]).toString("hex")).toBe(
      "03" + "000100000007" + "000100000001" + "000100000000" + "00000006" + "000000001234" + "019900000000" + "000100000005" + "0002" + "000102" + "000403" + "000100000002" + "000100000004",
    );
  });

  it("of format 2, which has no runs, is read", () => {
    const slots = new Uint8Array(4);
    slots[2] = 2;
    const record = encodeProgress({ nextSeq: 3, ackedBelow: 1, messages: 2, bytes: 9 }, 1, 0, 1, slots, []);
    record[0] = 2;
    expect(decodeProgress(record)).toMatchObject({ nextSeq: 3, messages: 2, slots: [{ seq: 2, state: 2 }], dropped: [] });
  });

  it("is refused when it is of another format or cut short", () => {
    const record = encodeProgress({ nextSeq: 1, ackedBelow: 1, messages: 0, bytes: 0 }, 1, 0, 1, new Uint8Array(4), []);
    for (let length = 0; length < record.length; length++) expect(() => decodeProgress(record.subarray(0, length))).toThrow("unknown format");
    record[0] = 4;
    expect(() => decodeProgress(record)).toThrow("queue record of unknown format 4");
  });
});
