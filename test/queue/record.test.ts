import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { writeRemainingLength } from "../../src/mqtt/frame.ts";
import { Message, messageOf } from "../../src/queue/message.ts";
import {
  isIntactRecord, readRecord, readUInt48, recordEnd, recordReceivedMs, recordSeq, recordSize, sealRecords, writeRecord, writeUInt48,
} from "../../src/queue/record.ts";
import { payloadOf, topicOf } from "./messages.ts";

const u48 = fc.nat({ max: 2 ** 48 - 1 });
const content = fc.record({
  topic: fc.string({ unit: "binary", maxLength: 30 }),
  payload: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  retain: fc.boolean(),
  receivedMs: u48,
  seq: u48,
  properties: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  subscriptionIds: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 3 }),
  expiresAtMs: fc.oneof(fc.constant(0), u48),
  share: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2 ** 32 - 1 })),
});
type Content = typeof content extends fc.Arbitrary<infer T> ? T : never;

/** The records one after another in a larger buffer; where each begins. */
function written(contents: readonly Content[]): { bytes: Buffer; starts: number[]; end: number } {
  const messages = contents.map(({ topic, payload, subscriptionIds, ...options }) =>
    Object.assign(messageOf(Buffer.from(topic), payload, options), { subscriptionIds, share: options.share }),
  );
  const bytes = Buffer.alloc(messages.reduce((sum, message) => sum + recordSize(message), 7), 0xee);
  const starts: number[] = [];
  let at = 3;
  for (const [index, message] of messages.entries()) {
    starts.push(at);
    const { qos, seq } = contents[index]!; // one message each
    const end = writeRecord(bytes, at, message, qos, seq);
    expect(end - at).toBe(recordSize(message));
    at = end;
  }
  return { bytes, starts, end: at };
}

function identifierProperty(id: number): Buffer {
  const bytes = Buffer.from([0x0b, 0, 0, 0, 0]);
  return bytes.subarray(0, writeRemainingLength(bytes, 1, id));
}

const sealed = (contents: readonly Content[]): { bytes: Buffer; starts: number[]; end: number } => {
  const records = written(contents);
  sealRecords(records.bytes, 3, records.end);
  return records;
};

describe("message record", () => {
  it("brings back what was written", () => {
    fc.assert(
      fc.property(fc.array(content, { minLength: 1, maxLength: 5 }), (contents) => {
        const { bytes, starts, end } = sealed(contents);
        const read = new Message();
        for (const [index, at] of starts.entries()) {
          const { topic, payload, qos, retain, receivedMs, seq, properties, subscriptionIds, expiresAtMs, share } = contents[index]!; // one record each
          readRecord(read, bytes, at);
          expect({ topic: topicOf(read), payload: payloadOf(read), qos: read.qos, retain: read.retain, receivedMs: read.receivedMs })
            .toEqual({ topic, payload, qos, retain, receivedMs });
          // The identifiers have become properties, before the others.
          const identifiers = Buffer.concat(subscriptionIds.map(identifierProperty));
          expect(read.properties.subarray(read.propertiesStart, read.propertiesEnd)).toEqual(Buffer.concat([identifiers, properties]));
          expect([read.subscriptionIds, read.expiresAtMs, read.share]).toEqual([[], expiresAtMs, share]);
          expect([recordSeq(bytes, at), recordReceivedMs(bytes, at)]).toEqual([seq, receivedMs]);
          expect(recordEnd(bytes, at)).toBe(starts[index + 1] ?? end);
          expect(isIntactRecord(bytes, at, end)).toBe(true);
        }
        expect([...bytes.subarray(0, 3), ...bytes.subarray(end)].every((byte) => byte === 0xee)).toBe(true);
      }),
    );
  });

  it("is not intact before it is sealed, nor with any bit flipped, nor cut anywhere", () => {
    fc.assert(
      fc.property(content, (only) => {
        const open = written([only]);
        expect(isIntactRecord(open.bytes, 3, open.end)).toBe(false);
        const { bytes, end } = sealed([only]);
        for (let bit = 3 * 8; bit < end * 8; bit++) {
          const flip = 1 << (bit & 7);
          bytes[bit >> 3]! ^= flip; // within the buffer
          if (isIntactRecord(bytes, 3, end)) expect.fail(`bit ${bit - 24} of ${bytes.toString("hex", 3, end)}`);
          bytes[bit >> 3]! ^= flip; // and back
        }
        for (let cut = 3; cut < end; cut++) expect(isIntactRecord(bytes, 3, cut)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it("lies on disk as the format describes it", () => {
    const message = messageOf(Buffer.from("a/b"), Buffer.from("42"), { qos: 1, retain: true, receivedMs: 0x0199_0000_0001 });
    expect(recordOf(message, 0x1_0000_0002)).toBe("00000018" + "c3e4f632" + "000100000002" + "019900000001" + "05" + "0003" + "612f62" + "3432");
    Object.assign(message, { expiresAtMs: 0x0199_0000_0007, share: 9, subscriptionIds: [200], properties: Buffer.from("xx2601"), propertiesStart: 2, propertiesEnd: 6 });
    expect(recordOf(message, 1).slice(16)).toBe(
      "000000000001" + "019900000001" + "9d" + "019900000007" + "00000009" + "0003" + "612f62" + "00000007" + "0bc801" + "32363031" + "3432",
    );
  });
});

function recordOf(message: Message, seq: number): string {
  const bytes = Buffer.alloc(recordSize(message));
  writeRecord(bytes, 0, message, message.qos, seq);
  sealRecords(bytes, 0, bytes.length);
  return bytes.toString("hex");
}

it("48-bit numbers come back whole", () => {
  fc.assert(
    fc.property(fc.oneof(u48, fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1)), (value) => {
      const bytes = Buffer.alloc(8, 0xee);
      writeUInt48(bytes, 1, value);
      expect(readUInt48(bytes, 1)).toBe(value);
      expect([bytes[0], bytes[7]]).toEqual([0xee, 0xee]);
    }),
  );
});
