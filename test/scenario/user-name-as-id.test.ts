import { afterEach, expect, it } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const connect4 = (clientId: string, user: string): string => `10 LL <MQTT> 04 80 0000 <${clientId}> <${user}>`;

it("use_username_as_clientid: the user name is the client identifier, whatever CONNECT says, and must be there", async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nuse_username_as_clientid true`);
  cleanups.push(() => daemon.cleanup());
  const send = async (packet: string): Promise<RawClient> => {
    const client = await RawClient.open(port);
    cleanups.push(() => client.destroy());
    client.send(bytesOf(packet).toString("hex"));
    return client;
  };
  const first = await send(connect4("one", "fred"));
  expect(await first.frame()).toBe("20020000");
  await daemon.waitForLine(/CWNAN0033I .* client fred at /);
  const second = await send(connect4("two", "fred"));
  expect(await second.frame()).toBe("20020100"); // the session is fred's
  await first.closed();
  const empty = await send("10 LL <MQTT> 05 82 0000 {} <> <fred>");
  expect(await empty.frame()).toContain(bytesOf("12 <fred>").toString("hex")); // [MQTT-3.2.2-16]
  for (const [version, refusal] of [["04 02 0000", /^20020005$/], ["05 02 0000 {}", /^20..0087/]] as const) {
    const client = await send(`10 LL <MQTT> ${version} <three>`);
    expect(await client.frame()).toMatch(refusal);
    await client.closed();
  }
});
