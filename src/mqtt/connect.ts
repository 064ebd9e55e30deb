import { BodyReader, writePrefixed } from "./body.ts";
import { malformed, ProtocolViolation } from "./violation.ts";
import { Reason } from "./reason.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { isValidTopicName } from "./topic-name.ts";
import type { ProtocolVersion, QoS, Will } from "./protocol.ts";

/** Set in the protocol level by a bridge, so that the peer keeps retain flags and does not echo (original daemon, Mosquitto). */
const BRIDGE_BIT = 0x80;

const RESERVED_FLAG = 0x01;
const CLEAN_SESSION_FLAG = 0x02;
const WILL_FLAG = 0x04;
const WILL_QOS_SHIFT = 3;
const WILL_RETAIN_FLAG = 0x20;
const PASSWORD_FLAG = 0x40;
const USER_NAME_FLAG = 0x80;

/** A CONNECT packet. Whether an empty or long client identifier is acceptable is for the broker to say in CONNACK. */
export interface Connect {
  version: ProtocolVersion;
  /** The peer calls itself a bridge (protocol level 0x83 or 0x84). */
  bridge: boolean;
  clientId: string;
  cleanStart: boolean;
  /** 0 turns keep alive off. */
  keepAliveSeconds: number;
  will?: Will;
  username?: string;
  password?: Buffer;
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

/** @throws ProtocolViolation, or UnsupportedVersion for MQTT 5 and unknown levels. */
export function decodeConnect(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): Connect {
  const reader = new BodyReader(bytes, bodyStart, bodyEnd);
  const level = readLevel(reader);
  const version = (level & ~BRIDGE_BIT) as 3 | 4;
  // The original daemon's bridge sends 0x12 for its MQIsdp connections: 3.1 leaves these flags unused.
  if (version === 4 && (firstByte & 0x0f) !== 0) throw malformed("CONNECT with reserved flags set [MQTT-2.2.2-2]");

  const flags = reader.byte("connect flags");
  checkConnectFlags(version, flags);
  const connect: Connect = {
    version,
    bridge: (level & BRIDGE_BIT) !== 0,
    cleanStart: (flags & CLEAN_SESSION_FLAG) !== 0,
    keepAliveSeconds: reader.uint16("keep alive"),
    clientId: reader.string("client identifier"),
  };
  if ((flags & WILL_FLAG) !== 0) connect.will = readWill(reader, flags);
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
  if ((level & ~BRIDGE_BIT) !== (name === "MQTT" ? 4 : 3)) throw new UnsupportedVersion(level);
  return level;
}

function checkConnectFlags(version: 3 | 4, flags: number): void {
  if (version === 4 && (flags & RESERVED_FLAG) !== 0) throw malformed("CONNECT with its reserved flag set [MQTT-3.1.2-3]");
  const willQoS = (flags >> WILL_QOS_SHIFT) & 3;
  if ((flags & WILL_FLAG) !== 0) {
    if (willQoS === 3) throw malformed("CONNECT with will QoS 3 [MQTT-3.1.2-14]");
  } else if (version === 4) {
    if (willQoS !== 0) throw malformed("CONNECT with will QoS but no will [MQTT-3.1.2-13]");
    if ((flags & WILL_RETAIN_FLAG) !== 0) throw malformed("CONNECT with will retain but no will [MQTT-3.1.2-15]");
  }
  if ((flags & PASSWORD_FLAG) !== 0 && (flags & USER_NAME_FLAG) === 0) {
    throw malformed("CONNECT with a password but no user name [MQTT-3.1.2-22]");
  }
}

function readWill(reader: BodyReader, flags: number): Will {
  const topic = reader.binary("will topic");
  if (!isValidTopicName(topic, 0, topic.length)) {
    throw new ProtocolViolation(Reason.TopicNameInvalid, "CONNECT with an invalid will topic [MQTT-3.1.3-10]");
  }
  return {
    topic,
    payload: reader.binary("will payload"),
    qos: ((flags >> WILL_QOS_SHIFT) & 3) as QoS,
    retain: (flags & WILL_RETAIN_FLAG) !== 0,
  };
}

/** A whole CONNECT packet, for versions 3 and 4. @throws RangeError if a field is longer than 65535 bytes. */
export function encodeConnect(connect: Connect): Buffer {
  const name = Buffer.from(connect.version === 3 ? "MQIsdp" : "MQTT");
  const fields: Uint8Array[] = [Buffer.from(connect.clientId)];
  let flags = connect.cleanStart ? CLEAN_SESSION_FLAG : 0;
  if (connect.will !== undefined) {
    flags |= WILL_FLAG | (connect.will.qos << WILL_QOS_SHIFT) | (connect.will.retain ? WILL_RETAIN_FLAG : 0);
    fields.push(connect.will.topic, connect.will.payload);
  }
  if (connect.username !== undefined) {
    flags |= USER_NAME_FLAG;
    fields.push(Buffer.from(connect.username));
  }
  if (connect.password !== undefined) {
    flags |= PASSWORD_FLAG;
    fields.push(connect.password);
  }

  const remaining = fields.reduce((sum, field) => sum + 2 + field.length, 2 + name.length + 4);
  const packet = Buffer.allocUnsafe(1 + remainingLengthSize(remaining) + remaining);
  packet[0] = 0x10;
  let at = writeRemainingLength(packet, 1, remaining);
  at = writePrefixed(packet, at, name);
  packet[at++] = connect.version | (connect.bridge ? BRIDGE_BIT : 0);
  packet[at++] = flags;
  at = packet.writeUInt16BE(connect.keepAliveSeconds, at);
  for (const field of fields) at = writePrefixed(packet, at, field);
  return packet;
}
