import { BodyReader, writePrefixed } from "./body.ts";
import { protocolError } from "./violation.ts";
import { ACK_SIZE, checkFlags0010, decodeAck, encodeAck, UNSUBACK_BYTE } from "./acks.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { encodeProperties, readProperties } from "./property-block.ts";
import { decodeFilterAck, encodeFilterAck, type FilterAck } from "./subscribe.ts";
import type { ProtocolVersion } from "./protocol.ts";

export interface Unsubscribe {
  readonly packetId: number;
  readonly filters: string[];
  readonly properties: Properties;
}

/**
 * Decodes UNSUBSCRIBE. Filters are checked for UTF-8 only: one that is invalid matches no subscription.
 * @throws ProtocolViolation
 */
export function decodeUnsubscribe(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Unsubscribe {
  checkFlags0010(version, firstByte, "UNSUBSCRIBE");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  const properties = version === 5 ? readProperties(reader, "UNSUBSCRIBE") : NO_PROPERTIES;
  if (reader.atEnd) throw protocolError("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]");
  const filters: string[] = [];
  while (!reader.atEnd) filters.push(reader.string("topic filter"));
  return { packetId, filters, properties };
}

/** A whole UNSUBSCRIBE packet; before MQTT 5 without properties. */
export function encodeUnsubscribe(version: ProtocolVersion, packetId: number, filters: readonly string[], properties: Properties = NO_PROPERTIES): Buffer {
  const block = version === 5 ? encodeProperties(properties) : NO_BYTES;
  const fields = filters.map((filter) => Buffer.from(filter));
  const remaining = fields.reduce((sum, field) => sum + 2 + field.length, 2 + block.length);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0xa2;
  let at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  packet.set(block, at);
  at += block.length;
  for (const field of fields) at = writePrefixed(packet, at, field);
  return packet;
}

/** A whole UNSUBACK packet; before MQTT 5 it has no `codes`, then one for each filter. */
export function encodeUnsuback(version: ProtocolVersion, packetId: number, codes: readonly number[], properties: Properties = NO_PROPERTIES): Buffer {
  if (version === 5) return encodeFilterAck(UNSUBACK_BYTE, packetId, codes, encodeProperties(properties));
  const packet = Buffer.allocUnsafe(ACK_SIZE);
  encodeAck(packet, 0, UNSUBACK_BYTE, packetId);
  return packet;
}

/** @throws ProtocolViolation */
export function decodeUnsuback(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): FilterAck {
  if (version === 5) return decodeFilterAck(version, "UNSUBACK", firstByte, bytes, bodyStart, bodyEnd);
  return { packetId: decodeAck(version, firstByte, bytes, bodyStart, bodyEnd), codes: [], properties: NO_PROPERTIES };
}

const NO_BYTES = Buffer.alloc(0);
