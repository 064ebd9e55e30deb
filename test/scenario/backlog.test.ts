import { once } from "node:events";
import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { floodFromAside } from "./flood-aside.ts";
import { bridgeTo, LatencyProbe, latencyText, type Latency, memoryOf, memoryText, publishNumbered, storeMiB, Upstream, type Memory } from "./flood.ts";
import { connectPacket, DISCONNECT, subscribePacket } from "./packets.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const publishers = 4;
const maxResidentKiB = 150 * 1024;
const maxRestartMs = 2_000;
/** What five million messages may take, or ten thousand sessions. */
const maxLargeResidentKiB = 200 * 1024;
const maxLargeAnonymousKiB = 120 * 1024;
const maxLargeRestartMs = 3_000;
const maxP99Ms = 5;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function listeningUpstream(port: number): Promise<Upstream> {
  const upstream = new Upstream();
  await upstream.listen(port);
  cleanups.push(() => upstream.close());
  return upstream;
}

async function probeOf(port: number): Promise<LatencyProbe> {
  const probe = await LatencyProbe.start(port);
  cleanups.push(() => probe.kill());
  return probe;
}

const flood = (port: number, messages: number, payloadBytes: number): Promise<unknown> =>
  Promise.all(Array.from({ length: publishers }, (_, index) => publishNumbered(port, `flood${index}`, messages / publishers, payloadBytes, () => `flood/${index}`)));

/** Kills the daemon and starts it again; resolves with the milliseconds until it listened. */
async function killAndStart(daemon: DaemonProcess): Promise<number> {
  await daemon.kill("SIGKILL");
  const startMs = performance.now();
  await daemon.start();
  return performance.now() - startMs;
}

function expectLarge(memories: readonly Memory[]): void {
  for (const { residentKiB, anonymousKiB } of memories) {
    expect(residentKiB).toBeLessThan(maxLargeResidentKiB);
    expect(anonymousKiB).toBeLessThan(maxLargeAnonymousKiB);
  }
}

const slow = (latencies: readonly Latency[]): string[] => latencies.filter(({ p99Ms }) => p99Ms > maxP99Ms).map(latencyText);

const messages = isLong ? 1_000_000 : 200_000;
it(`keeps ${messages.toLocaleString("en")} messages for a dead upstream in little RAM, restarts at once, drains in order`, { timeout: 300_000 }, async () => {
  const [port = 0, upstreamPort = 0] = await freePorts(2);
  const daemon = await start(`listener ${port} 127.0.0.1\n${bridgeTo(upstreamPort)}`);
  const startedMs = performance.now();
  await flood(port, messages, 100);
  const storedMs = performance.now() - startedMs;
  const stored = memoryOf(daemon.pid);
  const listeningMs = await killAndStart(daemon);
  const restarted = memoryOf(daemon.pid);

  const upstream = await listeningUpstream(upstreamPort);
  const drainMs = performance.now();
  await expect.poll(() => upstream.distinct, { timeout: 200_000, interval: 50 }).toBe(messages);
  const drained = memoryOf(daemon.pid);
  const rate = Math.round(messages / ((upstream.lastMs - drainMs) / 1000));
  console.log(
    `${messages} messages: stored at ${Math.round(messages / (storedMs / 1000))}/s; ${memoryText(stored)}; ` +
      `listening ${Math.round(listeningMs)} ms after a kill, ${memoryText(restarted)}; drained at ${rate}/s, ${memoryText(drained)}`,
  );
  expect(upstream.outOfOrder).toEqual([]);
  expect(listeningMs).toBeLessThan(maxRestartMs);
  for (const { residentKiB } of [stored, restarted, drained]) expect(residentKiB).toBeLessThan(maxResidentKiB);
});

const large = 5_000_000;
it.skipIf(!isLong)(
  isLong ? "5,000,000 messages of 300 bytes: little RAM, a quick start, nobody is held up by commits, by the drain's start, by their deletion" : "skipped: 5,000,000 messages are for AMQTDD_LONG=1",
  { timeout: 1_800_000 },
  async () => {
    const [port = 0, upstreamPort = 0] = await freePorts(2);
    const daemon = await start(`listener ${port} 127.0.0.1\n${bridgeTo(upstreamPort)}`);
    const first = await probeOf(port);
    first.begin("before");
    await pause(3_000);
    first.begin("while messages are stored");
    const startedMs = performance.now();
    await floodFromAside(port, publishers, large, 300);
    const storedMs = performance.now() - startedMs;
    const stored = memoryOf(daemon.pid);
    const storedMiB = storeMiB(daemon.storeFolder);
    const latencies = [...(await first.stop())];
    const listeningMs = await killAndStart(daemon);
    const restarted = memoryOf(daemon.pid);

    const second = await probeOf(port);
    second.begin("as the drain starts");
    const upstream = await listeningUpstream(upstreamPort);
    await pause(10_000);
    second.begin("while it drains");
    await pause(3_000);
    await expect.poll(() => upstream.distinct, { timeout: 600_000, interval: 200 }).toBeGreaterThan(large / 5);
    const draining = memoryOf(daemon.pid);
    const drained = upstream.distinct;
    second.begin("as the rest is deleted");
    writeFileSync(path.join(daemon.storeFolder, "amqtdd.upd"), "delete_connection upstream\n");
    await daemon.waitForLine(/CWNAN0057I/);
    await pause(30_000);
    const deleting = memoryOf(daemon.pid);
    latencies.push(...(await second.stop()));
    console.log(
      [
        `${large} messages of 300 bytes: stored at ${Math.round(large / (storedMs / 1000))}/s, ${storedMiB} MiB; ${memoryText(stored)}`,
        `listening ${Math.round(listeningMs)} ms after a kill; ${memoryText(restarted)}`,
        `${drained} drained; ${memoryText(draining)}; the rest deleted; ${memoryText(deleting)}`,
        ...latencies.map(latencyText),
      ].join("\n"),
    );
    expect(upstream.outOfOrder).toEqual([]);
    expect(drained).toBeLessThan((large * 4) / 5);
    expect(listeningMs).toBeLessThan(maxLargeRestartMs);
    expectLarge([stored, restarted, draining, deleting]);
    for (const { messages } of latencies) expect(messages).toBeGreaterThan(1_000);
    expect(slow(latencies)).toEqual([]);
  },
);

it.skipIf(!isLong)(
  isLong ? "messages that came a few at a time hold nobody up while they drain" : "skipped: a drain of so many groups is for AMQTDD_LONG=1",
  { timeout: 300_000 },
  async () => {
    const few = 300_000;
    const [port = 0, upstreamPort = 0] = await freePorts(2);
    await start(`listener ${port} 127.0.0.1\n${bridgeTo(upstreamPort)}`);
    await Promise.all(Array.from({ length: publishers }, (_, index) => publishNumbered(port, `flood${index}`, few / publishers, 300, () => `flood/${index}`, 1)));
    const probe = await probeOf(port);
    probe.begin("before");
    await pause(3_000);
    probe.begin("while it drains");
    const upstream = await listeningUpstream(upstreamPort);
    await expect.poll(() => upstream.distinct, { timeout: 200_000, interval: 50 }).toBe(few);
    probe.begin("while the rest of its pages is deleted");
    await pause(3_000);
    const latencies = await probe.stop();
    console.log(`${few} messages, ${publishers} at a time\n${latencies.map(latencyText).join("\n")}`);
    expect(upstream.outOfOrder).toEqual([]);
    for (const { messages } of latencies) expect(messages).toBeGreaterThan(1_000);
    expect(slow(latencies)).toEqual([]);
  },
);

/** A session that outlives its connection, subscribed to `filter`. */
async function leaveSession(port: number, clientId: string, filter: string): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(Buffer.concat([connectPacket(clientId, { clean: false }), subscribePacket(1, filter, 1)]));
  for (let bytes = 0; bytes < 9; ) bytes += ((await once(socket, "data")) as [Buffer])[0].length; // CONNACK, SUBACK
  socket.end(DISCONNECT);
}

async function leaveSessions(port: number, sessions: number, topicOf: (number: number) => string): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let number = next++; number < sessions; number = next++) await leaveSession(port, `sleeper${number}`, topicOf(number));
  };
  await Promise.all(Array.from({ length: 100 }, lane));
}

it.skipIf(!isLong)(
  isLong ? "10,000 sessions without a client, 100 messages each: little RAM, a quick start" : "skipped: 10,000 sessions are for AMQTDD_LONG=1",
  { timeout: 900_000 },
  async () => {
    const sessions = 10_000;
    const each = 100;
    const topicOf = (number: number): string => `flood/${String(number % sessions).padStart(5, "0")}`;
    const [port = 0] = await freePorts(1);
    const daemon = await start(`listener ${port} 127.0.0.1\nconnection_messages false`);
    await leaveSessions(port, sessions, topicOf);
    const startedMs = performance.now();
    await Promise.all(
      Array.from({ length: publishers }, (_, index) => publishNumbered(port, `flood${index}`, (sessions * each) / publishers, 300, (number) => topicOf(number * publishers + index))),
    );
    const storedMs = performance.now() - startedMs;
    const stored = memoryOf(daemon.pid);
    const listeningMs = await killAndStart(daemon);
    const restarted = memoryOf(daemon.pid);
    console.log(
      `${sessions * each} messages for ${sessions} sessions: stored at ${Math.round((sessions * each) / (storedMs / 1000))}/s, ${storeMiB(daemon.storeFolder)} MiB; ${memoryText(stored)}; ` +
        `listening ${Math.round(listeningMs)} ms after a kill; ${memoryText(restarted)}`,
    );
    expect(listeningMs).toBeLessThan(maxLargeRestartMs);
    expectLarge([stored, restarted]);
  },
);

it("a clean start over a long queue is answered at once and holds nobody up", { timeout: 120_000 }, async () => {
  const queued = isLong ? 500_000 : 50_000;
  const [port = 0] = await freePorts(1);
  await start(`listener ${port} 127.0.0.1\nmax_queued_messages 0`);
  await leaveSession(port, "sleeper", "flood/#");
  await flood(port, queued, 300);
  const probe = await probeOf(port);
  probe.begin("before");
  await pause(2_000);
  probe.begin("as the queue is deleted");
  const startMs = performance.now();
  const socket = net.connect(port, "127.0.0.1");
  cleanups.push(() => void socket.destroy());
  socket.write(connectPacket("sleeper"));
  const [connack] = (await once(socket, "data")) as [Buffer];
  const answeredMs = performance.now() - startMs;
  await pause(3_000);
  const latencies = await probe.stop();
  console.log(`${queued} messages, clean start: CONNACK after ${Math.round(answeredMs)} ms\n${latencies.map(latencyText).join("\n")}`);
  expect(connack.toString("hex")).toBe("20020000");
  expect(answeredMs).toBeLessThan(1_000);
  if (isLong) expect(slow(latencies)).toEqual([]);
});
