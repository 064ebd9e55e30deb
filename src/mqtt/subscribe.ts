import { BodyReader, writePrefixed } from "./body.ts";
import { malformed, protocolError } from "./violation.ts";
import { checkFlags0010 } from "./acks.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import type { ProtocolVersion, QoS } from "./protocol.ts";

/** One entry of SUBSCRIBE: the filter as the client spelt it and the QoS it asks for. */
export interface SubscriptionRequest {
  filter: string;
  qos: QoS;
}

/** SUBACK's return code for a refused filter [MQTT-3.9.3-2]. */
export const SUBACK_FAILURE = 0x80;

/**
 * Decodes SUBSCRIBE. Filters are checked for UTF-8 only: an invalid filter is the caller's to refuse.
 * @throws ProtocolViolation
 */
export function decodeSubscribe(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): { packetId: number; requests: SubscriptionRequest[] } {
  checkFlags0010(version, firstByte, "SUBSCRIBE");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  if (version === 5) reader.skipProperties();
  if (reader.atEnd) throw protocolError("SUBSCRIBE without a topic filter [MQTT-3.8.3-3]");
  const requests: SubscriptionRequest[] = [];
  while (!reader.atEnd) {
    const filter = reader.string("topic filter");
    requests.push({ filter, qos: requestedQoS(version, reader.byte("requested QoS")) });
  }
  return { packetId, requests };
}

function requestedQoS(version: ProtocolVersion, options: number): QoS {
  const qos = options & 3;
  if (qos === 3) throw malformed("SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]");
  // 3.1 does not use the upper six bits, 5 reserves the upper two [MQTT 5.0 section 3.8.3.1].
  const reserved = version === 4 ? 0xfc : version === 5 ? 0xc0 : 0;
  if ((options & reserved) !== 0) throw malformed("SUBSCRIBE with reserved QoS bits set [MQTT-3.8.3-4]");
  return qos as QoS;
}

/** A whole SUBSCRIBE packet for MQTT 3.1 and 3.1.1. */
export function encodeSubscribe(packetId: number, requests: readonly SubscriptionRequest[]): Buffer {
  const filters = requests.map((request) => Buffer.from(request.filter));
  const remaining = filters.reduce((sum, filter) => sum + 3 + filter.length, 2);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x82;
  let at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  filters.forEach((filter, i) => {
    at = writePrefixed(packet, at, filter);
    packet[at++] = requests[i]?.qos ?? 0;
  });
  return packet;
}

/** A whole SUBACK packet; `codes` in the order of the filters [MQTT-3.9.3-1]: granted QoS or SUBACK_FAILURE. */
export function encodeSuback(packetId: number, codes: readonly number[]): Buffer {
  const remaining = 2 + codes.length;
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x90;
  const at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  packet.set(codes, at);
  return packet;
}

/** Decodes SUBACK of MQTT 3.1 and 3.1.1. @throws ProtocolViolation */
export function decodeSuback(
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): { packetId: number; codes: number[] } {
  if ((firstByte & 0x0f) !== 0) throw malformed("SUBACK with reserved flags set [MQTT-2.2.2-2]");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  if (reader.atEnd) throw malformed("SUBACK without a return code");
  const codes: number[] = [];
  while (!reader.atEnd) {
    const code = reader.byte("return code");
    if (code > 2 && code !== SUBACK_FAILURE) throw malformed(`SUBACK with reserved code ${code} [MQTT-3.9.3-2]`);
    codes.push(code);
  }
  return { packetId, codes };
}
