import { encodePublishHead, publishSize } from "../../src/mqtt/publish.ts";
import { encodePublish5Head, publish5Size } from "../../src/mqtt/publish5.ts";
import type { MessageProperties } from "../../src/mqtt/message-properties.ts";
import { encodeProperties } from "../../src/mqtt/property-block.ts";
import type { ProtocolVersion, QoS } from "../../src/mqtt/protocol.ts";

export const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];
/** Which versions the clients of a world speak; with each connection a client chooses again. */
export const VERSION_SETS: readonly (readonly ProtocolVersion[])[] = [[3], [4], [4], [5], [5], VERSIONS, VERSIONS];

export interface Published {
  readonly topic: string;
  readonly payload: string;
  readonly qos: QoS;
  readonly retain: boolean;
  /** For connections of MQTT 5. */
  readonly expirySeconds?: number;
}

/** An alias of the connection, and whether the other side knows what it stands for. */
export interface Alias {
  readonly number: number;
  readonly isKnown: boolean;
}

const NO_ALIAS: Alias = { number: 0, isKnown: false };

/** A PUBLISH of any version. In MQTT 5 some messages have a user property that names them. */
export function encodeMessage(version: ProtocolVersion, { topic, payload, qos, retain, expirySeconds = -1 }: Published, packetId: number, dup: boolean, alias = NO_ALIAS): Buffer {
  const [name, content] = [Buffer.from(alias.isKnown ? "" : topic), Buffer.from(payload)];
  const flags = (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  if (version < 5) {
    const packet = Buffer.allocUnsafe(publishSize(name.length, content.length, qos));
    content.copy(packet, encodePublishHead(packet, 0, flags, name, 0, name.length, packetId, content.length));
    return packet;
  }
  const block = payload.length % 2 === 0 ? markOf(payload) : NO_BYTES;
  const packet = Buffer.allocUnsafe(publish5Size(name.length, content.length, qos, alias.number, expirySeconds, [], block.length));
  const at = encodePublish5Head(packet, 0, flags, name, 0, name.length, packetId, alias.number, expirySeconds, [], block, 0, block.length, content.length);
  content.copy(packet, at);
  return packet;
}

/** What is wrong with the properties that came with a payload. */
export function propertyProblem({ block, blockStart, blockEnd }: MessageProperties, payload: string): string | undefined {
  const own = block.subarray(blockStart, blockEnd);
  const expected = markOf(payload);
  const begin = own.indexOf(expected.subarray(0, BEFORE_NAMED_BYTES));
  if (begin < 0) return undefined;
  return own.subarray(begin, begin + expected.length).equals(expected) ? undefined : `came with the properties of another message: ${own.toString("latin1")}`;
}

const MARK = "of";
const BEFORE_NAMED_BYTES = 3 + MARK.length;
/** The property without the length that stands before all, which is one byte. */
const markOf = (payload: string): Buffer => encodeProperties({ userProperties: [[MARK, payload.slice(0, 16)]] }).subarray(1);
const NO_BYTES = Buffer.alloc(0);
