import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { hostname, networkInterfaces } from "node:os";
import path from "node:path";
import { Aedes } from "aedes";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, frameBody, FrameSplitter, type TestClient } from "../clients.ts";
import { DaemonProcess, freePort, freePorts } from "../daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "../mosquitto.ts";
import { makeFolder, removeFolder } from "../process.ts";
import { RecordingProxy } from "../proxy.ts";

// Bridges of the original. Addresses and ports of the document's files are replaced.

const program = path.join(import.meta.dirname, "..", "..", "..", "dist", "amqtdd.js");
const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string): Promise<DaemonProcess> {
  const daemon = await DaemonProcess.start(config);
  cleanups.push(() => daemon.cleanup());
  return daemon;
}

async function connect(port: number, ...filters: string[]): Promise<TestClient> {
  const client = await connect311(port);
  cleanups.push(() => client.end());
  for (const filter of filters) await client.subscribe(filter, 2);
  return client;
}

async function startMosquitto(): Promise<MosquittoProcess> {
  const mosquitto = await MosquittoProcess.start();
  cleanups.push(() => mosquitto.cleanup());
  return mosquitto;
}

async function startProxy(port: number): Promise<RecordingProxy> {
  const proxy = await RecordingProxy.start(port);
  cleanups.push(() => proxy.close());
  return proxy;
}

/** A broker that knows nothing of bridges. */
async function startAedes(): Promise<number> {
  const broker = await Aedes.createBroker();
  const server = net.createServer((socket) => broker.handle(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    await new Promise<void>((resolve) => broker.close(resolve));
    server.close();
  });
  return (server.address() as net.AddressInfo).port;
}

const quick = "reconnect_interval 1\nmax_reconnect_interval 1";
const count = (daemon: DaemonProcess, pattern: RegExp): number => daemon.lines.filter((line) => pattern.test(line)).length;

interface Connect {
  level: number;
  isBridge: boolean;
  cleanSession: boolean;
  keepAliveSeconds: number;
  clientId: string;
  will: { topic: string; payload: string; retain: boolean } | undefined;
  username: string | undefined;
  password: string | undefined;
}

function readConnect(frame: Buffer): Connect {
  const body = frameBody(frame);
  let at = 0;
  const text = (): string => {
    const end = at + 2 + body.readUInt16BE(at);
    const value = body.toString("utf8", at + 2, end);
    at = end;
    return value;
  };
  text();
  const [level = 0, flags = 0] = body.subarray(at, at + 2);
  const keepAliveSeconds = body.readUInt16BE(at + 2);
  at += 4;
  const clientId = text();
  const will = flags & 4 ? { topic: text(), payload: text(), retain: (flags & 0x20) !== 0 } : undefined;
  const username = flags & 0x80 ? text() : undefined;
  const password = flags & 0x40 ? text() : undefined;
  return { level: level & 0x7f, isBridge: (level & 0x80) !== 0, cleanSession: (flags & 2) !== 0, keepAliveSeconds, clientId, will, username, password };
}

/** A remote that accepts every CONNECT and notes what comes. */
async function startRecorder(): Promise<{ port: number; connects: Connect[]; firstBytes: number[] }> {
  const connects: Connect[] = [];
  const firstBytes: number[] = [];
  const server = net.createServer((socket) => {
    const splitter = new FrameSplitter();
    cleanups.push(() => void socket.destroy());
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      for (const frame of splitter.push(bytes)) {
        firstBytes.push(frame[0] ?? 0);
        if ((frame[0] ?? 0) >> 4 === 12) socket.write(Buffer.from([0xd0, 0]));
        if ((frame[0] ?? 0) >> 4 !== 1) continue;
        connects.push(readConnect(frame));
        socket.write(Buffer.from([0x20, 2, 0, 0]));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => void server.close());
  return { port: (server.address() as net.AddressInfo).port, connects, firstBytes };
}

/** The CONNECT of the session that is established, not one that only ended an older session. */
async function connectOf(lines: string): Promise<Connect> {
  const recorder = await startRecorder();
  const daemon = await start(`listener ${await freePort()} 127.0.0.1\nconnection Daemon1\naddress 127.0.0.1:${recorder.port}\n${lines}`);
  await daemon.waitForLine(/CWNAN0133I/);
  const last = recorder.connects.at(-1);
  if (!last) throw new Error("unreachable: a connection was established");
  return last;
}

const ownHost = (hostname().split(".")[0] ?? "").slice(0, 14);

describe("A1.16 cleansession", () => {
  it.each([
    ["false with one address", "topic #", false],
    ["true with two", "address 127.0.0.1:1\ntopic #", true],
    ["what the file says with one", "cleansession true\ntopic #", true],
    ["what the file says with two", "cleansession false\naddress 127.0.0.1:1\ntopic #", false],
  ])("is %s, on the wire", async (_name, lines, isClean) => {
    expect((await connectOf(lines)).cleanSession).toBe(isClean);
  });
});

describe("A1.17 notifications", () => {
  it.skipIf(!mosquittoAvailable())(
    mosquittoAvailable() ? "are retained 1 and 0 on $SYS/broker/connection/<clientid>/state, here and there, which # does not match" : mosquittoMissing,
    async () => {
      const upstream = await startMosquitto();
      const port = await freePort();
      const daemon = await start(`listener ${port} 127.0.0.1\nconnection Daemon1\naddress 127.0.0.1:${upstream.port}\nclientid site1\n${quick}\ntopic a out`);
      await daemon.waitForLine(/CWNAN0133I/);
      const state = "$SYS/broker/connection/site1/state";
      const [here, there] = [await connect(port, state), await connect(upstream.port, state)];
      for (const side of [here, there]) expect((await side.waitFor(state, "1")).retain).toBe(true);
      const everything = [await connect(port, "#"), await connect(upstream.port, "#")];

      await upstream.kill("SIGKILL");
      await here.waitUntil(() => here.messages.at(-1)?.payload === "0");
      await upstream.start();
      await here.waitUntil(() => here.messages.at(-1)?.payload === "1");

      const thereAgain = await connect(upstream.port, state);
      await thereAgain.waitFor(state, "1");
      await daemon.kill("SIGKILL");
      await thereAgain.waitFor(state, "0"); // the will
      expect((await (await connect(upstream.port, state)).waitForMessages(1))[0]).toMatchObject({ payload: "0", retain: true });
      await daemon.start();
      await thereAgain.waitUntil(() => thereAgain.messages.at(-1)?.payload === "1");
      for (const client of everything) expect(client.messages).toEqual([]);
    },
  );

  it("have a retained will 0 in CONNECT; with notifications false there is none", async () => {
    const topic = `$SYS/broker/connection/${ownHost}.Daemon1/state`;
    expect((await connectOf("topic #")).will).toEqual({ topic, payload: "0", retain: true });
    expect((await connectOf("notification_topic bridge/%s\nclientid x\ntopic #")).will?.topic).toBe("bridge/x");
    expect((await connectOf("notifications false\ntopic #")).will).toBeUndefined();
  });
});

describe("A1.18 keepalive_interval and clientid", () => {
  it("are 60 seconds and hostname.connectionName in CONNECT", async () => {
    expect(await connectOf("topic #")).toMatchObject({ keepAliveSeconds: 60, clientId: `${ownHost}.Daemon1` });
  });

  it("are what the file says, but 5 seconds at least; then PINGREQ comes in that time", async () => {
    const recorder = await startRecorder();
    const lines = "clientid site1\nkeepalive_interval 1\ntopic #";
    const daemon = await start(`listener ${await freePort()} 127.0.0.1\nconnection Daemon1\naddress 127.0.0.1:${recorder.port}\n${lines}`);
    await daemon.waitForLine(/CWNAN0133I/);
    expect(recorder.connects.at(-1)).toMatchObject({ keepAliveSeconds: 5, clientId: "site1" });
    await expect.poll(() => recorder.firstBytes.includes(0xc0), { timeout: 7_000 }).toBe(true);
  });
});

it("A1.22 figure 42 as it is printed, with an address: the bridge logs in with its username and password; without them it gives none", async () => {
  const folder = makeFolder("figure42");
  cleanups.push(() => removeFolder(folder));
  writeFileSync(path.join(folder, "passwords.txt"), "Fred:Fredpassword\nBarney:Barneypassword\n");
  writeFileSync(path.join(folder, "acl.txt"), "topic home/public/#\ntopic read meters/#\nuser Fred\ntopic write meters/fred\n");
  const recorder = await startRecorder();
  const daemon = await start(`
acl_file ${folder}/acl.txt
password_file ${folder}/passwords.txt
allow_anonymous true
bind_address 127.0.0.1
port ${await freePort()}
connection Daemon1
username daemon1
password deamonpassword
address 127.0.0.1:${recorder.port}
`);
  await daemon.waitForLine(/CWNAN0133I/);
  expect(recorder.connects.at(-1)).toMatchObject({ username: "daemon1", password: "deamonpassword" });
  expect(await connectOf("topic #")).toMatchObject({ username: undefined, password: undefined });
});

it("A1.14 start_type auto, the document's word, connects at the start and again after the connection has broken", async () => {
  const [port = 0, upstream = 0] = await freePorts(2);
  await start(`listener ${upstream} 127.0.0.1`);
  const proxy = await startProxy(upstream);
  const daemon = await start(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${proxy.port}\n${quick}\nstart_type auto\ntopic #`);
  await daemon.waitForLine(/CWNAN0133I/);
  proxy.cut();
  await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
});

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "with mosquitto" : mosquittoMissing, () => {
  it("A1.7 three bridges at once, each publishes and subscribes at both ends: mosquitto, and aedes and a second amqtdd for ActiveMQ and RabbitMQ", async () => {
    const [port = 0, second = 0] = await freePorts(2);
    await start(`listener ${second} 127.0.0.1`);
    const remotes = [
      { name: "mosquitto", port: (await startMosquitto()).port },
      { name: "aedes", port: await startAedes() },
      { name: "amqtdd", port: second },
    ];
    const sections = remotes.map(
      (remote) => `connection ${remote.name}
address 127.0.0.1:${remote.port}
notifications false
topic readings/# out "" from-edge/
topic # in ${remote.name}/ to-edge/`,
    );
    const daemon = await start(`listener ${port} 127.0.0.1\n${sections.join("\n")}`);
    await daemon.waitForLine(/CWNAN0133I/, { count: 3 });
    const local = await connect(port, "#");
    const watchers = await Promise.all(remotes.map((remote) => connect(remote.port, "#")));
    for (const qos of [0, 1, 2] as const) await local.publish(`readings/${qos}`, "out", { qos });
    const out = ["from-edge/readings/0", "from-edge/readings/1", "from-edge/readings/2"];
    for (const watcher of watchers) for (const topic of out) await watcher.waitFor(topic, "out");
    for (const [i, watcher] of watchers.entries()) {
      // QoS 0 until the subscription of the bridge is there, which no line tells.
      await expect.poll(async () => {
        await watcher.publish("to-edge/ready", "x");
        return local.messages.some(({ topic }) => topic === `${remotes[i]?.name}/ready`);
      }).toBe(true);
      await watcher.publish("to-edge/command", "in", { qos: 2 });
      await local.waitFor(`${remotes[i]?.name}/command`, "in");
    }
    // What came over one bridge did not leave over another.
    for (const [i, watcher] of watchers.entries()) {
      expect(watcher.messages.map(({ topic }) => topic).filter((topic) => topic !== "to-edge/ready").sort(), remotes[i]?.name).toEqual([...out, "to-edge/command"].sort());
    }
    expect(local.messages.filter(({ topic }) => topic.endsWith("/command"))).toHaveLength(3);
    expect(count(daemon, /CWNAN0133I/)).toBe(3);
  });

  it("A1.13 failover between two mosquittos: secondary when the primary is killed, back when it returns, every QoS 1 message is taken by one of them", async () => {
    const [primary, secondary] = [await startMosquitto(), await startMosquitto()];
    const [first, second] = [await startProxy(primary.port), await startProxy(secondary.port)];
    const port = await freePort();
    const daemon = await start(`
listener ${port} 127.0.0.1
connection up
addresses 127.0.0.1:${first.port} 127.0.0.1:${second.port}
clientid edge
${quick}
topic readings out
`);
    expect(await daemon.waitForLine(/CWNAN0133I/)).toContain(String(first.port));
    const client = await connect(port);
    let published = 0;
    let isPublishing = true;
    const publisher = (async () => {
      while (isPublishing) {
        await client.publish("readings", String(published), { qos: 1 });
        published += 1;
        await new Promise((resolve) => setTimeout(resolve, 2)); // a sensor's pace, not a wait
      }
    })();
    // An earlier failed step must not turn it into an unhandled rejection.
    publisher.catch(() => undefined);
    const grows = async (proxy: RecordingProxy): Promise<void> => {
      const before = proxy.taken.size;
      await expect.poll(() => proxy.taken.size, { timeout: 10_000 }).toBeGreaterThan(before + 20);
    };
    await grows(first);
    await primary.kill("SIGKILL");
    first.isDown = true;
    expect(await daemon.waitForLine(/CWNAN0133I/, { count: 2 })).toContain(String(second.port));
    await grows(second);
    await primary.start();
    first.isDown = false;
    await daemon.waitForLine(/CWNAN0000I/);
    expect(await daemon.waitForLine(/CWNAN0133I/, { count: 3 })).toContain(String(first.port));
    await secondary.waitForLine(/Client edge disconnected/);
    await grows(first);
    isPublishing = false;
    await publisher;
    const all = Array.from({ length: published }, (_, i) => String(i));
    await expect.poll(() => all.filter((one) => !first.taken.has(one) && !second.taken.has(one)), { timeout: 10_000 }).toEqual([]);
  });
});

it("A1.12 (d) a loop of figure 40 with a plain broker is stopped by the daemon itself; the start has named both lines, and 317 says what is dropped", async () => {
  const upstream = await startAedes();
  const port = await freePort();
  // notifications false: aedes ends connections that publish to $SYS.
  const daemon = await start(`
listener ${port} 127.0.0.1
connection Daemon1
address 127.0.0.1:${upstream}
try_private false
notifications false
topic "" in a b
topic "" out a b
`);
  expect(daemon.lines.find((line) => line.includes("warning"))).toMatch(/amqtdd\.cfg:8:1: warning: connection Daemon1: what comes in by line 7 may go out again/);
  await daemon.waitForLine(/CWNAN0133I/);
  const [here, there] = [await connect(port, "#"), await connect(upstream, "#")];
  await expect.poll(async () => {
    await there.publish("b", "ready");
    return here.messages.length;
  }).toBeGreaterThan(0);
  await here.publish("a", "from here", { qos: 1 });
  await there.waitFor("b", "from here");
  await there.publish("b", "from there", { qos: 1 });
  await here.waitFor("a", "from there");
  // A second pair travels behind any copy.
  await here.publish("a", "last from here", { qos: 1 });
  await there.waitFor("b", "last from here");
  await there.publish("b", "last from there", { qos: 1 });
  await here.waitFor("a", "last from there");
  const seen = (client: TestClient): string[] => client.messages.map(({ payload }) => payload).filter((payload) => payload !== "ready");
  for (const client of [here, there]) await client.waitUntil(() => seen(client).length >= 4);
  for (const client of [here, there]) expect(seen(client)).toEqual(["from here", "from there", "last from here", "last from there"]);
  expect(await daemon.waitForLine(/CWNAN0317W/)).toMatch(/Daemon1.*topic b\b/);
});

it("A1.12 (d) the console line about a loop names the two topic lines", async () => {
  const upstream = await startAedes();
  const port = await freePort();
  const daemon = await start(`
listener ${port} 127.0.0.1
connection Daemon1
address 127.0.0.1:${upstream}
try_private false
notifications false
topic "" in a b
topic "" out a b
`);
  await daemon.waitForLine(/CWNAN0133I/);
  const [here, there] = [await connect(port), await connect(upstream, "b")];
  await expect.poll(async () => {
    await here.publish("a", "x", { qos: 1 });
    return count(daemon, /CWNAN0317W/);
  }).toBeGreaterThan(0);
  expect(there.messages.length).toBeGreaterThan(0);
  expect(await daemon.waitForLine(/CWNAN0317W/)).toMatch(/\b7\b.*\b8\b/);
});

it("A1.12 (d) a message does not go round for ever through two connections to one broker", async () => {
  const [port = 0, upstream = 0] = await freePorts(2);
  await start(`listener ${upstream} 127.0.0.1`);
  const section = (name: string): string => `connection ${name}\naddress 127.0.0.1:${upstream}\nclientid ${name}\ntopic a both`;
  const daemon = await start(`listener ${port} 127.0.0.1\n${section("c")}\n${section("d")}`);
  await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
  const [here, there] = [await connect(port, "a"), await connect(upstream, "a")];
  await here.publish("a", "once", { qos: 1 });
  await there.waitFor("a", "once");
  // One copy for each connection and direction would be fair.
  await expect(here.waitUntil(() => here.messages.length > 20, 1_500)).rejects.toThrow();
});

describe("A1.24 a bridge to the daemon itself", () => {
  it("is refused at the start, with the connection, its address and the listener", async () => {
    const port = await freePort();
    const daemon = new DaemonProcess(`listener ${port} 127.0.0.1\nconnection loopback\naddress localhost:${port}\ntopic # both`);
    cleanups.push(() => daemon.cleanup());
    daemon.spawn();
    expect(await daemon.exited()).toEqual({ code: 1, signal: null });
    expect(daemon.lines.join("\n")).toContain(
      `${daemon.configFile}:3:1: error: connection loopback is a bridge to ourselves: its address localhost port ${port} is our listener on port ${port}`,
    );
    expect(count(daemon, /CWNAN/)).toBe(0);
  });

  it("is refused by a reload, which changes nothing", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1`);
    appendFileSync(daemon.configFile, `connection loopback\naddress 127.0.0.1:${port}\ntopic # both\n`);
    process.kill(daemon.pid, "SIGHUP");
    expect(await daemon.waitForLine(/CWNAN0323E/)).toContain("connection loopback is a bridge to ourselves");
    expect(count(daemon, /CWNAN0127I/)).toBe(0);
  });

  it("is refused when it is added by a command", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const section = `connection loopback\naddress 127.0.0.1:${port}\ntopic a/# both\n`;
    const { stdout, status } = spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, "-"], { input: section, encoding: "utf8" });
    expect({ stdout, status }).toEqual({ stdout: expect.stringContaining("is a bridge to ourselves") as string, status: 1 });
  });

  const ownAddress = Object.values(networkInterfaces()).flat().find((one) => one?.family === "IPv4" && !one.internal)?.address;
  it.skipIf(ownAddress === undefined)(
    ownAddress === undefined ? "skipped: this machine has no address but the loopback one" : "is refused by the machine's own address too, when the listener is on all addresses",
    async () => {
      const port = await freePort();
      const daemon = new DaemonProcess(`listener ${port}\nconnection loopback\naddress ${ownAddress}:${port}\ntopic a/# both`);
      cleanups.push(() => daemon.cleanup());
      await expect(daemon.start()).rejects.toThrow("is a bridge to ourselves");
    },
  );
});
