import { connect5, type Conversation } from "./conversation.ts";
import { judge } from "./judge.ts";

/** MQTT 5: SUBSCRIBE and UNSUBSCRIBE, topic filters, shared subscriptions. */
const conversations: readonly Conversation[] = [
  ["MQTT-3.8.1-1", "SUBSCRIBE has the flags 0010", "a+ 5", "a> 80 LL 0001 {} <a> 00", "a< e0 01 81", "a$"],
  ["MQTT-3.8.3-1", "a topic filter is UTF-8", "a+ 5", "a> 82 LL 0001 {} 0002 c328 00", "a< e0 01 81", "a$"],
  ["MQTT-3.8.3-2", "SUBSCRIBE has a filter", "a+ 5", "a> 82 LL 0001 {}", "a< e0 01 82", "a$"],
  ["MQTT-3.8.3-3", "no-local keeps a client's own messages from it", "a+ 5", "a> 82 LL 0001 {} <nl> 04", "a< 90 04 0001 00 00", "a> 30 LL <nl> {} 78", "a-", "b+ 5", "b> 30 LL <nl> {} 79", "a< 30 LL <nl> {} 79"],
  ["MQTT-3.8.3-4", "no-local does not go with a shared subscription", "a+ 5", "a> 82 LL 0001 {} <$share/g/a> 04", "a< e0 01 82", "a$"],
  ...["40", "80", "03", "30"].map((options): Conversation => ["MQTT-3.8.3-5", `options ${options} are refused`, "a+ 5", `a> 82 LL 0001 {} <a> ${options}`, "a< e0 01 8" + (options === "40" || options === "80" ? "1" : "2"), "a$"]),
  ["MQTT-3.8.4-1 MQTT-3.8.4-2 MQTT-2.2.1-6", "SUBACK has the packet identifier of its SUBSCRIBE", "a+ 5", "a> 82 LL beef {} <a> 00", "a< 90 04 beef 00 00"],
  [
    "MQTT-3.8.4-3 MQTT-3.8.4-4 MQTT-3.3.1-9", "a subscription replaces the same one, and retained messages come again",
    "p+ 5", "p> 31 LL <again> {} 31", "p-", "a+ 5", "a> 82 LL 0001 {0b 05} <again> 00", "a< 90 04 0001 00 00", "a< 31 LL <again> {0b 05} 31", "a> 82 LL 0002 {} <again> 01", "a< 90 04 0002 00 01", "a< 31 LL <again> {} 31",
    "p> 32 LL <again> 0001 {} 32", "p< 40 02 0001", "a< 32 LL <again> ID {} 32", "a-", "p> 31 LL <again> {}",
  ],
  [
    "MQTT-3.8.4-5 MQTT-3.8.4-6 MQTT-3.8.4-7 MQTT-3.9.3-1 MQTT-3.9.3-2", "several filters are as several SUBSCRIBEs with one SUBACK, the same filter more than once too",
    "a+ 5", "a> 82 LL 0001 {} <x> 02 <y/#/z> 00 <x> 00 <z> 01", "a< 90 07 0001 00 02 8f 00 01", "a> 30 LL <x> {} 78", "a< 30 LL <x> {} 78", "a-",
  ],
  [
    "MQTT-3.8.4-8", "a message comes with the lower of its own and the granted QoS",
    "s+ 5", "s> 82 LL 0001 {} <min/1> 01 <min/2> 02", "s< 90 05 0001 00 01 02", "p+ 5", "p> 34 LL <min/1> 0001 {} 78", "p< 50 02 0001", "s< 32 LL <min/1> ID {} 78", "p> 32 LL <min/2> 0002 {} 78", "p< 40 02 0002", "s< 32 LL <min/2> ID {} 78",
  ],
  ["MQTT-3.3.1-10", "retain handling 1: for new subscriptions", "p+ 5", "p> 31 LL <rh1> {} 31", "p-", "a+ 5", "a> 82 LL 0001 {} <rh1> 10", "a< 90 04 0001 00 00", "a< 31 LL <rh1> {} 31", "a> 82 LL 0001 {} <rh1> 10", "a< 90 04 0001 00 00", "a-", "p> 31 LL <rh1> {}"],
  ["MQTT-3.3.1-11", "retain handling 2: never", "p+ 5", "p> 31 LL <rh2> {} 31", "p-", "a+ 5", "a> 82 LL 0001 {} <rh2> 20", "a< 90 04 0001 00 00", "a-", "p> 31 LL <rh2> {}"],
  [
    "MQTT-3.3.1-12 MQTT-3.3.1-13", "retain-as-published keeps RETAIN as it was, without it there is none",
    "a+ 5", "a> 82 LL 0001 {} <rap> 08", "a< 90 04 0001 00 00", "b+ 5", "b> 82 LL 0001 {} <rap> 00", "b< 90 04 0001 00 00", "p+ 5", "p> 31 LL <rap> {} 31", "a< 31 LL <rap> {} 31", "b< 30 LL <rap> {} 31", "p> 30 LL <rap> {} 32", "a< 30 LL <rap> {} 32",
    "p> 31 LL <rap> {}", "a< 31 LL <rap> {}",
  ],
  ["MQTT-3.10.1-1", "UNSUBSCRIBE has the flags 0010", "a+ 5", "a> a0 LL 0001 {} <a>", "a< e0 01 81", "a$"],
  ["MQTT-3.10.3-1", "its filters are UTF-8", "a+ 5", "a> a2 LL 0001 {} 0002 c328", "a< e0 01 81", "a$"],
  ["MQTT-3.10.3-2", "it has a filter", "a+ 5", "a> a2 LL 0001 {}", "a< e0 01 82", "a$"],
  [
    "MQTT-3.10.4-1 MQTT-3.10.4-2 MQTT-3.10.4-4 MQTT-3.10.4-5 MQTT-3.10.4-6 MQTT-3.11.3-1 MQTT-3.11.3-2", "UNSUBSCRIBE ends what is spelt the same, and answers in order",
    "a+ 5", "a> 82 LL 0001 {} <un/+> 00 <un/x> 00", "a< 90 05 0001 00 00 00", "a> a2 LL 0002 {} <un/#> <un/+> <#x>", "a< b0 06 0002 00 11 00 8f", "a> 30 LL <un/y> {} 78", "a-", "a> 30 LL <un/x> {} 78", "a< 30 LL <un/x> {} 78",
  ],
  [
    "MQTT-3.10.4-3", "exchanges that have begun are finished after UNSUBSCRIBE",
    "s+ 5k", "s> 82 LL 0001 {} <un2> 02", "s< 90 04 0001 00 02", "p+ 5", "p> 34 LL <un2> 0001 {} 78", "p< 50 02 0001", "s< 34 LL <un2> ID {} 78", "s> a2 LL 0002 {} <un2>", "s< b0 04 0002 00 00", "s!", "s+ 5k", "s< 3c LL <un2> ID {} 78",
    "s> 50 02 ID", "s< 62 02 ID", "s> 70 02 ID", "s> e0 LL 00 {11 00000000}", "s$",
  ],
  ["MQTT-4.7.1-1", "# stands alone and last", "a+ 5", "a> 82 LL 0001 {} <#> 00 <a/#> 00 <a#> 00 <a/#/b> 00", "a< 90 07 0001 00 00 00 8f 8f"],
  ["MQTT-4.7.1-2", "+ stands alone in its level", "a+ 5", "a> 82 LL 0001 {} <+> 00 <+/a/+> 00 <a+> 00 <a/+b> 00", "a< 90 07 0001 00 00 00 8f 8f"],
  [
    "MQTT-4.7.1-1 MQTT-4.7.1-2", "what wildcards match: # the level above too, + one level, also an empty one",
    "a+ 5", "a> 82 LL 0001 {} <w/#> 00", "a< 90 04 0001 00 00", "a> 30 LL <w> {} 31", "a< 30 LL <w> {} 31", "a> 30 LL <w/> {} 32", "a< 30 LL <w/> {} 32", "a> 30 LL <wx> {} 33", "a-",
    "b+ 5", "b> 82 LL 0001 {} <v/+> 00 </+> 00", "b< 90 05 0001 00 00 00", "b> 30 LL <v> {} 31", "b-", "b> 30 LL <v/> {} 32", "b< 30 LL <v/> {} 32", "b> 30 LL <v/a/b> {} 33", "b-", "b> 30 LL </v> {} 34", "b< 30 LL </v> {} 34",
  ],
  [
    "MQTT-4.7.2-1", "wildcards at the beginning do not match $",
    "a+ 5", "a> 82 LL 0001 {} <#> 22 <+/monitor> 20 <$dollar/#> 20", "a< 90 06 0001 00 02 00 00", "p+ 5", "p> 30 LL <$other/monitor> {} 31", "a-", "p> 30 LL <$dollar/monitor> {} 32", "a< 30 LL <$dollar/monitor> {} 32", "a-",
  ],
  ["MQTT-4.7.3-1", "a filter is not empty", "a+ 5", "a> 82 LL 0001 {} <> 00", "a< 90 04 0001 00 8f"],
  ["MQTT-4.7.3-2", "a filter has no NUL", "a+ 5", "a> 82 LL 0001 {} 0003 610062 00", "a< e0 01 81", "a$"],
  ["MQTT-4.7.3-4", "case counts, and a slash", "a+ 5", "a> 82 LL 0001 {} <Case/a> 00", "a< 90 04 0001 00 00", "a> 30 LL <case/a> {} 31", "a> 30 LL <Case/a/> {} 31", "a> 30 LL </Case/a> {} 31", "a-", "a> 30 LL <Case/a> {} 31", "a< 30 LL <Case/a> {} 31"],
  ["MQTT-4.8.2-1 MQTT-4.8.2-2", "$share/NAME/FILTER", "a+ 5", "a> 82 LL 0001 {} <$share/g/a> 01 <$share/g/> 00 <$share/g> 00 <$share//a> 00 <$share/+/a> 00 <$share/g#/a> 00", "a< 90 09 0001 00 01 8f 8f 8f 8f 8f"],
  ["MQTT-4.8.2-3", "a member's granted QoS holds", "a+ 5", "a> 82 LL 0001 {} <$share/g/sq> 00", "a< 90 04 0001 00 00", "p+ 5", "p> 34 LL <sq> 0001 {} 78", "p< 50 02 0001", "a< 30 LL <sq> {} 78"],
  [
    "MQTT-4.8.2-4", "a QoS 2 message is finished with the member that had it",
    "a+ 5k", "a> 82 LL 0001 {} <$share/g/s4> 02", "a< 90 04 0001 00 02", "p+ 5", "p> 34 LL <s4> 0001 {} 78", "p< 50 02 0001", "a< 34 LL <s4> ID {} 78", "b+ 5", "b> 82 LL 0001 {} <$share/g/s4> 02", "b< 90 04 0001 00 02", "a!", "b-",
    "a+ 5k", "a< 3c LL <s4> ID {} 78", "a> 50 02 ID", "a< 62 02 ID", "a> 70 02 ID", "b-", "a> e0 LL 00 {11 00000000}", "a$",
  ],
  [
    "MQTT-4.8.2-5", "and ends with its session",
    "a+ 5", "a> 82 LL 0001 {} <$share/g/s5> 02", "a< 90 04 0001 00 02", "p+ 5", "p> 34 LL <s5> 0001 {} 78", "p< 50 02 0001", "a< 34 LL <s5> ID {} 78", "b+ 5", "b> 82 LL 0001 {} <$share/g/s5> 02", "b< 90 04 0001 00 02", "a!", "wait 100", "b-",
  ],
  [
    "MQTT-4.8.2-6", "a message that a member refuses goes to nobody else",
    "a+ 5", "a> 82 LL 0001 {} <$share/g/s6> 02", "a< 90 04 0001 00 02", "p+ 5", "p> 32 LL <s6> 0001 {} 31", "p< 40 02 0001", "a< 32 LL <s6> ID {} 31", "b+ 5", "b> 82 LL 0001 {} <$share/g/s6> 02", "b< 90 04 0001 00 02", "a> 40 03 ID 97", "a-", "b-", "a!", "wait 100", "b-",
  ],
  [
    "MQTT-3.1.2-24 MQTT-3.9.2-1 MQTT-3.11.2-1", "a SUBACK or UNSUBACK larger than the client takes is not sent: the connection ends",
    `a> ${connect5("a", { properties: "27 00000010" })}`, "a< 20 *", `a> 82 LL 0001 {} ${"<a> 00".repeat(20)}`, "a< e0 01 95", "a$",
    `a> ${connect5("a", { properties: "27 00000010" })}`, "a< 20 *", `a> a2 LL 0001 {} ${"<a>".repeat(20)}`, "a< e0 01 95", "a$",
  ],
];

judge(conversations);
