import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { connect311, FrameSplitter, mqttString, RawClient, type TestClient } from "../clients.ts";
import { DaemonProcess, freePort, freePorts } from "../daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "../mosquitto.ts";
import { connectPacket, DISCONNECT, makePacket, publishPacket, readId, subscribePacket } from "../packets.ts";
import { within } from "../process.ts";
import { RecordingProxy } from "../proxy.ts";

// The original at the edge: many clients, one connection upwards, namespaces. Ports and addresses of the document's files are replaced.

const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function connect(port: number, options: Parameters<typeof connect311>[1] = {}): Promise<TestClient> {
  const client = await connect311(port, options);
  cleanups.push(() => client.end());
  return client;
}

/** A bare socket that is logged in; hundreds of them cost little. */
async function logIn(port: number, clientId: string): Promise<{ socket: net.Socket; code: number }> {
  const socket = net.connect(port, "127.0.0.1");
  cleanups.push(() => void socket.destroy());
  await once(socket, "connect");
  socket.write(connectPacket(clientId));
  const [connack] = (await within(once(socket, "data"), 10_000, () => `${clientId} got no CONNACK`)) as [Buffer];
  expect(connack.subarray(0, 2).toString("hex")).toBe("2002");
  return { socket, code: connack[3] ?? -1 };
}

async function logInMany(port: number, count: number, name: string): Promise<net.Socket[]> {
  const sockets: net.Socket[] = [];
  let next = 0;
  const dial = async (): Promise<void> => {
    while (next < count) {
      const { socket, code } = await logIn(port, `${name}${next++}`);
      expect(code).toBe(0);
      sockets.push(socket);
    }
  };
  await Promise.all(Array.from({ length: 100 }, dial));
  return sockets;
}

/** Publishes at QoS 1 with up to `window` messages unacknowledged; resolves when all are acknowledged. */
async function publishAll(socket: net.Socket, topic: string, payloads: readonly string[], window = 100): Promise<void> {
  const splitter = new FrameSplitter();
  let sent = 0;
  let acknowledged = 0;
  const send = (): void => {
    const packets: Buffer[] = [];
    for (; sent < payloads.length && sent - acknowledged < window; sent++) packets.push(publishPacket(topic, payloads[sent] ?? "", { qos: 1, id: sent + 1 }));
    if (packets.length > 0) socket.write(Buffer.concat(packets));
  };
  const done = new Promise<void>((resolve, reject) => {
    socket.on("close", () => reject(new Error(`${topic}: closed after ${acknowledged} acknowledgements`)));
    socket.on("data", (bytes) => {
      for (const frame of splitter.push(bytes)) {
        if ((frame[0] ?? 0) >> 4 !== 4) continue;
        acknowledged += 1;
        if (readId(frame) !== acknowledged) reject(new Error(`${topic}: PUBACK ${readId(frame)} came as number ${acknowledged}`));
      }
      if (acknowledged === payloads.length) resolve();
      else send();
    });
  });
  send();
  await within(done, 30_000, () => `${topic}: ${acknowledged} of ${payloads.length} were acknowledged`);
}

const peakResidentMiB = (pid: number): number => Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1024;

/** Who has logged in at a mosquitto, by its log. */
const connectionsIn = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => /New (?:client|bridge) connected from \S+ as (\S+) /.exec(line)?.[1] ?? []);

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "with mosquitto upstream" : mosquittoMissing, () => {
  it("A1.1 one connection upstream for 1,000 clients: all their QoS 1 messages go over it, in less than 128 MB", async () => {
    const upstream = await MosquittoProcess.start();
    cleanups.push(() => upstream.cleanup());
    const port = await freePort();
    const daemon = await start(`
listener ${port} 127.0.0.1
connection_messages false
connection central
address 127.0.0.1:${upstream.port}
clientid site1
topic # out "" site1/
`);
    await daemon.waitForLine(/CWNAN0133I/);
    // The very first connection is preceded by a short one that ends any older session of this name.
    await vi.waitFor(() => expect(connectionsIn(upstream.lines)).toEqual(["site1", "site1"]));
    const established = upstream.lines.length;
    const watcher = await connect(upstream.port, { clientId: "watcher" });
    await watcher.subscribe("site1/#", 1);
    const sockets = await logInMany(port, 1_000, "sensor");
    await Promise.all(sockets.map((socket, i) => publishAll(socket, `sensors/${i}`, ["first", "second"])));
    await watcher.waitForMessages(2_000);
    const seen = watcher.messages.map(({ topic, payload }) => `${topic} ${payload}`);
    expect(new Set(seen)).toEqual(new Set(sockets.flatMap((_socket, i) => [`site1/sensors/${i} first`, `site1/sensors/${i} second`])));
    expect(seen).toHaveLength(2_000);
    expect(connectionsIn(upstream.lines.slice(established))).toEqual(["watcher"]);
    expect(new Set(connectionsIn(upstream.lines))).toEqual(new Set(["watcher", "site1"]));
    expect(upstream.lines.filter((line) => /Client site1 disconnected|Client site1 closed/.test(line)).length).toBe(
      connectionsIn(upstream.lines).filter((id) => id === "site1").length - 1,
    );
    const peakMiB = peakResidentMiB(daemon.pid);
    console.log(`1,000 clients and a bridge: RSS at most ${Math.round(peakMiB)} MiB`);
    expect(peakMiB).toBeLessThan(128);
  });

  it("A1.2 store and forward: 10,000 messages acknowledged while the upstream is away arrive in order when it is back, none twice", async () => {
    const upstream = await MosquittoProcess.start();
    cleanups.push(() => upstream.cleanup());
    const proxy = await RecordingProxy.start(upstream.port);
    cleanups.push(() => proxy.close());
    const port = await freePort();
    const daemon = await start(`
listener ${port} 127.0.0.1
connection central
address 127.0.0.1:${proxy.port}
reconnect_interval 1
max_reconnect_interval 1
topic # out
`);
    await daemon.waitForLine(/CWNAN0133I/);
    proxy.isDown = true;
    proxy.cut();
    await daemon.waitForLine(/CWNAN0310W/);
    // No storage of their own: each is gone once its messages are acknowledged.
    const sensors = ["a", "b", "c", "d"];
    await Promise.all(
      sensors.map(async (name) => {
        const { socket } = await logIn(port, name);
        await publishAll(socket, `readings/${name}`, numbered(2_500));
        socket.removeAllListeners("close").destroy();
      }),
    );
    const watcher = await connect(upstream.port);
    await watcher.subscribe("readings/#", 1);
    expect(watcher.messages).toEqual([]);
    proxy.isDown = false;
    await watcher.waitForMessages(10_000, 20_000);
    await (await connect(port)).publish("readings/end", "end", { qos: 1 });
    await watcher.waitFor("readings/end", "end");
    for (const name of sensors) {
      expect(watcher.messages.filter(({ topic }) => topic === `readings/${name}`).map(({ payload }) => payload)).toEqual(numbered(2_500));
    }
    expect(watcher.messages).toHaveLength(10_001);
  });
});

describe("A1.3 topic filters of the original", () => {
  let shared: Promise<{ port: number; daemon: DaemonProcess }> | undefined;
  const startShared = async (): Promise<{ port: number; daemon: DaemonProcess }> => {
    const port = await freePort();
    return { port, daemon: await DaemonProcess.start(`listener ${port} 127.0.0.1`) };
  };
  afterAll(async () => {
    await (await shared)?.daemon.cleanup();
  });

  it.each([
    ["USA/Dutchess/Power", "USA/Dutchess/Power", true],
    ["USA/+/Power", "USA/Dutchess/Power", true],
    ["USA/+/Power", "USA/NY/Dutchess/Power", false],
    ["USA/+", "USA", false],
    ["USA/+", "USA/", true],
    ["+/+", "/USA", true],
    ["+", "/USA", false],
    ["USA/#", "USA", true],
    ["USA/#", "USA/NY/Dutchess/Power", true],
    ["USA/#", "USAF/NY", false],
    ["#", "USA/NY", true],
    ["#", "$own/NY", false],
    ["+/NY", "$own/NY", false],
    ["usa/#", "USA/NY", false],
  ] as const)("%s matches %s: %s", async (filter, topic, matches) => {
    const port = (await (shared ??= startShared())).port;
    const client = await connect(port);
    await client.subscribe(filter, 1);
    await client.subscribe("a/marker", 1);
    await client.publish(topic, "1", { qos: 1 });
    await client.publish("a/marker", "end", { qos: 1 });
    await client.waitFor("a/marker", "end");
    expect(client.messages.map((message) => message.topic)).toEqual(matches ? [topic, "a/marker"] : ["a/marker"]);
  });

  it("USA/#/Dutchess is refused with 0x80 on 3.1.1, logged as 153, and the connection goes on", async () => {
    const { port, daemon } = await (shared ??= startShared());
    const raw = await RawClient.open(port);
    cleanups.push(() => raw.destroy());
    raw.send(connectPacket("new").toString("hex"));
    expect(await raw.frame()).toBe("20020000");
    raw.send(subscribePacket(1, "USA/#/Dutchess", 1).toString("hex"));
    expect(await raw.frame()).toBe("9003000180");
    expect(await daemon.waitForLine(/CWNAN0153W .*client new /i)).toContain("USA/#/Dutchess");
    const writer = await connect(port);
    for (const topic of ["USA/NY/Dutchess", "USA/NY/x/Dutchess"]) await writer.publish(topic, "1", { qos: 1 });
    raw.send("c000");
    expect(await raw.frame()).toBe("d000");
  });

  it("USA/#/Dutchess delivers nothing on 3.1, and is logged as 153; the connection is closed instead of a false grant", async () => {
    const { port, daemon } = await (shared ??= startShared());
    const raw = await RawClient.open(port);
    cleanups.push(() => raw.destroy());
    raw.send(makePacket(0x10, mqttString("MQIsdp"), Buffer.from([3, 2, 0, 60]), mqttString("old")).toString("hex"));
    expect(await raw.frame()).toBe("20020000");
    raw.send(subscribePacket(1, "USA/#/Dutchess", 1).toString("hex"));
    await raw.closed();
    await expect(raw.frame()).rejects.toThrow("closed");
    expect(await daemon.waitForLine(/CWNAN0153W .*client old /i)).toContain("USA/#/Dutchess");
  });
});

describe("A1.4 several listeners, each with its own namespace", () => {
  it("the document's file: 1,000 clients on the mounted listener, the next refused with CONNACK 3 and 141; the default one is not full", async () => {
    const [defaultPort = 0, mounted = 0] = await freePorts(2);
    const daemon = await start(`
port ${defaultPort}
max_connections 10000
listener ${mounted}
mount_point 1884/
max_connections 1000
`);
    const outside = await connect(defaultPort);
    await outside.subscribe("#", 1);
    const [first] = await logInMany(mounted, 1_000, "mounted");
    const from = daemon.lines.length;
    expect((await logIn(mounted, "one too many")).code).toBe(3);
    expect(await daemon.waitForLine(/CWNAN0141W/, { from })).toMatch(new RegExp(`port ${mounted} .*\\b1000\\b`));
    await outside.publish("1884/outside", "not full", { qos: 1 });
    await outside.waitFor("1884/outside", "not full");
    // One leaves, one may come; and it is below its mount point.
    first?.end(DISCONNECT);
    await daemon.waitForLine(/CWNAN0038I/, { from });
    const { socket, code } = await logIn(mounted, "one more");
    expect(code).toBe(0);
    await publishAll(socket, "MyTopic", ["isolated"]);
    await outside.waitFor("1884/MyTopic", "isolated");
  });

  it("without `port` there is no listener but those that are listed; `port` adds the default one", async () => {
    const [port = 0, other = 0] = await freePorts(2);
    const listed = await start(`listener ${port} 127.0.0.1`);
    expect(listed.lines.filter((line) => line.includes("CWNAN0014I"))).toHaveLength(1);
    await listed.kill();
    const both = await start(`port ${other}\nbind_address 127.0.0.1\nlistener ${port} 127.0.0.1`);
    expect(both.lines.flatMap((line) => /CWNAN0014I .* port (\d+)$/.exec(line)?.[1] ?? [])).toEqual([String(port), String(other)]);
    await connect(other);
  });
});
