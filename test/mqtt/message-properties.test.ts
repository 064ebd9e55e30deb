import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BodyReader } from "../../src/mqtt/body.ts";
import { MessageProperties } from "../../src/mqtt/message-properties.ts";
import type { Properties } from "../../src/mqtt/properties.ts";
import { encodeProperties, readProperties } from "../../src/mqtt/property-block.ts";
import { encodePublish5Head, publish5Size } from "../../src/mqtt/publish5.ts";
import { decodePublish, PublishView } from "../../src/mqtt/publish.ts";

const text = fc.string({ unit: "grapheme", maxLength: 8 }).filter((one) => !one.includes("\0"));

/** A property's bytes, and whether a server passes them on. */
const userProperty = fc.tuple(text, text).map(([name, value]) => ({ passedOn: true, bytes: encodeProperties({ userProperties: [[name, value]] }).subarray(1) }));
const subscriptionId = fc.integer({ min: 1, max: 268_435_455 }).map((id) => ({ passedOn: false, bytes: encodeProperties({ subscriptionIdentifiers: [id] }).subarray(1) }));
const only = (properties: Properties, passedOn: boolean): { passedOn: boolean; bytes: Buffer } => ({ passedOn, bytes: encodeProperties(properties).subarray(1) });
const once = fc.shuffledSubarray([
  only({ payloadFormatIndicator: 1 }, true),
  only({ contentType: "text" }, true),
  only({ responseTopic: "r" }, true),
  only({ correlationData: Buffer.alloc(50, 7) }, true),
  only({ messageExpirySeconds: 60 }, false),
  only({ topicAlias: 3 }, false),
]);
const inAnyOrder = fc.tuple(once, fc.array(userProperty, { maxLength: 4 }), fc.array(subscriptionId, { maxLength: 3 })).chain((lists) => {
  const all = lists.flat();
  return fc.shuffledSubarray(all, { minLength: all.length });
});

const published = fc.record({
  alias: fc.nat(65_535),
  expiry: fc.integer({ min: -1, max: 0xffff_ffff }),
  ids: fc.array(fc.integer({ min: 1, max: 268_435_455 }), { maxLength: 5 }),
  users: fc.array(userProperty, { maxLength: 20 }),
  qos: fc.nat(2),
});

function blockOf(parts: readonly { bytes: Buffer }[]): Buffer {
  return Buffer.concat(parts.map(({ bytes }) => bytes));
}

describe("the properties of a message", () => {
  it("that are passed on keep their bytes and order, whatever stands between them", () => {
    const properties = new MessageProperties();
    fc.assert(
      fc.property(inAnyOrder, (parts) => {
        const block = blockOf(parts);
        fc.pre(block.length < 128);
        const bytes = Buffer.concat([Buffer.from([0xff, block.length]), block, Buffer.from([0xff])]);
        expect(properties.read("PUBLISH", "server", bytes, 1, bytes.length)).toBe(bytes.length - 1);
        const passedOn = blockOf(parts.filter((part) => part.passedOn));
        expect(properties.block.subarray(properties.blockStart, properties.blockEnd).equals(passedOn)).toBe(true);
      }),
    );
  });

  it("leave nothing behind for the next message", () => {
    const view = new PublishView("server");
    const packet = (...body: number[]): Buffer => Buffer.from([0, 1, 0x61, ...body]);
    const everything = packet(20, 0x23, 0, 1, 2, 0, 0, 0, 9, 0x0b, 5, 1, 1, 9, 0, 1, 7, 8, 0, 1, 0x72);
    for (const [version, next] of [[5, packet(0)], [4, packet()]] as const) {
      decodePublish(view, 5, 0x30, everything, 0, everything.length);
      expect(view.properties).toMatchObject({ topicAlias: 1, expirySeconds: 9, payloadFormat: 1, subscriptionIds: [5] });
      decodePublish(view, version, 0x30, next, 0, next.length);
      expect(view.properties).toMatchObject({ topicAlias: 0, expirySeconds: -1, payloadFormat: -1, subscriptionIds: [], blockStart: 0, blockEnd: 0 });
    }
  });

  it("are written as they were read", () => {
    fc.assert(
      fc.property(published, ({ alias, expiry, ids, users, qos }) => {
        const block = blockOf(users);
        const topic = Buffer.from("topic");
        const payload = Buffer.from("payload");
        const packet = Buffer.alloc(publish5Size(5, 7, qos, alias, expiry, ids, block.length));
        const at = encodePublish5Head(packet, 0, qos << 1, topic, 0, 5, 9, alias, expiry, ids, block, 0, block.length, payload.length);
        expect(at + payload.copy(packet, at)).toBe(packet.length);
        const view = new PublishView("server");
        const header = packet.length > 129 ? 3 : 2;
        decodePublish(view, 5, packet[0] ?? 0, packet, header, packet.length);
        expect(view.properties).toMatchObject({ topicAlias: alias, expirySeconds: expiry, subscriptionIds: ids });
        expect(view.properties.block.subarray(view.properties.blockStart, view.properties.blockEnd).equals(block)).toBe(true);
        expect(packet.toString("utf8", view.payloadStart, view.payloadEnd)).toBe("payload");
      }),
    );
  });
});

describe("properties of any other packet", () => {
  it("come back as they were written", () => {
    const uint32 = fc.nat(0xffff_ffff);
    const connect: fc.Arbitrary<Properties> = fc.record(
      {
        sessionExpirySeconds: uint32,
        authenticationMethod: text,
        authenticationData: fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
        requestProblemInformation: fc.constantFrom(0 as const, 1 as const),
        receiveMaximum: fc.integer({ min: 1, max: 65_535 }),
        topicAliasMaximum: fc.nat(65_535),
        userProperties: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 5 }),
        maximumPacketBytes: fc.integer({ min: 1, max: 0xffff_ffff }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(connect, (properties) => {
        const bytes = encodeProperties(properties);
        const reader = new BodyReader(bytes, 0, bytes.length);
        expect(readProperties(reader, "CONNECT")).toEqual(properties);
        expect(reader.atEnd).toBe(true);
      }),
    );
  });
});
