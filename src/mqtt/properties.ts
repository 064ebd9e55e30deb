import { PacketType } from "./protocol.ts";

/** How a property's value is written [MQTT 5.0 section 2.2.2.2]; a `bit` is a byte that is 0 or 1, a `pair` two strings. */
export type PropertyType = "bit" | "uint16" | "uint32" | "varint" | "string" | "topic" | "binary" | "pair";

/** Where properties stand: a packet, or CONNECT's will. */
export type PropertyPlace = Exclude<keyof typeof PacketType, "PINGREQ" | "PINGRESP"> | "WILL";

export interface Property {
  readonly id: number;
  /** As the standard spells it, for messages. */
  readonly name: string;
  /** Its field in `Properties`. */
  readonly key: string;
  readonly type: PropertyType;
  readonly places: readonly PropertyPlace[];
  /** Where it may stand more than once; then its field is a list. */
  readonly repeats?: readonly PropertyPlace[];
  readonly nonZero?: true;
  /** A server passes it on as it is, in its place among the others [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-20]. */
  readonly forwarded?: true;
}

const MESSAGE = ["PUBLISH", "WILL"] as const;
const CONNECTION = ["CONNECT", "CONNACK"] as const;
const ACKS = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK"] as const;
const EVERYWHERE = [...CONNECTION, ...MESSAGE, ...ACKS, "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT", "AUTH"] as const;

/** All properties of MQTT 5 [MQTT 5.0 table 2.4]; decoders, encoders and checks follow this table. */
export const properties = [
  { id: 0x01, name: "Payload Format Indicator", key: "payloadFormatIndicator", type: "bit", places: MESSAGE, forwarded: true },
  { id: 0x02, name: "Message Expiry Interval", key: "messageExpirySeconds", type: "uint32", places: MESSAGE },
  { id: 0x03, name: "Content Type", key: "contentType", type: "string", places: MESSAGE, forwarded: true },
  { id: 0x08, name: "Response Topic", key: "responseTopic", type: "topic", places: MESSAGE, forwarded: true },
  { id: 0x09, name: "Correlation Data", key: "correlationData", type: "binary", places: MESSAGE, forwarded: true },
  { id: 0x0b, name: "Subscription Identifier", key: "subscriptionIdentifiers", type: "varint", places: ["PUBLISH", "SUBSCRIBE"], repeats: ["PUBLISH"], nonZero: true },
  { id: 0x11, name: "Session Expiry Interval", key: "sessionExpirySeconds", type: "uint32", places: [...CONNECTION, "DISCONNECT"] },
  { id: 0x12, name: "Assigned Client Identifier", key: "assignedClientId", type: "string", places: ["CONNACK"] },
  { id: 0x13, name: "Server Keep Alive", key: "serverKeepAliveSeconds", type: "uint16", places: ["CONNACK"] },
  { id: 0x15, name: "Authentication Method", key: "authenticationMethod", type: "string", places: [...CONNECTION, "AUTH"] },
  { id: 0x16, name: "Authentication Data", key: "authenticationData", type: "binary", places: [...CONNECTION, "AUTH"] },
  { id: 0x17, name: "Request Problem Information", key: "requestProblemInformation", type: "bit", places: ["CONNECT"] },
  { id: 0x18, name: "Will Delay Interval", key: "willDelaySeconds", type: "uint32", places: ["WILL"] },
  { id: 0x19, name: "Request Response Information", key: "requestResponseInformation", type: "bit", places: ["CONNECT"] },
  { id: 0x1a, name: "Response Information", key: "responseInformation", type: "string", places: ["CONNACK"] },
  { id: 0x1c, name: "Server Reference", key: "serverReference", type: "string", places: ["CONNACK", "DISCONNECT"] },
  { id: 0x1f, name: "Reason String", key: "reasonString", type: "string", places: ["CONNACK", ...ACKS, "DISCONNECT", "AUTH"] },
  { id: 0x21, name: "Receive Maximum", key: "receiveMaximum", type: "uint16", places: CONNECTION, nonZero: true },
  { id: 0x22, name: "Topic Alias Maximum", key: "topicAliasMaximum", type: "uint16", places: CONNECTION },
  { id: 0x23, name: "Topic Alias", key: "topicAlias", type: "uint16", places: ["PUBLISH"], nonZero: true },
  { id: 0x24, name: "Maximum QoS", key: "maximumQoS", type: "bit", places: ["CONNACK"] },
  { id: 0x25, name: "Retain Available", key: "retainAvailable", type: "bit", places: ["CONNACK"] },
  { id: 0x26, name: "User Property", key: "userProperties", type: "pair", places: EVERYWHERE, repeats: EVERYWHERE, forwarded: true },
  { id: 0x27, name: "Maximum Packet Size", key: "maximumPacketBytes", type: "uint32", places: CONNECTION, nonZero: true },
  { id: 0x28, name: "Wildcard Subscription Available", key: "wildcardSubscriptionAvailable", type: "bit", places: ["CONNACK"] },
  { id: 0x29, name: "Subscription Identifier Available", key: "subscriptionIdentifierAvailable", type: "bit", places: ["CONNACK"] },
  { id: 0x2a, name: "Shared Subscription Available", key: "sharedSubscriptionAvailable", type: "bit", places: ["CONNACK"] },
] as const satisfies readonly Property[];

interface Values {
  bit: 0 | 1;
  uint16: number;
  uint32: number;
  varint: number;
  string: string;
  topic: string;
  binary: Buffer;
  pair: UserProperty;
}
type Row = (typeof properties)[number];
type ValueOf<R extends Row> = R extends { repeats: readonly PropertyPlace[] } ? readonly Values[R["type"]][] : Values[R["type"]];

/** Name and value, in the order in which they were sent; a name may stand there more than once. */
export type UserProperty = readonly [name: string, value: string];

/** The properties of one packet; what is absent there is absent here. */
export type Properties = { readonly [R in Row as R["key"]]?: ValueOf<R> };

export const NO_PROPERTIES: Properties = Object.freeze({});

/** A place as a bit: one for each packet type, 1 for a will. */
export function placeBit(place: PropertyPlace): number {
  return place === "WILL" ? 1 : 1 << PacketType[place];
}

/** A row of the table as the decoder uses it: sets of places are bit sets. */
export interface PropertyRule {
  readonly property: Property;
  /** Its place in the table, as a bit. */
  readonly bit: number;
  readonly places: number;
  readonly repeats: number;
}

const bitsOf = (places: readonly PropertyPlace[]): number => places.reduce((bits, place) => bits | placeBit(place), 0);

/** By property identifier. */
export const propertyRules: readonly (PropertyRule | undefined)[] = properties.reduce<(PropertyRule | undefined)[]>((rules, property: Property, index) => {
  rules[property.id] = { property, bit: 1 << index, places: bitsOf(property.places), repeats: bitsOf(property.repeats ?? []) };
  return rules;
}, []);
