import { readRemainingLength, remainingLengthSize } from "../mqtt/frame.ts";
import { PacketType } from "../mqtt/protocol.ts";

/** Takes a line for each packet: link number, client identifier, direction, packet. */
export type Trace = (text: string) => void;

const NAMES = Object.fromEntries(Object.entries(PacketType).map(([name, type]) => [type, name]));
const SHOWN_PAYLOAD_BYTES = 20;

/** One packet in words, in the original's form: `PUBLISH msgid: 7 qos: 1 retained: 0 topic: a/b payload: 21.5`. */
export function describePacket(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  const type = firstByte >> 4;
  const name = NAMES[type] ?? `type ${type}`;
  try {
    return `${name}${fieldsOf(type, firstByte, bytes, bodyStart, bodyEnd)}`;
  } catch {
    return `${name} cut off`; // what is wrong with it, its decoder says
  }
}

/** The client identifier of a CONNECT of MQTT 3.1 or 3.1.1; empty if it can't be read. */
export function clientIdOf(bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  try {
    const at = bodyStart + 2 + bytes.readUInt16BE(bodyStart) + 4;
    return bytes.toString("utf8", at + 2, Math.min(bodyEnd, at + 2 + bytes.readUInt16BE(at)));
  } catch {
    return "";
  }
}

/** A packet of our own, header included. */
export function describeWhole(packet: Buffer): string {
  const bodyStart = 1 + remainingLengthSize(readRemainingLength(packet, 1, packet.length));
  return describePacket(packet[0] ?? 0, packet, bodyStart, packet.length);
}

function fieldsOf(type: number, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  switch (type) {
    case PacketType.CONNECT: {
      const nameBytes = bytes.readUInt16BE(bodyStart);
      const levelAt = bodyStart + 2 + nameBytes;
      return ` version: ${bytes.readUInt8(levelAt) & 0x7f} cleansession: ${(bytes.readUInt8(levelAt + 1) >> 1) & 1} noLocal: ${bytes.readUInt8(levelAt) >> 7}`;
    }
    case PacketType.CONNACK:
      return ` rc: ${bytes.readUInt8(bodyStart + 1)} sessionpresent: ${bytes.readUInt8(bodyStart) & 1}`;
    case PacketType.PUBLISH:
      return publishFields(firstByte, bytes, bodyStart, bodyEnd);
    case PacketType.PUBACK:
    case PacketType.PUBREC:
    case PacketType.PUBREL:
    case PacketType.PUBCOMP:
    case PacketType.SUBSCRIBE:
    case PacketType.SUBACK:
    case PacketType.UNSUBSCRIBE:
    case PacketType.UNSUBACK:
      return ` msgid: ${bytes.readUInt16BE(bodyStart)}`;
    default:
      return "";
  }
}

function publishFields(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  const qos = (firstByte >> 1) & 3;
  const topicEnd = bodyStart + 2 + bytes.readUInt16BE(bodyStart);
  const payloadStart = topicEnd + (qos > 0 ? 2 : 0);
  const id = qos > 0 ? ` msgid: ${bytes.readUInt16BE(topicEnd)}` : "";
  const payload = bytes.toString("utf8", payloadStart, Math.min(bodyEnd, payloadStart + SHOWN_PAYLOAD_BYTES));
  const dup = (firstByte & 8) !== 0 ? " dup: 1" : "";
  return `${id} qos: ${qos} retained: ${firstByte & 1}${dup} topic: ${bytes.toString("utf8", bodyStart + 2, topicEnd)} payload: ${payload}`;
}
