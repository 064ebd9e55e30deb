import { malformed } from "./violation.ts";
import { BodyReader } from "./body.ts";
import { PacketType, type ProtocolVersion } from "./protocol.ts";

export const PUBACK_BYTE = 0x40;
export const PUBREC_BYTE = 0x50;
/** PUBREL carries the reserved flags 0010 [MQTT-3.6.1-1]. */
export const PUBREL_BYTE = 0x62;
export const PUBCOMP_BYTE = 0x70;
export const UNSUBACK_BYTE = 0xb0;

/** Bytes of an acknowledgement packet. */
export const ACK_SIZE = 4;

/** Writes a four-byte acknowledgement; returns the position after it. */
export function encodeAck(target: Uint8Array, at: number, firstByte: number, packetId: number): number {
  target[at] = firstByte;
  target[at + 1] = 2;
  target[at + 2] = packetId >> 8;
  target[at + 3] = packetId & 0xff;
  return at + ACK_SIZE;
}

/**
 * Packet identifier of a PUBACK, PUBREC, PUBREL, PUBCOMP or (before MQTT 5) UNSUBACK.
 * @throws ProtocolViolation for wrong flags, a wrong length or identifier 0.
 */
export function decodeAck(
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): number {
  if (firstByte >> 4 === PacketType.PUBREL) checkFlags0010(version, firstByte, "PUBREL");
  else if ((firstByte & 0x0f) !== 0) throw malformed("acknowledgement with reserved flags set [MQTT-2.2.2-2]");

  // Most acknowledgements are these two bytes: no reader object for them.
  if (bodyEnd - bodyStart === 2) {
    const id = ((bytes[bodyStart] as number) << 8) | (bytes[bodyStart + 1] as number);
    if (id === 0) throw malformed("acknowledgement of packet identifier 0 [MQTT-2.3.1-1]");
    return id;
  }
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const id = reader.packetId();
  if (version === 5) {
    reader.byte("reason code");
    if (!reader.atEnd) reader.skipProperties();
  }
  reader.finish("acknowledgement");
  return id;
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
