import { BodyReader } from "../mqtt/body.ts";
import { levelOf } from "../mqtt/connect.ts";
import { readRemainingLength, remainingLengthSize } from "../mqtt/frame.ts";
import type { Properties, PropertyPlace } from "../mqtt/properties.ts";
import { readProperties } from "../mqtt/property-block.ts";
import { PacketType, type ProtocolVersion } from "../mqtt/protocol.ts";

/** Takes a line for each packet: link number, client identifier, direction, packet. */
export type Trace = (text: string) => void;

const NAMES = Object.fromEntries(Object.entries(PacketType).map(([name, type]) => [type, name as keyof typeof PacketType]));
const SHOWN_TEXT_BYTES = 20;

/** One packet in words, in the original's form: `PUBLISH msgid: 7 qos: 1 retained: 0 topic: a/b payload: 21.5`. */
export function describePacket(version: ProtocolVersion, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  const type = firstByte >> 4;
  const name = NAMES[type];
  if (name === undefined) return `type ${type}`;
  try {
    return `${name}${fieldsOf(name, version, firstByte, new BodyReader(bytes, bodyStart, bodyEnd))}`;
  } catch {
    return `${name} cut off`; // what is wrong with it, its decoder says
  }
}

/** The client identifier of a CONNECT; empty if it can't be read. */
export function clientIdOf(bytes: Buffer, bodyStart: number, bodyEnd: number): string {
  try {
    const reader = new BodyReader(bytes, bodyStart, bodyEnd);
    skipConnectHeader(reader);
    if (levelOf(bytes, bodyStart, bodyEnd) === 5) readProperties(reader, "CONNECT");
    return reader.string("client identifier");
  } catch {
    return "";
  }
}

/** A packet of our own, header included. */
export function describeWhole(version: ProtocolVersion, packet: Buffer): string {
  const bodyStart = 1 + remainingLengthSize(readRemainingLength(packet, 1, packet.length));
  return describePacket(version, packet[0] ?? 0, packet, bodyStart, packet.length);
}

function fieldsOf(name: keyof typeof PacketType, version: ProtocolVersion, firstByte: number, reader: BodyReader): string {
  const properties = (place: PropertyPlace): string => (version === 5 && !reader.atEnd ? propertiesText(readProperties(reader, place)) : "");
  switch (name) {
    case "CONNECT":
      return connectFields(reader);
    case "CONNACK": {
      const flags = reader.byte("flags");
      return ` rc: ${reader.byte("code")} sessionpresent: ${flags & 1}${properties(name)}`;
    }
    case "PUBLISH":
      return publishFields(firstByte, reader, properties);
    case "PUBACK":
    case "PUBREC":
    case "PUBREL":
    case "PUBCOMP":
      return ` msgid: ${reader.uint16("packet identifier")}${reasonText(version, reader)}${properties(name)}`;
    case "SUBSCRIBE":
    case "SUBACK":
    case "UNSUBSCRIBE":
    case "UNSUBACK":
      return ` msgid: ${reader.uint16("packet identifier")}${properties(name)}`;
    case "DISCONNECT":
    case "AUTH":
      return `${reasonText(version, reader)}${properties(name)}`;
    default:
      return "";
  }
}

function reasonText(version: ProtocolVersion, reader: BodyReader): string {
  return version === 5 && !reader.atEnd ? ` rc: ${reader.byte("reason code")}` : "";
}

function skipConnectHeader(reader: BodyReader): { level: number; flags: number } {
  reader.string("protocol name");
  const level = reader.byte("level");
  const flags = reader.byte("flags");
  reader.uint16("keep alive");
  return { level, flags };
}

function connectFields(reader: BodyReader): string {
  const { level, flags } = skipConnectHeader(reader);
  const version = level & 0x7f;
  const properties = version === 5 ? propertiesText(readProperties(reader, "CONNECT")) : "";
  return ` version: ${version} cleansession: ${(flags >> 1) & 1} noLocal: ${level >> 7}${properties}`;
}

function publishFields(firstByte: number, reader: BodyReader, properties: (place: PropertyPlace) => string): string {
  const qos = (firstByte >> 1) & 3;
  const topicStart = reader.at + 2;
  reader.at = topicStart + reader.bytes.readUInt16BE(reader.at);
  const topic = reader.bytes.toString("utf8", topicStart, reader.at);
  const id = qos > 0 ? ` msgid: ${reader.uint16("packet identifier")}` : "";
  const props = properties("PUBLISH");
  const payload = reader.bytes.toString("utf8", reader.at, Math.min(reader.end, reader.at + SHOWN_TEXT_BYTES));
  const dup = (firstByte & 8) !== 0 ? " dup: 1" : "";
  return `${id} qos: ${qos} retained: ${firstByte & 1}${dup} topic: ${topic}${props} payload: ${payload}`;
}

/** ` receiveMaximum: 20 userProperties: unit=C,site=7`; data is shown by its length. */
function propertiesText(properties: Properties): string {
  return Object.entries(properties)
    .map(([key, value]) => ` ${key}: ${valueText(value)}`)
    .join("");
}

function valueText(value: unknown): string {
  if (Buffer.isBuffer(value)) return `${value.length} bytes`;
  if (!Array.isArray(value)) return shortened(String(value));
  return value.map((one: unknown) => (Array.isArray(one) ? one.map((text) => shortened(String(text))).join("=") : String(one))).join(",");
}

const shortened = (text: string): string => (text.length > SHOWN_TEXT_BYTES ? `${text.slice(0, SHOWN_TEXT_BYTES)}...` : text);
