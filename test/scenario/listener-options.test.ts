import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function send(port: number, packet: string): Promise<RawClient> {
  const client = await RawClient.open(port);
  cleanups.push(() => client.destroy());
  client.send(bytesOf(packet).toString("hex"));
  return client;
}

async function reload(daemon: DaemonProcess, from: string, to: string): Promise<void> {
  writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace(from, to));
  const seen = daemon.lines.length;
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0322I/, { from: seen });
}

const UNNAMED = "10 LL <MQTT> 04 02 0000 <>";

it("listener_auto_id_prefix begins the identifiers that its listener gives, auto_id_prefix those of the others; a reload changes both", async () => {
  const [one = 0, two = 0] = await freePorts(2);
  const daemon = await start(`auto_id_prefix all-\nlistener ${one} 127.0.0.1\nlistener_auto_id_prefix own-\nlistener ${two} 127.0.0.1`);
  const isNamed = async (port: number, prefix: string): Promise<void> => {
    const from = daemon.lines.length;
    expect(await (await send(port, UNNAMED)).frame()).toBe("20020000");
    await daemon.waitForLine(new RegExp(`CWNAN0033I .* client ${prefix}[0-9a-f]{24} at `), { from });
  };
  await isNamed(one, "own-");
  await isNamed(two, "all-");
  await reload(daemon, "listener_auto_id_prefix own-", "listener_auto_id_prefix new-");
  await isNamed(one, "new-");
  await reload(daemon, "listener_auto_id_prefix new-", "");
  await isNamed(one, "all-");
});
