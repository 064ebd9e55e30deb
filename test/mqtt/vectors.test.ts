import { describe, it, expect } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { packets } from "../vectors/packets.ts";
import { packets5 } from "../vectors/packets5.ts";
import { propertyCases } from "../vectors/properties5.ts";
import { ProtocolViolation } from "../../src/mqtt/violation.ts";
import { PacketType, type ProtocolVersion } from "../../src/mqtt/protocol.ts";
import { checkShortestHeader, readRemainingLength } from "../../src/mqtt/frame.ts";
import { decodeConnect, encodeConnect, UnsupportedVersion } from "../../src/mqtt/connect.ts";
import { decodeAuth, decodeDisconnect, encodeDisconnect } from "../../src/mqtt/disconnect.ts";
import { NO_PROPERTIES } from "../../src/mqtt/properties.ts";
import { encodePublish5Head, publish5Size } from "../../src/mqtt/publish5.ts";
import { decodeConnack, encodeConnack } from "../../src/mqtt/connack.ts";
import { decodePublish, encodePublishHead, publishSize, PublishView } from "../../src/mqtt/publish.ts";
import { AckDetails, decodeAck, encodeReasonAck } from "../../src/mqtt/acks.ts";
import { decodeSuback, decodeSubscribe, encodeSuback, encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import { decodeUnsuback, decodeUnsubscribe, encodeUnsuback, encodeUnsubscribe } from "../../src/mqtt/unsubscribe.ts";
import { checkEmpty, PINGREQ, PINGRESP } from "../../src/mqtt/empty.ts";

interface Outcome {
  packet: object;
  encoded: Buffer;
}

/** Decodes one packet that lies amid other bytes, and encodes what came out. */
function run(version: ProtocolVersion, sender: "client" | "server", packet: Buffer): Outcome {
  const bytes = Buffer.concat([Buffer.from("xyz"), packet, Buffer.from("xyz")]);
  const first = bytes[3] as number;
  const length = readRemainingLength(bytes, 4, bytes.length);
  let start = 4;
  while ((bytes[start] as number) >= 0x80) start++;
  start++;
  const end = start + length;
  if (version === 5) checkShortestHeader(3, start, end);
  switch (first >> 4) {
    case PacketType.CONNECT: {
      const c = decodeConnect(first, bytes, start, end);
      return { packet: readable(c), encoded: encodeConnect(c) };
    }
    case PacketType.CONNACK: {
      const c = decodeConnack(version, first, bytes, start, end);
      return { packet: readable(c), encoded: encodeConnack(version, c.sessionPresent, c.code, c.properties) };
    }
    case PacketType.PUBLISH:
      return publish(version, sender, first, bytes, start, end);
    case PacketType.SUBSCRIBE: {
      const s = decodeSubscribe(version, first, bytes, start, end);
      return { packet: readable(s), encoded: encodeSubscribe(version, s.packetId, s.requests, s.properties) };
    }
    case PacketType.SUBACK: {
      const s = decodeSuback(version, first, bytes, start, end);
      return { packet: readable(s), encoded: encodeSuback(version, s.packetId, s.codes, s.properties) };
    }
    case PacketType.UNSUBSCRIBE: {
      const u = decodeUnsubscribe(version, first, bytes, start, end);
      return { packet: readable(u), encoded: encodeUnsubscribe(version, u.packetId, u.filters, u.properties) };
    }
    case PacketType.UNSUBACK: {
      const u = decodeUnsuback(version, first, bytes, start, end);
      return { packet: readable(u), encoded: encodeUnsuback(version, u.packetId, u.codes, u.properties) };
    }
    case PacketType.PINGREQ:
    case PacketType.PINGRESP:
      checkEmpty(version, first, start, end);
      return { packet: {}, encoded: first === 0xc0 ? PINGREQ : PINGRESP };
    case PacketType.DISCONNECT: {
      const d = decodeDisconnect(version, sender, first, bytes, start, end);
      return { packet: readable(d), encoded: encodeDisconnect(version, d.reasonCode, d.properties) };
    }
    case PacketType.AUTH:
      return { packet: readable(decodeAuth(first, bytes, start, end)), encoded: packet };
    default: {
      const details = new AckDetails();
      const packetId = decodeAck(version, first, bytes, start, end, details);
      return { packet: readable({ packetId, ...details }), encoded: encodeReasonAck(first, packetId, details.reasonCode, details.properties) };
    }
  }
}

function publish(version: ProtocolVersion, sender: "client" | "server", first: number, bytes: Buffer, start: number, end: number): Outcome {
  const v = new PublishView(sender);
  decodePublish(v, version, first, bytes, start, end);
  const { topicAlias, expirySeconds, payloadFormat, subscriptionIds, block, blockStart, blockEnd } = v.properties;
  const packet = {
    qos: v.qos,
    retain: v.retain,
    dup: v.dup,
    packetId: v.packetId,
    topic: v.bytes.toString("utf8", v.topicStart, v.topicEnd),
    payload: v.bytes.toString("utf8", v.payloadStart, v.payloadEnd),
    ...(topicAlias === 0 ? {} : { topicAlias }),
    ...(expirySeconds === -1 ? {} : { expirySeconds }),
    ...(payloadFormat === -1 ? {} : { payloadFormat }),
    ...(subscriptionIds.length === 0 ? {} : { subscriptionIds }),
    ...(blockStart === blockEnd ? {} : { block: block.toString("hex", blockStart, blockEnd) }),
  };
  const topicBytes = v.topicEnd - v.topicStart;
  const payloadBytes = v.payloadEnd - v.payloadStart;
  if (version === 5) {
    const encoded = Buffer.alloc(publish5Size(topicBytes, payloadBytes, v.qos, topicAlias, expirySeconds, subscriptionIds, blockEnd - blockStart));
    const at = encodePublish5Head(
      encoded, 0, first & 15, v.bytes, v.topicStart, v.topicEnd, v.packetId, topicAlias, expirySeconds, subscriptionIds, block, blockStart, blockEnd, payloadBytes,
    );
    expect(at + v.bytes.copy(encoded, at, v.payloadStart, v.payloadEnd)).toBe(encoded.length);
    return { packet, encoded };
  }
  const encoded = Buffer.alloc(publishSize(topicBytes, payloadBytes, v.qos));
  const at = encodePublishHead(encoded, 0, first & 15, v.bytes, v.topicStart, v.topicEnd, v.packetId, payloadBytes);
  expect(at + v.bytes.copy(encoded, at, v.payloadStart, v.payloadEnd)).toBe(encoded.length);
  return { packet, encoded };
}

/** The same with buffers as text, and without what says nothing: no properties, reason code 0. */
function readable(value: object): object {
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, field]) => field !== NO_PROPERTIES && !(key === "reasonCode" && field === 0))
      .map(([key, field]: [string, unknown]) => [key, readableField(field)]),
  );
}

function readableField(field: unknown): unknown {
  if (Buffer.isBuffer(field)) return field.toString();
  if (Array.isArray(field)) return field.map(readableField);
  return typeof field === "object" && field !== null ? readable(field) : field;
}

describe("packets of the vectors", () => {
  for (const { name, clause, version, sender = "client", bytes, expect: expected, decodeOnly } of [...packets, ...packets5, ...propertyCases]) {
    it(`${name} [${clause}]`, () => {
      const packet = bytesOf(bytes);
      if ("packet" in expected) {
        const outcome = run(version, sender, packet);
        expect(outcome.packet).toEqual(expected.packet);
        if (decodeOnly === undefined) expect(outcome.encoded.toString("hex")).toBe(packet.toString("hex"));
        return;
      }
      if ("accepted" in expected) return expect(run(version, sender, packet).encoded.toString("hex")).toBe(packet.toString("hex"));
      let thrown: unknown;
      try {
        run(version, sender, packet);
      } catch (error) {
        thrown = error;
      }
      if ("unsupported" in expected) {
        expect(thrown).toBeInstanceOf(UnsupportedVersion);
        expect((thrown as UnsupportedVersion).level).toBe(expected.unsupported);
      } else {
        expect(thrown).toBeInstanceOf(ProtocolViolation);
        const { message, reason } = thrown as ProtocolViolation;
        expect(message).toContain(expected.violation);
        if (expected.reason !== undefined) expect(reason).toBe(expected.reason);
      }
    });
  }
});
