import type { PacketCase } from "./notation.ts";

type Row = readonly [name: string, clause: string, bytes: string, expect: PacketCase["expect"], how?: "decodeOnly" | "server"];

const MALFORMED = 0x81;
const PROTOCOL_ERROR = 0x82;
const malformed = (violation: string): PacketCase["expect"] => ({ violation, reason: MALFORMED });
const forbidden = (violation: string, reason = PROTOCOL_ERROR): PacketCase["expect"] => ({ violation, reason });
const ok = (packet: object): PacketCase["expect"] => ({ packet });
const client = { version: 5, bridge: false, clientId: "c", cleanStart: true, keepAliveSeconds: 60 };
const will = { topic: "w", payload: "x", qos: 0, retain: false, delaySeconds: 0 };
const message = { qos: 0, retain: false, dup: false, topic: "a/b", packetId: 0, payload: "hi" };
const request = { filter: "a", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 };

/** Packets of MQTT 5; what there is to say of each property is in `properties5.ts`. */
const rows: readonly Row[] = [
  ["CONNECT", "3.1", "10 LL <MQTT> 05 02 003c {} <c>", ok(client)],
  ["CONNECT of a bridge", "level 0x85", "10 LL <MQTT> 85 02 003c {} <c>", ok({ ...client, bridge: true })],
  ["CONNECT of another daemon's bridge", "doc/bridges.md", "10 LL <MQTT> 05 02 003c {26 <amqtdd-via> <1>} <c>", ok({ ...client, bridge: true, properties: { userProperties: [["amqtdd-via", "1"]] } }), "decodeOnly"],
  ["CONNECT without clean start", "MQTT-3.1.2-5", "10 LL <MQTT> 05 00 003c {} <c>", ok({ ...client, cleanStart: false })],
  ["CONNECT with an empty client identifier and no clean start", "MQTT-3.1.3-6", "10 LL <MQTT> 05 00 003c {} <>", ok({ ...client, cleanStart: false, clientId: "" })],
  ["CONNECT with a password but no user name", "3.1.2.9", "10 LL <MQTT> 05 42 003c {} <c> <p>", ok({ ...client, password: "p" })],
  ["CONNECT with user name and password", "3.1.3.6", "10 LL <MQTT> 05 c2 003c {} <c> <u> <p>", ok({ ...client, username: "u", password: "p" })],
  [
    "CONNECT with every property", "3.1.2.11",
    "10 LL <MQTT> 05 02 003c {11 0000000a 15 <M> 16 <d> 17 00 19 01 21 0014 22 0005 26 <k> <1> 26 <k> <2> 27 00010000} <c>",
    ok({
      ...client,
      properties: {
        sessionExpirySeconds: 10, authenticationMethod: "M", authenticationData: "d", requestProblemInformation: 0, requestResponseInformation: 1,
        receiveMaximum: 20, topicAliasMaximum: 5, userProperties: [["k", "1"], ["k", "2"]], maximumPacketBytes: 65536,
      },
    }),
  ],
  ["CONNECT with a will", "3.1.3.2", "10 LL <MQTT> 05 36 003c {} <c> {} <w> <x>", ok({ ...client, will: { ...will, qos: 2, retain: true } })],
  [
    "CONNECT with every will property", "3.1.3.2",
    "10 LL <MQTT> 05 06 003c {} <c> {02 0000003c 18 00000005 01 01 03 <t> 08 <r> 09 <d> 26 <k> <v>} <w> <x>",
    ok({ ...client, will: { ...will, delaySeconds: 5, expirySeconds: 60, properties: "\x01\x01\x03\0\x01t\x08\0\x01r\x09\0\x01d&\0\x01k\0\x01v" } }),
  ],
  [
    "CONNECT with will properties in another order", "MQTT-3.1.3-10",
    "10 LL <MQTT> 05 06 003c {} <c> {26 <k> <v> 02 0000003c 26 <k> <u> 18 00000005 03 <t>} <w> <x>",
    ok({ ...client, will: { ...will, delaySeconds: 5, expirySeconds: 60, properties: "&\0\x01k\0\x01v&\0\x01k\0\x01u\x03\0\x01t" } }), "decodeOnly",
  ],
  ["CONNECT with authentication data but no method", "3.1.2.11.10", "10 LL <MQTT> 05 02 003c {16 <d>} <c>", forbidden("no Authentication Method")],
  ["CONNECT without a property length", "MQTT-2.2.2-1", "10 LL <MQTT> 05 02 003c", malformed("property length")],
  ["CONNECT with properties past its end", "2.2.2.1", "10 LL <MQTT> 05 02 003c 09 11 0000000a", malformed("in its properties")],
  ["CONNECT whose properties end within one", "2.2.2.1", "10 LL <MQTT> 05 02 003c 04 11 0000000a <c>", malformed("cut off in Session Expiry Interval")],
  ["CONNECT with the reserved flag", "MQTT-3.1.2-3", "10 LL <MQTT> 05 03 003c {} <c>", malformed("reserved flag")],
  ["CONNECT with header flags", "MQTT-2.1.3-1", "11 LL <MQTT> 05 02 003c {} <c>", malformed("reserved flags")],
  ["CONNECT with will QoS but no will", "MQTT-3.1.2-11", "10 LL <MQTT> 05 0a 003c {} <c>", malformed("will QoS but no will")],
  ["CONNECT with will QoS 3", "MQTT-3.1.2-12", "10 LL <MQTT> 05 1e 003c {} <c> {} <w> <x>", malformed("will QoS 3")],
  ["CONNECT with will retain but no will", "MQTT-3.1.2-13", "10 LL <MQTT> 05 22 003c {} <c>", malformed("will retain but no will")],
  ["CONNECT with a wildcard in its will topic", "MQTT-3.1.3-11", "10 LL <MQTT> 05 06 003c {} <c> {} <w/+> <x>", forbidden("will topic", 0x90)],
  ["CONNECT without the will it announces", "MQTT-3.1.2-8", "10 LL <MQTT> 05 06 003c {} <c>", malformed("property length")],
  ["CONNECT without the password it announces", "MQTT-3.1.2-19", "10 LL <MQTT> 05 42 003c {} <c>", malformed("password is cut off")],
  ["CONNECT with bytes after its payload", "3.1.3", "10 LL <MQTT> 05 02 003c {} <c> 00", malformed("too many")],
  ["CONNECT with an ill-formed client identifier", "MQTT-3.1.3-4", "10 LL <MQTT> 05 02 003c {} 0001 ff", malformed("not valid UTF-8")],
  ["CONNECT of MQIsdp with level 5", "MQTT-3.1.2-2", "10 LL <MQIsdp> 05 02 003c {} <c>", { unsupported: 5 }],

  ["CONNACK", "3.2", "20 LL 00 00 {}", ok({ sessionPresent: false, code: 0 }), "server"],
  ["CONNACK with session present", "MQTT-3.2.2-3", "20 LL 01 00 {}", ok({ sessionPresent: true, code: 0 }), "server"],
  [
    "CONNACK with every property", "3.2.2.3",
    "20 LL 00 00 {11 0000000a 12 <i> 13 003c 15 <M> 16 <d> 1a <a> 1c <s> 1f <y> 21 0014 22 0005 24 01 25 00 26 <k> <v> 27 00010000 28 00 29 01 2a 00}",
    ok({
      sessionPresent: false, code: 0,
      properties: {
        sessionExpirySeconds: 10, assignedClientId: "i", serverKeepAliveSeconds: 60, authenticationMethod: "M", authenticationData: "d",
        responseInformation: "a", serverReference: "s", reasonString: "y", receiveMaximum: 20, topicAliasMaximum: 5, maximumQoS: 1, retainAvailable: 0,
        userProperties: [["k", "v"]], maximumPacketBytes: 65536, wildcardSubscriptionAvailable: 0, subscriptionIdentifierAvailable: 1,
        sharedSubscriptionAvailable: 0,
      },
    }), "server",
  ],
  ...[0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f].map(
    (code): Row => [`CONNACK refusing with ${code.toString(16)}`, "table 3-1", `20 LL 00 ${code.toString(16)} {}`, ok({ sessionPresent: false, code }), "server"],
  ),
  ["CONNACK with a return code of 3.1.1", "MQTT-3.2.2-8", "20 LL 00 05 {}", forbidden("reason code 0x05"), "server"],
  ["CONNACK with reserved flags", "MQTT-3.2.2-1", "20 LL 02 00 {}", malformed("acknowledge flags"), "server"],
  ["CONNACK refusing with session present", "MQTT-3.2.2-6", "20 LL 01 87 {}", forbidden("session present"), "server"],
  ["CONNACK without a property length", "MQTT-2.2.2-1", "20 LL 00 00", malformed("property length"), "server"],
  ["CONNACK with bytes after its properties", "3.2.3", "20 LL 00 00 {} 00", malformed("too many"), "server"],

  ["PUBLISH", "3.3", "30 LL <a/b> {} 6869", ok(message)],
  ["PUBLISH QoS 1 without payload", "3.3.3", "32 LL <a/b> 0007 {}", ok({ ...message, qos: 1, packetId: 7, payload: "" })],
  ["PUBLISH QoS 2, DUP and retained", "3.3.1", "3d LL <a/b> ffff {} 6869", ok({ ...message, qos: 2, dup: true, retain: true, packetId: 65535 })],
  ["PUBLISH that sets a topic alias", "3.3.2.3.4", "30 LL <a/b> {23 000a} 6869", ok({ ...message, topicAlias: 10 })],
  ["PUBLISH by topic alias", "3.3.2.3.4", "30 LL <> {23 ffff} 6869", ok({ ...message, topic: "", topicAlias: 65535 })],
  ["PUBLISH with an expiry", "3.3.2.3.3", "30 LL <a/b> {02 ffffffff} 6869", ok({ ...message, expirySeconds: 0xffffffff })],
  ["PUBLISH that expires at once", "3.3.2.3.3", "30 LL <a/b> {02 00000000} 6869", ok({ ...message, expirySeconds: 0 })],
  ["PUBLISH in UTF-8", "3.3.2.3.2", "30 LL <a/b> {01 01} 6869", ok({ ...message, payloadFormat: 1, block: "0101" })],
  [
    "PUBLISH with properties to pass on, in their order", "MQTT-3.3.2-18", "30 LL <a/b> {26 <z> <1> 09 <d> 26 <a> <2> 03 <t> 08 <r> 26 <z> <3>} 6869",
    ok({ ...message, block: "2600017a000131" + "09000164" + "26000161000132" + "03000174" + "08000172" + "2600017a000133" }),
  ],
  [
    "PUBLISH with its own properties in front", "3.3.2.3", "32 LL <a/b> 0001 {23 0001 02 00000005 03 <t> 26 <k> <v>} 6869",
    ok({ ...message, qos: 1, packetId: 1, topicAlias: 1, expirySeconds: 5, block: "0300017426" + "00016b000176" }),
  ],
  [
    "PUBLISH with its own properties behind", "3.3.2.3", "30 LL <a/b> {03 <t> 26 <k> <v> 02 00000005 23 0001} 6869",
    ok({ ...message, topicAlias: 1, expirySeconds: 5, block: "0300017426" + "00016b000176" }), "decodeOnly",
  ],
  [
    "PUBLISH with its own properties between", "3.3.2.3", "30 LL <a/b> {03 <t> 02 00000005 26 <k> <v> 23 0001 26 <k> <w> 01 00} 6869",
    ok({ ...message, topicAlias: 1, expirySeconds: 5, payloadFormat: 0, block: "03000174" + "2600016b000176" + "2600016b000177" + "0100" }), "decodeOnly",
  ],
  ["PUBLISH of a server with subscription identifiers", "MQTT-3.3.4-4", "30 LL <a/b> {0b 01 0b 8001 0b ffffff7f} 6869", ok({ ...message, subscriptionIds: [1, 128, 268_435_455] }), "server"],
  ["PUBLISH of a client with a subscription identifier", "MQTT-3.3.4-6", "30 LL <a/b> {0b 01} 6869", forbidden("Subscription Identifier")],
  ["PUBLISH with neither topic nor alias", "3.3.2.1", "30 LL <> {} 6869", forbidden("neither")],
  ["PUBLISH with neither topic nor alias but an expiry", "3.3.2.1", "30 LL <> {02 00000001} 6869", forbidden("neither")],
  ["PUBLISH without a property length", "MQTT-2.2.2-1", "30 LL <a/b>", malformed("property length")],
  ["PUBLISH with properties past its end", "2.2.2.1", "30 LL <a/b> 05 0101", malformed("in its properties")],
  ["PUBLISH with a property length of five bytes", "1.5.5", "30 LL <a/b> 8080808001", malformed("four bytes")],
  ["PUBLISH with QoS 3", "MQTT-3.3.1-4", "36 LL <a/b> 0001 {} 6869", malformed("QoS 3")],
  ["PUBLISH QoS 0 with DUP", "MQTT-3.3.1-2", "38 LL <a/b> {} 6869", malformed("DUP")],
  ["PUBLISH with packet identifier 0", "MQTT-2.2.1-3", "32 LL <a/b> 0000 {} 6869", forbidden("packet identifier 0")],
  ["PUBLISH with a padded remaining length", "MQTT-1.5.5-1", "30 8800 <a/b> {} 6869", malformed("longer than needed")],

  ...([["PUBACK", "40"], ["PUBREC", "50"], ["PUBREL", "62"], ["PUBCOMP", "70"]] as const).flatMap(([name, first]): Row[] => [
    [name, "3.4.2.1", `${first} 02 0001`, ok({ packetId: 1 })],
    [`${name} that spells success out`, "3.4.2.1", `${first} 03 0001 00`, ok({ packetId: 1 }), "decodeOnly"],
    [`${name} with an empty property length`, "3.4.2.2.1", `${first} 04 0001 00 00`, ok({ packetId: 1 }), "decodeOnly"],
    [`${name} with a reason string`, "3.4.2.2.2", `${first} LL 0001 00 {1f <why> 26 <k> <v>}`, ok({ packetId: 1, properties: { reasonString: "why", userProperties: [["k", "v"]] } })],
    [`${name} with properties past its end`, "3.4.2.2.1", `${first} 04 0001 00 03`, malformed("in its properties")],
    [`${name} with bytes after its properties`, "3.4.2.2", `${first} 05 0001 00 00 00`, malformed("too many")],
    [`${name} of packet identifier 0`, "MQTT-2.2.1-5", `${first} 02 0000`, malformed("packet identifier 0")],
    [`${name} with a reason code that is none`, "MQTT-3.4.2-1", `${first} 03 0001 7f`, forbidden("reason code 0x7f")],
    [`${name} with flags`, "MQTT-2.1.3-1", `${first === "62" ? "60" : first.replace("0", "1")} 02 0001`, malformed("flags")],
  ]),
  ...[0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99].flatMap((reasonCode): Row[] => {
    const hex = reasonCode.toString(16);
    return [
      [`PUBACK with reason code ${hex}`, "table 3-4", `40 03 0001 ${hex}`, ok({ packetId: 1, reasonCode })],
      [`PUBREC with reason code ${hex}`, "table 3-5", `50 03 0001 ${hex}`, ok({ packetId: 1, reasonCode })],
      [`PUBREL with reason code ${hex}`, "table 3-6", `62 03 0001 ${hex}`, forbidden("reason code")],
      [`PUBCOMP with reason code ${hex}`, "table 3-7", `70 03 0001 ${hex}`, forbidden("reason code")],
    ];
  }),
  ["PUBREL with reason code 92", "table 3-6", "62 03 0001 92", ok({ packetId: 1, reasonCode: 0x92 })],
  ["PUBCOMP with reason code 92", "table 3-7", "70 03 0001 92", ok({ packetId: 1, reasonCode: 0x92 })],
  ["PUBACK with reason code 92", "table 3-4", "40 03 0001 92", forbidden("reason code 0x92")],

  ["SUBSCRIBE", "3.8", "82 LL 0001 {} <a> 01", ok({ packetId: 1, requests: [{ ...request, qos: 1 }] })],
  [
    "SUBSCRIBE with every option", "3.8.3.1", "82 LL 0001 {0b 8001 26 <k> <v>} <a> 04 <b> 08 <c> 12 <d> 2e",
    ok({
      packetId: 1,
      requests: [
        { ...request, noLocal: true },
        { ...request, filter: "b", retainAsPublished: true },
        { ...request, filter: "c", qos: 2, retainHandling: 1 },
        { ...request, filter: "d", qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 2 },
      ],
      properties: { subscriptionIdentifiers: [128], userProperties: [["k", "v"]] },
    }),
  ],
  ["SUBSCRIBE to a shared subscription", "4.8.2", "82 LL 0001 {} <$share/g/a> 01", ok({ packetId: 1, requests: [{ ...request, filter: "$share/g/a", qos: 1 }] })],
  ["SUBSCRIBE with no local on a shared subscription", "MQTT-3.8.3-4", "82 LL 0001 {} <$share/g/a> 05", forbidden("No Local")],
  ["SUBSCRIBE with reserved options", "MQTT-3.8.3-5", "82 LL 0001 {} <a> 40", malformed("reserved options")],
  ["SUBSCRIBE with the highest reserved option", "MQTT-3.8.3-5", "82 LL 0001 {} <a> 80", malformed("reserved options")],
  ["SUBSCRIBE with QoS 3", "3.8.3.1", "82 LL 0001 {} <a> 03", forbidden("QoS 3")],
  ["SUBSCRIBE with retain handling 3", "3.8.3.1", "82 LL 0001 {} <a> 30", forbidden("Retain Handling 3")],
  ["SUBSCRIBE without filters", "MQTT-3.8.3-2", "82 LL 0001 {}", forbidden("without a topic filter")],
  ["SUBSCRIBE without a property length", "MQTT-2.2.2-1", "82 LL 0001", malformed("property length")],
  ["SUBSCRIBE with packet identifier 0", "MQTT-2.2.1-3", "82 LL 0000 {} <a> 00", malformed("packet identifier 0")],
  ["SUBSCRIBE with flags 0", "MQTT-3.8.1-1", "80 LL 0001 {} <a> 00", malformed("SUBSCRIBE with flags")],
  ["SUBSCRIBE with an ill-formed filter", "MQTT-3.8.3-1", "82 LL 0001 {} 0001 ff 00", malformed("not valid UTF-8")],

  ["SUBACK", "3.9", "90 LL 0001 {} 00 01 02 80 83 87 8f 91 97 9e a1 a2", ok({ packetId: 1, codes: [0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2] }), "server"],
  ["SUBACK with a reason string", "3.9.2.1.2", "90 LL 0001 {1f <why>} 87", ok({ packetId: 1, codes: [0x87], properties: { reasonString: "why" } }), "server"],
  ["SUBACK with a code that is none", "MQTT-3.9.3-2", "90 LL 0001 {} 03", forbidden("reason code 0x03"), "server"],
  ["SUBACK without codes", "3.9.3", "90 LL 0001 {}", malformed("without a return code"), "server"],

  ["UNSUBSCRIBE", "3.10", "a2 LL 0001 {} <a/#> <$share/g/a>", ok({ packetId: 1, filters: ["a/#", "$share/g/a"] })],
  ["UNSUBSCRIBE with a user property", "3.10.2.1", "a2 LL 0001 {26 <k> <v>} <a>", ok({ packetId: 1, filters: ["a"], properties: { userProperties: [["k", "v"]] } })],
  ["UNSUBSCRIBE without filters", "MQTT-3.10.3-2", "a2 LL 0001 {}", forbidden("without a topic filter")],
  ["UNSUBSCRIBE with flags 0", "MQTT-3.10.1-1", "a0 LL 0001 {} <a>", malformed("UNSUBSCRIBE with flags")],

  ["UNSUBACK", "3.11", "b0 LL 0001 {} 00 11 80 83 87 8f 91", ok({ packetId: 1, codes: [0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91] }), "server"],
  ["UNSUBACK with a reason string", "3.11.2.1.2", "b0 LL 0001 {1f <why>} 11", ok({ packetId: 1, codes: [0x11], properties: { reasonString: "why" } }), "server"],
  ["UNSUBACK with a code that is none", "MQTT-3.11.3-2", "b0 LL 0001 {} 01", forbidden("reason code 0x01"), "server"],
  ["UNSUBACK without codes", "3.11.3", "b0 LL 0001 {}", malformed("without a return code"), "server"],

  ["PINGREQ", "3.12", "c0 00", ok({})],
  ["PINGREQ with flags", "MQTT-2.1.3-1", "c1 00", malformed("reserved flags")],
  ["PINGREQ with a body", "3.12", "c0 01 00", malformed("body")],
  ["PINGREQ with a padded remaining length", "MQTT-1.5.5-1", "c0 8000", malformed("longer than needed")],

  ["DISCONNECT", "3.14.2.1", "e0 00", ok({})],
  ["DISCONNECT that spells success out", "3.14.2.1", "e0 01 00", ok({}), "decodeOnly"],
  ["DISCONNECT that asks for the will", "3.14.2.1", "e0 01 04", ok({ reasonCode: 4 })],
  ...[0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99].map(
    (reasonCode): Row => [`DISCONNECT with ${reasonCode.toString(16)}`, "table 3-10", `e0 01 ${reasonCode.toString(16)}`, ok({ reasonCode })],
  ),
  ...[0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2].map(
    (reasonCode): Row => [`DISCONNECT of a server with ${reasonCode.toString(16)}`, "table 3-10", `e0 01 ${reasonCode.toString(16)}`, ok({ reasonCode }), "server"],
  ),
  [
    "DISCONNECT with every property of a client", "3.14.2.2", "e0 LL 04 {11 0000000a 1f <y> 26 <k> <v>}",
    ok({ reasonCode: 4, properties: { sessionExpirySeconds: 10, reasonString: "y", userProperties: [["k", "v"]] } }),
  ],
  ["DISCONNECT of a server that moved", "3.14.2.2.5", "e0 LL 9d {1c <there>}", ok({ reasonCode: 0x9d, properties: { serverReference: "there" } }), "server"],
  ["DISCONNECT of a server with a session expiry", "MQTT-3.14.2-2", "e0 LL 00 {11 0000000a}", forbidden("Session Expiry Interval"), "server"],
  ["DISCONNECT of a server that asks for a will", "table 3-10", "e0 01 04", forbidden("will"), "server"],
  ["DISCONNECT of a client with a server reference", "3.14.2.2.5", "e0 LL 00 {1c <there>}", forbidden("Server Reference")],
  ["DISCONNECT with a reason code that is none", "MQTT-3.14.2-1", "e0 01 01", forbidden("reason code 0x01")],
  ["DISCONNECT with flags", "MQTT-3.14.1-1", "e1 00", malformed("reserved flags")],
  ["DISCONNECT with bytes after its properties", "3.14.3", "e0 LL 00 {} 00", malformed("too many")],

  ["AUTH", "3.15", "f0 LL 18 {15 <M> 16 <d> 1f <y> 26 <k> <v>}", ok({ reasonCode: 0x18, properties: { authenticationMethod: "M", authenticationData: "d", reasonString: "y", userProperties: [["k", "v"]] } })],
  ["AUTH of success", "3.15.2.1", "f0 00", ok({})],
  ["AUTH that asks for re-authentication", "4.12.1", "f0 LL 19 {15 <M>}", ok({ reasonCode: 0x19, properties: { authenticationMethod: "M" } })],
  ["AUTH with a reason code that is none", "MQTT-3.15.2-1", "f0 01 80", forbidden("reason code 0x80")],
  ["AUTH with data but no method", "3.15.2.2.3", "f0 LL 18 {16 <d>}", forbidden("no Authentication Method")],
  ["AUTH with flags", "MQTT-3.15.1-1", "f1 00", malformed("reserved flags")],
];

export const packets5: readonly PacketCase[] = rows.map(([name, clause, bytes, expect, how]) => ({
  name: `MQTT 5 ${name}`,
  clause,
  version: 5,
  bytes,
  expect,
  ...(how === "decodeOnly" ? { decodeOnly: true } : {}),
  ...(how === "server" ? { sender: "server" } : {}),
}));
