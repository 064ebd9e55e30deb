import { BodyReader, writePrefixed } from "./body.ts";
import { malformed, protocolError } from "./violation.ts";
import { checkFlags0010 } from "./acks.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { encodeProperties, readProperties } from "./property-block.ts";
import type { ProtocolVersion, QoS } from "./protocol.ts";
import { checkReasonCode } from "./reason-codes.ts";

const NO_LOCAL = 0x04;
const RETAIN_AS_PUBLISHED = 0x08;
const RETAIN_HANDLING_SHIFT = 4;
const SHARE = "$share/";

/** One entry of SUBSCRIBE: the filter as the client spelt it and the QoS it asks for. The rest is of MQTT 5. */
export interface SubscriptionRequest {
  filter: string;
  qos: QoS;
  /** Nothing that the subscriber itself has published. */
  noLocal?: boolean;
  /** Messages keep their RETAIN flag. */
  retainAsPublished?: boolean;
  /** Retained messages are sent: 0 always, 1 if the subscription is new, 2 never. */
  retainHandling?: 0 | 1 | 2;
}

export interface Subscribe {
  readonly packetId: number;
  readonly requests: SubscriptionRequest[];
  readonly properties: Properties;
}

/** SUBACK's return code for a refused filter [MQTT-3.9.3-2]. */
export const SUBACK_FAILURE = 0x80;

/**
 * Decodes SUBSCRIBE. Filters are checked for UTF-8 only: an invalid filter is the caller's to refuse.
 * @throws ProtocolViolation
 */
export function decodeSubscribe(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Subscribe {
  checkFlags0010(version, firstByte, "SUBSCRIBE");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  const properties = version === 5 ? readProperties(reader, "SUBSCRIBE") : NO_PROPERTIES;
  if (reader.atEnd) throw protocolError("SUBSCRIBE without a topic filter [MQTT-3.8.3-3]");
  const requests: SubscriptionRequest[] = [];
  while (!reader.atEnd) {
    const filter = reader.string("topic filter");
    const options = reader.byte("requested QoS");
    requests.push(version === 5 ? requestOf(filter, options) : { filter, qos: requestedQoS(version, options) });
  }
  return { packetId, requests, properties };
}

function requestedQoS(version: ProtocolVersion, options: number): QoS {
  const qos = options & 3;
  if (qos === 3) throw malformed("SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]");
  // 3.1 does not use the upper six bits.
  if (version === 4 && (options & 0xfc) !== 0) throw malformed("SUBSCRIBE with reserved QoS bits set [MQTT-3.8.3-4]");
  return qos as QoS;
}

/** The options of MQTT 5 [MQTT 5.0 section 3.8.3.1]. */
function requestOf(filter: string, options: number): SubscriptionRequest {
  if ((options & 0xc0) !== 0) throw malformed("SUBSCRIBE with reserved options set [MQTT-3.8.3-5]");
  const qos = options & 3;
  if (qos === 3) throw protocolError("SUBSCRIBE with QoS 3");
  const retainHandling = (options >> RETAIN_HANDLING_SHIFT) & 3;
  if (retainHandling === 3) throw protocolError("SUBSCRIBE with Retain Handling 3");
  const noLocal = (options & NO_LOCAL) !== 0;
  if (noLocal && filter.startsWith(SHARE)) throw protocolError("SUBSCRIBE with No Local on a shared subscription [MQTT-3.8.3-4]");
  return { filter, qos: qos as QoS, noLocal, retainAsPublished: (options & RETAIN_AS_PUBLISHED) !== 0, retainHandling: retainHandling as 0 | 1 | 2 };
}

/** A whole SUBSCRIBE packet; before MQTT 5 without options and properties. */
export function encodeSubscribe(
  version: ProtocolVersion, packetId: number, requests: readonly SubscriptionRequest[], properties: Properties = NO_PROPERTIES,
): Buffer {
  const block = version === 5 ? encodeProperties(properties) : NO_BYTES;
  const filters = requests.map((request) => Buffer.from(request.filter));
  const remaining = filters.reduce((sum, filter) => sum + 3 + filter.length, 2 + block.length);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x82;
  let at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  packet.set(block, at);
  at += block.length;
  requests.forEach((request, i) => {
    at = writePrefixed(packet, at, filters[i] ?? NO_BYTES);
    packet[at++] = version === 5 ? optionsOf(request) : request.qos;
  });
  return packet;
}

function optionsOf({ qos, noLocal = false, retainAsPublished = false, retainHandling = 0 }: SubscriptionRequest): number {
  return qos | (noLocal ? NO_LOCAL : 0) | (retainAsPublished ? RETAIN_AS_PUBLISHED : 0) | (retainHandling << RETAIN_HANDLING_SHIFT);
}

/** Answer to SUBSCRIBE, and in MQTT 5 to UNSUBSCRIBE: a code for each filter, in their order [MQTT-3.9.3-1] [MQTT-3.11.3-1]. */
export interface FilterAck {
  readonly packetId: number;
  readonly codes: number[];
  readonly properties: Properties;
}

/** A whole SUBACK packet; `codes` in the order of the filters [MQTT-3.9.3-1]: granted QoS or SUBACK_FAILURE, in MQTT 5 a reason code. */
export function encodeSuback(version: ProtocolVersion, packetId: number, codes: readonly number[], properties: Properties = NO_PROPERTIES): Buffer {
  return encodeFilterAck(0x90, packetId, codes, version === 5 ? encodeProperties(properties) : NO_BYTES);
}

/** @throws ProtocolViolation */
export function decodeSuback(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): FilterAck {
  const suback = decodeFilterAck(version, "SUBACK", firstByte, bytes, bodyStart, bodyEnd);
  if (version === 5) return suback;
  for (const code of suback.codes) {
    if (code > 2 && code !== SUBACK_FAILURE) throw malformed(`SUBACK with reserved code ${code} [MQTT-3.9.3-2]`);
  }
  return suback;
}

export function encodeFilterAck(firstByte: number, packetId: number, codes: readonly number[], block: Buffer): Buffer {
  const remaining = 2 + block.length + codes.length;
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = firstByte;
  const at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  packet.set(block, at);
  packet.set(codes, at + block.length);
  return packet;
}

/** @throws ProtocolViolation */
export function decodeFilterAck(
  version: ProtocolVersion, packet: "SUBACK" | "UNSUBACK", firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number,
): FilterAck {
  if ((firstByte & 0x0f) !== 0) throw malformed(`${packet} with reserved flags set [MQTT-2.2.2-2]`);
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  const properties = version === 5 ? readProperties(reader, packet) : NO_PROPERTIES;
  if (reader.atEnd) throw malformed(`${packet} without a return code`);
  const codes = [...bytes.subarray(reader.at, bodyEnd)];
  if (version === 5) for (const code of codes) checkReasonCode(packet, code);
  return { packetId, codes, properties };
}

const NO_BYTES = Buffer.alloc(0);
