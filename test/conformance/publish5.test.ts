import { connect5, type Conversation } from "./conversation.ts";
import { judge } from "./judge.ts";

const KEPT = "11 00000258";
/** s subscribes to a filter with the options. */
const sub = (filter: string, options = "00", properties = ""): readonly string[] => [`s> 82 LL 0001 {${properties}} <${filter}> ${options}`, `s< 90 04 0001 00 0${Number.parseInt(options, 16) & 3}`];
const subscribed = (filter: string, options = "00", properties = ""): readonly string[] => ["s+ 5", ...sub(filter, options, properties)];
const ALL = "01 01 03 <text> 08 <answer/1> 09 <data> 26 <b> <1> 26 <a> <2> 26 <b> <3>";
const x = (count: number): string => "78".repeat(count);

/** MQTT 5: PUBLISH and its acknowledgements, quality of service, order, flow control. */
const conversations: readonly Conversation[] = [
  ["MQTT-1.5.4-1 MQTT-3.3.2-1", "a topic name is UTF-8", "a+ 5", "a> 30 LL 0003 eda080 {} 78", "a< e0 01 81", "a$"],
  ["MQTT-1.5.4-2 MQTT-4.7.3-2", "a topic name has no NUL", "a+ 5", "a> 30 LL 0003 610062 {} 78", "a< e0 01 81", "a$"],
  ["MQTT-1.5.4-3 MQTT-4.7.3-4", "a byte order mark stays, and nothing is normalised", ...subscribed("utf/#"), "p+ 5", "p> 30 LL <utf/\uFEFFx> {} 78", "s< 30 LL <utf/\uFEFFx> {} 78", "p> 30 LL <utf/\u00e9> {} 31", "s< 30 LL <utf/\u00e9> {} 31", "p> 30 LL <utf/e\u0301> {} 32", "s< 30 LL <utf/e\u0301> {} 32"],
  ["MQTT-1.5.5-1", "lengths are as short as they can be", "a+ 5", "a> 30 83 00 0001 61", "a< e0 01 81", "a$"],
  ["MQTT-1.5.7-1", "both strings of a user property are UTF-8", "a+ 5", "a> 30 LL <a> {26 <k> 0001 ff}", "a< e0 01 81", "a$"],
  ["MQTT-4.7.3-3", "a topic name has up to 65,535 bytes", ...subscribed("long/#"), "p+ 5", `p> 30 LL <long/${"x".repeat(65_530)}> {} 78`, `s< 30 LL <long/${"x".repeat(65_530)}> {} 78`],
  [
    "doc/limits.md", "a topic name has up to 200 levels",
    ...subscribed("deep/#", "01"), "p+ 5", `p> 32 LL <deep${"/".repeat(199)}> 0001 {} 78`, "p< 40 02 0001", `s< 32 LL <deep${"/".repeat(199)}> ID {} 78`, `p> 32 LL <deep${"/".repeat(200)}> 0001 {} 78`, "p< 40 03 0001 90",
    `p> 34 LL <deep${"/".repeat(200)}> 0001 {} 78`, "p< 50 03 0001 90", `p> 30 LL <deep${"/".repeat(200)}> {} 78`, "p-", "s-", `w> ${connect5("w", { flags: "06", rest: `{} <${"/".repeat(200)}> <x>` })}`, "w< 20 .. 00 90 *", "w$",
  ],
  ["MQTT-2.2.1-2 MQTT-4.3.1-1 MQTT-3.3.1-2", "QoS 0 has neither packet identifier nor DUP", ...subscribed("q0", "02"), "p+ 5", "p> 30 LL <q0> {} 78", "s< 30 LL <q0> {} 78", "p> 38 LL <q0> {} 78", "p< e0 01 81", "p$"],
  ["MQTT-2.2.1-3", "a packet identifier is not 0", "a+ 5", "a> 34 LL <a> 0000 {} 78", "a< e0 01 82", "a$"],
  [
    "MQTT-2.2.1-4 MQTT-2.2.1-5 MQTT-4.3.2-1 MQTT-4.3.2-2 MQTT-4.3.2-4 MQTT-3.3.1-3 MQTT-3.3.4-1", "QoS 1: our identifier, DUP not passed on, PUBACK with the publisher's",
    ...subscribed("q1", "01"), "p+ 5", "p> 3a LL <q1> 1234 {} 78", "p< 40 02 1234", "s< 32 LL <q1> ID {} 78", "s> 40 02 ID", "s-",
  ],
  ["MQTT-4.3.2-5", "QoS 1: after PUBACK the identifier is a new message's, DUP or not", ...subscribed("q1n", "00"), "p+ 5", "p> 32 LL <q1n> 0007 {} 31", "p< 40 02 0007", "p> 3a LL <q1n> 0007 {} 32", "p< 40 02 0007", "s< 30 LL <q1n> {} 31", "s< 30 LL <q1n> {} 32"],
  [
    "MQTT-4.3.3-8 MQTT-4.3.3-10 MQTT-4.3.3-11 MQTT-4.3.3-12", "QoS 2 in: PUBREC each time, one message until PUBREL, a new one after PUBCOMP",
    ...subscribed("q2"), "p+ 5", "p> 34 LL <q2> 0007 {} 31", "p< 50 02 0007", "p> 3c LL <q2> 0007 {} 31", "p< 50 02 0007", "s< 30 LL <q2> {} 31", "s-",
    "p> 62 02 0007", "p< 70 02 0007", "p> 34 LL <q2> 0007 {} 31", "p< 50 02 0007", "s< 30 LL <q2> {} 31", "p> 62 02 0007", "p< 70 02 0007",
  ],
  [
    "MQTT-4.3.3-10", "QoS 2 in: the same over a reconnect", ...subscribed("q2r"), `p> ${connect5("p", { flags: "00", properties: KEPT })}`, "p< 20 *",
    "p> 34 LL <q2r> 0007 {} 31", "p< 50 02 0007", "s< 30 LL <q2r> {} 31", "p!", `p> ${connect5("p", { flags: "00" })}`, "p< 20 .. 01 00 *", "p> 3c LL <q2r> 0007 {} 31", "p< 50 02 0007", "s-", "p> 62 02 0007", "p< 70 02 0007",
  ],
  ["MQTT-4.3.3-9", "QoS 2 in: after a refusal the identifier is free", ...subscribed("q2f"), "p+ 5", "p> 34 LL <q2f> 0007 {01 01} ff", "p< 50 03 0007 99", "p> 34 LL <q2f> 0007 {} 31", "p< 50 02 0007", "s< 30 LL <q2f> {} 31", "p> 62 02 0007", "p< 70 02 0007"],
  [
    "MQTT-4.3.3-1 MQTT-4.3.3-2 MQTT-4.3.3-3 MQTT-4.3.3-4 MQTT-4.3.3-5 MQTT-4.3.3-6 MQTT-4.4.0-1 MQTT-3.3.1-1", "QoS 2 out: sent again only after a reconnect, first PUBLISH with DUP, then PUBREL",
    "s+ 5k", ...sub("q2o", "02"), "p+ 5", "p> 32 LL <q2o> 0001 {} 31", "p< 40 02 0001", "s< 32 LL <q2o> ID {} 31", "s> 40 02 ID", "p> 34 LL <q2o> 0002 {} 32", "p< 50 02 0002", "s< 34 LL <q2o> ID {} 32", "s-", "s!",
    "s+ 5k", "s< 3c LL <q2o> ID {} 32", "s> 50 02 ID", "s< 62 02 ID", "s-", "s!", "s+ 5k", "s< 62 02 ID", "s> 70 02 ID", "s!", "s+ 5k", "s-", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  [
    "MQTT-4.3.3-4", "QoS 2 out: PUBACK is no answer",
    "s+ 5k", ...sub("other2", "02"), "p+ 5", "p> 34 LL <other2> 0001 {} 31", "p< 50 02 0001", "s< 34 LL <other2> ID {} 31", "s> 40 02 ID", "s> 40 03 ID 80", "s-", "s!",
    "s+ 5k", "s< 3c LL <other2> ID {} 31", "s> 50 02 ID", "s< 62 02 ID", "s> 70 02 ID", "s-", "s!", "s+ 5k", "s-", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  [
    "MQTT-4.3.2-3", "QoS 1 out: PUBREC is no answer",
    "s+ 5k", ...sub("other1", "02"), "p+ 5", "p> 32 LL <other1> 0001 {} 31", "p< 40 02 0001", "s< 32 LL <other1> ID {} 31", "s> 50 03 ID 80", "s> 50 02 ID", "s< 62 03 ID 92", "s> 70 02 ID", "s-", "s!",
    "s+ 5k", "s< 3a LL <other1> ID {} 31", "s> 40 02 ID", "s-", "s!", "s+ 5k", "s-", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  [
    "MQTT-4.3.2-3 MQTT-4.4.0-1 MQTT-4.6.0-1", "QoS 1 out: what is unacknowledged comes again with DUP, in order, once",
    "s+ 5k", ...sub("q1o", "01"), "p+ 5", "p> 32 LL <q1o> 0001 {} 31", "p< 40 02 0001", "p> 32 LL <q1o> 0002 {} 32", "p< 40 02 0002", "s< 32 LL <q1o> ID {} 31", "s< 32 LL <q1o> ID {} 32", "s-", "s!",
    "s+ 5k", "s< 3a LL <q1o> ID {} 31", "s> 40 02 ID", "s< 3a LL <q1o> ID {} 32", "s> 40 02 ID", "s-", "s!", "s+ 5k", "s-", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  [
    "MQTT-4.4.0-2", "a message that is refused is not sent again",
    "s+ 5k", ...sub("ref", "02"), "p+ 5", "p> 32 LL <ref> 0001 {} 31", "p< 40 02 0001", "s< 32 LL <ref> ID {} 31", "s> 40 03 ID 83", "p> 34 LL <ref> 0002 {} 32", "p< 50 02 0002", "s< 34 LL <ref> ID {} 32", "s> 50 03 ID 97", "s-", "s!",
    "s+ 5k", "s-", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  ["MQTT-3.3.1-4", "QoS 3 is malformed", "a+ 5", "a> 36 LL <a> 0001 {} 78", "a< e0 01 81", "a$"],
  [
    "MQTT-3.3.1-5 MQTT-3.3.1-6 MQTT-3.3.1-7 MQTT-3.3.1-8", "RETAIN replaces, an empty payload removes, without RETAIN nothing changes",
    "p+ 5", "p> 33 LL <ret/a> 0001 {} 31", "p< 40 03 0001 10", "p> 31 LL <ret/a> {} 32", "p> 30 LL <ret/a> {} 33", ...subscribed("ret/a", "02"), "s< 31 LL <ret/a> {} 32",
    "p> 31 LL <ret/a> {}", "s< 30 LL <ret/a> {}", ...subscribed("ret/a", "02"), "s-",
  ],
  ["MQTT-3.3.1-5", "a retained message comes with its QoS, at most the subscription's", "p+ 5", "p> 35 LL <ret/q> 0001 {} 31", "p< 50 03 0001 10", "p> 62 02 0001", "p< 70 02 0001", ...subscribed("ret/q", "01"), "s< 33 LL <ret/q> ID {} 31", "p> 31 LL <ret/q> {}"],
  ["MQTT-3.3.2-2 MQTT-4.7.0-1", "a topic name has no wildcards", "a+ 5", "a> 30 LL <a/#> {} 78", "a< e0 01 90", "a$"],
  ["MQTT-4.7.3-1", "a topic name is not empty, unless an alias stands for it", "a+ 5", "a> 30 LL <> {} 78", "a< e0 01 82", "a$"],
  ...[0, 1].map((qos): Conversation => [
    "MQTT-3.3.2-3 MQTT-3.3.2-4 MQTT-3.3.2-13 MQTT-3.3.2-15 MQTT-3.3.2-16 MQTT-3.3.2-17 MQTT-3.3.2-18 MQTT-3.3.2-19 MQTT-3.3.2-20", `properties pass on as they are, QoS ${qos}`,
    ...subscribed("props/+", `0${qos}`), "p+ 5", ...(qos === 0 ? [`p> 30 LL <props/x> {${ALL}} 78`, `s< 30 LL <props/x> {${ALL}} 78`] : [`p> 32 LL <props/x> 0001 {${ALL}} 78`, "p< 40 02 0001", `s< 32 LL <props/x> ID {${ALL}} 78`]),
  ]),
  [
    "MQTT-3.3.2-5 MQTT-3.3.2-6 MQTT-4.3.3-13", "message expiry counts down in queues and ends a message there; its QoS 2 exchange goes on",
    "s+ 5k", ...sub("exp", "02"), "s!", "p+ 5", "p> 34 LL <exp> 0001 {02 00000001} 31", "p< 50 02 0001", "p> 32 LL <exp> 0002 {02 0000000a} 32", "p< 40 02 0002", "wait 2100", "p> 62 02 0001", "p< 70 02 0001",
    "s+ 5k", "s< 32 .. 0003 657870 .. .. 05 02 00 00 00 08 32", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  ["MQTT-4.3.3-7", "a message that has been sent is sent again when its time is over", "s+ 5k", ...sub("exp2", "02"), "p+ 5", "p> 34 LL <exp2> 0001 {02 00000001} 31", "p< 50 02 0001", "s< 34 LL <exp2> ID {02 00000001} 31", "s!", "wait 1100", "s+ 5k", "s< 3c LL <exp2> ID {02 00000000} 31", "s> e0 LL 00 {11 00000000}", "s$"],
  ["MQTT-3.3.2-7", "topic aliases end with their connection", "p+ 5", "p> 30 LL <alias> {23 0001} 78", "p-", "p!", "p+ 5", "p> 30 LL <> {23 0001} 78", "p< e0 01 82", "p$"],
  ["MQTT-3.3.2-8", "an alias is not 0", "a+ 5", "a> 30 LL <alias> {23 0000} 78", "a< e0 01 94", "a$"],
  ["MQTT-3.3.2-9 MQTT-3.2.2-17", "an alias is not above our maximum", "a+ 5", "a> 30 LL <alias> {23 000b} 78", "a< e0 01 94", "a$"],
  ["MQTT-3.3.2-12", "up to our maximum all are taken", ...subscribed("alias/+"), "p+ 5", "p> 30 LL <alias/1> {23 000a} 78", "p> 32 LL <> 0001 {23 000a} 79", "p< 40 02 0001", "s< 30 LL <alias/1> {} 78", "s< 30 LL <alias/1> {} 79"],
  [
    "MQTT-3.1.2-26 MQTT-3.3.2-11", "our aliases: name and alias, then the alias; with QoS 2 the name beside it",
    `s> ${connect5("s", { properties: "22 0001" })}`, "s< 20 *", ...sub("alias/+", "02"), "p+ 5", "p> 30 LL <alias/x> {} 30", "s< 30 LL <alias/x> {23 0001} 30", "p> 32 LL <alias/x> 0001 {} 31", "p< 40 02 0001", "s< 32 LL <> ID {23 0001} 31", "s> 40 02 ID",
    "p> 34 LL <alias/x> 0002 {} 32", "p< 50 02 0002", "s< 34 LL <alias/x> ID {23 0001} 32",
  ],
  ["MQTT-3.1.2-27", "without Topic Alias Maximum there is no alias", ...subscribed("alias/+", "01"), "p+ 5", "p> 30 LL <alias/x> {} 30", "s< 30 LL <alias/x> {} 30", "p> 30 LL <alias/x> {} 31", "s< 30 LL <alias/x> {} 31"],
  ["MQTT-3.3.2-14", "a response topic has no wildcards", "a+ 5", "a> 30 LL <a> {08 <r/+>} 78", "a< e0 01 82", "a$"],
  [
    "MQTT-3.3.4-2 MQTT-3.3.4-3 MQTT-3.3.4-4", "of overlapping subscriptions one copy with the highest QoS and all identifiers",
    ...subscribed("over/#", "02", "0b 01"), ...sub("over/+", "01", "0b 8002"), ...sub("over/x"), "p+ 5", "p> 34 LL <over/x> 0001 {} 78", "p< 50 02 0001", "s< 34 .. 0006 6f7665722f78 .. .. 05 0b 01 0b 80 02 78", "s-",
  ],
  ["MQTT-3.3.4-6", "a client's PUBLISH has no subscription identifier", "a+ 5", "a> 30 LL <a> {0b 01} 78", "a< e0 01 82", "a$"],
  [
    "MQTT-3.3.4-9 MQTT-3.3.4-10 MQTT-4.9.0-1 MQTT-4.9.0-2 MQTT-4.9.0-3", "the client's receive maximum holds QoS 1 and 2 back, and nothing else",
    `s> ${connect5("s", { properties: "21 0001" })}`, "s< 20 *", ...sub("flow/#", "02"), "p+ 5", "p> 34 LL <flow/1> 0001 {} 31", "p< 50 02 0001", "s< 34 LL <flow/1> ID {} 31", "p> 32 LL <flow/2> 0002 {} 32", "p< 40 02 0002", "p> 30 LL <flow/0> {} 30",
    "s< 30 LL <flow/0> {} 30", "s> 50 02 ID", "s< 62 02 ID", "s-", "s> 70 02 ID", "s< 32 LL <flow/2> ID {} 32",
  ],
  ["MQTT-3.4.2-1 MQTT-3.5.2-1 MQTT-3.6.2-1 MQTT-3.7.2-1", "acknowledgements have their reason codes", "a+ 5", "a> 32 LL <none> 0001 {} 78", "a< 40 03 0001 10", "a> 34 LL <none> 0002 {} 78", "a< 50 03 0002 10", "a> 62 02 0003", "a< 70 03 0003 92", "a> 50 02 0004", "a< 62 03 0004 92", "a> 40 03 0001 92", "a< e0 01 82", "a$"],
  ["MQTT-3.6.1-1", "PUBREL has the flags 0010", "a+ 5", "a> 60 02 0001", "a< e0 01 81", "a$"],
  [
    "MQTT-3.1.2-24 MQTT-3.1.2-25", "a message larger than the client takes is left out for it",
    `s> ${connect5("s", { properties: "27 00000040" })}`, "s< 20 *", ...sub("size", "02"), "p+ 5", `p> 30 LL <size> {} ${x(32)}`, `s< 30 LL <size> {} ${x(32)}`, `p> 32 LL <size> 0001 {} ${x(64)}`, "p< 40 02 0001", "s-", "p> 32 LL <size> 0002 {} 78", "p< 40 02 0002", "s< 32 LL <size> ID {} 78",
  ],
  [
    "MQTT-4.6.0-5 MQTT-4.6.0-6 MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.6.0-4", "messages keep their order, and acknowledgements theirs",
    ...subscribed("order/+", "02"), "p+ 5", "p> 34 LL <order/1> 0001 {} 31 | 34 LL <order/1> 0002 {} 32 | 34 LL <order/1> 0003 {} 33", "p< 50 02 0001", "p< 50 02 0002", "p< 50 02 0003",
    "p> 62 02 0001 | 62 02 0002 | 62 02 0003", "p< 70 02 0001", "p< 70 02 0002", "p< 70 02 0003", "s< 34 LL <order/1> ID {} 31", "s< 34 LL <order/1> ID {} 32", "s< 34 LL <order/1> ID {} 33",
    "p> 32 LL <order/1> 0001 {} 31 | 32 LL <order/1> 0002 {} 32", "p< 40 02 0001", "p< 40 02 0002",
  ],
  ["MQTT-4.2.0-1", "packets may come in any pieces", ...subscribed("part"), "p+ 5", "p> 30", "p> 0c0004", "p> 70617274 00 6869", "p> 213f21", "s< 30 LL <part> {} 6869213f21"],
];

judge(conversations);
