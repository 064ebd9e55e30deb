import { frameBody, mqttString } from "./clients.ts";

// Packets of MQTT 3.1.1, made and read apart from src/: the daemon is judged by other code than its own.

export type QoS = 0 | 1 | 2;

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
  options: { clean?: boolean; keepAliveSeconds?: number; will?: { topic: string; payload: string; qos: QoS } } = {},
): Buffer {
  const { clean = true, keepAliveSeconds = 0, will } = options;
  const flags = (clean ? 2 : 0) | (will ? 4 | (will.qos << 3) : 0);
  return makePacket(
    0x10,
    mqttString("MQTT"),
    Buffer.from([4, flags, keepAliveSeconds >> 8, keepAliveSeconds & 0xff]),
    mqttString(clientId),
    ...(will ? [mqttString(will.topic), mqttString(will.payload)] : []),
  );
}

/** `id` is left out at QoS 0. */
export function publishPacket(topic: string, payload: string | Buffer, options: { qos?: QoS; id?: number; retain?: boolean } = {}): Buffer {
  const { qos = 0, id = 0, retain = false } = options;
  return makePacket(0x30 | (qos << 1) | (retain ? 1 : 0), mqttString(topic), ...(qos > 0 ? [twoBytes(id)] : []), Buffer.from(payload));
}

export const subscribePacket = (id: number, filter: string, qos: QoS): Buffer => makePacket(0x82, twoBytes(id), mqttString(filter), Buffer.from([qos]));

export const unsubscribePacket = (id: number, filter: string): Buffer => makePacket(0xa2, twoBytes(id), mqttString(filter));

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

export function readPublish(frame: Buffer): Publish {
  const first = frame[0] ?? 0;
  const qos = ((first >> 1) & 3) as QoS;
  const body = frameBody(frame);
  const topicEnd = 2 + body.readUInt16BE(0);
  return {
    topic: body.toString("utf8", 2, topicEnd),
    payload: body.toString("utf8", qos > 0 ? topicEnd + 2 : topicEnd),
    qos,
    id: qos > 0 ? body.readUInt16BE(topicEnd) : 0,
    dup: (first & 8) !== 0,
    retain: (first & 1) !== 0,
  };
}

/** The packet identifier that a PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK or UNSUBACK begins with. */
export const readId = (frame: Buffer): number => frameBody(frame).readUInt16BE(0);

/** The return codes of a SUBACK. */
export const readCodes = (frame: Buffer): number[] => [...frameBody(frame).subarray(2)];

function twoBytes(id: number): Buffer {
  return Buffer.from([id >> 8, id & 0xff]);
}
