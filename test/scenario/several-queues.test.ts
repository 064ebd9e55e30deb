import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { openLevelDatabase } from "../../src/store/database.ts";
import { formatKey, generationOf, isPageKey } from "../../src/store/keys.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { bridgeTo, publishNumbered, Upstream } from "./flood.ts";

const BRIDGES = 4;
const MESSAGES = 30_000;
const PAYLOAD_BYTES = 300;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Nobody takes a connection there; the port is nobody else's meanwhile. */
async function remoteAway(port: number): Promise<() => Promise<void>> {
  const server = net.createServer((socket) => socket.resetAndDestroy());
  await once(server.listen(port, "127.0.0.1"), "listening");
  const free = async (): Promise<void> => {
    if (server.listening) await once(server.close(), "close");
  };
  cleanups.push(free);
  return free;
}

/** Generations that pages stand in, and the format of the store. */
async function lookInto(storeFolder: string): Promise<{ generations: number; format: unknown }> {
  const database = await openLevelDatabase(path.join(storeFolder, "amqtdd-store"));
  const keys = await database.keys().all();
  const { format } = JSON.parse(String(await database.get(formatKey))) as { format: unknown };
  await database.close();
  return { generations: new Set(keys.filter(isPageKey).map(generationOf)).size, format };
}

it("keeps what several queues get at the same time, each in its order, over kills after they grew and while they drain", { timeout: 240_000 }, async () => {
  const [port = 0, ...remotePorts] = await freePorts(1 + BRIDGES);
  const free = await Promise.all(remotePorts.map(remoteAway));
  const bridges = remotePorts.map((remotePort, index) => bridgeTo(remotePort).replace("connection upstream", `connection upstream${index}`));
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\n${bridges.join("")}`);
  cleanups.push(() => daemon.cleanup());
  await publishNumbered(port, "first", MESSAGES, PAYLOAD_BYTES, () => "flood/0");
  await daemon.restart("SIGKILL");
  await publishNumbered(port, "second", MESSAGES, PAYLOAD_BYTES, () => "flood/1");
  await daemon.kill("SIGTERM");
  const stored = await lookInto(daemon.storeFolder);
  expect(stored.format).toBe(4);
  expect(stored.generations).toBeGreaterThan(10);
  await daemon.start();

  const upstreams = await Promise.all(remotePorts.map(async (remotePort, index) => {
    const upstream = new Upstream();
    cleanups.push(() => upstream.close());
    await free[index]?.();
    await upstream.listen(remotePort);
    return upstream;
  }));
  const [first = expect.fail()] = upstreams;
  for (const part of [0.2, 0.6]) {
    await expect.poll(() => first.distinct, { timeout: 60_000, interval: 10 }).toBeGreaterThan(2 * MESSAGES * part);
    await daemon.restart("SIGKILL");
  }
  await publishNumbered(port, "third", MESSAGES / 10, PAYLOAD_BYTES, () => "flood/2");
  await expect.poll(() => upstreams.map(({ distinct }) => distinct), { timeout: 120_000, interval: 50 }).toEqual(upstreams.map(() => 2.1 * MESSAGES));
  expect(upstreams.flatMap(({ outOfOrder }) => outOfOrder)).toEqual([]);
  expect(daemon.lines.filter((line) => /CWNAN\d{4}[ESF]/.test(line))).toEqual([]);
  await daemon.kill("SIGTERM");
  expect(await lookInto(daemon.storeFolder)).toEqual({ generations: 0, format: 4 });
});
