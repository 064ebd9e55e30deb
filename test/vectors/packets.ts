/**
 * Packets as data. `bytes` is hex, with `LL` for the number of bytes that follow it (below 128) and `<text>` for a
 * length-prefixed string. A row that decodes is also encoded again, unless `decodeOnly` says that it is not our spelling.
 */
export interface PacketCase {
  readonly name: string;
  readonly clause: string;
  readonly version: 3 | 4 | 5;
  readonly bytes: string;
  readonly expect: { readonly packet: object } | { readonly violation: string; readonly reason?: number } | { readonly unsupported: number };
  readonly decodeOnly?: true;
  /** Who sends it, where that matters; a client else. */
  readonly sender?: "server";
}

/** Bytes of a case's notation. */
export function bytesOf(notation: string): Buffer {
  const [head, tail] = notation.split("LL");
  if (tail === undefined) return plain(notation);
  const body = plain(tail);
  return Buffer.concat([plain(head ?? ""), Buffer.from([body.length]), body]);
}

function plain(notation: string): Buffer {
  const hex = notation.replace(/<([^>]*)>/g, (_, text: string) => {
    const bytes = Buffer.from(text);
    return bytes.length.toString(16).padStart(4, "0") + bytes.toString("hex");
  });
  return Buffer.from(hex.replaceAll(" ", ""), "hex");
}

type Row = readonly [name: string, clause: string, version: 3 | 4 | 5, bytes: string, expect: PacketCase["expect"], decodeOnly?: true];

const bad = (violation: string): { violation: string } => ({ violation });
const ok = (packet: object): { packet: object } => ({ packet });
const client = { version: 4, bridge: false, clientId: "c", cleanStart: true, keepAliveSeconds: 60 };
const will = { topic: "w", payload: "x", qos: 0, retain: false };
const message = { qos: 0, retain: false, dup: false, topic: "a/b", packetId: 0, payload: "hi" };

const rows: readonly Row[] = [
  ["CONNECT 3.1.1", "3.1", 4, "10 LL <MQTT> 04 02 00 3c <c>", ok(client)],
  ["CONNECT 3.1", "3.1", 3, "10 LL <MQIsdp> 03 02 00 3c <c>", ok({ ...client, version: 3 })],
  ["CONNECT of a 3.1.1 bridge", "level 0x84", 4, "10 LL <MQTT> 84 02 00 3c <c>", ok({ ...client, bridge: true })],
  ["CONNECT of a 3.1 bridge", "level 0x83", 3, "10 LL <MQIsdp> 83 02 00 3c <c>", ok({ ...client, version: 3, bridge: true })],
  ["CONNECT of the original bridge, first byte 0x12", "MQTT 3.1 section 2.1", 3, "12 LL <MQIsdp> 83 02 00 3c <c>", ok({ ...client, version: 3, bridge: true }), true],
  ["CONNECT without clean session", "MQTT-3.1.2-4", 4, "10 LL <MQTT> 04 00 00 3c <c>", ok({ ...client, cleanStart: false })],
  ["CONNECT with an empty client identifier", "MQTT-3.1.3-6", 4, "10 LL <MQTT> 04 02 00 3c <>", ok({ ...client, clientId: "" })],
  ["CONNECT without keep alive", "3.1.2.10", 4, "10 LL <MQTT> 04 02 00 00 <c>", ok({ ...client, keepAliveSeconds: 0 })],
  ["CONNECT with the longest keep alive", "3.1.2.10", 4, "10 LL <MQTT> 04 02 ff ff <c>", ok({ ...client, keepAliveSeconds: 65535 })],
  ["CONNECT with a client identifier beyond ASCII", "MQTT-3.1.3-4", 4, "10 LL <MQTT> 04 02 00 3c <zähler€😀>", ok({ ...client, clientId: "zähler€😀" })],
  ["CONNECT with a will", "MQTT-3.1.2-8", 4, "10 LL <MQTT> 04 06 00 3c <c> <w> <x>", ok({ ...client, will })],
  ["CONNECT with a will of QoS 1", "3.1.2.6", 4, "10 LL <MQTT> 04 0e 00 3c <c> <w> <x>", ok({ ...client, will: { ...will, qos: 1 } })],
  ["CONNECT with a retained will of QoS 2", "3.1.2.7", 4, "10 LL <MQTT> 04 36 00 3c <c> <w> <x>", ok({ ...client, will: { ...will, qos: 2, retain: true } })],
  ["CONNECT with an empty will payload", "3.1.3.3", 4, "10 LL <MQTT> 04 06 00 3c <c> <w> <>", ok({ ...client, will: { ...will, payload: "" } })],
  ["CONNECT with a user name only", "3.1.2.8", 4, "10 LL <MQTT> 04 82 00 3c <c> <u>", ok({ ...client, username: "u" })],
  ["CONNECT with user name and password", "3.1.2.9", 4, "10 LL <MQTT> 04 c2 00 3c <c> <u> <p>", ok({ ...client, username: "u", password: "p" })],
  ["CONNECT with an empty user name and password", "3.1.3.4", 4, "10 LL <MQTT> 04 c2 00 3c <c> <> <>", ok({ ...client, username: "", password: "" })],
  ["CONNECT with everything, 3.1", "3.1", 3, "10 LL <MQIsdp> 03 ee 00 3c <c> <w> <x> <u> <p>", ok({ ...client, version: 3, will: { ...will, qos: 1, retain: true }, username: "u", password: "p" })],
  ["3.1 CONNECT with the reserved flag", "MQTT 3.1 section 3.1", 3, "10 LL <MQIsdp> 03 03 00 3c <c>", ok({ ...client, version: 3 }), true],
  ["3.1 CONNECT with will QoS and retain but no will", "MQTT 3.1 section 3.1", 3, "10 LL <MQIsdp> 03 2a 00 3c <c>", ok({ ...client, version: 3 }), true],
  ["CONNECT of level 6", "MQTT-3.1.2-2", 4, "10 LL <MQTT> 06 02 00 3c <c>", { unsupported: 6 }],
  ["CONNECT of MQTT with level 3", "MQTT-3.1.2-2", 4, "10 LL <MQTT> 03 02 00 3c <c>", { unsupported: 3 }],
  ["CONNECT of MQIsdp with level 4", "MQTT-3.1.2-2", 4, "10 LL <MQIsdp> 04 02 00 3c <c>", { unsupported: 4 }],
  ["CONNECT of level 0", "MQTT-3.1.2-2", 4, "10 LL <MQTT> 00 02 00 3c <c>", { unsupported: 0 }],
  ["CONNECT with a wrong protocol name", "MQTT-3.1.2-1", 4, "10 LL <MQTS> 04 02 00 3c <c>", bad("protocol name")],
  ["CONNECT with a protocol name in lower case", "MQTT-3.1.2-1", 4, "10 LL <mqtt> 04 02 00 3c <c>", bad("protocol name")],
  ["CONNECT with an empty protocol name", "MQTT-3.1.2-1", 4, "10 LL <> 04 02 00 3c <c>", bad("protocol name")],
  ["empty CONNECT", "3.1", 4, "10 LL", bad("protocol name is cut off")],
  ["CONNECT cut off before its level", "3.1.2.2", 4, "10 LL <MQTT>", bad("protocol level is cut off")],
  ["CONNECT cut off before its flags", "3.1.2.3", 4, "10 LL <MQTT> 04", bad("connect flags is cut off")],
  ["CONNECT cut off in its keep alive", "3.1.2.10", 4, "10 LL <MQTT> 04 02 00", bad("keep alive is cut off")],
  ["CONNECT without a client identifier", "MQTT-3.1.3-3", 4, "10 LL <MQTT> 04 02 00 3c", bad("client identifier is cut off")],
  ["CONNECT cut off in its client identifier", "MQTT-3.1.3-3", 4, "10 LL <MQTT> 04 02 00 3c 00 05 61", bad("client identifier is cut off")],
  ["CONNECT with fixed header flags", "MQTT-2.2.2-2", 4, "12 LL <MQTT> 04 02 00 3c <c>", bad("reserved flags")],
  ["CONNECT with the reserved connect flag", "MQTT-3.1.2-3", 4, "10 LL <MQTT> 04 03 00 3c <c>", bad("reserved flag")],
  ["CONNECT with will QoS 3", "MQTT-3.1.2-14", 4, "10 LL <MQTT> 04 1e 00 3c <c> <w> <x>", bad("will QoS 3")],
  ["3.1 CONNECT with will QoS 3", "MQTT 3.1 section 3.1", 3, "10 LL <MQIsdp> 03 1e 00 3c <c> <w> <x>", bad("will QoS 3")],
  ["CONNECT with will QoS but no will", "MQTT-3.1.2-13", 4, "10 LL <MQTT> 04 0a 00 3c <c>", bad("will QoS but no will")],
  ["CONNECT with will retain but no will", "MQTT-3.1.2-15", 4, "10 LL <MQTT> 04 22 00 3c <c>", bad("will retain but no will")],
  ["CONNECT with a password but no user name", "MQTT-3.1.2-22", 4, "10 LL <MQTT> 04 42 00 3c <c> <p>", bad("no user name")],
  ["CONNECT without the will it announces", "MQTT-3.1.2-9", 4, "10 LL <MQTT> 04 06 00 3c <c>", bad("will topic is cut off")],
  ["CONNECT without its will payload", "MQTT-3.1.2-9", 4, "10 LL <MQTT> 04 06 00 3c <c> <w>", bad("will payload is cut off")],
  ["CONNECT with an empty will topic", "MQTT-4.7.3-1", 4, "10 LL <MQTT> 04 06 00 3c <c> <> <x>", bad("will topic")],
  ["CONNECT with + in its will topic", "MQTT-3.3.2-2", 4, "10 LL <MQTT> 04 06 00 3c <c> <a/+> <x>", bad("will topic")],
  ["CONNECT with # in its will topic", "MQTT-3.3.2-2", 4, "10 LL <MQTT> 04 06 00 3c <c> <#> <x>", bad("will topic")],
  ["CONNECT with an ill-formed will topic", "MQTT-3.1.3-10", 4, "10 LL <MQTT> 04 06 00 3c <c> 00 01 ff <x>", bad("will topic")],
  ["CONNECT without the user name it announces", "MQTT-3.1.2-19", 4, "10 LL <MQTT> 04 82 00 3c <c>", bad("user name is cut off")],
  ["3.1 CONNECT without the user name it announces", "MQTT 3.1 section 3.1", 3, "10 LL <MQIsdp> 03 82 00 3c <c>", ok({ ...client, version: 3 }), true],
  ["3.1 CONNECT without the password it announces", "MQTT 3.1 section 3.1", 3, "10 LL <MQIsdp> 03 c2 00 3c <c> <u>", ok({ ...client, version: 3, username: "u" }), true],
  ["CONNECT without the password it announces", "MQTT-3.1.2-21", 4, "10 LL <MQTT> 04 c2 00 3c <c> <u>", bad("password is cut off")],
  ["CONNECT with bytes after its payload", "3.1.3", 4, "10 LL <MQTT> 04 02 00 3c <c> 00", bad("too many")],
  ["CONNECT with a user name it does not announce", "MQTT-3.1.2-18", 4, "10 LL <MQTT> 04 02 00 3c <c> <u>", bad("too many")],
  ["CONNECT with U+0000 in its client identifier", "MQTT-1.5.3-2", 4, "10 LL <MQTT> 04 02 00 3c 00 01 00", bad("not valid UTF-8")],
  ["CONNECT with a surrogate in its client identifier", "MQTT-1.5.3-1", 4, "10 LL <MQTT> 04 02 00 3c 00 03 ed a0 80", bad("not valid UTF-8")],
  ["CONNECT with an overlong client identifier", "MQTT-1.5.3-1", 4, "10 LL <MQTT> 04 02 00 3c 00 02 c0 80", bad("not valid UTF-8")],
  ["CONNECT with an ill-formed user name", "MQTT-3.1.3-11", 4, "10 LL <MQTT> 04 82 00 3c <c> 00 01 80", bad("user name is not valid UTF-8")],

  ["CONNACK accepted", "3.2", 4, "20 02 00 00", ok({ sessionPresent: false, code: 0 })],
  ["CONNACK with session present", "MQTT-3.2.2-2", 4, "20 02 01 00", ok({ sessionPresent: true, code: 0 })],
  ["CONNACK refusing the version", "3.2.2.3", 4, "20 02 00 01", ok({ sessionPresent: false, code: 1 })],
  ["CONNACK refusing authorization", "3.2.2.3", 4, "20 02 00 05", ok({ sessionPresent: false, code: 5 })],
  ["CONNACK with a reserved code", "3.2.2.3", 4, "20 02 00 06", bad("reserved return code")],
  ["CONNACK with reserved acknowledge flags", "3.2.2.1", 4, "20 02 02 00", bad("acknowledge flags")],
  ["CONNACK refusing with session present", "MQTT-3.2.2-4", 4, "20 02 01 02", bad("session present")],
  ["CONNACK with header flags", "MQTT-2.2.2-2", 4, "21 02 00 00", bad("reserved flags")],
  ["CONNACK of one byte", "3.2.1", 4, "20 01 00", bad("two bytes")],
  ["CONNACK of three bytes", "3.2.1", 4, "20 03 00 00 00", bad("two bytes")],

  ["PUBLISH QoS 0", "3.3", 4, "30 LL <a/b> 6869", ok(message)],
  ["PUBLISH QoS 1", "3.3", 4, "32 LL <a/b> 0001 6869", ok({ ...message, qos: 1, packetId: 1 })],
  ["PUBLISH QoS 2", "3.3", 4, "34 LL <a/b> ffff 6869", ok({ ...message, qos: 2, packetId: 65535 })],
  ["PUBLISH retained", "3.3.1.3", 4, "31 LL <a/b> 6869", ok({ ...message, retain: true })],
  ["PUBLISH with DUP", "3.3.1.1", 4, "3a LL <a/b> 0102 6869", ok({ ...message, qos: 1, dup: true, packetId: 258 })],
  ["PUBLISH QoS 2 with DUP and retain", "3.3.1.1", 4, "3d LL <a/b> 0102 6869", ok({ ...message, qos: 2, dup: true, retain: true, packetId: 258 })],
  ["PUBLISH without payload", "3.3.3", 4, "30 LL <a/b>", ok({ ...message, payload: "" })],
  ["PUBLISH QoS 1 without payload", "3.3.3", 4, "32 LL <a/b> 0007", ok({ ...message, qos: 1, packetId: 7, payload: "" })],
  ["PUBLISH with a payload above the short copy", "3.3.3", 4, `30 LL <a/b> ${"61".repeat(60)}`, ok({ ...message, payload: "a".repeat(60) })],
  ["PUBLISH with a topic above the short copy", "3.3.2", 4, `30 LL <${"t".repeat(50)}> 6869`, ok({ ...message, topic: "t".repeat(50) })],
  ["PUBLISH with a two-byte remaining length", "2.2.3", 4, `30 8501 <a/b> ${"61".repeat(128)}`, ok({ ...message, payload: "a".repeat(128) })],
  ["PUBLISH with a padded remaining length", "2.2.3", 4, "30 8700 <a/b> 6869", ok(message), true],
  ["PUBLISH 3.1", "3.3", 3, "32 LL <a/b> 0001 6869", ok({ ...message, qos: 1, packetId: 1 })],
  ["3.1 PUBLISH QoS 0 with DUP", "MQTT 3.1 section 2.1", 3, "38 LL <a/b> 6869", ok({ ...message, dup: true })],
  ["PUBLISH with an empty topic is left to the topic table", "MQTT-4.7.3-1", 4, "30 LL <> 6869", ok({ ...message, topic: "" })],
  ["PUBLISH with QoS 3", "MQTT-3.3.1-4", 4, "36 LL <a/b> 0001 6869", bad("QoS 3")],
  ["3.1 PUBLISH with QoS 3", "MQTT 3.1 section 2.1", 3, "36 LL <a/b> 0001 6869", bad("QoS 3")],
  ["PUBLISH QoS 0 with DUP", "MQTT-3.3.1-2", 4, "38 LL <a/b> 6869", bad("DUP")],
  ["PUBLISH with packet identifier 0", "MQTT-2.3.1-1", 4, "32 LL <a/b> 0000 6869", bad("packet identifier 0")],
  ["PUBLISH cut off in its packet identifier", "2.3.1", 4, "32 LL <a/b> 00", bad("packet identifier")],
  ["PUBLISH cut off in its topic", "3.3.2.1", 4, "30 LL 0004 61", bad("topic name")],
  ["PUBLISH cut off in its topic length", "3.3.2.1", 4, "30 LL 00", bad("topic name")],
  ["empty PUBLISH", "3.3.2.1", 4, "30 LL", bad("topic name")],

  ["PUBACK", "3.4", 4, "40 02 0001", ok({ packetId: 1 })],
  ["PUBREC", "3.5", 4, "50 02 1234", ok({ packetId: 0x1234 })],
  ["PUBREL", "3.6", 4, "62 02 ffff", ok({ packetId: 65535 })],
  ["PUBCOMP", "3.7", 4, "70 02 0100", ok({ packetId: 256 })],
  ["UNSUBACK", "3.11", 4, "b0 02 0001", ok({ packetId: 1, codes: [] })],
  ["3.1 PUBREL", "MQTT 3.1 section 3.6", 3, "62 02 0001", ok({ packetId: 1 })],
  ["3.1 PUBREL with DUP", "MQTT 3.1 section 3.6", 3, "6a 02 0001", ok({ packetId: 1 }), true],
  ["PUBREL with DUP", "MQTT-3.6.1-1", 4, "6a 02 0001", bad("PUBREL with flags")],
  ["PUBREL with flags 0", "MQTT-3.6.1-1", 4, "60 02 0001", bad("PUBREL with flags")],
  ["3.1 PUBREL with flags 0", "MQTT 3.1 section 3.6", 3, "60 02 0001", bad("PUBREL with flags")],
  ["PUBACK with flags", "MQTT-2.2.2-2", 4, "42 02 0001", bad("reserved flags")],
  ["PUBREC with flags", "MQTT-2.2.2-2", 4, "51 02 0001", bad("reserved flags")],
  ["PUBCOMP with flags", "MQTT-2.2.2-2", 4, "72 02 0001", bad("reserved flags")],
  ["PUBACK of packet identifier 0", "MQTT-2.3.1-1", 4, "40 02 0000", bad("packet identifier 0")],
  ["PUBACK of one byte", "3.4.2", 4, "40 01 00", bad("packet identifier is cut off")],
  ["empty PUBACK", "3.4.2", 4, "40 00", bad("packet identifier is cut off")],
  ["PUBACK of three bytes", "3.4.2", 4, "40 03 0001 00", bad("too many")],
  ["UNSUBACK of three bytes", "3.11.2", 4, "b0 03 0001 00", bad("too many")],

  ["SUBSCRIBE", "3.8", 4, "82 LL 0001 <a/#> 01", ok({ packetId: 1, requests: [{ filter: "a/#", qos: 1 }] })],
  ["SUBSCRIBE with three filters", "3.8.3", 4, "82 LL 0002 <a> 00 <+/b> 01 <ü> 02", ok({ packetId: 2, requests: [{ filter: "a", qos: 0 }, { filter: "+/b", qos: 1 }, { filter: "ü", qos: 2 }] })],
  ["SUBSCRIBE with an empty filter is left to the caller", "MQTT-4.7.3-1", 4, "82 LL 0001 <> 00", ok({ packetId: 1, requests: [{ filter: "", qos: 0 }] })],
  ["3.1 SUBSCRIBE with DUP", "MQTT 3.1 section 3.8", 3, "8a LL 0001 <a> 01", ok({ packetId: 1, requests: [{ filter: "a", qos: 1 }] }), true],
  ["3.1 SUBSCRIBE with unused QoS bits", "MQTT 3.1 section 3.8", 3, "82 LL 0001 <a> 05", ok({ packetId: 1, requests: [{ filter: "a", qos: 1 }] }), true],
  ["SUBSCRIBE with DUP", "MQTT-3.8.1-1", 4, "8a LL 0001 <a> 01", bad("SUBSCRIBE with flags")],
  ["SUBSCRIBE with flags 0", "MQTT-3.8.1-1", 4, "80 LL 0001 <a> 01", bad("SUBSCRIBE with flags")],
  ["3.1 SUBSCRIBE with flags 0", "MQTT 3.1 section 3.8", 3, "80 LL 0001 <a> 01", bad("SUBSCRIBE with flags")],
  ["SUBSCRIBE without filters", "MQTT-3.8.3-3", 4, "82 LL 0001", bad("without a topic filter")],
  ["SUBSCRIBE with QoS 3", "MQTT-3.8.3-4", 4, "82 LL 0001 <a> 03", bad("QoS 3")],
  ["SUBSCRIBE with reserved bits", "MQTT-3.8.3-4", 4, "82 LL 0001 <a> 04", bad("reserved QoS bits")],
  ["SUBSCRIBE with packet identifier 0", "MQTT-2.3.1-1", 4, "82 LL 0000 <a> 00", bad("packet identifier 0")],
  ["SUBSCRIBE without a QoS", "3.8.3", 4, "82 LL 0001 <a>", bad("requested QoS is cut off")],
  ["SUBSCRIBE cut off in a filter", "3.8.3", 4, "82 LL 0001 0005 61", bad("topic filter is cut off")],
  ["SUBSCRIBE with an ill-formed filter", "MQTT-3.8.3-1", 4, "82 LL 0001 0001 ff 00", bad("not valid UTF-8")],

  ["SUBACK", "3.9", 4, "90 LL 0001 00 01 02 80", ok({ packetId: 1, codes: [0, 1, 2, 0x80] })],
  ["SUBACK with a reserved code", "MQTT-3.9.3-2", 4, "90 LL 0001 03", bad("reserved code")],
  ["SUBACK without codes", "3.9.3", 4, "90 LL 0001", bad("without a return code")],
  ["SUBACK with flags", "MQTT-2.2.2-2", 4, "92 LL 0001 00", bad("reserved flags")],

  ["UNSUBSCRIBE", "3.10", 4, "a2 LL 0001 <a/#>", ok({ packetId: 1, filters: ["a/#"] })],
  ["UNSUBSCRIBE with two filters", "3.10.3", 4, "a2 LL 0009 <a> <b/+>", ok({ packetId: 9, filters: ["a", "b/+"] })],
  ["3.1 UNSUBSCRIBE with DUP", "MQTT 3.1 section 3.10", 3, "aa LL 0001 <a>", ok({ packetId: 1, filters: ["a"] }), true],
  ["UNSUBSCRIBE with DUP", "MQTT-3.10.1-1", 4, "aa LL 0001 <a>", bad("UNSUBSCRIBE with flags")],
  ["UNSUBSCRIBE with flags 0", "MQTT-3.10.1-1", 4, "a0 LL 0001 <a>", bad("UNSUBSCRIBE with flags")],
  ["UNSUBSCRIBE without filters", "MQTT-3.10.3-2", 4, "a2 LL 0001", bad("without a topic filter")],
  ["UNSUBSCRIBE with packet identifier 0", "MQTT-2.3.1-1", 4, "a2 LL 0000 <a>", bad("packet identifier 0")],
  ["UNSUBSCRIBE with an ill-formed filter", "MQTT-3.10.3-1", 4, "a2 LL 0001 0001 ff", bad("not valid UTF-8")],

  ["PINGREQ", "3.12", 4, "c0 00", ok({})],
  ["PINGRESP", "3.13", 4, "d0 00", ok({})],
  ["DISCONNECT", "3.14", 4, "e0 00", ok({})],
  ["3.1 PINGREQ with flags", "MQTT 3.1 section 3.12", 3, "c2 00", ok({}), true],
  ["PINGREQ with flags", "MQTT-2.2.2-2", 4, "c1 00", bad("reserved flags")],
  ["PINGREQ with a body", "3.12", 4, "c0 01 00", bad("body")],
  ["DISCONNECT with flags", "MQTT-3.14.1-1", 4, "e2 00", bad("reserved flags")],
  ["DISCONNECT with a body", "3.14", 4, "e0 01 00", bad("body")],
  ["a remaining length of five bytes", "2.2.3", 4, "30 80 80 80 80 01", bad("four bytes")],
];

export const packets: readonly PacketCase[] = rows.map(([name, clause, version, bytes, expect, decodeOnly]) => ({
  name,
  clause,
  version,
  bytes,
  expect,
  ...(decodeOnly === undefined ? {} : { decodeOnly }),
}));
