import { describe, it, expect } from "vitest";
import fc from "fast-check";
import { isUtf8 } from "node:buffer";
import { isValidUtf8 } from "../../src/mqtt/utf8.ts";
import { MAX_REMAINING_LENGTH, readRemainingLength, remainingLengthSize, writeRemainingLength } from "../../src/mqtt/frame.ts";
import { decodePublish, PublishView } from "../../src/mqtt/publish.ts";
import { decodeAck } from "../../src/mqtt/acks.ts";
import { decodeConnack } from "../../src/mqtt/connack.ts";
import { decodeConnect, UnsupportedVersion } from "../../src/mqtt/connect.ts";
import { decodeAuth, decodeDisconnect } from "../../src/mqtt/disconnect.ts";
import { decodeSuback, decodeSubscribe } from "../../src/mqtt/subscribe.ts";
import { decodeUnsuback, decodeUnsubscribe } from "../../src/mqtt/unsubscribe.ts";
import { ProtocolViolation } from "../../src/mqtt/violation.ts";

const valid = (bytes: Uint8Array): boolean => isValidUtf8(bytes, 0, bytes.length);
const reference = (bytes: Uint8Array): boolean => isUtf8(bytes) && !bytes.includes(0);

describe("isValidUtf8", () => {
  it("agrees with Node on every two-byte string and every start of a longer one", () => {
    const bytes = new Uint8Array(4);
    for (let i = 0; i < 0x10000; i++) {
      bytes.set([i >> 8, i & 255, 0x80, 0x80]);
      for (let length = 2; length <= 4; length++) {
        const part = bytes.subarray(0, length);
        if (valid(part) !== reference(part)) expect.fail(Buffer.from(part).toString("hex"));
      }
    }
  });

  it("agrees with Node on random bytes and random text", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => valid(bytes) === reference(bytes)));
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => valid(Buffer.from(text)) === !text.includes("\0")));
  });

  it("looks only at its range", () => {
    expect(isValidUtf8(Uint8Array.from([0xff, 0x61, 0xc3, 0xa4, 0xff]), 1, 4)).toBe(true);
    expect(isValidUtf8(Uint8Array.from([0x61, 0xc3, 0xa4]), 0, 2)).toBe(false);
  });
});

describe("remaining length", () => {
  it("reads back what it writes, in the size it tells", () => {
    const edges = fc.constantFrom(0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, MAX_REMAINING_LENGTH);
    fc.assert(
      fc.property(fc.oneof(edges, fc.nat(MAX_REMAINING_LENGTH)), (n) => {
        const bytes = new Uint8Array(6);
        const end = writeRemainingLength(bytes, 1, n);
        expect(end - 1).toBe(remainingLengthSize(n));
        expect(readRemainingLength(bytes, 1, end)).toBe(n);
        expect(readRemainingLength(bytes, 1, end - 1)).toBe(-1);
      }),
    );
  });

  it("refuses a fifth byte as soon as the fourth asks for it", () => {
    expect(readRemainingLength(Uint8Array.from([255, 255, 255]), 0, 3)).toBe(-1);
    expect(() => readRemainingLength(Uint8Array.from([255, 255, 255, 255]), 0, 4)).toThrow(ProtocolViolation);
  });
});

describe("decoders given any bytes", () => {
  it("throw nothing but their typed errors and stay in their body", () => {
    const view = new PublishView();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(15), fc.constantFrom(3 as const, 4 as const, 5 as const), (body, flags, version) => {
        const bytes = Buffer.from(body);
        const attempts = [
          (): void => {
            decodePublish(view, version, 0x30 | flags, bytes, 0, bytes.length);
            expect(view.topicEnd).toBeLessThanOrEqual(view.payloadStart);
            expect(view.payloadStart).toBeLessThanOrEqual(view.payloadEnd);
          },
          (): unknown => decodeConnect(0x10, Buffer.concat([Buffer.from("\0\x04MQTT\x04"), bytes]), 0, bytes.length + 7),
          (): unknown => decodeConnect(0x10, Buffer.concat([Buffer.from("\0\x04MQTT\x05"), bytes]), 0, bytes.length + 7),
          (): unknown => decodeConnack(version, 0x20, bytes, 0, bytes.length),
          (): unknown => decodeAck(version, 0x40, bytes, 0, bytes.length),
          (): unknown => decodeSubscribe(version, 0x82, bytes, 0, bytes.length),
          (): unknown => decodeSuback(version, 0x90, bytes, 0, bytes.length),
          (): unknown => decodeUnsubscribe(version, 0xa2, bytes, 0, bytes.length),
          (): unknown => decodeUnsuback(version, 0xb0, bytes, 0, bytes.length),
          (): unknown => decodeDisconnect(version, "client", 0xe0, bytes, 0, bytes.length),
          (): unknown => decodeAuth(0xf0, bytes, 0, bytes.length),
        ];
        for (const attempt of attempts) {
          try {
            attempt();
          } catch (error) {
            if (!(error instanceof ProtocolViolation) && !(error instanceof UnsupportedVersion)) throw error;
          }
        }
      }),
    );
  });
});
