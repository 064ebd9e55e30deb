import { BodyReader } from "./body.ts";
import { malformed, protocolError } from "./violation.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { checkAuthentication, encodeProperties, readProperties } from "./property-block.ts";
import type { ProtocolVersion } from "./protocol.ts";
import { ConnackCode, Reason } from "./reason.ts";
import { checkReasonCode } from "./reason-codes.ts";

export interface Connack {
  readonly sessionPresent: boolean;
  /** A return code before MQTT 5, then a reason code; 0 is success in both. */
  readonly code: number;
  readonly properties: Properties;
}

/** A CONNACK packet. Session present is never sent with a refusal [MQTT-3.2.2-4], nor to a 3.1 client: that is the caller's to know. */
export function encodeConnack(version: ProtocolVersion, sessionPresent: boolean, code: number, properties: Properties = NO_PROPERTIES): Buffer {
  const flags = sessionPresent && code === 0 ? 1 : 0;
  if (version !== 5) return Buffer.from([0x20, 2, flags, code]);
  const block = encodeProperties(properties);
  const remaining = 2 + block.length;
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x20;
  let at = writeRemainingLength(packet, 1, remaining);
  packet[at++] = flags;
  packet[at++] = code;
  packet.set(block, at);
  return packet;
}

/** The refusal of a protocol level, in words that a client of that level understands [MQTT-3.1.2-2]. */
export function encodeVersionRefusal(level: number): Buffer {
  return level === 5 ? encodeConnack(5, false, Reason.UnsupportedProtocolVersion) : encodeConnack(4, false, ConnackCode.unacceptableProtocolVersion);
}

/** @throws ProtocolViolation for anything but the exact form of section 3.2 of MQTT 3.1.1 or 5.0. */
export function decodeConnack(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Connack {
  if ((firstByte & 0x0f) !== 0) throw malformed("CONNACK with reserved flags set [MQTT-2.2.2-2]");
  if (version !== 5 && bodyEnd - bodyStart !== 2) throw malformed("CONNACK is not two bytes long");
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const flags = reader.byte("acknowledge flags");
  const code = reader.byte("reason code");
  if (flags > 1) throw malformed("CONNACK with reserved acknowledge flags set");
  if (version === 5) checkReasonCode("CONNACK", code);
  else if (code > ConnackCode.notAuthorized) throw malformed(`CONNACK with reserved return code ${code}`);
  if (flags === 1 && code !== 0) throw protocolError("CONNACK refuses with session present [MQTT-3.2.2-4]");
  const properties = version === 5 ? readProperties(reader, "CONNACK") : NO_PROPERTIES;
  checkAuthentication("CONNACK", properties);
  reader.finish("CONNACK");
  return { sessionPresent: flags === 1, code, properties };
}
