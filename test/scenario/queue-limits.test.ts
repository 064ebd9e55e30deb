import { spawnSync } from "node:child_process";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startDaemon(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function connect(port: number, clientId: string, options: { clean?: boolean } = {}): Promise<TestClient> {
  const client = await connect311(port, { clientId, clean: options.clean ?? true });
  cleanups.push(() => client.end());
  return client;
}

/** Publishes the numbers as payloads, in order, each acknowledged before the next. */
async function publish(client: TestClient, topic: string, from: number, to: number, qos: 0 | 1 = 1): Promise<void> {
  for (let number = from; number <= to; number++) await client.publish(topic, String(number), { qos });
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
const payloads = (client: TestClient): string[] => client.messages.map(({ payload }) => payload);
const status = (daemon: DaemonProcess): string => spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, "status"], { encoding: "utf8" }).stdout;
const linesOf = (daemon: DaemonProcess, id: string): string[] => daemon.lines.filter((line) => line.includes(`CWNAN${id}`));

/** Subscribes a session that stays, and leaves. */
async function leaveSession(port: number, clientId: string, qos: 0 | 1 = 1): Promise<void> {
  const client = await connect(port, clientId, { clean: false });
  await client.subscribe("t", qos);
  await client.end();
}

it("keeps the oldest messages of a client that is away, and tells of the rest as the original did", async () => {
  const port = await freePort();
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nmax_queued_messages 5`);
  await leaveSession(port, "away");
  await publish(await connect(port, "publisher"), "t", 1, 227);
  expect(linesOf(daemon, "0145W")).toEqual([expect.stringMatching(/ 5 of at most 5 messages are queued for away$/)]);
  expect(linesOf(daemon, "0045W").map((line) => / away: (\d+) messages discarded/.exec(line)?.[1])).toEqual(["1", "10", "100", "200"]);
  expect(linesOf(daemon, "0146I")).toEqual([]);
  const away = await connect(port, "away", { clean: false });
  await away.waitForMessages(5);
  await daemon.waitForLine(/CWNAN0146I .* away is down to [0-3] of at most 5 messages$/);
  await publish(await connect(port, "publisher"), "t", 300, 301);
  await away.waitForMessages(7);
  expect(payloads(away)).toEqual([...numbers(1, 5), "300", "301"]);
  expect(status(daemon)).toMatch(/^clients: 2 connected, 0 sessions without, \d+ messages queued \(\d+ bytes\), 222 dropped$/m);
});

it("keeps the newest messages for a dead upstream with drop_oldest, counts what went, and sends the rest in order after a kill", async () => {
  const [port, upstreamPort] = [await freePort(), await freePort()];
  const bridge = `connection up\naddress 127.0.0.1:${upstreamPort}\nreconnect_interval 1\ntopic t out\nmax_queued_messages 100\n`;
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\n${bridge}`);
  const publisher = await connect(port, "publisher");
  await publish(publisher, "t", 1, 350);
  expect(status(daemon)).toMatch(/^connection up: .*, 100 messages queued \(\d+ bytes, the oldest \d+ s old\), 250 dropped$/m);
  await daemon.restart("SIGKILL");
  const upstream = await startDaemon(`listener ${upstreamPort} 127.0.0.1`);
  const subscriber = await connect(upstreamPort, "subscriber");
  await subscriber.subscribe("t", 1);
  await subscriber.waitForMessages(100, 15_000);
  await upstream.waitForLine(/CWNAN0033I/);
  await publish(await connect(port, "publisher"), "t", 351, 352);
  await subscriber.waitFor("t", "352");
  expect(payloads(subscriber)).toEqual(numbers(251, 352));
});

it("drops what has waited too long for a connection, also over a restart, and nothing younger", async () => {
  const port = await freePort();
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${await freePort()}\ntopic t out\nmax_queued_age 5s\n`);
  const publisher = await connect(port, "publisher");
  await publish(publisher, "t", 1, 20);
  expect(status(daemon)).toContain("20 messages queued");
  await daemon.restart("SIGKILL");
  // Ages are looked at every second: those to be kept are younger by more than that.
  await expect.poll(() => status(daemon), { timeout: 10_000 }).toMatch(/20 messages queued .* the oldest [23] s old/);
  await publish(await connect(port, "later"), "t", 21, 23);
  await daemon.waitForLine(/CWNAN0045W .* up: 10 messages discarded/);
  expect(status(daemon)).toMatch(/connection up: .*, 3 messages queued .* 20 dropped/);
  await expect.poll(() => status(daemon), { timeout: 10_000 }).toMatch(/connection up: .*, 0 messages queued, 23 dropped/);
});

it("has the publisher wait for a full queue with block, and takes everything once when there is room", async () => {
  const [port, upstreamPort] = [await freePort(), await freePort()];
  const upstream = await startDaemon(`listener ${upstreamPort} 127.0.0.1`);
  await leaveSession(upstreamPort, "subscriber");
  await upstream.kill();
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${upstreamPort}\nreconnect_interval 1\ntopic t out\nmax_queued_messages 10\nqueue_full block\n`);
  const publisher = await connect(port, "publisher");
  await publish(publisher, "t", 1, 10);
  let acknowledged = 0;
  const waiting = numbers(11, 60).map((number) => publisher.publish("t", number, { qos: 1 }).then(() => void acknowledged++));
  await (await connect(port, "other")).publish("t", "not queued", { qos: 0 });
  await (await connect(port, "third")).publish("elsewhere", "x", { qos: 1 });
  expect({ acknowledged, status: status(daemon) }).toEqual({ acknowledged: 0, status: expect.stringMatching(/^connection up: .*, 10 messages queued \(\d+ bytes, the oldest \d+ s old\)$/m) as string });
  await upstream.start();
  await Promise.all(waiting);
  const subscriber = await connect(upstreamPort, "subscriber", { clean: false });
  await subscriber.waitForMessages(60);
  expect(payloads(subscriber)).toEqual(numbers(1, 60));
  expect(linesOf(daemon, "0045W")).toEqual([]);
});

it("disconnects a publisher that has waited for block_timeout", async () => {
  const port = await freePort();
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nblock_timeout 2\nqueue_full block\nmax_queued_messages 3\n`);
  await leaveSession(port, "away");
  const publisher = await connect(port, "publisher");
  await publish(publisher, "t", 1, 3);
  const fourth = publisher.publish("t", "4", { qos: 1 }).then(() => "acknowledged", () => "lost");
  await daemon.waitForLine(/CWNAN0382W publisher is disconnected: for 2 seconds /);
  await publisher.closed();
  await publisher.end();
  expect(await fourth).toBe("lost");
  const away = await connect(port, "away", { clean: false });
  await away.waitForMessages(3);
  await publish(await connect(port, "publisher"), "t", 4, 4);
  await away.waitFor("t", "4");
  expect(payloads(away)).toEqual(numbers(1, 4));
});

it("reads the acknowledgements that a client sends behind what waits for room in its own queue", async () => {
  const port = await freePort();
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nqueue_full block\nmax_queued_messages 10\n`);
  const client = await connect(port, "client");
  await client.subscribe("t", 1);
  await Promise.all(numbers(1, 300).map((number) => client.publish("t", number, { qos: 1 })));
  await client.waitForMessages(300);
  expect(payloads(client)).toEqual(numbers(1, 300));
  expect(linesOf(daemon, "0382W")).toEqual([]);
});

it("keeps messages of QoS 0 for a client that is away, if asked to, in their place", async () => {
  const port = await freePort();
  await startDaemon(`listener ${port} 127.0.0.1\nqueue_qos0_messages true\n`);
  await leaveSession(port, "away");
  const publisher = await connect(port, "publisher");
  for (let number = 1; number <= 30; number++) await publisher.publish("t", String(number), { qos: number % 3 === 0 ? 1 : 0 });
  await publisher.publish("t", "31", { qos: 1 });
  const away = await connect(port, "away", { clean: false });
  await away.waitForMessages(31);
  expect(payloads(away)).toEqual(numbers(1, 31));
});

it("drains a backlog at drain_rate, in order, while what is urgent goes at once", { timeout: 60_000 }, async () => {
  const [port, upstreamPort] = [await freePort(), await freePort()];
  const bridge = `connection up\naddress 127.0.0.1:${upstreamPort}\nreconnect_interval 1\nstart_type manual\ntopic t out\ntopic urgent out 1 "" "" high\ndrain_rate 400\nnotifications false\n`;
  await startDaemon(`listener ${upstreamPort} 127.0.0.1`);
  const subscriber = await connect(upstreamPort, "subscriber");
  await subscriber.subscribe("#", 1);
  const daemon = await startDaemon(`listener ${port} 127.0.0.1\nmax_inflight_messages 100\n${bridge}`);
  const publisher = await connect(port, "publisher");
  await Promise.all(numbers(1, 2_000).map((number) => publisher.publish("t", number, { qos: 1 })));
  spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, "start_connection", "up"]);
  await subscriber.waitForMessages(1);
  const beganMs = performance.now();
  for (let number = 1; number <= 5; number++) {
    await subscriber.waitForMessages(number * 300);
    await publisher.publish("urgent", `u${number}`, { qos: 1 });
    await subscriber.waitFor("urgent", `u${number}`);
    const behind = subscriber.messages.length - number * 300;
    expect(behind).toBeLessThan(200); // half a second of the rate, for the machine's sake
  }
  await subscriber.waitForMessages(2_005, 20_000);
  const seconds = (performance.now() - beganMs) / 1_000;
  expect(subscriber.messages.filter(({ topic }) => topic === "t").map(({ payload }) => payload)).toEqual(numbers(1, 2_000));
  expect(2_000 / seconds).toBeLessThan(450);
  expect(2_000 / seconds).toBeGreaterThan(200);
});
