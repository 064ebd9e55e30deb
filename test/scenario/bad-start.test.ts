import { once } from "node:events";
import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts a daemon that must refuse; gives what it printed. */
async function refused(config: string, options: { storeFolder?: string } = {}): Promise<{ output: string; configFile: string }> {
  const daemon = new DaemonProcess(config, options);
  cleanups.push(() => daemon.cleanup());
  daemon.spawn();
  const exit = await daemon.exited();
  const output = daemon.lines.join("\n");
  expect(exit.signal, output).toBeNull();
  expect(exit.code, output).not.toBe(0);
  expect(output).not.toMatch(/^\s+at .*\(.*:\d+:\d+\)/m);
  return { output, configFile: daemon.configFile };
}

it("refuses an unknown keyword with file, line, column and the nearest known one", async () => {
  const { output, configFile } = await refused(`listener ${await freePort()} 127.0.0.1\n  pasword_file users`);
  expect(output).toContain(`${configFile}:3:3`);
  expect(output).toContain("pasword_file");
  expect(output).toMatch(/\bpassword_file\b/);
  expect(output).toContain("--lenient");
});

it("refuses a bad value with file, line and column", async () => {
  const { output, configFile } = await refused(`listener ${await freePort()} 127.0.0.1\nmax_queued_messages many`);
  expect(output).toContain(`${configFile}:3:21`);
});

it("refuses a port that is in use, and names it", async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => void server.close());
  const { port } = server.address() as net.AddressInfo;
  const { output } = await refused(`listener ${port} 127.0.0.1`);
  expect(output).toContain(String(port));
});

it("refuses a store in a place that cannot be a folder, and names it", async () => {
  const folder = makeFolder("unwritable");
  cleanups.push(() => removeFolder(folder));
  // A file in the way also stops root, whom permissions do not.
  const file = path.join(folder, "file");
  writeFileSync(file, "");
  const { output } = await refused(`listener ${await freePort()} 127.0.0.1`, { storeFolder: path.join(file, "store") });
  expect(output).toContain(file);
});

it("refuses a store that another daemon uses, and leaves that daemon alone", async () => {
  const port = await freePort();
  const first = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  cleanups.push(() => first.cleanup());
  const { output } = await refused(`listener ${await freePort()} 127.0.0.1`, { storeFolder: first.storeFolder });
  expect(output).toContain(first.storeFolder);

  const client = await connect311(port);
  await client.subscribe("still");
  await client.publish("still", "here", { qos: 1 });
  await client.waitFor("still", "here");
  await client.end();
});

it("SIGTERM in the middle of a start ends it with exit code 0", { timeout: 60_000 }, async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  cleanups.push(() => daemon.cleanup());
  // What makes the start take long enough for the signal to come in its middle.
  const client = await connect311(port, { clientId: "c", clean: true });
  await Promise.all(Array.from({ length: 5_000 }, (_, number) => client.publish(`retained/${number}`, "x".repeat(500), { qos: 1, retain: true })));
  await client.end();
  await daemon.kill("SIGKILL");
  for (let round = 0; round < 3; round++) {
    const from = daemon.lines.length;
    daemon.spawn();
    await daemon.waitForLine(/CWNAN0300I/, { from });
    expect(await daemon.kill("SIGTERM"), daemon.lines.slice(from).join("\n")).toEqual({ code: 0, signal: null });
    expect(daemon.lines.slice(from).filter((line) => /CWNAN0014I|amqtdd:/.test(line))).toEqual([]);
  }
});
