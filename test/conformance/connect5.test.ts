import { connect5, type Conversation } from "./conversation.ts";
import { judge } from "./judge.ts";

const KEPT = "11 00000258";
const will = (topic: string, { properties = "", payload = "gone" } = {}): string => `{${properties}} <${topic}> <${payload}>`;

/** MQTT 5: CONNECT, CONNACK, DISCONNECT, AUTH, and what a session is. */
const conversations: readonly Conversation[] = [
  ["MQTT-3.1.0-1", "the first packet is CONNECT", "a> c000", "a$"],
  ["MQTT-3.1.0-2 MQTT-4.13.1-1 MQTT-4.13.2-1 MQTT-3.14.4-1 MQTT-3.14.4-2", "a second CONNECT ends the connection", "a+ 5", `a> ${connect5("a")}`, "a< e0 01 82", "a$"],
  ["MQTT-3.1.2-1", "another protocol name is refused", "a> 10 LL <hj> 05 02 0000 {} <a>", "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-2 MQTT-3.2.2-6", "a version that is not known is refused", "a> 10 LL <MQTT> 06 02 0000 {} <a>", "a< 20 02 00 01", "a$"],
  ["MQTT-3.1.2-3", "the reserved connect flag must be 0", `a> ${connect5("a", { flags: "03" })}`, "a< 20 .. 00 81 *", "a$"],
  [
    "MQTT-3.1.2-4 MQTT-3.2.2-2 MQTT-3.1.4-4", "a clean start discards the session",
    "a+ 5k", "a> 82 LL 0001 {} <clean> 01", "a< 90 04 0001 00 01", "a!", `a> ${connect5("a", { properties: KEPT })}`, "a< 20 .. 00 00 *", "p+ 5",
    "p> 32 LL <clean> 0001 {} 78", "p< 40 03 0001 10", "a-", "a> e0 LL 00 {11 00000000}", "a$",
  ],
  [
    "MQTT-3.1.2-5 MQTT-3.2.2-3 MQTT-3.1.2-23 MQTT-4.1.0-1 MQTT-4.5.0-1 MQTT-3.1.3-2", "a session is resumed, with what came meanwhile",
    "a+ 5k", "a> 82 LL 0001 {} <kept> 01", "a< 90 04 0001 00 01", "a> e0 00", "a$", "p+ 5", "p> 32 LL <kept> 0001 {} 78", "p< 40 02 0001",
    "a> " + connect5("a", { flags: "00" }), "a< 20 .. 01 00 *", "a< 32 LL <kept> ID {} 78", "a> 40 02 ID", "a> e0 00", "a$",
    "a> " + connect5("a", { flags: "00" }), "a< 20 .. 00 00 *",
  ],
  ["MQTT-3.1.2-6 MQTT-3.2.2-3 MQTT-3.1.4-5 MQTT-3.2.2-1", "without a session there is a new one", `a> ${connect5("new", { flags: "00" })}`, "a< 20 .. 00 00 *", "a-"],
  [
    "MQTT-4.1.0-2", "a session ends when its expiry interval is over",
    `a> ${connect5("brief", { properties: "11 00000001" })}`, "a< 20 .. 00 00 *", "a> e0 00", "a$", "wait 1200", `a> ${connect5("brief", { flags: "00" })}`, "a< 20 .. 00 00 *",
  ],
  [
    "MQTT-3.1.2-7 MQTT-3.1.2-8 MQTT-3.1.2-9 MQTT-3.1.2-10 MQTT-3.1.2-14", "a will is published once, when the connection breaks, with its QoS and not retained",
    "s+ 5", "s> 82 LL 0001 {} <will/a> 0a", "s< 90 04 0001 00 02", `a> ${connect5("a", { flags: "0e", rest: will("will/a") })}`, "a< 20 .. 00 00 *", "a!",
    "s< 32 LL <will/a> ID {} 676f6e65", "s> 40 02 ID", "a+ 5", "a!", "s-", "r+ 5", "r> 82 LL 0001 {} <will/a> 00", "r< 90 04 0001 00 00", "r-",
  ],
  [
    "MQTT-3.1.2-15", "a will with RETAIN is retained",
    `a> ${connect5("a", { flags: "26", rest: will("will/r") })}`, "a< 20 .. 00 00 *", "a> 0000", "a< e0 01 82", "a$",
    "r+ 5", "r> 82 LL 0001 {} <will/r> 00", "r< 90 04 0001 00 00", "r< 31 LL <will/r> {} 676f6e65", "r> 31 LL <will/r> {}", "r< 30 LL <will/r> {}",
  ],
  [
    "MQTT-3.14.4-3 MQTT-3.1.2-10", "DISCONNECT takes the will back; with 0x04 it does not",
    "s+ 5", "s> 82 LL 0001 {} <will/d> 00", "s< 90 04 0001 00 00",
    `a> ${connect5("a", { flags: "06", rest: will("will/d", { payload: "no" }) })}`, "a< 20 .. 00 00 *", "a> e0 00", "a$", "s-",
    `a> ${connect5("a", { flags: "06", rest: will("will/d", { payload: "yes" }) })}`, "a< 20 .. 00 00 *", "a> e0 01 04", "a$", "s< 30 LL <will/d> {} 796573",
  ],
  [
    "MQTT-3.1.4-3", "a client that connects again ends its older connection; its will is published",
    "s+ 5", "s> 82 LL 0001 {} <will/t> 00", "s< 90 04 0001 00 00", `a> ${connect5("twin", { flags: "06", rest: will("will/t") })}`, "a< 20 .. 00 00 *",
    `b> ${connect5("twin")}`, "b< 20 .. 00 00 *", "a< e0 01 8e", "a$", "s< 30 LL <will/t> {} 676f6e65", "b-",
  ],
  [
    "MQTT-3.1.3-9", "a take-over holds a delayed will back, unless it starts clean",
    "s+ 5", "s> 82 LL 0001 {} <will/c> 00", "s< 90 04 0001 00 00",
    `a> ${connect5("a", { flags: "06", properties: KEPT, rest: will("will/c", { properties: "18 0000003c" }) })}`, "a< 20 .. 00 00 *",
    `b> ${connect5("a", { flags: "04", properties: KEPT, rest: will("will/c", { properties: "18 0000003c" }) })}`, "b< 20 .. 01 00 *", "a< e0 01 8e", "a$", "s-",
    `c> ${connect5("a")}`, "c< 20 .. 00 00 *", "b< e0 01 8e", "b$", "s< 30 LL <will/c> {} 676f6e65", "s-",
  ],
  [
    "MQTT-3.1.3-9", "a will's delay is over before its session, or the session before it",
    "s+ 5", "s> 82 LL 0001 {} <will/+> 00", "s< 90 04 0001 00 00",
    `a> ${connect5("a", { flags: "06", properties: "11 00000005", rest: will("will/e", { properties: "18 00000001" }) })}`, "a< 20 .. 00 00 *", "a!",
    `b> ${connect5("b", { flags: "06", properties: "11 00000002", rest: will("will/f", { properties: "18 00000005" }) })}`, "b< 20 .. 00 00 *", "b!",
    `c> ${connect5("c", { flags: "06", rest: will("will/g", { properties: "18 00000005" }) })}`, "c< 20 .. 00 00 *", "c!",
    "s< 30 LL <will/g> {} 676f6e65", "s< 30 LL <will/e> {} 676f6e65", "s< 30 LL <will/f> {} 676f6e65",
  ],
  [
    "MQTT-3.1.3-10 MQTT-3.3.2-4", "the properties of a will come with it, in their order",
    "s+ 5", "s> 82 LL 0001 {} <will/p> 00", "s< 90 04 0001 00 00",
    `a> ${connect5("a", { flags: "06", rest: will("will/p", { properties: "01 01 26 <b> <1> 26 <a> <2> 03 <t>" }) })}`, "a< 20 .. 00 00 *", "a!",
    "s< 30 LL <will/p> {01 01 26 <b> <1> 26 <a> <2> 03 <t>} 676f6e65",
  ],
  ["MQTT-3.1.2-11", "will QoS without a will is malformed", `a> ${connect5("a", { flags: "0a" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-12", "will QoS 3 is malformed", `a> ${connect5("a", { flags: "1e", rest: will("w") })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-13", "will retain without a will is malformed", `a> ${connect5("a", { flags: "22" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-16", "a user name without its flag is malformed", `a> ${connect5("a", { rest: "<user>" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-17", "a flag without its user name is malformed", `a> ${connect5("a", { flags: "82" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-18", "a password without its flag is malformed", `a> ${connect5("a", { flags: "82", rest: "<user> <password>" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-19", "a flag without its password is malformed", `a> ${connect5("a", { flags: "c2", rest: "<user>" })}`, "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.2-19", "a password may stand without a user name", `a> ${connect5("a", { flags: "42", rest: "<password>" })}`, "a< 20 .. 00 00 *"],
  ["MQTT-3.1.2-22 MQTT-3.2.2-22", "one and a half keep alive of silence end a connection", "a> 10 LL <MQTT> 05 02 0001 {17 00} <a>", "a< 20 .. 00 00 *", "a< e0 01 8d", "a$"],
  ["MQTT-3.1.2-28 MQTT-2.2.2-1", "there is no Response Information, asked for or not", "a> 10 LL <MQTT> 05 02 0000 {19 01} <a>", "a< 20 LL 00 00 {21 0400 22 000a 27 00100000}"],
  [
    "MQTT-3.1.2-29", "a reason string is for who wants it",
    "a+ 5", "a> 82 LL 0001 {} <#/a> 00", "a< 90 04 0001 00 8f", "b> 10 LL <MQTT> 05 02 0000 {17 01} <b>", "b< 20 *", "b> 82 LL 0001 {} <#/a> 00", "b< 90 .. 0001 .. 1f *",
  ],
  ["MQTT-3.1.3-1 MQTT-3.1.3-3", "a CONNECT without client identifier is malformed", "a> 10 LL <MQTT> 05 02 0000 {}", "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.3-4", "a client identifier is UTF-8", "a> 10 LL <MQTT> 05 02 0000 {} 0001 ff", "a< 20 .. 00 81 *", "a$"],
  ["MQTT-3.1.3-5", "a client identifier of 23 letters and digits is allowed", `a> ${connect5("0123456789ABCDEFGHIJKLM")}`, "a< 20 .. 00 00 *", `a> e0 00`, "a$", `a> ${connect5("NOPQRSTUVWXYZabcdefghij")}`, "a< 20 .. 00 00 *"],
  ["MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16", "a client identifier is assigned, also without a clean start", `a> ${connect5("", { flags: "00" })}`, "a< 20 .. 00 00 .. 12 *", "a-"],
  ["MQTT-3.1.3-11", "a will topic is UTF-8 and names a topic", `a> ${connect5("a", { flags: "06", rest: "{} 0002 c328 <x>" })}`, "a< 20 .. 00 81 *", "a$", `a> ${connect5("a", { flags: "06", rest: "{} <a/#> <x>" })}`, "a< 20 .. 00 90 *", "a$"],
  ["MQTT-3.1.3-12", "a user name is UTF-8", `a> ${connect5("a", { flags: "82", rest: "0002 c328" })}`, "a< 20 .. 00 81 *", "a$"],
  [
    "MQTT-3.1.4-1 MQTT-3.1.4-2 MQTT-3.1.4-6 MQTT-3.2.2-7 MQTT-3.2.2-8 MQTT-4.12.0-1 MQTT-3.14.0-1", "behind a CONNECT that is refused nothing is taken",
    `a> ${connect5("a", { properties: "15 <SCRAM-SHA-1>" })} | 31 LL <refused/x> {} 78`, "a< 20 .. 00 8c *", "a$", "r+ 5", "r> 82 LL 0001 {} <refused/#> 00", "r< 90 04 0001 00 00", "r-",
  ],
  ["MQTT-3.2.0-1 MQTT-3.2.0-2", "CONNACK comes before all else, and once", `a> ${connect5("a")}`, "a> 82 LL 0001 {} <first> 00", "a> c000", "a< 20 .. 00 00 *", "a< 90 04 0001 00 00", "a< d0 00", "a-"],
  ["MQTT-3.2.2-9 MQTT-3.2.2-10 MQTT-3.3.4-1", "a listener with max_qos 0 says so, and grants no more", "A> 10 LL <MQTT> 05 02 0000 {} <a>", "A< 20 LL 00 00 {21 0400 24 00 27 00100000}", "A> 82 LL 0001 {} <q> 02", "A< 90 04 0001 00 00"],
  ["MQTT-3.2.2-12", "a will of a higher QoS is refused there", `A> ${connect5("a", { flags: "0e", rest: will("w") })}`, "A< 20 .. 00 9b *", "A$"],
  ["MQTT-3.2.2-11", "and a message of a higher QoS ends the connection", "A+ 5", "A> 32 LL <q> 0001 {} 78", "A< e0 01 9b", "A$"],
  ["MQTT-3.2.2-18", "no topic alias is taken where the maximum is 0", "A+ 5", "A> 30 LL <q> {23 0001} 78", "A< e0 01 94", "A$"],
  ["MQTT-3.2.2-19", "a reason string is left out of a CONNACK that would get too large", `a> ${connect5("a", { properties: "27 0000000a 15 <M>" })}`, "a< 20 03 00 8c 00", "a$", `a> ${connect5("a", { properties: "27 00000004 15 <M>" })}`, "a$"],
  ["MQTT-3.14.2-3", "and out of a DISCONNECT", "a> 10 LL <MQTT> 05 02 0000 {27 00000028} <a>", "a< 20 *", "a> 0000", "a< e0 01 82", "a$"],
  ["MQTT-3.14.1-1", "DISCONNECT with reserved bits is malformed", "a+ 5", "a> e1 00", "a< e0 01 81", "a$"],
  ["MQTT-3.14.2-1", "DISCONNECT with a reason that is none is a protocol error", "a+ 5", "a> e0 01 05", "a< e0 01 82", "a$"],
  ["MQTT-3.14.2-1", "DISCONNECT with a reason that only servers have is a protocol error", "a+ 5", "a> e0 01 8b", "a< e0 01 82", "a$"],
  ["MQTT-3.14.2-2", "a session that ends with its connection can't be kept by DISCONNECT", "a+ 5", "a> e0 LL 00 {11 00000005}", "a< e0 01 82", "a$"],
  [
    "MQTT-3.14.2-2", "DISCONNECT changes the session expiry interval",
    `a> ${connect5("a", { properties: "11 00000001" })}`, "a< 20 .. 00 00 *", "a> e0 LL 00 {11 0000003c}", "a$", "wait 2200", `a> ${connect5("a", { flags: "00", properties: KEPT })}`, "a< 20 .. 01 00 *",
    "a> e0 LL 00 {11 00000000}", "a$", `a> ${connect5("a", { flags: "00" })}`, "a< 20 .. 00 00 *",
  ],
  ["MQTT-3.15.1-1", "AUTH with reserved bits is malformed", "a+ 5", "a> f1 00", "a< e0 01 81", "a$"],
  ["MQTT-4.12.0-6", "AUTH without a method is refused", "a+ 5", "a> f0 LL 19 {15 <M>}", "a< e0 01 8c", "a$"],
  ["MQTT-3.12.4-1", "PINGREQ is answered", "a+ 5", "a> c0 00", "a< d0 00", "a> c1 00", "a< e0 01 81", "a$"],
  ["MQTT-2.1.3-1", "PUBACK with reserved bits is malformed", "a+ 5", "a> 41 02 0001", "a< e0 01 81", "a$"],
];

judge(conversations);
