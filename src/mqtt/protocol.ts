/** MQTT protocol level as it stands in CONNECT, the bridge bit (0x80) taken off: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
export type ProtocolVersion = 3 | 4 | 5;

export type QoS = 0 | 1 | 2;

/** Control packet types [MQTT 3.1.1 table 2.1]: the high nibble of a packet's first byte. */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;
export type PacketType = (typeof PacketType)[keyof typeof PacketType];

/** A will as CONNECT carries it; the topic is as the client spelt it, without mount point. */
export interface Will {
  readonly topic: Buffer;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly retain: boolean;
  /** Of MQTT 5: seconds from the end of the connection until it is published. */
  readonly delaySeconds?: number;
  readonly expirySeconds?: number;
  /** Of MQTT 5: the properties that are passed on, as bytes (`MessageProperties.block`). */
  readonly properties?: Buffer;
}
