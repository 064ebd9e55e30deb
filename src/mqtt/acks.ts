import { malformed } from "./violation.ts";
import { BodyReader } from "./body.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { encodeProperties, readProperties } from "./property-block.ts";
import { PacketType, type ProtocolVersion } from "./protocol.ts";
import { checkReasonCode } from "./reason-codes.ts";

export const PUBACK_BYTE = 0x40;
export const PUBREC_BYTE = 0x50;
/** PUBREL carries the reserved flags 0010 [MQTT-3.6.1-1]. */
export const PUBREL_BYTE = 0x62;
export const PUBCOMP_BYTE = 0x70;
export const UNSUBACK_BYTE = 0xb0;

/** Bytes of an acknowledgement packet without a reason code. */
export const ACK_SIZE = 4;

/** Writes a four-byte acknowledgement, in MQTT 5 one of success; returns the position after it. */
export function encodeAck(target: Uint8Array, at: number, firstByte: number, packetId: number): number {
  target[at] = firstByte;
  target[at + 1] = 2;
  target[at + 2] = packetId >> 8;
  target[at + 3] = packetId & 0xff;
  return at + ACK_SIZE;
}

/** A whole PUBACK, PUBREC, PUBREL or PUBCOMP of MQTT 5, in its shortest form. */
export function encodeReasonAck(firstByte: number, packetId: number, reasonCode: number, properties: Properties = NO_PROPERTIES): Buffer {
  const block = properties === NO_PROPERTIES ? NO_BYTES : encodeProperties(properties);
  const hasReason = reasonCode !== 0 || block.length > 0;
  const remaining = 2 + (hasReason ? 1 : 0) + block.length;
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = firstByte;
  let at = packet.writeUInt16BE(packetId, writeRemainingLength(packet, 1, remaining));
  if (hasReason) packet[at++] = reasonCode;
  packet.set(block, at);
  return packet;
}

/** What an acknowledgement of MQTT 5 says beside its packet identifier; success before MQTT 5. Used again and again. */
export class AckDetails {
  reasonCode = 0;
  properties: Properties = NO_PROPERTIES;
}

/**
 * Packet identifier of a PUBACK, PUBREC, PUBREL, PUBCOMP or (before MQTT 5) UNSUBACK; the rest goes to `details`.
 * @throws ProtocolViolation for wrong flags, a wrong length, identifier 0 or a reason code that is not for this packet.
 */
export function decodeAck(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
  details?: AckDetails,
): number {
  if (firstByte >> 4 === PacketType.PUBREL) checkFlags0010(version, firstByte, "PUBREL");
  else if ((firstByte & 0x0f) !== 0) throw malformed("acknowledgement with reserved flags set [MQTT-2.2.2-2]");
  if (details) {
    details.reasonCode = 0;
    details.properties = NO_PROPERTIES;
  }

  // Most acknowledgements are these two bytes: no reader object for them.
  if (bodyEnd - bodyStart === 2) {
    const id = ((bytes[bodyStart] as number) << 8) | (bytes[bodyStart + 1] as number);
    if (id === 0) throw malformed("acknowledgement of packet identifier 0 [MQTT-2.3.1-1]");
    return id;
  }
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const id = reader.packetId();
  if (version === 5) readReason(reader, firstByte >> 4, details);
  reader.finish("acknowledgement");
  return id;
}

function readReason(reader: BodyReader, type: number, details: AckDetails | undefined): void {
  const packet = NAMES[type - PacketType.PUBACK] ?? "PUBCOMP";
  const reasonCode = reader.byte("reason code");
  checkReasonCode(packet, reasonCode);
  const properties = reader.atEnd ? NO_PROPERTIES : readProperties(reader, packet); // [MQTT 5.0 section 3.4.2.2.1]
  if (!details) return;
  details.reasonCode = reasonCode;
  details.properties = properties;
}

/**
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE have the flags 0010 [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1].
 * In MQTT 3.1 these are QoS 1 and may come with DUP [MQTT 3.1 section 2.1].
 */
export function checkFlags0010(version: ProtocolVersion, firstByte: number, packet: string): void {
  const flags = firstByte & 0x0f;
  if (flags === 2 || (version === 3 && flags === 0x0a)) return;
  throw malformed(`${packet} with flags ${flags} instead of 2 [MQTT-2.2.2-2]`);
}

const NAMES = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"] as const;
const NO_BYTES = Buffer.alloc(0);
