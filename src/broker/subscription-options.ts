import { readRemainingLength, remainingLengthSize, writeRemainingLength } from "../mqtt/frame.ts";
import type { QoS } from "../mqtt/protocol.ts";

/** What a client asks for with one subscription [MQTT 5.0 section 3.8.3.1]. */
export interface SubscriptionOptions {
  readonly qos: QoS;
  /** Nothing that the subscriber itself has published. */
  readonly noLocal: boolean;
  /** Messages keep their RETAIN flag. */
  readonly retainAsPublished: boolean;
  /** Retained messages are sent: 0 always, 1 if the subscription is new, 2 never. */
  readonly retainHandling: 0 | 1 | 2;
  /** 0: it has none. */
  readonly identifier: number;
}

const NO_LOCAL = 4;
const RETAIN_AS_PUBLISHED = 8;
const RETAIN_HANDLING_SHIFT = 4;

/** By the byte that SUBSCRIBE has for them, without identifier: ten thousand subscriptions share a few objects. */
const known = new Map<number, SubscriptionOptions>();

function optionsOf(byte: number): SubscriptionOptions {
  let options = known.get(byte);
  if (options) return options;
  const qos = byte & 3;
  const retainHandling = (byte >> RETAIN_HANDLING_SHIFT) & 3;
  options = {
    qos: qos === 3 ? 2 : (qos as QoS),
    noLocal: (byte & NO_LOCAL) !== 0,
    retainAsPublished: (byte & RETAIN_AS_PUBLISHED) !== 0,
    retainHandling: retainHandling === 3 ? 2 : (retainHandling as 0 | 1 | 2),
    identifier: 0,
  };
  known.set(byte, options);
  return options;
}

function byteOf({ qos, noLocal, retainAsPublished, retainHandling }: SubscriptionOptions): number {
  return qos | (noLocal ? NO_LOCAL : 0) | (retainAsPublished ? RETAIN_AS_PUBLISHED : 0) | (retainHandling << RETAIN_HANDLING_SHIFT);
}

/** All that can be asked for before MQTT 5. */
export function plainOptions(qos: QoS): SubscriptionOptions {
  return optionsOf(qos);
}

/** The same options, in an object that is shared where it can be. */
export function interned(options: SubscriptionOptions): SubscriptionOptions {
  return options.identifier === 0 ? optionsOf(byteOf(options)) : options;
}

/** `doc/store-format.md`, subscription: the byte of SUBSCRIBE, then the identifier if there is one. */
export function encodeOptions(options: SubscriptionOptions): Buffer {
  const { identifier } = options;
  const record = Buffer.alloc(identifier === 0 ? 1 : 1 + remainingLengthSize(identifier));
  record[0] = byteOf(options);
  if (identifier !== 0) writeRemainingLength(record, 1, identifier);
  return record;
}

export function decodeOptions(record: Buffer): SubscriptionOptions {
  const options = optionsOf((record[0] ?? 0) & 0x3f);
  const identifier = record.length > 1 ? readRemainingLength(record, 1, record.length) : 0;
  return identifier > 0 ? { ...options, identifier } : options;
}
