import { malformed, protocolError } from "./violation.ts";
import { copyBytes } from "./copy.ts";
import { MessageProperties } from "./message-properties.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import type { ProtocolVersion, QoS } from "./protocol.ts";

/** PUBLISH's first byte without flags. */
export const PUBLISH_BYTE = 0x30;
const NO_BYTES = Buffer.alloc(0);

/**
 * Where the parts of one PUBLISH lie in `bytes`. One instance is reused for every packet of a connection:
 * it is valid only until the next `decodePublish`, and what must outlive that is copied out.
 */
export class PublishView {
  bytes: Buffer = NO_BYTES;
  qos: QoS = 0;
  retain = false;
  dup = false;
  topicStart = 0;
  topicEnd = 0;
  /** 0 for QoS 0. */
  packetId = 0;
  /** Says "none" before MQTT 5. */
  readonly properties = new MessageProperties();
  payloadStart = 0;
  payloadEnd = 0;

  /** `sender`: whose packets are read. */
  constructor(readonly sender: "client" | "server" = "client") {}
}

/**
 * Fills `view` from the body `bytes[bodyStart, bodyEnd)`. Whether the topic name is valid is left to the topic table,
 * which knows the answer for every name it has seen; so is whether a topic alias is known.
 * @throws ProtocolViolation; `view` is then undefined.
 */
export function decodePublish(
  view: PublishView,
  version: ProtocolVersion,
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  const qos = (firstByte >> 1) & 3;
  if (qos === 3) throw malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]");
  const dup = (firstByte & 8) !== 0;
  // MQTT 3.1 only says that DUP has no meaning with QoS 0.
  if (dup && qos === 0 && version >= 4) throw malformed("PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2]");

  let at = bodyStart + 2;
  if (at > bodyEnd) throw malformed("PUBLISH is cut off in its topic name");
  const topicEnd = at + (((bytes[bodyStart] as number) << 8) | (bytes[bodyStart + 1] as number));
  if (topicEnd > bodyEnd) throw malformed("PUBLISH is cut off in its topic name");
  view.topicStart = at;
  view.topicEnd = topicEnd;
  at = topicEnd;

  view.packetId = 0;
  if (qos !== 0) {
    if (at + 2 > bodyEnd) throw malformed("PUBLISH is cut off in its packet identifier");
    view.packetId = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    if (view.packetId === 0) throw protocolError("PUBLISH with packet identifier 0 [MQTT-2.3.1-1]");
    at += 2;
  }

  if (version === 5) at = readProperties(view, bytes, at, bodyEnd);
  else if (view.properties.isSet) view.properties.clear();

  view.bytes = bytes;
  view.qos = qos as QoS;
  view.dup = dup;
  view.retain = (firstByte & 1) !== 0;
  view.payloadStart = at;
  view.payloadEnd = bodyEnd;
}

function readProperties(view: PublishView, bytes: Buffer, at: number, bodyEnd: number): number {
  const { properties } = view;
  const end = properties.read("PUBLISH", view.sender, bytes, at, bodyEnd);
  if (view.topicStart === view.topicEnd && properties.topicAlias === 0) {
    throw protocolError("PUBLISH with neither a topic name nor a Topic Alias [MQTT 5.0 section 3.3.2.1]");
  }
  return end;
}

/** Bytes of a whole PUBLISH packet for MQTT 3.1 and 3.1.1. */
export function publishSize(topicLength: number, payloadLength: number, qos: number): number {
  const remaining = 2 + topicLength + (qos === 0 ? 0 : 2) + payloadLength;
  return 1 + remainingLengthSize(remaining) + remaining;
}

/**
 * Writes a PUBLISH packet for MQTT 3.1 and 3.1.1 up to its payload and returns the position after that, without allocating.
 * `flags` is the low nibble of the first byte (DUP 8, QoS << 1, RETAIN 1); `packetId` is left out for QoS 0.
 * With the payload the packet has `publishSize` bytes.
 */
export function encodePublishHead(
  target: Buffer,
  at: number,
  flags: number,
  topic: Uint8Array,
  topicStart: number,
  topicEnd: number,
  packetId: number,
  payloadLength: number,
): number {
  const topicLength = topicEnd - topicStart;
  const hasPacketId = (flags & 6) !== 0;
  const remaining = 2 + topicLength + (hasPacketId ? 2 : 0) + payloadLength;
  target[at] = PUBLISH_BYTE | flags;
  let position = writeRemainingLength(target, at + 1, remaining);
  target[position++] = topicLength >> 8;
  target[position++] = topicLength & 0xff;
  position = copyBytes(target, position, topic, topicStart, topicEnd);
  if (hasPacketId) {
    target[position++] = packetId >> 8;
    target[position++] = packetId & 0xff;
  }
  return position;
}
