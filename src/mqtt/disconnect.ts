import { BodyReader } from "./body.ts";
import { checkEmpty, DISCONNECT } from "./empty.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { checkAuthentication, encodeProperties, readProperties } from "./property-block.ts";
import type { ProtocolVersion } from "./protocol.ts";
import { Reason } from "./reason.ts";
import { checkReasonCode } from "./reason-codes.ts";
import { malformed, protocolError } from "./violation.ts";

/** A packet that is a reason code and properties, both of which may be left out: DISCONNECT and AUTH of MQTT 5. */
export interface Reasoned {
  readonly reasonCode: number;
  readonly properties: Properties;
}

/** Reason codes with which a client may end its connection [MQTT 5.0 table 3-10]. */
const CLIENT_CODES: ReadonlySet<number> = new Set([0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99]);

const NORMAL: Reasoned = { reasonCode: 0, properties: NO_PROPERTIES };

/** A DISCONNECT packet; before MQTT 5 it says no reason, and only clients send it. */
export function encodeDisconnect(version: ProtocolVersion, reasonCode: number, properties: Properties = NO_PROPERTIES): Buffer {
  if (version !== 5 || (reasonCode === 0 && properties === NO_PROPERTIES)) return DISCONNECT;
  const block = properties === NO_PROPERTIES ? NO_BYTES : encodeProperties(properties);
  const remaining = 1 + block.length;
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0xe0;
  const at = writeRemainingLength(packet, 1, remaining);
  packet[at] = reasonCode;
  packet.set(block, at + 1);
  return packet;
}

/** @throws ProtocolViolation */
export function decodeDisconnect(
  version: ProtocolVersion, sender: "client" | "server", firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number,
): Reasoned {
  if (version !== 5) {
    checkEmpty(version, firstByte, bodyStart, bodyEnd);
    return NORMAL;
  }
  const disconnect = decodeReasoned("DISCONNECT", firstByte, bytes, bodyStart, bodyEnd);
  const { sessionExpirySeconds, serverReference } = disconnect.properties;
  if (sender === "server" && sessionExpirySeconds !== undefined) {
    throw protocolError("DISCONNECT of a server with a Session Expiry Interval [MQTT-3.14.2-2]");
  }
  if (sender === "client" && serverReference !== undefined) throw protocolError("DISCONNECT of a client with a Server Reference");
  if (sender === "server" && disconnect.reasonCode === Reason.DisconnectWithWill) {
    throw protocolError("DISCONNECT of a server that asks for a will");
  }
  if (sender === "client" && !CLIENT_CODES.has(disconnect.reasonCode)) throw protocolError("DISCONNECT of a client with a reason that only servers have");
  return disconnect;
}

/** AUTH, which only MQTT 5 has. @throws ProtocolViolation */
export function decodeAuth(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Reasoned {
  return decodeReasoned("AUTH", firstByte, bytes, bodyStart, bodyEnd);
}

function decodeReasoned(packet: "DISCONNECT" | "AUTH", firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Reasoned {
  if ((firstByte & 0x0f) !== 0) throw malformed(`${packet} with reserved flags set [MQTT-2.1.3-1]`);
  if (bodyStart === bodyEnd) return NORMAL;
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const reasonCode = reader.byte("reason code");
  checkReasonCode(packet, reasonCode);
  const properties = reader.atEnd ? NO_PROPERTIES : readProperties(reader, packet);
  checkAuthentication(packet, properties);
  reader.finish(packet);
  return { reasonCode, properties };
}

const NO_BYTES = Buffer.alloc(0);
