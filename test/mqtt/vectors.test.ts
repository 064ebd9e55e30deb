import { describe, it, expect } from "vitest";
import { bytesOf, packets } from "../vectors/packets.ts";
import { ProtocolViolation } from "../../src/mqtt/violation.ts";
import { PacketType, type ProtocolVersion } from "../../src/mqtt/protocol.ts";
import { readRemainingLength } from "../../src/mqtt/frame.ts";
import { decodeConnect, encodeConnect, UnsupportedVersion } from "../../src/mqtt/connect.ts";
import { decodeConnack, encodeConnack } from "../../src/mqtt/connack.ts";
import { decodePublish, encodePublish, publishSize, PublishView } from "../../src/mqtt/publish.ts";
import { decodeAck, encodeAck } from "../../src/mqtt/acks.ts";
import { decodeSuback, decodeSubscribe, encodeSuback, encodeSubscribe } from "../../src/mqtt/subscribe.ts";
import { decodeUnsubscribe, encodeUnsubscribe } from "../../src/mqtt/unsubscribe.ts";
import { checkEmpty, DISCONNECT, PINGREQ, PINGRESP } from "../../src/mqtt/empty.ts";

interface Outcome {
  packet: object;
  encoded: Buffer;
}

/** Decodes one packet that lies amid other bytes, and encodes what came out. */
function run(version: ProtocolVersion, packet: Buffer): Outcome {
  const bytes = Buffer.concat([Buffer.from("xyz"), packet, Buffer.from("xyz")]);
  const first = bytes[3] as number;
  const length = readRemainingLength(bytes, 4, bytes.length);
  let start = 4;
  while ((bytes[start] as number) >= 0x80) start++;
  start++;
  const end = start + length;
  switch (first >> 4) {
    case PacketType.CONNECT: {
      const c = decodeConnect(first, bytes, start, end);
      return { packet: readable(c), encoded: encodeConnect(c) };
    }
    case PacketType.CONNACK: {
      const c = decodeConnack(first, bytes, start, end);
      return { packet: c, encoded: encodeConnack(c.sessionPresent, c.code) };
    }
    case PacketType.PUBLISH:
      return publish(version, first, bytes, start, end);
    case PacketType.SUBSCRIBE: {
      const s = decodeSubscribe(version, first, bytes, start, end);
      return { packet: s, encoded: encodeSubscribe(s.packetId, s.requests) };
    }
    case PacketType.SUBACK: {
      const s = decodeSuback(first, bytes, start, end);
      return { packet: s, encoded: encodeSuback(s.packetId, s.codes) };
    }
    case PacketType.UNSUBSCRIBE: {
      const u = decodeUnsubscribe(version, first, bytes, start, end);
      return { packet: u, encoded: encodeUnsubscribe(u.packetId, u.filters) };
    }
    case PacketType.PINGREQ:
    case PacketType.PINGRESP:
    case PacketType.DISCONNECT: {
      checkEmpty(version, first, start, end);
      return { packet: {}, encoded: [PINGREQ, PINGRESP, DISCONNECT][(first >> 4) - PacketType.PINGREQ] as Buffer };
    }
    default: {
      const packetId = decodeAck(version, first, bytes, start, end);
      const encoded = Buffer.alloc(4);
      expect(encodeAck(encoded, 0, first, packetId)).toBe(4);
      return { packet: { packetId }, encoded };
    }
  }
}

function publish(version: ProtocolVersion, first: number, bytes: Buffer, start: number, end: number): Outcome {
  const v = new PublishView();
  decodePublish(v, version, first, bytes, start, end);
  const packet = {
    qos: v.qos,
    retain: v.retain,
    dup: v.dup,
    packetId: v.packetId,
    topic: v.bytes.toString("utf8", v.topicStart, v.topicEnd),
    payload: v.bytes.toString("utf8", v.payloadStart, v.payloadEnd),
  };
  const encoded = Buffer.alloc(publishSize(v.topicEnd - v.topicStart, v.payloadEnd - v.payloadStart, v.qos));
  const at = encodePublish(encoded, 0, first & 15, v.bytes, v.topicStart, v.topicEnd, v.packetId, v.bytes, v.payloadStart, v.payloadEnd);
  expect(at).toBe(encoded.length);
  return { packet, encoded };
}

/** The same with buffers as text. */
function readable(value: object): object {
  return Object.fromEntries(
    Object.entries(value).map(([key, field]: [string, unknown]) => {
      if (Buffer.isBuffer(field)) return [key, field.toString()];
      return [key, typeof field === "object" && field !== null ? readable(field) : field];
    }),
  );
}

describe("packets of the vectors", () => {
  for (const { name, clause, version, bytes, expect: expected, decodeOnly } of packets) {
    it(`${name} [${clause}]`, () => {
      const packet = bytesOf(bytes);
      if ("packet" in expected) {
        const outcome = run(version, packet);
        expect(outcome.packet).toEqual(expected.packet);
        if (decodeOnly === undefined) expect(outcome.encoded.toString("hex")).toBe(packet.toString("hex"));
        return;
      }
      let thrown: unknown;
      try {
        run(version, packet);
      } catch (error) {
        thrown = error;
      }
      if ("unsupported" in expected) {
        expect(thrown).toBeInstanceOf(UnsupportedVersion);
        expect((thrown as UnsupportedVersion).level).toBe(expected.unsupported);
      } else {
        expect(thrown).toBeInstanceOf(ProtocolViolation);
        expect((thrown as ProtocolViolation).message).toContain(expected.violation);
      }
    });
  }
});
