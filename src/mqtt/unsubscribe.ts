import { BodyReader, writePrefixed } from "./body.ts";
import { protocolError } from "./violation.ts";
import { checkFlags0010 } from "./acks.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import type { ProtocolVersion } from "./protocol.ts";

/**
 * Decodes UNSUBSCRIBE. Filters are checked for UTF-8 only: one that is invalid matches no subscription.
 * @throws ProtocolViolation
 */
export function decodeUnsubscribe(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): { packetId: number; filters: string[] } {
  checkFlags0010(version, firstByte, "UNSUBSCRIBE");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const packetId = reader.packetId();
  if (version === 5) reader.skipProperties();
  if (reader.atEnd) throw protocolError("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]");
  const filters: string[] = [];
  while (!reader.atEnd) filters.push(reader.string("topic filter"));
  return { packetId, filters };
}

/** A whole UNSUBSCRIBE packet for MQTT 3.1 and 3.1.1. */
export function encodeUnsubscribe(packetId: number, filters: readonly string[]): Buffer {
  const fields = filters.map((filter) => Buffer.from(filter));
  const remaining = fields.reduce((sum, field) => sum + 2 + field.length, 2);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0xa2;
  let at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  for (const field of fields) at = writePrefixed(packet, at, field);
  return packet;
}
