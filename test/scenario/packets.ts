import { frameBody, mqttString } from "./clients.ts";

// Packets of MQTT, of 3.1.1 if nothing else is said, made and read apart from src/: the daemon is judged by other code than its own.

export type QoS = 0 | 1 | 2;
export type Version = 3 | 4 | 5;

export const PUBACK = 0x40;
export const PUBREC = 0x50;
export const PUBREL = 0x62;
export const PUBCOMP = 0x70;
export const DISCONNECT = Buffer.from([0xe0, 0]);

/** A packet from its first byte and the parts of its body. */
export function makePacket(firstByte: number, ...parts: readonly Buffer[]): Buffer {
  const header = [firstByte];
  let length = parts.reduce((sum, part) => sum + part.length, 0);
  do {
    const byte = length % 128;
    length = Math.floor(length / 128);
    header.push(length > 0 ? byte | 0x80 : byte);
  } while (length > 0);
  return Buffer.concat([Buffer.from(header), ...parts]);
}

export function connectPacket(
  clientId: string,
  options: { clean?: boolean; keepAliveSeconds?: number; will?: { topic: string; payload: string; qos: QoS }; version?: Version } = {},
): Buffer {
  const { clean = true, keepAliveSeconds = 0, will, version = 4 } = options;
  const flags = (clean ? 2 : 0) | (will ? 4 | (will.qos << 3) : 0);
  return makePacket(
    0x10,
    mqttString(version === 3 ? "MQIsdp" : "MQTT"),
    Buffer.from([version, flags, keepAliveSeconds >> 8, keepAliveSeconds & 0xff]),
    version === 5 && !clean ? KEPT_FOR_EVER : propertiesOf(version),
    mqttString(clientId),
    ...(will ? [propertiesOf(version)] : []),
    ...(will ? [mqttString(will.topic), mqttString(will.payload)] : []),
  );
}

/** `id` is left out at QoS 0. */
export function publishPacket(topic: string, payload: string | Buffer, options: { qos?: QoS; id?: number; retain?: boolean; version?: Version } = {}): Buffer {
  const { qos = 0, id = 0, retain = false, version = 4 } = options;
  return makePacket(0x30 | (qos << 1) | (retain ? 1 : 0), mqttString(topic), ...(qos > 0 ? [twoBytes(id)] : []), propertiesOf(version), Buffer.from(payload));
}

export const subscribePacket = (id: number, filter: string, qos: QoS, version: Version = 4): Buffer =>
  makePacket(0x82, twoBytes(id), propertiesOf(version), mqttString(filter), Buffer.from([qos]));

export const unsubscribePacket = (id: number, filter: string, version: Version = 4): Buffer => makePacket(0xa2, twoBytes(id), propertiesOf(version), mqttString(filter));

export const ackPacket = (firstByte: number, id: number): Buffer => makePacket(firstByte, twoBytes(id));

export interface Publish {
  topic: string;
  payload: string;
  qos: QoS;
  /** 0 at QoS 0. */
  id: number;
  dup: boolean;
  retain: boolean;
}

/** Properties are passed over. */
export function readPublish(frame: Buffer, version: Version = 4): Publish {
  const first = frame[0] ?? 0;
  const qos = ((first >> 1) & 3) as QoS;
  const body = frameBody(frame);
  const topicEnd = 2 + body.readUInt16BE(0);
  const idEnd = qos > 0 ? topicEnd + 2 : topicEnd;
  return {
    topic: body.toString("utf8", 2, topicEnd),
    payload: body.toString("utf8", version === 5 ? endOfProperties(body, idEnd) : idEnd),
    qos,
    id: qos > 0 ? body.readUInt16BE(topicEnd) : 0,
    dup: (first & 8) !== 0,
    retain: (first & 1) !== 0,
  };
}

/** The protocol version of a CONNECT. */
export const readVersion = (frame: Buffer): Version => (frame.includes("MQIsdp") ? 3 : frameBody(frame)[6] === 5 ? 5 : 4);

/** The packet identifier that a PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK begins with. */
export const readId = (frame: Buffer): number => frameBody(frame).readUInt16BE(0);

/** The reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP of MQTT 5; 0 if there is none. */
export const readReason = (frame: Buffer): number => frameBody(frame)[2] ?? 0;

/** The return codes of a SUBACK. */
export const readCodes = (frame: Buffer): number[] => [...frameBody(frame).subarray(2)];

function twoBytes(id: number): Buffer {
  return Buffer.from([id >> 8, id & 0xff]);
}

/** None. */
function propertiesOf(version: Version): Buffer {
  return version === 5 ? Buffer.from([0]) : Buffer.alloc(0);
}

/** A session expiry interval. */
const KEPT_FOR_EVER = Buffer.from([5, 0x11, 0xff, 0xff, 0xff, 0xff]);

function endOfProperties(body: Buffer, at: number): number {
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = body[at++] ?? 0;
    length += (byte & 0x7f) << shift;
    if (byte < 0x80) return at + length;
  }
}
