import type { Conversation } from "./conversation.ts";
import { judge } from "./judge.ts";

const connect = (clientId: string, { flags = "02", keepAlive = "0000", rest = "" } = {}): string => `10 LL <MQTT> 04 ${flags} ${keepAlive} <${clientId}> ${rest}`;
const ACCEPTED = "a< 20 02 00 00";
/** Ends the session of a, which is kept. */
const END = ["a!", "a+ 4", "a> e0 00", "a$"];

/** MQTT 3.1.1, whose statements have other numbers than those of MQTT 5. */
const conversations: readonly Conversation[] = [
  ["MQTT-1.5.3-1 MQTT-1.5.3-2 MQTT-4.7.3-2", "strings are UTF-8 without NUL", "a> 10 LL <MQTT> 04 02 0000 0002 c328", "a$", "a+ 4", "a> 30 LL 0003 610062 78", "a$", "a+ 4", "a> 82 LL 0001 0002 c328 00", "a$"],
  ["MQTT-1.5.3-3", "a byte order mark stays", "a+ 4", "a> 82 LL 0001 <o/#> 00", "a< 90 03 0001 00", "a> 30 LL <o/\uFEFFx> 78", "a< 30 LL <o/\uFEFFx> 78"],
  ["MQTT-2.2.2-1 MQTT-2.2.2-2", "reserved flags end the connection", ...["c1 00", "e1 00", "41 02 0001", "60 02 0001", "80 LL 0001 <a> 00", "a0 LL 0001 <a>"].flatMap((packet) => ["a+ 4", `a> ${packet}`, "a$"]), "a> 11 LL <MQTT> 04 02 0000 <a>", "a$"],
  ["MQTT-2.3.1-1", "packet identifiers are not 0", ...["32 LL <a> 0000", "82 LL 0000 <a> 00", "a2 LL 0000 <a>"].flatMap((packet) => ["a+ 4", `a> ${packet}`, "a$"])],
  ["MQTT-2.3.1-5 MQTT-4.3.1-1 MQTT-3.3.1-3", "QoS 0 has no identifier and no DUP", "a+ 4", "a> 82 LL 0001 <q0> 02", "a< 90 03 0001 02", "a> 30 LL <q0> 78", "a< 30 LL <q0> 78"],
  ["MQTT-2.3.1-6 MQTT-2.3.1-7 MQTT-3.8.4-1 MQTT-3.8.4-2 MQTT-3.10.4-4", "answers have the identifier of what they answer", "a+ 4", "a> 82 LL beef <i> 00", "a< 90 03 beef 00", "a> a2 LL cafe <i>", "a< b0 02 cafe", "a> 32 LL <i> 1234", "a< 40 02 1234"],
  ["MQTT-3.1.0-1", "the first packet is CONNECT", "a> 30 LL <a> 78", "a$"],
  ["MQTT-3.1.0-2", "a second CONNECT ends the connection", "a+ 4", `a> ${connect("a")}`, "a$"],
  ["MQTT-3.1.2-1", "another protocol name ends it", "a> 10 LL <hj> 04 02 0000 <a>", "a$"],
  ["MQTT-3.1.2-2", "a level that is not known is answered with 1", "a> 10 LL <MQTT> 07 02 0000 <a>", "a< 20 02 00 01", "a$"],
  ["MQTT-3.1.2-3", "the reserved connect flag is 0", `a> ${connect("a", { flags: "03" })}`, "a$"],
  [
    "MQTT-3.1.2-4 MQTT-3.1.2-5 MQTT-3.2.2-2 MQTT-4.1.0-1 MQTT-4.5.0-1 MQTT-3.1.2-7", "a session is kept, and its messages of QoS 1 and 2",
    "a+ 4k", "a> 82 LL 0001 <kept> 02", "a< 90 03 0001 02", "a> e0 00", "a$", "p+ 4", "p> 33 LL <kept> 0001 31", "p< 40 02 0001", "p> 34 LL <kept> 0002 32", "p< 50 02 0002", "p> 62 02 0002", "p< 70 02 0002",
    `a> ${connect("a", { flags: "00" })}`, "a< 20 02 01 00", "a< 32 LL <kept> ID 31", "a> 40 02 ID", "a< 34 LL <kept> ID 32", "a> 50 02 ID", "a< 62 02 ID", "a> 70 02 ID", ...END, "p> 31 LL <kept>", "p-",
  ],
  ["MQTT-3.1.2-6 MQTT-3.2.2-1", "a clean session is new, and ends with its connection", "a+ 4", "a> 82 LL 0001 <gone> 01", "a< 90 03 0001 01", "a!", `a> ${connect("a", { flags: "00" })}`, ACCEPTED, `a> e0 00`, "a$", `a> ${connect("a")}`, ACCEPTED],
  ["MQTT-3.2.2-3", "without a session the flag is 0", `a> ${connect("nobody", { flags: "00" })}`, ACCEPTED, `b> ${connect("nobody")}`, "b< 20 02 00 00"],
  [
    "MQTT-3.1.2-8 MQTT-3.1.2-9 MQTT-3.1.2-16 MQTT-3.1.2-17 MQTT-3.1.2-10 MQTT-3.14.4-3", "a will is published unless DISCONNECT came, and retained if it says so",
    "s+ 4", "s> 82 LL 0001 <w/+> 01", "s< 90 03 0001 01", `a> ${connect("a", { flags: "0e", rest: "<w/1> <gone>" })}`, ACCEPTED, "a!", "s< 32 LL <w/1> ID 676f6e65", "s> 40 02 ID",
    `a> ${connect("a", { flags: "0e", rest: "<w/1> <gone>" })}`, ACCEPTED, "a> e0 00", "a$", "s-", `a> ${connect("a", { flags: "26", rest: "<w/2> <kept>" })}`, ACCEPTED, "a> 0000", "a$", "s< 30 LL <w/2> 6b657074",
    "r+ 4", "r> 82 LL 0001 <w/+> 00", "r< 90 03 0001 00", "r< 31 LL <w/2> 6b657074", "r> 31 LL <w/2>", "r< 30 LL <w/2>",
  ],
  ["MQTT-3.1.2-11 MQTT-3.1.2-13 MQTT-3.1.2-15 MQTT-3.1.2-14 MQTT-3.1.2-12", "will flags that do not fit", ...["0a", "22"].flatMap((flags) => [`a> ${connect("a", { flags })}`, "a$"]), `a> ${connect("a", { flags: "1e", rest: "<w> <x>" })}`, "a$"],
  ["MQTT-3.1.2-18 MQTT-3.1.2-19 MQTT-3.1.2-20 MQTT-3.1.2-21 MQTT-3.1.2-22", "user name and password stand there as their flags say", ...[["02", "<u>"], ["82", ""], ["82", "<u> <p>"], ["c2", "<u>"], ["42", "<p>"]].flatMap(([flags = "", rest = ""]) => [`a> ${connect("a", { flags, rest })}`, "a$"])],
  ["MQTT-3.1.2-24", "one and a half keep alive of silence end a connection", `a> ${connect("a", { keepAlive: "0001" })}`, ACCEPTED, "a$"],
  ["MQTT-3.1.3-1 MQTT-3.1.3-3 MQTT-3.1.3-4", "a client identifier must be there", "a> 10 LL <MQTT> 04 02 0000", "a$"],
  ["MQTT-3.1.3-5", "one of 23 letters and digits is allowed", `a> ${connect("0123456789abcdefghijklm")}`, ACCEPTED],
  ["MQTT-3.1.3-6", "an empty one is taken with a clean session", `a> ${connect("")}`, ACCEPTED, "a-", `b> ${connect("")}`, "b< 20 02 00 00", "a-"],
  ["MQTT-3.1.3-8 MQTT-3.1.3-9 MQTT-3.2.2-4 MQTT-3.2.2-5", "and refused with 2 without", `a> ${connect("", { flags: "00" })}`, "a< 20 02 00 02", "a$"],
  ["MQTT-3.1.3-10 MQTT-3.1.3-11", "will topic and user name are UTF-8", `a> ${connect("a", { flags: "06", rest: "0002 c328 <x>" })}`, "a$", `a> ${connect("a", { flags: "82", rest: "0002 c328" })}`, "a$"],
  ["MQTT-3.1.4-1 MQTT-3.1.4-5", "behind a CONNECT that is refused nothing is taken", `a> ${connect("", { flags: "00" })} | 31 LL <never/x> 78`, "a< 20 02 00 02", "a$", "r+ 4", "r> 82 LL 0001 <never/#> 00", "r< 90 03 0001 00", "r-"],
  ["MQTT-3.1.4-2", "a client that connects again ends its older connection", `a> ${connect("twin")}`, ACCEPTED, `b> ${connect("twin")}`, "b< 20 02 00 00", "a$", "b-"],
  ["MQTT-3.1.4-3 MQTT-3.1.4-4 MQTT-3.2.0-1", "CONNACK comes first", `a> ${connect("a")} | 82 LL 0001 <f> 00 | c000`, ACCEPTED, "a< 90 03 0001 00", "a< d0 00"],
  ["MQTT-3.3.1-1 MQTT-4.4.0-1 MQTT-4.6.0-1", "what is unacknowledged comes again after a reconnect, with DUP and in order", "a+ 4k", "a> 82 LL 0001 <dup> 02", "a< 90 03 0001 02", "p+ 4", "p> 32 LL <dup> 0001 31", "p< 40 02 0001", "p> 34 LL <dup> 0002 32", "p< 50 02 0002", "a< 32 LL <dup> ID 31", "a< 34 LL <dup> ID 32", "a-", "a!", "a+ 4k", "a< 3a LL <dup> ID 31", "a> 40 02 ID", "a< 3c LL <dup> ID 32", "a> 50 02 ID", "a< 62 02 ID", "a!", "a+ 4k", "a< 62 02 ID", "a> 70 02 ID", "a-", ...END],
  ["MQTT-3.3.1-2", "QoS 0 with DUP ends the connection", "a+ 4", "a> 38 LL <a> 78", "a$"],
  ["MQTT-3.3.1-4", "QoS 3 ends the connection", "a+ 4", "a> 36 LL <a> 0001 78", "a$"],
  [
    "MQTT-3.3.1-5 MQTT-3.3.1-6 MQTT-3.3.1-7 MQTT-3.3.1-8 MQTT-3.3.1-9 MQTT-3.3.1-10 MQTT-3.3.1-11 MQTT-3.3.1-12", "retained messages",
    "p+ 4", "p> 33 LL <r/1> 0001 31", "p< 40 02 0001", "s+ 4", "s> 82 LL 0001 <r/+> 02", "s< 90 03 0001 02", "s< 33 LL <r/1> ID 31", "s> 40 02 ID", "p> 31 LL <r/1> 32", "s< 30 LL <r/1> 32", "p> 30 LL <r/1> 33", "s< 30 LL <r/1> 33",
    "s> 82 LL 0001 <r/+> 02", "s< 90 03 0001 02", "s< 31 LL <r/1> 32", "p> 31 LL <r/1>", "s< 30 LL <r/1>", "s> 82 LL 0001 <r/+> 02", "s< 90 03 0001 02", "s-",
  ],
  ["MQTT-3.3.2-1 MQTT-3.3.2-2 MQTT-4.7.3-1", "a topic name without wildcards, not empty", ...["<a/+>", "<#>", "<>"].flatMap((topic) => ["a+ 4", `a> 30 LL ${topic} 78`, "a$"])],
  ["MQTT-3.3.4-1 MQTT-4.3.2-2 MQTT-4.3.3-2", "QoS 1 and 2 are answered, QoS 2 delivered once", "a+ 4", "a> 82 LL 0001 <once> 00", "a< 90 03 0001 00", "p+ 4", "p> 34 LL <once> 0005 31", "p< 50 02 0005", "p> 3c LL <once> 0005 31", "p< 50 02 0005", "a< 30 LL <once> 31", "a-", "p> 62 02 0005", "p< 70 02 0005", "p> 62 02 0005", "p< 70 02 0005"],
  ["MQTT-3.3.5-1", "overlapping subscriptions: the highest QoS", "a+ 4", "a> 82 LL 0001 <ov/#> 02 <ov/+> 01", "a< 90 04 0001 02 01", "p+ 4", "p> 34 LL <ov/x> 0001 31", "p< 50 02 0001", "a< 34 LL <ov/x> ID 31", "a-"],
  ["MQTT-3.8.3-1 MQTT-3.8.3-3 MQTT-3.8.3-4", "SUBSCRIBE has filters, and options without reserved bits", ...["82 02 0001", "82 LL 0001 <a> 03", "82 LL 0001 <a> 04"].flatMap((packet) => ["a+ 4", `a> ${packet}`, "a$"])],
  ["MQTT-3.8.4-3", "the same filter again replaces, and retained messages come again", "p+ 4", "p> 31 LL <rep> 31", "p-", "a+ 4", "a> 82 LL 0001 <rep> 00", "a< 90 03 0001 00", "a< 31 LL <rep> 31", "a> 82 LL 0002 <rep> 01", "a< 90 03 0002 01", "a< 31 LL <rep> 31", "p> 32 LL <rep> 0001 32", "p< 40 02 0001", "a< 32 LL <rep> ID 32", "a-", "p> 31 LL <rep>"],
  ["MQTT-3.8.4-4 MQTT-3.8.4-5 MQTT-3.8.4-6 MQTT-3.9.3-1 MQTT-3.9.3-2", "SUBACK has a code for each filter", "a+ 4", "a> 82 LL 0001 <x> 02 <y/#/z> 00 <x> 00 <z> 01", "a< 90 06 0001 02 80 00 01", "A+ 4", "A> 82 LL 0001 <x> 02", "A< 90 03 0001 00"],
  ["MQTT-3.10.3-2", "UNSUBSCRIBE has a filter", "a+ 4", "a> a2 02 0001", "a$"],
  ["MQTT-3.10.4-1 MQTT-3.10.4-2 MQTT-3.10.4-5 MQTT-3.10.4-6", "UNSUBSCRIBE ends what is spelt the same, and is always answered", "a+ 4", "a> 82 LL 0001 <u/+> 00 <u/x> 00", "a< 90 04 0001 00 00", "a> a2 LL 0002 <u/#> <u/+>", "a< b0 02 0002", "a> 30 LL <u/y> 78", "a-", "a> 30 LL <u/x> 78", "a< 30 LL <u/x> 78"],
  ["MQTT-3.10.4-3", "exchanges that have begun are finished after UNSUBSCRIBE", "a+ 4k", "a> 82 LL 0001 <u2> 01", "a< 90 03 0001 01", "p+ 4", "p> 32 LL <u2> 0001 31", "p< 40 02 0001", "a< 32 LL <u2> ID 31", "a> a2 LL 0002 <u2>", "a< b0 02 0002", "a!", "a+ 4k", "a< 3a LL <u2> ID 31", "a> 40 02 ID", ...END],
  ["MQTT-3.12.4-1", "PINGREQ is answered", "a+ 4", "a> c0 00", "a< d0 00"],
  ["MQTT-3.14.1-1", "DISCONNECT has no flags", "a+ 4", "a> e2 00", "a$"],
  ["MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.6.0-4 MQTT-4.6.0-5 MQTT-4.6.0-6", "order", "a+ 4", "a> 82 LL 0001 <or> 00", "a< 90 03 0001 00", "p+ 4", "p> 32 LL <or> 0003 31 | 32 LL <or> 0001 32 | 32 LL <or> 0002 33", "p< 40 02 0003", "p< 40 02 0001", "p< 40 02 0002", "a< 30 LL <or> 31", "a< 30 LL <or> 32", "a< 30 LL <or> 33"],
  ["MQTT-4.7.1-1 MQTT-4.7.1-2 MQTT-4.7.1-3", "wildcards stand alone, # last", "a+ 4", "a> 82 LL 0001 <#> 00 <+/+> 00 <a#> 00 <a/#/b> 00 <a+> 00", "a< 90 07 0001 00 00 80 80 80"],
  ["MQTT-4.7.2-1", "wildcards at the beginning do not match $", "a+ 4", "a> 82 LL 0001 <#> 00 <+/x> 00 <$d/#> 00", "a< 90 05 0001 00 00 00", "p+ 4", "p> 30 LL <$e/x> 31", "p> 30 LL <$d/x> 32", "a< 30 LL <$d/x> 32", "a-"],
  ["MQTT-4.7.3-3", "a topic filter has up to 65,535 bytes", "a+ 4", `a> 82 LL 0001 <${"x".repeat(65_535)}> 00`, "a< 90 03 0001 00", `a> 30 LL <${"x".repeat(65_535)}> 78`, `a< 30 LL <${"x".repeat(65_535)}> 78`],
  ["doc/limits.md", "a message with more than 200 levels is acknowledged and dropped", "a+ 4", "a> 82 LL 0001 <deep/#> 00", "a< 90 03 0001 00", `a> 32 LL <deep${"/".repeat(200)}> 0001 78`, "a< 40 02 0001", "a-"],
  ["MQTT-4.7.3-4", "nothing is normalised", "a+ 4", "a> 82 LL 0001 <N/a> 00", "a< 90 03 0001 00", "a> 30 LL <n/a> 31", "a> 30 LL <N//a> 31", "a-"],
  ["MQTT-4.8.0-1", "a protocol violation ends its connection and no other", "b+ 4", "a+ 4", "a> f0 00", "a$", "b-"],
];

judge(conversations);
