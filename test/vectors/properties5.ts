import type { PacketCase } from "./notation.ts";

/** A packet of each kind around its properties. */
const packetAround = {
  CONNECT: (block: string) => `10 LL <MQTT> 05 02 003c {${block}} <c>`,
  WILL: (block: string) => `10 LL <MQTT> 05 06 003c {} <c> {${block}} <w> <x>`,
  CONNACK: (block: string) => `20 LL 00 00 {${block}}`,
  PUBLISH: (block: string) => `30 LL <a/b> {${block}} 6869`,
  PUBACK: (block: string) => `40 LL 0001 00 {${block}}`,
  PUBREC: (block: string) => `50 LL 0001 00 {${block}}`,
  PUBREL: (block: string) => `62 LL 0001 00 {${block}}`,
  PUBCOMP: (block: string) => `70 LL 0001 00 {${block}}`,
  SUBSCRIBE: (block: string) => `82 LL 0001 {${block}} <a> 00`,
  SUBACK: (block: string) => `90 LL 0001 {${block}} 00`,
  UNSUBSCRIBE: (block: string) => `a2 LL 0001 {${block}} <a>`,
  UNSUBACK: (block: string) => `b0 LL 0001 {${block}} 00`,
  DISCONNECT: (block: string) => `e0 LL 00 {${block}}`,
  AUTH: (block: string) => `f0 LL 00 {${block}}`,
};
export type Place = keyof typeof packetAround;
export const places = Object.keys(packetAround) as Place[];

/** Packets that a client sends; a will is part of its CONNECT. */
export const clientPlaces: readonly Place[] = ["CONNECT", "WILL", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "UNSUBSCRIBE", "DISCONNECT", "AUTH"];

const all = places.join(" ");
const answers = "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH";
const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;
const QUOTA = 0x97;

/**
 * The standard's table 2.4, copied from there by hand and not from src/: identifier, name, a good value, places, and values that
 * are none, with their reason. `what it needs` goes in front, where a property may not stand alone.
 */
const table: readonly (readonly [id: string, name: string, value: string, places: string, bad?: Record<string, number>, needs?: string])[] = [
  ["01", "Payload Format Indicator", "01", "PUBLISH WILL", { "02": PROTOCOL_ERROR, "": MALFORMED }],
  ["02", "Message Expiry Interval", "0000003c", "PUBLISH WILL", { "00003c": MALFORMED }],
  ["03", "Content Type", "<text>", "PUBLISH WILL", { "0005 61": MALFORMED, "0001 ff": MALFORMED, "0001 00": MALFORMED }],
  ["08", "Response Topic", "<r/t>", "PUBLISH WILL", { "<r/+>": PROTOCOL_ERROR, "<r/#>": PROTOCOL_ERROR, "<>": PROTOCOL_ERROR, "0001 ff": MALFORMED, "00": MALFORMED }],
  ["09", "Correlation Data", "0003 00ff80", "PUBLISH WILL", { "0004 616263": MALFORMED }],
  ["0b", "Subscription Identifier", "ffffff7f", "PUBLISH SUBSCRIBE", { "00": PROTOCOL_ERROR, "8000": MALFORMED, "ffffffff01": MALFORMED, "ff": MALFORMED }],
  ["11", "Session Expiry Interval", "ffffffff", "CONNECT CONNACK DISCONNECT", { "ffffff": MALFORMED }],
  ["12", "Assigned Client Identifier", "<id>", "CONNACK", { "0001 ff": MALFORMED }],
  ["13", "Server Keep Alive", "003c", "CONNACK", { "3c": MALFORMED }],
  ["15", "Authentication Method", "<PLAIN>", "CONNECT CONNACK AUTH", { "0001 ff": MALFORMED }],
  ["16", "Authentication Data", "0002 00ff", "CONNECT CONNACK AUTH", { "0002 00": MALFORMED }, "15 <PLAIN>"],
  ["17", "Request Problem Information", "00", "CONNECT", { "02": PROTOCOL_ERROR }],
  ["18", "Will Delay Interval", "00000005", "WILL", { "0005": MALFORMED }],
  ["19", "Request Response Information", "01", "CONNECT", { "02": PROTOCOL_ERROR }],
  ["1a", "Response Information", "<i>", "CONNACK", { "0001 ff": MALFORMED }],
  ["1c", "Server Reference", "<s>", "CONNACK DISCONNECT", { "0001 ff": MALFORMED }],
  ["1f", "Reason String", "<why>", answers, { "0001 ff": MALFORMED }],
  ["21", "Receive Maximum", "0014", "CONNECT CONNACK", { "0000": PROTOCOL_ERROR, "14": MALFORMED }],
  ["22", "Topic Alias Maximum", "000a", "CONNECT CONNACK", { "0a": MALFORMED }],
  ["23", "Topic Alias", "0001", "PUBLISH", { "0000": 0x94, "01": MALFORMED }],
  ["24", "Maximum QoS", "01", "CONNACK", { "02": PROTOCOL_ERROR }],
  ["25", "Retain Available", "00", "CONNACK", { "02": PROTOCOL_ERROR }],
  ["26", "User Property", "<name> <value>", all, { "<name>": MALFORMED, "<name> 0001 ff": MALFORMED, "0001 ff <value>": MALFORMED, "<name> 0001 00": MALFORMED }],
  ["27", "Maximum Packet Size", "00000080", "CONNECT CONNACK", { "00000000": PROTOCOL_ERROR, "000080": MALFORMED }],
  ["28", "Wildcard Subscription Available", "00", "CONNACK", { "02": PROTOCOL_ERROR }],
  ["29", "Subscription Identifier Available", "01", "CONNACK", { "ff": PROTOCOL_ERROR }],
  ["2a", "Shared Subscription Available", "01", "CONNACK", { "02": PROTOCOL_ERROR }],
];

/** Who has to send it, where that is not for both or follows from the packet. */
function senderOf(id: string, place: Place): "client" | "server" {
  if (place === "CONNACK" || (id === "0b" && place === "PUBLISH") || (id === "1c" && place === "DISCONNECT")) return "server";
  return "client";
}

export interface PropertyCase extends PacketCase {
  readonly place: Place;
}

function caseOf(name: string, clause: string, id: string, place: Place, block: string, expect: PacketCase["expect"]): PropertyCase {
  const sender = senderOf(id, place);
  return { name, clause, place, version: 5, bytes: packetAround[place](block), expect, ...(sender === "server" ? { sender } : {}) };
}

const refusal = (reason: number, violation = ""): PacketCase["expect"] => ({ violation, reason });
const repeatable = (id: string, place: Place): boolean => id === "26" || (id === "0b" && place === "PUBLISH");

/** Each property in each packet: where it belongs, and where it does not; twice; and with values that are none. */
export const propertyCases: readonly PropertyCase[] = [
  ...table.flatMap(([id, name, value, allowed, bad = {}, needs = ""]) =>
    places.flatMap((place): PropertyCase[] => {
      const one = `${id} ${value}`;
      if (!allowed.split(" ").includes(place)) {
        return [caseOf(`${place} with ${name}`, "2.2.2.2", id, place, one, refusal(MALFORMED, "does not belong there"))];
      }
      return [
        caseOf(`${place} with ${name}`, "table 2-4", id, place, needs + one, { accepted: true }),
        repeatable(id, place)
          ? caseOf(`${place} with two of ${name}`, "2.2.2.2", id, place, one + one, { accepted: true })
          : caseOf(`${place} with two of ${name}`, "2.2.2.2", id, place, needs + one + one, refusal(PROTOCOL_ERROR, "more than one")),
        ...Object.entries(bad).map(([wrong, reason]) => caseOf(`${place} with ${name} ${wrong || "that is cut off"}`, "2.2.2.2", id, place, `${needs}${id} ${wrong}`, refusal(reason))),
      ];
    }),
  ),
  ...places.flatMap((place) => [
    ...["00", "04", "2b", "7f", "8101", "ff"].map((id) => caseOf(`${place} with the unknown property ${id}`, "2.2.2.2", id, place, `${id} 00`, refusal(MALFORMED, "unknown property"))),
    {
      ...caseOf(`${place} with a property length of two bytes where one does`, "MQTT-1.5.5-1", "", place, "", refusal(MALFORMED, "longer than needed")),
      bytes: packetAround[place]("").replace(/\{\}(?!.*\{\})/, "8000"),
    },
    caseOf(`${place} with as many properties as are taken`, "doc/limits.md", "", place, "26 <> <>".repeat(10_000), { accepted: true }),
    caseOf(`${place} with more properties than are taken`, "doc/limits.md", "", place, "26 <> <>".repeat(10_001), refusal(QUOTA, "more than 10000")),
  ]),
];
