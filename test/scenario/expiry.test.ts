import { writeFileSync, readFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("ends the session of a client that stays away, also over a restart, and no other", async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`persistent_client_expiration 2s\nlistener ${port} 127.0.0.1`);
  cleanups.push(() => daemon.cleanup());
  const open = async (clientId: string) => {
    const client = await connect311(port, { clientId, clean: false });
    cleanups.push(() => client.end());
    return client;
  };
  for (const clientId of ["away", "here"]) {
    const client = await open(clientId);
    await client.subscribe("a", 1);
    if (clientId === "away") await client.end(); // the other one is there until the end: its time begins with the start
  }
  await new Promise((resolve) => setTimeout(resolve, 1200)); // the time of leaving is written within a second
  await daemon.restart("SIGKILL");
  expect((await open("here")).sessionPresent).toBe(true);
  await daemon.waitForLine(/CWNAN0328I .*away/);
  expect((await open("away")).sessionPresent).toBe(false);
  expect(daemon.lines.filter((line) => line.includes("CWNAN0328I"))).toHaveLength(1);
});

it("takes up a changed time by a reload", async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  cleanups.push(() => daemon.cleanup());
  await (await connect311(port, { clientId: "away", clean: false })).end();
  writeFileSync(daemon.configFile, `${readFileSync(daemon.configFile, "utf8")}persistent_client_expiration 1s\n`);
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0328I .*away/);
});
