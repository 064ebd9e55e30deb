import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, FrameSplitter, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { readPublish } from "./packets.ts";
import { PUBLISH, ScriptedUpstream } from "./scripted-upstream.ts";
import { noSmallDisk, SmallDisk } from "./small-disk.ts";

const ACCEPTED = "20 02 00 00";
const REFUSED = "20 02 00 03";
const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string, options: { storeFolder?: string } = {}): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config, options);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function upstream(): Promise<ScriptedUpstream> {
  const remote = await ScriptedUpstream.start(ACCEPTED);
  cleanups.push(() => remote.close());
  return remote;
}

async function connect(port: number): Promise<TestClient> {
  const client = await connect311(port);
  cleanups.push(() => client.end());
  return client;
}

function leave(remote: ScriptedUpstream): void {
  remote.connacks = [REFUSED];
  remote.cut();
}

const connection = (remotes: readonly { port: number }[], ...lines: string[]): string =>
  ["connection up", ...remotes.map(({ port }) => `address 127.0.0.1:${port}`), "round_robin true", "reconnect_interval 1", "max_reconnect_interval 1", "notifications false", ...lines].join("\n");

/** What came, `topic=payload`. */
const published = (remote: ScriptedUpstream): string[] => remote.of(PUBLISH).map(({ frame }) => readPublish(frame)).map(({ topic, payload }) => `${topic}=${payload}`);

describe("a retained message that changes while the link is down", () => {
  it.each(["the daemon stops", "the connection is changed"])("with QoS 0 goes to the remote when it is back, though %s meanwhile", async (what) => {
    const [port, remote] = [await freePort(), await upstream()];
    const config = `listener ${port} 127.0.0.1\n${connection([remote], "topic # out 1")}`;
    const daemon = await start(config);
    const client = await connect(port);
    await daemon.waitForLine(/CWNAN0133I/);
    await client.publish("value", "old", { retain: true });
    await remote.wait(PUBLISH);
    leave(remote);
    await daemon.waitForLine(/CWNAN0154I/);
    await client.publish("value", "new", { retain: true });
    await client.publish("marker", "x", { qos: 1 });
    if (what === "the daemon stops") {
      await daemon.restart();
    } else {
      writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\n${config}\nkeepalive_interval 77\n`);
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/connection up changed/);
    }
    remote.connacks = [ACCEPTED];
    await remote.wait(PUBLISH, 3);
    expect(published(remote).sort()).toEqual(["marker=x", "value=new", "value=old"]);
  });

  it("with QoS 1 goes over a topic line of QoS 0 when the remote is back", async () => {
    const [port, remote] = [await freePort(), await upstream()];
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection([remote], "topic # out 0")}`);
    const client = await connect(port);
    await daemon.waitForLine(/CWNAN0133I/);
    leave(remote);
    await daemon.waitForLine(/CWNAN0154I/);
    await client.publish("value", "new", { qos: 1, retain: true });
    remote.connacks = [ACCEPTED];
    await remote.wait(PUBLISH);
    expect(published(remote)).toEqual(["value=new"]);
  });
});

it("a retained message that one address has taken goes to the next one as well, what it has not taken once", async () => {
  const [port, first, second] = [await freePort(), await upstream(), await upstream()];
  const daemon = await start(`listener ${port} 127.0.0.1\n${connection([first, second], "topic # out 1")}`);
  const client = await connect(port);
  await daemon.waitForLine(/CWNAN0133I/);
  first.answers = false;
  await client.publish("held", "x", { qos: 1, retain: true });
  await client.publish("taken", "x", { qos: 1, retain: true });
  await client.publish("plain", "x", { retain: true });
  const sent = await first.wait(PUBLISH, 3);
  const taken = sent.map(({ frame }) => readPublish(frame)).find(({ topic }) => topic === "taken");
  first.send(`40 02 ${(taken?.id ?? 0).toString(16).padStart(4, "0")}`);
  leave(first);
  await daemon.waitForLine(/CWNAN0154I/);
  await client.publish("later", "x", { qos: 1, retain: true });
  await client.publish("end", "x", { qos: 1 });
  await second.wait(PUBLISH, 5);
  expect([...new Set(published(second))].sort()).toEqual(["end=x", "held=x", "later=x", "plain=x", "taken=x"]);
  expect(published(second).filter((message) => message === "later=x")).toHaveLength(1);
});

it("a retained message that several topic lines match goes to a remote that is new once, by the line that takes it", async () => {
  const [port, remote] = [await freePort(), await upstream()];
  const daemon = await start(`listener ${port} 127.0.0.1`);
  const client = await connect(port);
  for (const topic of ["a/x", "b"]) await client.publish(topic, "1", { qos: 1, retain: true });
  writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\nlistener ${port} 127.0.0.1\n${connection([remote], "topic # out 1", 'topic a/# out 1 "" x/', "topic + out 1")}\n`);
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0133I/);
  await client.publish("end", "1", { qos: 1 });
  await expect.poll(() => published(remote)).toContain("end=1");
  expect(published(remote).sort()).toEqual(["b=1", "end=1", "x/a/x=1"]);
});

it("all of 20 MB of retained messages of QoS 0 reach a remote that is new", async () => {
  const [port, count, bytes] = [await freePort(), 2_000, 10_000];
  const daemon = await start(`listener ${port} 127.0.0.1`);
  const client = await connect(port);
  for (let i = 0; i < count; i++) await client.publish(`s/${i}`, "x".repeat(bytes), { qos: i % 100 === 99 ? 1 : 0, retain: true });
  const topics = new Set<string>();
  const server = net.createServer((socket) => {
    const splitter = new FrameSplitter();
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      for (const frame of splitter.push(data)) {
        if (frame[0] === 0x10) socket.write(Buffer.from([0x20, 2, 0, 0]));
        if ((frame[0] ?? 0) >> 4 === PUBLISH) topics.add(readPublish(frame).topic);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => void server.close());
  const remote = { port: (server.address() as net.AddressInfo).port };
  writeFileSync(daemon.configFile, `persistence_location ${daemon.storeFolder}/\nlistener ${port} 127.0.0.1\n${connection([remote], "topic # out 0")}\n`);
  process.kill(daemon.pid, "SIGHUP");
  await expect.poll(() => topics.size, { timeout: 20_000 }).toBe(count);
});

const problem = noSmallDisk();
describe.skipIf(problem !== undefined)(`on a full disk${problem === undefined ? "" : ` (skipped: ${problem})`}`, () => {
  it("retained messages for a remote that is new wait for room; what goes with QoS 0 does not", { timeout: 60_000 }, async () => {
    const disk = new SmallDisk(100);
    cleanups.push(() => disk.remove());
    mkdirSync(disk.storeFolder);
    const [port, remote] = [await freePort(), await upstream()];
    const listener = `listener ${port} 127.0.0.1`;
    const daemon = await start(listener, { storeFolder: disk.storeFolder });
    const client = await connect(port);
    await client.publish("stored", "x", { qos: 1, retain: true });
    await client.publish("passing", "x", { retain: true });
    disk.fill(30_000_000);
    await daemon.waitForLine(/CWNAN0306E/);
    writeFileSync(daemon.configFile, `persistence_location ${disk.storeFolder}/\n${listener}\n${connection([remote], "topic # out 1")}\n`);
    process.kill(daemon.pid, "SIGHUP");
    await remote.wait(PUBLISH);
    expect(published(remote)).toEqual(["passing=x"]);
    disk.clear();
    await remote.wait(PUBLISH, 2, 30_000);
    expect(published(remote)).toEqual(["passing=x", "stored=x"]);
  });
});
