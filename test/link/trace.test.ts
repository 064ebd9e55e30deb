import { describe, expect, it } from "vitest";
import { clientIdOf, describeWhole } from "../../src/link/trace.ts";
import { bytesOf } from "../vectors/notation.ts";

describe("a packet in the trace", () => {
  it.each([
    [4, "10 LL <MQTT> 84 02 003c <c>", "CONNECT version: 4 cleansession: 1 noLocal: 1"],
    [5, "10 LL <MQTT> 05 00 003c {21 0014 26 <k> <v> 26 <k> <w>} <c>", "CONNECT version: 5 cleansession: 0 noLocal: 0 receiveMaximum: 20 userProperties: k=v,k=w"],
    [4, "20 02 01 00", "CONNACK rc: 0 sessionpresent: 1"],
    [5, "20 LL 00 87 {1f <no>}", "CONNACK rc: 135 sessionpresent: 0 reasonString: no"],
    [4, "3a LL <a/b> 0007 32312e35", "PUBLISH msgid: 7 qos: 1 retained: 0 dup: 1 topic: a/b payload: 21.5"],
    [5, "31 LL <> {23 0003 09 <data> 03 <text/plain; charset=utf-8>} 32312e35", "PUBLISH qos: 0 retained: 1 topic:  topicAlias: 3 correlationData: 4 bytes contentType: text/plain; charset=... payload: 21.5"],
    [4, "40 02 0007", "PUBACK msgid: 7"],
    [5, "50 03 0007 97", "PUBREC msgid: 7 rc: 151"],
    [5, "82 LL 0007 {0b 05} <a> 00", "SUBSCRIBE msgid: 7 subscriptionIdentifiers: 5"],
    [5, "90 LL 0007 {} 87", "SUBACK msgid: 7"],
    [5, "e0 LL 9d {1c <there>}", "DISCONNECT rc: 157 serverReference: there"],
    [4, "e0 00", "DISCONNECT"],
    [5, "c0 00", "PINGREQ"],
    [5, "40 04 0007 00 05", "PUBACK cut off"],
    [4, "00 00", "type 0"],
  ] as const)("of version %i: %s", (version, packet, text) => {
    expect(describeWhole(version, bytesOf(packet))).toBe(text);
  });

  it("has the client identifier of any version", () => {
    for (const packet of ["10 LL <MQTT> 04 02 003c <me>", "10 LL <MQIsdp> 83 02 003c <me>", "10 LL <MQTT> 05 02 003c {11 0000000a} <me>"]) {
      const bytes = bytesOf(packet);
      expect(clientIdOf(bytes, 2, bytes.length)).toBe("me");
    }
    expect(clientIdOf(Buffer.from([0, 4]), 0, 2)).toBe("");
  });
});
