import { once } from "node:events";
import { mkdirSync } from "node:fs";
import net from "node:net";
import { afterEach, expect, it } from "vitest";
import { connect311, FrameSplitter } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { connectPacket, PUBACK, publishPacket } from "./packets.ts";
import { noSmallDisk, SmallDisk } from "./small-disk.ts";

const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startDaemon(config: string, options: { storeFolder?: string } = {}): Promise<{ daemon: DaemonProcess; port: number }> {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nmax_queued_messages 0\n${config}`, options);
  cleanups.push(() => daemon.cleanup());
  const away = await connect311(port, { clientId: "away", clean: false });
  await away.subscribe("t", 1);
  await away.end();
  return { daemon, port };
}

/** Sends `count` messages of `bytes` without waiting for anything; counts what is acknowledged. */
async function flood(port: number, clientId: string, count: number, bytes: number): Promise<{ socket: net.Socket; acknowledged: () => number }> {
  const socket = net.connect(port, "127.0.0.1");
  cleanups.push(() => void socket.destroy());
  socket.on("error", () => undefined);
  let acknowledged = 0;
  const splitter = new FrameSplitter();
  socket.write(connectPacket(clientId));
  await once(socket, "data");
  socket.on("data", (received: Buffer) => {
    for (const frame of splitter.push(received)) if (frame[0] === PUBACK) acknowledged += 1;
  });
  const payload = "x".repeat(bytes);
  for (let id = 1; id <= count; id++) socket.write(publishPacket("t", payload, { qos: 1, id }));
  return { socket, acknowledged: () => acknowledged };
}

it("takes no more from publishers than max_uncommitted_bytes before it is on disk", async () => {
  const [messages, bytes, limitBytes, readBytes] = [5_000, 1_000, 256 * 1024, 64 * 1024];
  // A group closes after two seconds: until then nothing is acknowledged, and everything that is taken counts.
  const { port } = await startDaemon(`max_uncommitted_bytes ${limitBytes}\ncommit_interval_ms 2000`);
  const witness = await connect311(port, { clientId: "witness" });
  cleanups.push(() => witness.end());
  await witness.subscribe("t", 0); // gets each message when it is taken
  const floods = await Promise.all(Array.from({ length: 20 }, (_, index) => flood(port, `flood${index}`, messages, bytes)));
  await expect.poll(() => floods.some(({ acknowledged }) => acknowledged() > 0), { timeout: 10_000, interval: 1 }).toBe(true);
  const takenAtOnce = witness.messages.length;
  // Each connection may end the read in which it reaches its share, or the total is reached.
  expect(takenAtOnce * bytes).toBeLessThan(2 * (limitBytes + 20 * readBytes));
  expect(takenAtOnce).toBeLessThan((20 * messages) / 10);
});

it.skipIf(noSmallDisk() !== undefined)("leaves store_min_free on the disk", { timeout: 60_000 }, async () => {
  const [diskMegabytes, minFreeBytes] = [100, 40_000_000];
  const disk = new SmallDisk(diskMegabytes);
  cleanups.push(() => disk.remove());
  mkdirSync(disk.storeFolder);
  const { daemon, port } = await startDaemon(`store_min_free ${minFreeBytes}`, { storeFolder: disk.storeFolder });
  const payload = Array.from({ length: 10_000 }, () => String.fromCharCode(32 + Math.floor(Math.random() * 90))).join("");
  const publisher = await connect311(port, { clientId: "publisher" });
  let acknowledged = 0;
  let isOver = false;
  const lanes = Array.from({ length: 20 }, async () => {
    while (!isOver) {
      await publisher.publish("t", payload, { qos: 1 });
      acknowledged += 1;
    }
  });
  for (const lane of lanes) lane.catch(() => undefined);
  await daemon.waitForLine(/CWNAN0306E/, { timeoutMs: 30_000 });
  isOver = true;
  await publisher.client.endAsync(true); // what was not taken is never acknowledged
  expect(acknowledged * 10_000).toBeGreaterThan(10_000_000);
  // What the store writes by itself, and what was on its way.
  expect(disk.freeBytes).toBeGreaterThan(minFreeBytes - 8 * 1024 * 1024);
});
