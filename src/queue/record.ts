import { crc32 } from "node:zlib";
import { copyBytes } from "../mqtt/copy.ts";
import { remainingLengthSize, writeRemainingLength } from "../mqtt/frame.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { type Message, NO_SUBSCRIPTION_IDS, SUBSCRIPTION_IDENTIFIER } from "./message.ts";

/**
 * The message record of `doc/store-format.md`, the same in RAM and on disk: u32 length of what follows, u32 CRC-32 of all after this field,
 * u48 seq, u48 receivedMs, u8 flags, [u48 expiresAtMs], [u32 share], u16 topic length, topic, [u32 properties length, properties], payload.
 * These are the bytes of one without what stands in brackets, topic and payload.
 */
export const RECORD_HEADER_BYTES = 23;
const CRC_AT = 4;
const SEQ_AT = 8;
const RECEIVED_AT = 14;
const FLAGS_AT = 20;
const REST_AT = 21;
const EXPIRY_BYTES = 6;
const SHARE_BYTES = 4;
const LENGTH_BYTES = 4;
const FLAG_RETAIN = 4;
const FLAG_EXPIRY = 8;
const FLAG_PROPERTIES = 16;
const FLAG_SHARE = 128;
/** Bits 5 and 6 of a message that is put aside: the lane that it came from. */
const LANE_SHIFT = 5;

export function recordSize(message: Message): number {
  const size = RECORD_HEADER_BYTES + (message.topicEnd - message.topicStart) + message.payloadLength;
  return flagsOf(message) === 0 ? size : size + optionalSize(message);
}

/** What of a record's optional fields the message needs. */
function flagsOf({ expiresAtMs, share, propertiesStart, propertiesEnd, subscriptionIds }: Message): number {
  const properties = propertiesEnd > propertiesStart || subscriptionIds.length > 0 ? FLAG_PROPERTIES : 0;
  return properties | (expiresAtMs === 0 ? 0 : FLAG_EXPIRY) | (share === 0 ? 0 : FLAG_SHARE);
}

function optionalSize(message: Message): number {
  const fixed = (message.expiresAtMs === 0 ? 0 : EXPIRY_BYTES) + (message.share === 0 ? 0 : SHARE_BYTES);
  const properties = propertiesSize(message);
  return fixed + (properties === 0 ? 0 : LENGTH_BYTES + properties);
}

function propertiesSize({ propertiesStart, propertiesEnd, subscriptionIds }: Message): number {
  return subscriptionIds.reduce((size, id) => size + 1 + remainingLengthSize(id), propertiesEnd - propertiesStart);
}

/** Writes the record, its CRC left open: it is sealed when it goes to disk, so what never goes there never pays for it. */
export function writeRecord(target: Buffer, at: number, message: Message, qos: QoS, seq: number, retain = message.retain): number {
  const topicLength = message.topicEnd - message.topicStart;
  const flags = flagsOf(message);
  const end = at + RECORD_HEADER_BYTES + topicLength + message.payloadLength + (flags === 0 ? 0 : optionalSize(message));
  writeUInt32(target, at, end - at - 4);
  writeUInt32(target, at + CRC_AT, 0);
  writeUInt48(target, at + SEQ_AT, seq);
  writeUInt48(target, at + RECEIVED_AT, message.receivedMs);
  target[at + FLAGS_AT] = qos | (retain ? FLAG_RETAIN : 0) | flags;
  let position = at + REST_AT;
  if ((flags & FLAG_EXPIRY) !== 0) {
    writeUInt48(target, position, message.expiresAtMs);
    position += EXPIRY_BYTES;
  }
  if ((flags & FLAG_SHARE) !== 0) position = target.writeUInt32BE(message.share, position);
  target[position] = topicLength >> 8;
  target[position + 1] = topicLength & 0xff;
  position = copyBytes(target, position + 2, message.topic, message.topicStart, message.topicEnd);
  if ((flags & FLAG_PROPERTIES) !== 0) position = writeProperties(target, position, message);
  return copyBytes(target, position, message.payload, message.payloadStart, message.payloadEnd);
}

function writeProperties(target: Buffer, at: number, message: Message): number {
  let position = target.writeUInt32BE(propertiesSize(message), at);
  for (const id of message.subscriptionIds) {
    target[position] = SUBSCRIPTION_IDENTIFIER;
    position = writeRemainingLength(target, position + 1, id);
  }
  return position + message.properties.copy(target, position, message.propertiesStart, message.propertiesEnd);
}

/** To be called before the record is sealed. */
export function setRecordLane(bytes: Buffer, at: number, lane: number): void {
  bytes[at + FLAGS_AT] = (bytes[at + FLAGS_AT] ?? 0) | (lane << LANE_SHIFT);
}

/** Stands in for a message that can't be read: no message has an empty topic name [MQTT-4.7.3-1]. Never written to disk. */
export function emptyRecord(seq: number, receivedMs: number): Buffer {
  const record = Buffer.alloc(RECORD_HEADER_BYTES);
  record.writeUInt32BE(RECORD_HEADER_BYTES - 4, 0);
  writeUInt48(record, SEQ_AT, seq);
  writeUInt48(record, RECEIVED_AT, receivedMs);
  return record;
}

/** Fills in the CRC of every record between `from` and `to`. */
export function sealRecords(bytes: Buffer, from: number, to: number): void {
  for (let at = from; at < to; at = recordEnd(bytes, at)) {
    bytes.writeUInt32BE(crc32(bytes.subarray(at + SEQ_AT, recordEnd(bytes, at))), at + CRC_AT);
  }
}

/** Whether a whole record with a true CRC stands at `at`. */
export function isIntactRecord(bytes: Buffer, at: number, end: number): boolean {
  if (end - at < RECORD_HEADER_BYTES) return false;
  const recordEndsAt = recordEnd(bytes, at);
  if (recordEndsAt > end || recordEndsAt < at + RECORD_HEADER_BYTES) return false;
  return bytes.readUInt32BE(at + CRC_AT) === crc32(bytes.subarray(at + SEQ_AT, recordEndsAt));
}

export const recordEnd = (bytes: Buffer, at: number): number => at + 4 + readUInt32(bytes, at);
export const recordSeq = (bytes: Buffer, at: number): number => readUInt48(bytes, at + SEQ_AT);
export const recordLane = (bytes: Buffer, at: number): number => ((bytes[at + FLAGS_AT] ?? 0) >> LANE_SHIFT) & 3;
export const recordReceivedMs = (bytes: Buffer, at: number): number => readUInt48(bytes, at + RECEIVED_AT);

/** 0: it has none. */
export const recordExpiresAtMs = (bytes: Buffer, at: number): number =>
  ((bytes[at + FLAGS_AT] ?? 0) & FLAG_EXPIRY) === 0 ? 0 : readUInt48(bytes, at + REST_AT);

/** Lays `message` over the record at `at`. */
export function readRecord(message: Message, bytes: Buffer, at: number): void {
  const flags = bytes[at + FLAGS_AT] ?? 0;
  let position = at + REST_AT;
  message.expiresAtMs = 0;
  if ((flags & FLAG_EXPIRY) !== 0) {
    message.expiresAtMs = readUInt48(bytes, position);
    position += EXPIRY_BYTES;
  }
  message.share = 0;
  if ((flags & FLAG_SHARE) !== 0) {
    message.share = bytes.readUInt32BE(position);
    position += SHARE_BYTES;
  }
  const topicLength = ((bytes[position] as number) << 8) | (bytes[position + 1] as number);
  message.qos = (flags & 3) as QoS;
  message.retain = (flags & FLAG_RETAIN) !== 0;
  message.receivedMs = recordReceivedMs(bytes, at);
  message.topic = bytes;
  message.topicStart = position + 2;
  message.topicEnd = position + 2 + topicLength;
  position = message.topicEnd;
  message.propertiesStart = message.propertiesEnd = 0;
  message.subscriptionIds = NO_SUBSCRIPTION_IDS;
  if ((flags & FLAG_PROPERTIES) !== 0) {
    message.properties = bytes;
    message.propertiesStart = position + LENGTH_BYTES;
    position = message.propertiesEnd = message.propertiesStart + bytes.readUInt32BE(position);
  }
  message.payload = bytes;
  message.payloadStart = position;
  message.payloadEnd = recordEnd(bytes, at);
  message.frameStart = message.frameEnd = 0;
}

export function writeUInt48(target: Buffer, at: number, value: number): void {
  const upper = Math.floor(value / 0x1_0000_0000);
  target[at] = upper >> 8;
  target[at + 1] = upper;
  writeUInt32(target, at + 2, value);
}

export function readUInt48(bytes: Buffer, at: number): number {
  const upper = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const lower = readUInt32(bytes, at + 2);
  return upper === 0 ? lower : upper * 0x1_0000_0000 + lower; // a small number stays an integer to V8: as a product it would take 16 bytes wherever it is kept
}

/** Byte by byte: several of these stand in the way of each queued message, and Node's own cost a call and its checks. */
function writeUInt32(target: Buffer, at: number, value: number): void {
  target[at] = value >>> 24;
  target[at + 1] = value >>> 16;
  target[at + 2] = value >>> 8;
  target[at + 3] = value;
}

function readUInt32(bytes: Buffer, at: number): number {
  return (((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)) >>> 0;
}
