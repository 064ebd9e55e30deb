import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

async function send(port: number, packet: string): Promise<RawClient> {
  const client = await RawClient.open(port);
  onTestFinished(() => client.destroy());
  client.send(bytesOf(packet).toString("hex"));
  return client;
}

const UNNAMED = "10 LL <MQTT> 04 02 0000 <>";

it("listener_auto_id_prefix begins the identifiers that its listener gives, auto_id_prefix those of the others; a reload changes both", async () => {
  const [one = 0, two = 0] = await freePorts(2);
  const daemon = await DaemonProcess.startForTest(`auto_id_prefix all-\nlistener ${one} 127.0.0.1\nlistener_auto_id_prefix own-\nlistener ${two} 127.0.0.1`);
  const isNamed = async (port: number, prefix: string): Promise<void> => {
    const from = daemon.lines.length;
    expect(await (await send(port, UNNAMED)).frame()).toBe("20020000");
    await daemon.waitForLine(new RegExp(`CWNAN0033I .* client ${prefix}[0-9a-f]{24} at `), { from });
  };
  await isNamed(one, "own-");
  await isNamed(two, "all-");
  await daemon.reload("listener_auto_id_prefix own-", "listener_auto_id_prefix new-");
  await isNamed(one, "new-");
  await daemon.reload("listener_auto_id_prefix new-", "");
  await isNamed(one, "all-");
});

describe("listener_allow_anonymous", () => {
  const ANONYMOUS = "10 LL <MQTT> 04 02 0000 <a>";
  const FRED = "10 LL <MQTT> 04 C2 0000 <f> <fred> <secret>";
  const [TAKEN, REFUSED] = ["20020000", "20020005"];

  /** A daemon with a password file and two listeners. */
  async function withUsers(global: string, ofFirst: string): Promise<{ daemon: DaemonProcess; one: number; two: number }> {
    const folder = makeFolder("listener-options");
    onTestFinished(() => removeFolder(folder));
    const passwords = path.join(folder, "passwords");
    writeFileSync(passwords, "fred:secret\n");
    const [one = 0, two = 0] = await freePorts(2);
    const daemon = await DaemonProcess.startForTest(`password_file ${passwords}\n${global}\nlistener ${one} 127.0.0.1\n${ofFirst}\nlistener ${two} 127.0.0.1`);
    return { daemon, one, two };
  }

  it.each([
    ["allow_anonymous false", "listener_allow_anonymous true", TAKEN, REFUSED],
    ["", "listener_allow_anonymous true", TAKEN, REFUSED],
    ["allow_anonymous true", "listener_allow_anonymous false", REFUSED, TAKEN],
    ["allow_anonymous true", "", TAKEN, TAKEN],
  ])("with %j and %j the first listener answers an anonymous client %s, the second %s", async (global, ofFirst, first, second) => {
    const { one, two } = await withUsers(global, ofFirst);
    for (const [port, answer] of [[one, first], [two, second]] as const) {
      expect(await (await send(port, ANONYMOUS)).frame()).toBe(answer);
      expect(await (await send(port, FRED)).frame()).toBe(TAKEN);
    }
  });

  it("true on one listener leaves another, without passwords, closed where allow_anonymous is false", async () => {
    const [one = 0, two = 0] = await freePorts(2);
    await DaemonProcess.startForTest(`allow_anonymous false\nlistener ${one} 127.0.0.1\nlistener_allow_anonymous true\nlistener ${two} 127.0.0.1`);
    expect(await (await send(one, ANONYMOUS)).frame()).toBe(TAKEN);
    for (const packet of [ANONYMOUS, FRED]) expect(await (await send(two, packet)).frame()).toBe(REFUSED);
  });

  it("is taken up by a reload: who may be there no more is disconnected, others of that listener and of others are not", async () => {
    const { daemon, one, two } = await withUsers("allow_anonymous true", "listener_allow_anonymous true");
    const clients = [await send(one, ANONYMOUS), await send(one, FRED), await send(two, ANONYMOUS.replace("<a>", "<b>"))] as const;
    for (const client of clients) expect(await client.frame()).toBe(TAKEN);
    await daemon.reload("listener_allow_anonymous true", "listener_allow_anonymous false");
    await clients[0].closed();
    for (const client of clients.slice(1)) {
      client.send("c000");
      expect(await client.frame()).toBe("d000");
    }
    expect(await (await send(one, ANONYMOUS)).frame()).toBe(REFUSED);
    await daemon.reload("listener_allow_anonymous false", "");
    expect(await (await send(one, ANONYMOUS)).frame()).toBe(TAKEN);
  });
});

it("packet_max_connect bounds the first packet of a connection, unread, and no others, and is taken up by a reload", async () => {
  const [port = 0] = await freePorts(1);
  const daemon = await DaemonProcess.startForTest(`packet_max_connect 100\nlistener ${port} 127.0.0.1`);
  const connect = (bytes: number): string => `10 LL <MQTT> 04 02 0000 <${"x".repeat(bytes - 14)}>`;
  const client = await send(port, connect(100));
  expect(await client.frame()).toBe("20020000");
  client.send(bytesOf(`82 LL 0001 <${"a/".repeat(100)}> 00`).toString("hex"));
  expect(await client.frame()).toBe("9003000100");
  await (await send(port, "10 63")).closed(); // 101 bytes; the rest is not waited for
  await daemon.reload("packet_max_connect 100", "packet_max_connect 101");
  expect(await (await send(port, connect(101))).frame()).toBe("20020000");
});
