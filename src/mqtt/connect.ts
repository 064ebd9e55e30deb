import { BodyReader, writePrefixed } from "./body.ts";
import { malformed } from "./violation.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { MessageProperties } from "./message-properties.ts";
import { NO_PROPERTIES, type Properties } from "./properties.ts";
import { checkAuthentication, encodeProperties, readProperties } from "./property-block.ts";
import { isValidTopicName, topicNameViolation } from "./topic-name.ts";
import type { ProtocolVersion, QoS, Will } from "./protocol.ts";

/** Set in the protocol level by a bridge, so that the peer keeps retain flags and does not echo (original daemon, Mosquitto). */
const BRIDGE_BIT = 0x80;

/** Name of the user property by which daemons of ours know each other's bridges in MQTT 5, where the bit would not be standard. */
export const BRIDGE_MARK = "amqtdd-via";

const RESERVED_FLAG = 0x01;
const CLEAN_SESSION_FLAG = 0x02;
const WILL_FLAG = 0x04;
const WILL_QOS_SHIFT = 3;
const WILL_RETAIN_FLAG = 0x20;
const PASSWORD_FLAG = 0x40;
const USER_NAME_FLAG = 0x80;

const EVERY_VERSION: readonly ProtocolVersion[] = [3, 4, 5];

/** A CONNECT packet. Whether an empty or long client identifier is acceptable is for the broker to say in CONNACK. */
export interface Connect {
  version: ProtocolVersion;
  /** The peer calls itself a bridge (protocol level 0x83, 0x84 or 0x85, or BRIDGE_MARK). */
  bridge: boolean;
  clientId: string;
  cleanStart: boolean;
  /** 0 turns keep alive off. */
  keepAliveSeconds: number;
  will?: Will;
  username?: string;
  password?: Buffer;
  /** Of MQTT 5. */
  properties?: Properties;
}

/** The protocol name is known, its level is not served: to be answered with CONNACK 1 [MQTT-3.1.2-2]. */
export class UnsupportedVersion extends Error {
  readonly level: number;

  constructor(level: number) {
    super(`protocol level ${level} is not supported`);
    this.name = "UnsupportedVersion";
    this.level = level;
  }
}

/** The protocol level of a CONNECT, the bridge bit taken off; -1 if the packet does not come to it. Nothing is checked. */
export function levelOf(bytes: Buffer, bodyStart: number, bodyEnd: number): number {
  if (bodyStart + 2 > bodyEnd) return -1;
  const at = bodyStart + 2 + bytes.readUInt16BE(bodyStart);
  return at < bodyEnd ? (bytes[at] as number) & ~BRIDGE_BIT : -1;
}

/** @throws ProtocolViolation, or UnsupportedVersion for a level that is unknown or not among `versions`. */
export function decodeConnect(
  firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number, versions: readonly ProtocolVersion[] = EVERY_VERSION,
): Connect {
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const level = readLevel(reader);
  const version = (level & ~BRIDGE_BIT) as ProtocolVersion;
  if (!versions.includes(version)) throw new UnsupportedVersion(level);
  // The original daemon's bridge sends 0x12 for its MQIsdp connections: 3.1 leaves these flags unused.
  if (version >= 4 && (firstByte & 0x0f) !== 0) throw malformed("CONNECT with reserved flags set [MQTT-2.2.2-2]");

  const flags = reader.byte("connect flags");
  checkConnectFlags(version, flags);
  const keepAliveSeconds = reader.uint16("keep alive");
  const properties = version === 5 ? readProperties(reader, "CONNECT") : undefined;
  if (properties) checkAuthentication("CONNECT", properties);
  const connect: Connect = {
    version,
    bridge: (level & BRIDGE_BIT) !== 0 || properties?.userProperties?.some(([name]) => name === BRIDGE_MARK) === true,
    cleanStart: (flags & CLEAN_SESSION_FLAG) !== 0,
    keepAliveSeconds,
    clientId: reader.string("client identifier"),
    ...(properties === undefined ? {} : { properties }),
  };
  if ((flags & WILL_FLAG) !== 0) connect.will = readWill(version, reader, flags);
  // In 3.1 the remaining length takes precedence over the flags: clients that set a flag and leave the field out are let in.
  const mayLack = version === 3;
  if ((flags & USER_NAME_FLAG) !== 0 && !(mayLack && reader.atEnd)) connect.username = reader.string("user name");
  if ((flags & PASSWORD_FLAG) !== 0 && !(mayLack && reader.atEnd)) connect.password = reader.binary("password");
  reader.finish("CONNECT");
  return connect;
}

function readLevel(reader: BodyReader): number {
  const name = reader.string("protocol name");
  if (name !== "MQTT" && name !== "MQIsdp") throw malformed("CONNECT with an unknown protocol name [MQTT-3.1.2-1]");
  const level = reader.byte("protocol level");
  const version = level & ~BRIDGE_BIT;
  if (name === "MQTT" ? version !== 4 && version !== 5 : version !== 3) throw new UnsupportedVersion(level);
  return level;
}

function checkConnectFlags(version: ProtocolVersion, flags: number): void {
  if (version >= 4 && (flags & RESERVED_FLAG) !== 0) throw malformed("CONNECT with its reserved flag set [MQTT-3.1.2-3]");
  const willQoS = (flags >> WILL_QOS_SHIFT) & 3;
  if ((flags & WILL_FLAG) !== 0) {
    if (willQoS === 3) throw malformed("CONNECT with will QoS 3 [MQTT-3.1.2-14]");
  } else if (version >= 4) {
    if (willQoS !== 0) throw malformed("CONNECT with will QoS but no will [MQTT-3.1.2-13]");
    if ((flags & WILL_RETAIN_FLAG) !== 0) throw malformed("CONNECT with will retain but no will [MQTT-3.1.2-15]");
  }
  // MQTT 5 allows it [MQTT 5.0 section 3.1.2.9].
  if (version !== 5 && (flags & PASSWORD_FLAG) !== 0 && (flags & USER_NAME_FLAG) === 0) {
    throw malformed("CONNECT with a password but no user name [MQTT-3.1.2-22]");
  }
}

function readWill(version: ProtocolVersion, reader: BodyReader, flags: number): Will {
  const ofVersion5 = version === 5 ? readWillProperties(reader) : undefined;
  const topic = reader.binary("will topic");
  if (!isValidTopicName(topic, 0, topic.length)) throw topicNameViolation("CONNECT with a will topic", topic, 0, topic.length);
  return {
    topic,
    payload: reader.binary("will payload"),
    qos: ((flags >> WILL_QOS_SHIFT) & 3) as QoS,
    retain: (flags & WILL_RETAIN_FLAG) !== 0,
    ...ofVersion5,
  };
}

function readWillProperties(reader: BodyReader): Pick<Will, "delaySeconds" | "expirySeconds" | "properties"> {
  const found = new MessageProperties();
  reader.at = found.read("WILL", "client", reader.bytes, reader.at, reader.end);
  return {
    delaySeconds: found.willDelaySeconds,
    ...(found.expirySeconds < 0 ? {} : { expirySeconds: found.expirySeconds }),
    ...(found.blockEnd > found.blockStart ? { properties: Buffer.from(found.block.subarray(found.blockStart, found.blockEnd)) } : {}),
  };
}

/** A whole CONNECT packet. @throws RangeError if a field is longer than 65535 bytes. */
export function encodeConnect(connect: Connect): Buffer {
  const { version, clientId, will, username, password } = connect;
  const parts: Uint8Array[] = [];
  if (version === 5) parts.push(encodeProperties(connect.properties ?? NO_PROPERTIES));
  parts.push(prefixed(Buffer.from(clientId)));
  let flags = connect.cleanStart ? CLEAN_SESSION_FLAG : 0;
  if (will !== undefined) {
    flags |= WILL_FLAG | (will.qos << WILL_QOS_SHIFT) | (will.retain ? WILL_RETAIN_FLAG : 0);
    if (version === 5) parts.push(willProperties(will));
    parts.push(prefixed(will.topic), prefixed(will.payload));
  }
  if (username !== undefined) {
    flags |= USER_NAME_FLAG;
    parts.push(prefixed(Buffer.from(username)));
  }
  if (password !== undefined) {
    flags |= PASSWORD_FLAG;
    parts.push(prefixed(password));
  }

  const name = prefixed(Buffer.from(version === 3 ? "MQIsdp" : "MQTT"));
  const remaining = parts.reduce((sum, part) => sum + part.length, name.length + 4);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x10;
  let at = writeRemainingLength(packet, 1, remaining);
  packet.set(name, at);
  at += name.length;
  packet[at++] = version | (connect.bridge ? BRIDGE_BIT : 0);
  packet[at++] = flags;
  at = packet.writeUInt16BE(connect.keepAliveSeconds, at);
  for (const part of parts) {
    packet.set(part, at);
    at += part.length;
  }
  return packet;
}

function willProperties({ delaySeconds = 0, expirySeconds, properties = NO_BYTES }: Will): Buffer {
  const own = encodeProperties({
    ...(delaySeconds === 0 ? {} : { willDelaySeconds: delaySeconds }),
    ...(expirySeconds === undefined ? {} : { messageExpirySeconds: expirySeconds }),
  });
  // At most two properties of five bytes: the length that stands before them is one byte.
  const length = own.length - 1 + properties.length;
  const prefix = Buffer.alloc(remainingLengthSize(length));
  writeRemainingLength(prefix, 0, length);
  return Buffer.concat([prefix, own.subarray(1), properties]);
}

function prefixed(field: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(2 + field.length);
  writePrefixed(bytes, 0, field);
  return bytes;
}

const NO_BYTES = Buffer.alloc(0);
