import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function socketPath(): string {
  const folder = makeFolder("unix");
  cleanups.push(() => removeFolder(folder));
  return path.join(folder, "mqtt.sock");
}

async function start(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function login(place: number | string, clientId: string): Promise<RawClient> {
  const client = await RawClient.open(place);
  cleanups.push(() => client.destroy());
  client.send(bytesOf(`10 LL <MQTT> 04 02 0000 <${clientId}>`).toString("hex"));
  expect(await client.frame()).toBe("20020000");
  return client;
}

it("serves clients at a Unix socket as at a port, with a mount point, and removes the socket at the stop", async () => {
  const [port, place] = [await freePort(), socketPath()];
  const daemon = await start(`listener ${port} 127.0.0.1\nlistener 0 ${place}\nmount_point m/`);
  const [remote, local] = [await login(port, "remote"), await login(place, "local")];
  remote.send(bytesOf("82 LL 0001 <#> 00").toString("hex"));
  expect(await remote.frame()).toBe("9003000100");
  const payload = "78".repeat(100_000);
  local.send(bytesOf(`32 LL <a> 0001 ${payload}`).toString("hex"));
  expect(await local.frame()).toBe("40020001");
  expect(await remote.frame()).toBe(bytesOf(`30 LL <m/a> ${payload}`).toString("hex"));
  await daemon.kill();
  expect(existsSync(place)).toBe(false);
});

it("takes the place of a daemon that was killed, and not that of one that runs, nor that of a file", async () => {
  const place = socketPath();
  const daemon = await start(`listener 0 ${place}`);
  await daemon.restart("SIGKILL");
  await login(place, "again");
  await expect(start(`listener 0 ${place}`)).rejects.toThrow("another daemon listens");
  await login(place, "still");
  const file = `${place}.txt`;
  writeFileSync(file, "");
  await expect(start(`listener 0 ${file}`)).rejects.toThrow("EADDRINUSE");
  expect(existsSync(file)).toBe(true);
});

it("closes the one and opens the other on a reload", async () => {
  const [one, other] = [socketPath(), socketPath()];
  const daemon = await start(`listener 0 ${one}`);
  const from = daemon.lines.length;
  writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\nlistener 0 ${other}\n`);
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0322I/, { from });
  await login(other, "a");
  expect(existsSync(one)).toBe(false);
});
