import { copyBytes } from "./copy.ts";
import { remainingLengthSize, writeRemainingLength } from "./frame.ts";
import { PUBLISH_BYTE } from "./publish.ts";

const MESSAGE_EXPIRY = 0x02;
const SUBSCRIPTION_IDENTIFIER = 0x0b;
const TOPIC_ALIAS = 0x23;

function propertiesLength(topicAlias: number, expirySeconds: number, subscriptionIds: readonly number[], blockLength: number): number {
  let length = blockLength + (topicAlias === 0 ? 0 : 3) + (expirySeconds < 0 ? 0 : 5);
  for (let i = 0; i < subscriptionIds.length; i++) length += 1 + remainingLengthSize(subscriptionIds[i] as number);
  return length;
}

/**
 * Bytes of a whole PUBLISH packet of MQTT 5. `topicAlias` is 0 for none and `expirySeconds` -1; `blockLength` is that of the
 * properties that are passed on (`MessageProperties.block`).
 */
export function publish5Size(
  topicLength: number, payloadLength: number, qos: number,
  topicAlias: number, expirySeconds: number, subscriptionIds: readonly number[], blockLength: number,
): number {
  const properties = propertiesLength(topicAlias, expirySeconds, subscriptionIds, blockLength);
  const remaining = 2 + topicLength + (qos === 0 ? 0 : 2) + remainingLengthSize(properties) + properties + payloadLength;
  return 1 + remainingLengthSize(remaining) + remaining;
}

/**
 * Writes a PUBLISH packet of MQTT 5 up to its payload and returns the position after that, without allocating. Parameters are as for
 * `encodePublishHead` and `publish5Size`; a topic that the peer knows by its alias is left empty. With the payload the packet has `publish5Size` bytes at most.
 */
export function encodePublish5Head(
  target: Buffer, at: number, flags: number,
  topic: Uint8Array, topicStart: number, topicEnd: number, packetId: number,
  topicAlias: number, expirySeconds: number, subscriptionIds: readonly number[],
  block: Uint8Array, blockStart: number, blockEnd: number,
  payloadLength: number,
): number {
  const topicLength = topicEnd - topicStart;
  const hasPacketId = (flags & 6) !== 0;
  const properties = propertiesLength(topicAlias, expirySeconds, subscriptionIds, blockEnd - blockStart);
  const remaining = 2 + topicLength + (hasPacketId ? 2 : 0) + remainingLengthSize(properties) + properties + payloadLength;
  target[at] = PUBLISH_BYTE | flags;
  let position = writeRemainingLength(target, at + 1, remaining);
  target[position++] = topicLength >> 8;
  target[position++] = topicLength & 0xff;
  position = copyBytes(target, position, topic, topicStart, topicEnd);
  if (hasPacketId) {
    target[position++] = packetId >> 8;
    target[position++] = packetId & 0xff;
  }
  position = writeRemainingLength(target, position, properties);
  if (topicAlias !== 0) {
    target[position++] = TOPIC_ALIAS;
    target[position++] = topicAlias >> 8;
    target[position++] = topicAlias & 0xff;
  }
  if (expirySeconds >= 0) {
    target[position++] = MESSAGE_EXPIRY;
    position = target.writeUInt32BE(expirySeconds, position);
  }
  for (let i = 0; i < subscriptionIds.length; i++) {
    target[position++] = SUBSCRIPTION_IDENTIFIER;
    position = writeRemainingLength(target, position, subscriptionIds[i] as number);
  }
  return copyBytes(target, position, block, blockStart, blockEnd);
}
