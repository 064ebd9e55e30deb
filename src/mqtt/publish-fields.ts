/** What a PUBLISH that is to be sent is made of: ranges of bytes that lie elsewhere. */
export interface PublishFields {
  readonly topic: Buffer;
  readonly topicEnd: number;
  /** Properties that are passed on, without their length. */
  readonly properties: Buffer;
  readonly propertiesStart: number;
  readonly propertiesEnd: number;
  /** What the properties do not hold already. */
  readonly subscriptionIds: readonly number[];
  readonly payload: Buffer;
  readonly payloadStart: number;
  readonly payloadEnd: number;
}

/** A QoS 0 PUBLISH packet as it came: `[frameStart, frameEnd)` of `frame`. */
export interface PublishFrame extends PublishFields {
  readonly frame: Buffer;
  readonly frameStart: number;
  readonly frameEnd: number;
  /** It is one of MQTT 5, with a property length. */
  readonly frameIs5: boolean;
}
