import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Aedes } from "aedes";
import mqtt from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, FrameSplitter, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "./mosquitto.ts";
import { RecordingProxy } from "./proxy.ts";
import { CONNECT, PUBLISH, PUBREL, ScriptedUpstream, SUBSCRIBE, UNSUBSCRIBE } from "./scripted-upstream.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const cleanups: (() => Promise<void> | void)[] = [];

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

async function mosquitto(options: Parameters<typeof MosquittoProcess.start>[0] = {}): Promise<MosquittoProcess> {
  const process = await MosquittoProcess.start(options);
  cleanups.push(() => process.cleanup());
  return process;
}

const ctl = (daemon: DaemonProcess, ...words: string[]): string =>
  spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, ...words], { encoding: "utf8" }).stdout;

const connection = (port: number, ...lines: string[]): string =>
  ["connection up", `address 127.0.0.1:${port}`, "reconnect_interval 1", "max_reconnect_interval 1", ...lines].join("\n");

const payloads = (client: TestClient): string[] => client.messages.filter(({ topic }) => !topic.startsWith("$")).map(({ payload }) => payload);

describe("A1.14: start_type", () => {
  it("lazy: starts at the threshold, ends when it is idle, and starts again", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const watcher = await connect(upstream, "#");
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "start_type lazy", "threshold 3", "idle_timeout 1", "topic # out")}`);
    const client = await connect(port);
    for (const round of [0, 1]) {
      const from = daemon.lines.length;
      for (const i of [1, 2]) await client.publish("a", `${round}.${i}`, { qos: 1 });
      expect(daemon.lines.slice(from).filter((line) => line.includes("CWNAN0124I"))).toEqual([]);
      await client.publish("a", `${round}.3`, { qos: 1 });
      await watcher.waitFor("a", `${round}.3`);
      await daemon.waitForLine(/CWNAN0063I/, { from });
      expect(ctl(daemon, "status")).toContain("connection up: waiting for messages");
    }
    expect(payloads(watcher)).toEqual(["0.1", "0.2", "0.3", "1.1", "1.2", "1.3"]);
  });

  it("lazy: starts for a single message that has waited max_age", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const watcher = await connect(upstream, "#");
    await start(`listener ${port} 127.0.0.1\n${connection(upstream, "start_type lazy", "max_age 1", "topic # out")}`);
    await (await connect(port)).publish("a", "old", { qos: 1 });
    await watcher.waitFor("a", "old");
  });

  it("manual: waits for the command, queueing meanwhile", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const watcher = await connect(upstream, "#");
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "start_type manual", "topic # out")}`);
    await (await connect(port)).publish("a", "1", { qos: 1 });
    expect(ctl(daemon, "status")).toContain("connection up: stopped, 1 messages queued");
    ctl(daemon, "start_connection", "up");
    await watcher.waitFor("a", "1");
  });

  it("what is stopped and started by hand while a message is under way starts again, and what is stopped stays so over a reload", async () => {
    const port = await freePort();
    const upstream = await ScriptedUpstream.start("20 02 00 00");
    cleanups.push(() => upstream.close());
    upstream.answers = false;
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream.port, "topic # out", "notifications false")}`);
    const client = await connect(port);
    await daemon.waitForLine(/CWNAN0133I/);
    await client.publish("a", "1", { qos: 1 });
    await upstream.wait(PUBLISH);
    ctl(daemon, "stop_connection", "up");
    expect(ctl(daemon, "start_connection", "up")).toContain("is being started");
    await daemon.waitForLine(/CWNAN0062I/);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    await upstream.wait(PUBLISH, 2);
    ctl(daemon, "stop_connection", "up");
    writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace("reconnect_interval 1", "reconnect_interval 2"));
    ctl(daemon, "reload");
    expect(ctl(daemon, "status")).toContain("connection up: stopped");
  });

  it("once: goes on trying until it was connected, and then no more", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "start_type once", "topic # out")}`);
    await daemon.waitForLine(/CWNAN0154I/, { count: 2 });
    const remote = await start(`listener ${upstream} 127.0.0.1`);
    await daemon.waitForLine(/CWNAN0133I/);
    await remote.restart();
    await daemon.waitForLine(/CWNAN0062I/);
    expect(ctl(daemon, "status")).toContain("connection up: stopped");
  });
});

describe("several addresses", () => {
  it("A1.13: goes to the next when the first fails, and back to it when it answers, with nothing lost or doubled", async () => {
    const [port = 0, first = 0, second = 0] = await freePorts(3);
    const primary = await start(`listener ${first} 127.0.0.1`);
    await start(`listener ${second} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(first, `address 127.0.0.1:${second}`, "topic # out")}`);
    await daemon.waitForLine(/CWNAN0133I .*/);
    const [client, atSecond] = [await connect(port), await connect(second, "#")];
    await primary.kill();
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    await client.publish("a", "second", { qos: 2 });
    await atSecond.waitFor("a", "second");
    await primary.start();
    const atFirst = await connect(first, "#");
    await daemon.waitForLine(/CWNAN0000I/);
    await daemon.waitForLine(/CWNAN0133I/, { count: 3 });
    await client.publish("a", "first", { qos: 2 });
    await atFirst.waitFor("a", "first");
    expect([payloads(atFirst), payloads(atSecond)]).toEqual([["first"], ["second"]]);
  });

  it("A1.13: stays where it is with round_robin true, also over a stop and start by hand", async () => {
    const [port = 0, first = 0, second = 0] = await freePorts(3);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(first, `address 127.0.0.1:${second}`, "round_robin true", "topic # out")}`);
    await start(`listener ${second} 127.0.0.1`);
    await daemon.waitForLine(/CWNAN0133I/);
    await start(`listener ${first} 127.0.0.1`);
    ctl(daemon, "stop_connection", "up");
    await daemon.waitForLine(/CWNAN0062I/);
    ctl(daemon, "start_connection", "up");
    expect(await daemon.waitForLine(/CWNAN0133I/, { count: 2 })).toContain(String(second));
  });

  it("does not leave a working address for a first one that refuses it", async () => {
    const [port = 0, first = 0, second = 0] = await freePorts(3);
    const server = net.createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end(Buffer.from([0x20, 2, 0, 5])));
    });
    server.listen(first, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => void server.close());
    let asked = 0;
    server.on("connection", () => asked++);
    await start(`listener ${second} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(first, `address 127.0.0.1:${second}`, "topic # out")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    await expect.poll(() => asked, { timeout: 10_000 }).toBeGreaterThan(2);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0133I"))).toHaveLength(1);
  });
});

/** A remote with a session of its own; it refuses all that connect while it is down. */
class OwnSession {
  static readonly absent = "20 02 00 00";
  static readonly present = "20 02 01 00";

  private constructor(readonly remote: ScriptedUpstream) {}

  static async start(connack: string): Promise<OwnSession> {
    const remote = await ScriptedUpstream.start(connack);
    cleanups.push(() => remote.close());
    return new OwnSession(remote);
  }

  up(connack: string): void {
    this.remote.connacks = [connack];
  }

  down(): void {
    this.remote.connacks = ["20 02 00 03"];
    this.remote.cut();
  }
}

describe("several addresses with cleansession false that keep sessions of their own", () => {
  it("a message that the one has noted when it breaks off goes to the other, though that has our session of an earlier visit, and the one forgets it", async () => {
    const [first, second] = [await OwnSession.start(OwnSession.absent), await OwnSession.start(OwnSession.absent)];
    const port = await freePort();
    const lines = [`address 127.0.0.1:${second.remote.port}`, "cleansession false", "round_robin true", "try_private false", "notifications false", "topic # out"];
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(first.remote.port, ...lines)}`);
    const client = await connect(port);
    await daemon.waitForLine(/CWNAN0133I/);
    first.down();
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    first.up(OwnSession.present);
    second.down();
    await daemon.waitForLine(/CWNAN0133I/, { count: 3 });
    second.up(OwnSession.present);
    first.remote.answers = false;
    await client.publish("a", "noted", { qos: 2 });
    const [sent] = await first.remote.wait(PUBLISH);
    first.remote.send(`50 02 ${sent?.frame.toString("hex", 5, 7)}`);
    await first.remote.wait(PUBREL);
    first.down();
    const [again] = await second.remote.wait(PUBLISH);
    expect(again?.frame.toString("utf8", 7)).toBe("noted");
    await second.remote.wait(PUBREL);
    const greetings = first.remote.of(CONNECT).length;
    first.up(OwnSession.present);
    second.down();
    const greeting = (await first.remote.wait(CONNECT, greetings + 1))[greetings];
    expect((greeting?.frame[9] ?? 0) & 2).toBe(2); // clean session
  });
});

it("a message that a remote had noted is sent again when it has lost its session, though it is first asked what CONNECT it takes", async () => {
  let hasSession = false;
  const came: string[] = [];
  const server = net.createServer((socket) => {
    const splitter = new FrameSplitter();
    socket.on("error", () => undefined);
    socket.on("data", (bytes: Buffer) => {
      for (const frame of splitter.push(bytes)) {
        const type = (frame[0] ?? 0) >> 4;
        if (type === CONNECT) {
          if (frame[8] !== 4) return void socket.destroy(); // it knows neither bridges nor MQTT 3.1
          const isClean = ((frame[9] ?? 0) & 2) !== 0;
          socket.write(Buffer.from([0x20, 2, !isClean && hasSession ? 1 : 0, 0]));
          hasSession = !isClean;
        }
        if (type === PUBLISH) {
          came.push(frame.toString("utf8", 7));
          socket.write(Buffer.from([0x50, 2, frame[5] ?? 0, frame[6] ?? 0]));
        }
        if (type === PUBREL) came.push("PUBREL");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => void server.close());
  const port = await freePort();
  const daemon = await start(`listener ${port} 127.0.0.1\n${connection((server.address() as net.AddressInfo).port, "cleansession false", "notifications false", "topic # out")}`);
  await daemon.waitForLine(/CWNAN0133I/);
  await (await connect(port)).publish("a", "noted", { qos: 2 });
  await expect.poll(() => came).toEqual(["noted", "PUBREL"]);
  await daemon.kill("SIGKILL");
  hasSession = false;
  await daemon.start();
  await expect.poll(() => came, { timeout: 10_000 }).toEqual(["noted", "PUBREL", "noted", "PUBREL"]);
});

/** Each side publishes; each message comes once to each side. */
async function oneEachWay(here: TestClient, there: TestClient): Promise<void> {
  await expect.poll(async () => {
    await there.publish("ready", "x");
    return here.messages.length;
  }).toBeGreaterThan(0);
  // The same value again and again is no echo.
  for (let i = 0; i < 3; i++) await here.publish("a", "same", { qos: 2 });
  for (let i = 0; i < 3; i++) await there.publish("b", "same", { qos: 2 });
  await here.publish("end", "here", { qos: 2 });
  await there.publish("end", "there", { qos: 2 });
  for (const side of [here, there]) for (const payload of ["here", "there"]) await side.waitFor("end", payload);
  await new Promise((resolve) => setTimeout(resolve, 300)); // an echo would be back by now
  for (const side of [here, there]) {
    const count = (topic: string): number => side.messages.filter((message) => message.topic === topic).length;
    expect([count("a"), count("b"), count("end")]).toEqual([3, 3, 2]);
  }
}

describe("loops", () => {
  it.each(["try_private true", "try_private false"])("A1.12 (a): one message is delivered once on each side of two daemons with `topic # both`, %s", async (line) => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, line, "topic # both")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    await oneEachWay(await connect(port, "#"), await connect(upstream, "#"));
  });

  it.each(["try_private true", "try_private false"])("A1.12 (d): nor with aedes, which knows no bridges, %s", async (line) => {
    const broker = await Aedes.createBroker();
    const server = net.createServer((socket) => broker.handle(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(async () => {
      await new Promise<void>((resolve) => broker.close(resolve));
      server.close();
    });
    const { port: upstream } = server.address() as net.AddressInfo;
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, line, "topic # both")}`);
    // It ends connections that publish to $SYS: our state is told here only, then.
    await daemon.waitForLine(/CWNAN0326W/);
    await daemon.waitForLine(/CWNAN0133I/, { count: 3 });
    await oneEachWay(await connect(port, "#"), await connect(upstream, "#"));
  });

  it("what comes back after a cut, for the first time or again, is still known; what another client of the remote has sent is not taken for it", async () => {
    const port = await freePort();
    const remote = await ScriptedUpstream.start("20 02 00 00", "20 02 01 00");
    cleanups.push(() => remote.close());
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(remote.port, "cleansession false", "try_private false", "notifications false", "topic # both 2")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const client = await connect(port, "#");
    const publish = (payload: string, qos: 1 | 2, id: number, dup = false): void =>
      remote.send(`3${((dup ? 8 : 0) + 2 * qos).toString(16)} LL <a> ${id.toString(16).padStart(4, "0")} ${Buffer.from(payload).toString("hex")}`);
    for (const payload of ["ours 1", "ours 2", "ours 3"]) await client.publish("a", payload, { qos: 2 });
    await remote.wait(PUBREL, 3);
    publish("ours 1", 2, 1);
    publish("theirs 4", 1, 4);
    await client.waitFor("a", "theirs 4");
    remote.cut();
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    publish("ours 1", 2, 1, true);
    publish("ours 2", 2, 2, true);
    publish("ours 3", 1, 3);
    publish("theirs 4", 1, 4, true);
    publish("ours 1", 1, 5);
    publish("ours 2", 1, 6, true);
    publish("end", 1, 7);
    await client.waitFor("a", "end");
    // The last two are others' copies: ours have come back.
    expect(payloads(client)).toEqual(["ours 1", "ours 2", "ours 3", "theirs 4", "theirs 4", "ours 1", "ours 2", "end"]);
  });

  it("a message that goes round three brokers of 3.1.1 is told of once, with its line", async () => {
    const ports = await freePorts(3);
    const daemons = await Promise.all(
      ports.map((port, index) => start(`listener ${port} 127.0.0.1\n${connection(ports[(index + 1) % 3] ?? 0, `clientid ring${index}`, "try_private false", "topic round/# out")}`)),
    );
    for (const daemon of daemons) await daemon.waitForLine(/CWNAN0133I/);
    const client = await connect(ports[0] ?? 0);
    await client.publish("round/sensor", "1", { qos: 1 });
    for (const daemon of daemons) await daemon.waitForLine(/CWNAN0374W Connection up: the same message on round\/sensor goes out \d+ times a second \(line \d+\)/);
    for (const daemon of daemons) expect(daemon.lines.filter((line) => line.includes("CWNAN0374W"))).toHaveLength(1);
  });

  /** An upstream that closes on a CONNECT whose level `closesOn` names; it ends what it accepts after so long. */
  async function fickle(port: number, closesOn: (level: number, count: number) => boolean, lastsMs: number): Promise<number[]> {
    const levels: number[] = [];
    const server = net.createServer((socket) => {
      const splitter = new FrameSplitter();
      socket.on("error", () => undefined);
      socket.on("data", (bytes) => {
        for (const frame of splitter.push(bytes)) {
          if ((frame[0] ?? 0) >> 4 !== 1) continue;
          const level = frame[frame.indexOf("M") === 4 && frame[5] === 0x51 && frame[6] === 0x49 ? 10 : 8] ?? 0;
          if (closesOn(level, levels.push(level))) socket.destroy();
          else socket.write(Buffer.from([0x20, 2, 0, 0]), () => setTimeout(() => socket.destroy(), lastsMs));
        }
      });
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => void server.close());
    return levels;
  }

  it("A1.12 (c): asks again without the private bit when it is refused, makes sure that this was it, and begins with it later", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    const levels = await fickle(upstream, (level) => level !== 4, 50);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "cleansession true", "topic # out")}`);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    expect(levels).toEqual([0x84, 0x84, 0x83, 4, 0x84, 4, 0x84, 4]);
    await daemon.waitForLine(/CWNAN0099I/);
  });

  it.each([2, 3, 4])("keeps to the protocol over an outage in which a server that is starting closes %i connections", async (closes) => {
    const [port = 0, upstream = 0] = await freePorts(2);
    const levels = await fickle(upstream, (_level, count) => count <= closes, 50);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "topic # out", "reconnect_interval 1", "cleansession true")}`);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    expect(levels.slice(-2)).toEqual([0x84, 0x84]);
  });
});

describe("what a remote can't take", () => {
  it("a topic that is too long with its prefix is dropped, logged once, and harms nobody", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, 'topic # out "" site1/')}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const [client, watcher] = [await connect(port), await connect(upstream, "#")];
    for (const qos of [0, 1, 2] as const) await client.publish("t".repeat(65_533), "x", { qos });
    await client.publish("a", "after", { qos: 1 });
    await watcher.waitFor("site1/a", "after");
    expect(payloads(watcher)).toEqual(["after"]);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0315W"))).toHaveLength(1);
  });

  it("a message that it answers by ending the connection is put aside, the queue goes on in order, and an operator may retry or drop it", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    const remote = await start(`max_packet_size 2000\nlistener ${upstream} 127.0.0.1`);
    const other = connection(upstream, "topic poison out").replace("connection up", "connection other");
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream, "topic # out")}\n${other}`);
    await Promise.all([daemon.waitForLine(/CWNAN0133I .* up /), daemon.waitForLine(/CWNAN0133I .* other /)]);
    const [client, watcher] = [await connect(port), await connect(upstream, "#")];
    await client.publish("a", "before", { qos: 1 });
    await client.publish("poison", "x".repeat(3000), { qos: 1 });
    for (const payload of ["1", "2", "3"]) await client.publish("a", payload, { qos: 2 });
    const parked = (name: string) => daemon.waitForLine(new RegExp(`CWNAN0329E .* ${name}: .*poison \\(3000 bytes\\)`), { timeoutMs: 25_000 });
    await Promise.all([parked("up"), parked("other")]);
    await watcher.waitFor("a", "3");
    expect(payloads(watcher)).toEqual(["before", "1", "2", "3"]);
    expect(ctl(daemon, "status")).toContain("0 messages queued, 1 put aside");
    await daemon.restart("SIGKILL");
    expect(ctl(daemon, "parked", "up")).toContain("poison: 3000 bytes, QoS 1");
    expect(ctl(daemon, "delete_connection", "other")).toContain("with 1 queued messages");
    await daemon.waitForLine(/CWNAN0064W 1 .* other /);
    writeFileSync(remote.configFile, readFileSync(remote.configFile, "utf8").replace("2000", "0"));
    ctl(remote, "reload");
    expect(ctl(daemon, "parked", "up", "retry")).toContain("1 messages");
    await watcher.waitFor("poison", "x".repeat(3000));
    expect(ctl(daemon, "parked", "up")).toContain("0 messages");
  }, 60_000);

  it("a message from the remote that is larger than max_packet_size is passed over, and what follows comes", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`max_packet_size 0\nlistener ${upstream} 127.0.0.1`);
    const daemon = await start(`max_packet_size 100000\nlistener ${port} 127.0.0.1\n${connection(upstream, "topic cmd/# in")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const [local, remote] = [await connect(port, "#"), await connect(upstream)];
    await expect.poll(async () => {
      await remote.publish("cmd/ready", "x");
      return local.messages.length;
    }).toBeGreaterThan(0);
    for (const qos of [0, 1, 2] as const) await remote.publish("cmd/big", "x".repeat(3_000_000), { qos });
    await remote.publish("cmd/after", "after", { qos: 2 });
    await local.waitFor("cmd/after", "after");
    expect(local.messages.some(({ topic }) => topic === "cmd/big")).toBe(false);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0316W"))).toHaveLength(3);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0133I"))).toHaveLength(1);
  });
});

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "with mosquitto" : mosquittoMissing, () => {
  it.each(["try_private true", "try_private false"])("A1.12 (b): one message is delivered once on each side with `topic # both`, %s", async (line) => {
    const port = await freePort();
    const upstream = await mosquitto();
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream.port, line, "topic # both")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    await oneEachWay(await connect(port, "#"), await connect(upstream.port, "#"));
    // Told that we are a bridge, mosquitto sends nothing back; else the daemon itself finds out what is ours.
    expect(daemon.lines.some((text) => text.includes("CWNAN0317W"))).toBe(line === "try_private false");
    expect(upstream.lines.some((text) => text.includes("New bridge connected"))).toBe(line === "try_private true");
  });

  it("a retained message published while the remote is away arrives once; those from before the bridge, too; none again after a cut", async () => {
    const port = await freePort();
    const upstream = await mosquitto({ persistence: true });
    const proxy = await RecordingProxy.start(upstream.port);
    cleanups.push(() => proxy.close());
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const client = await connect(port);
    await client.publish("before", "1", { qos: 1, retain: true });
    await daemon.kill();
    proxy.isDown = true;
    const bridged = await start(`listener ${port} 127.0.0.1\npersistence_location ${daemon.storeFolder}/\n${connection(proxy.port, "topic # out")}`);
    const again = await connect(port);
    await again.publish("during", "2", { qos: 2, retain: true });
    await bridged.kill("SIGKILL");
    await bridged.start();
    const watcher = await connect(upstream.port, "before", "during", "later");
    proxy.isDown = false;
    await watcher.waitFor("before", "1");
    await watcher.waitFor("during", "2");
    proxy.cut();
    await bridged.waitForLine(/CWNAN0133I/, { count: 2 });
    await (await connect(port)).publish("later", "3", { qos: 2, retain: true });
    await watcher.waitFor("later", "3");
    expect(payloads(watcher).sort()).toEqual(["1", "2", "3"]);
  });

  it("a retained message of QoS 0 that was missed arrives, one for a new topic line too, and none of an author who has lost the right", async () => {
    const port = await freePort();
    const upstream = await mosquitto({ persistence: true });
    const proxy = await RecordingProxy.start(upstream.port);
    cleanups.push(() => proxy.close());
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(proxy.port, "topic a/# out")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const [client, watcher] = [await connect(port), await connect(upstream.port, "a/#", "b/#")];
    proxy.isDown = true;
    proxy.cut();
    await daemon.waitForLine(/CWNAN0154I/);
    await client.publish("a/missed", "1", { retain: true });
    await client.publish("b/new", "2", { qos: 1, retain: true });
    proxy.isDown = false;
    await watcher.waitFor("a/missed", "1");
    const folder = path.dirname(daemon.configFile);
    const base = readFileSync(daemon.configFile, "utf8");
    writeFileSync(path.join(folder, "users"), "somebody:x\n");
    const reload = async (acl: string, topic: string): Promise<void> => {
      writeFileSync(path.join(folder, "acl"), acl);
      writeFileSync(daemon.configFile, `password_file ${folder}/users\nallow_anonymous true\nacl_file ${folder}/acl\n${base}${topic}\n`);
      const from = daemon.lines.length;
      ctl(daemon, "reload");
      await daemon.waitForLine(/CWNAN0133I/, { from });
    };
    await reload("topic read #\n", "topic b/# out");
    const end = await connect(upstream.port);
    await end.publish("b/end", "end", { qos: 1 });
    await watcher.waitFor("b/end", "end");
    expect(payloads(watcher)).toEqual(["1", "end"]);
    await reload("topic #\n", "topic b/+ out");
    await watcher.waitFor("b/new", "2");
  });

  it("the delayed will of a client whose session runs out while the daemon is away arrives", async () => {
    const port = await freePort();
    const upstream = await mosquitto();
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream.port, "topic will/# out 1")}`);
    const watcher = await connect(upstream.port, "will/#");
    const will = { topic: "will/c", payload: Buffer.from("gone"), qos: 1, properties: { willDelayInterval: 1 } } as const;
    const client = await mqtt.connectAsync({ host: "127.0.0.1", port, clientId: "c", protocolVersion: 5, reconnectPeriod: 0, properties: { sessionExpiryInterval: 2 }, will });
    client.stream.write(Buffer.from([0xe0, 1, 4])); // DISCONNECT with its will
    await daemon.waitForLine(/CWNAN0038I/);
    await daemon.kill();
    await pause(2_000); // the session's time
    await daemon.start();
    await watcher.waitFor("will/c", "gone");
  });

  it("a retained message that changes while the connection is not in the file arrives when it is put back, by a reload or a start", async () => {
    const port = await freePort();
    const upstream = await mosquitto({ persistence: true });
    const section = `${connection(upstream.port, "topic # out 1")}\n`;
    const daemon = await start(`listener ${port} 127.0.0.1\n${section}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const watcher = await connect(upstream.port, "#");
    const publish = async (...[topic, value]: [string, string]): Promise<void> => (await connect(port)).publish(topic, value, { qos: 1, retain: true });
    await publish("changes", "2");
    await watcher.waitFor("changes", "2");
    const whole = readFileSync(daemon.configFile, "utf8");
    writeFileSync(daemon.configFile, whole.replace(section.trim(), ""));
    ctl(daemon, "reload");
    await publish("changes", "3");
    writeFileSync(daemon.configFile, whole);
    ctl(daemon, "reload");
    await watcher.waitFor("changes", "3");
    await daemon.kill();
    writeFileSync(daemon.configFile, whole.replace(section.trim(), ""));
    await daemon.start();
    await publish("changes", "4");
    await daemon.kill();
    writeFileSync(daemon.configFile, whole);
    await daemon.start();
    await watcher.waitFor("changes", "4");
  });

  it("a retained message for a new topic line arrives though messages of the old ones wait, and one that has changed while the line was gone", async () => {
    const port = await freePort();
    const upstream = await mosquitto({ persistence: true });
    const proxy = await RecordingProxy.start(upstream.port);
    cleanups.push(() => proxy.close());
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(proxy.port, "topic a/# out 1")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const [client, watcher] = [await connect(port), await connect(upstream.port, "a/#", "b/#")];
    proxy.isDown = true;
    proxy.cut();
    await daemon.waitForLine(/CWNAN0154I/);
    await client.publish("a/waits", "1", { qos: 1 });
    await client.publish("b/new", "2", { qos: 1, retain: true });
    await daemon.kill();
    writeFileSync(daemon.configFile, `${readFileSync(daemon.configFile, "utf8")}topic b/# out 1\n`);
    await daemon.start();
    proxy.isDown = false;
    await watcher.waitFor("a/waits", "1");
    await watcher.waitFor("b/new", "2");
    const both = readFileSync(daemon.configFile, "utf8");
    writeFileSync(daemon.configFile, both.replace("topic b/# out 1\n", ""));
    ctl(daemon, "reload");
    await (await connect(port)).publish("b/new", "3", { qos: 1, retain: true });
    writeFileSync(daemon.configFile, both);
    ctl(daemon, "reload");
    await watcher.waitFor("b/new", "3");
  });

  it("A1.17: says truthfully whether it is connected, here and there, after cuts", async () => {
    const flaps = process.env["AMQTDD_LONG"] === "1" ? 50 : 4;
    const port = await freePort();
    const upstream = await mosquitto();
    const proxy = await RecordingProxy.start(upstream.port);
    cleanups.push(() => proxy.close());
    const state = "bridge/state";
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(proxy.port, `notification_topic ${state}`, "topic # out")}`);
    const sides = [await connect(port, state), await connect(upstream.port, state)];
    for (let flap = 0; flap < flaps; flap++) {
      await daemon.waitForLine(/CWNAN0133I/, { count: flap + 1 });
      for (const side of sides) await side.waitUntil(() => side.messages.at(-1)?.payload === "1");
      proxy.isDown = true;
      proxy.cut();
      for (const side of sides) await side.waitUntil(() => side.messages.at(-1)?.payload === "0");
      proxy.isDown = false;
    }
    await daemon.waitForLine(/CWNAN0133I/, { count: flaps + 1 });
    for (const broker of [port, upstream.port]) {
      const fresh = await connect(broker, state);
      await fresh.waitUntil(() => fresh.messages.length > 0);
      await fresh.waitUntil(() => fresh.messages.at(-1)?.payload === "1");
    }
    await daemon.kill();
    const late = await connect(upstream.port, state);
    expect((await late.waitForMessages(1))[0]).toMatchObject({ payload: "0", retain: true });
  }, 300_000);

  it("tells its state again to a remote that was only in trouble when it ended connections right after they were told, and no more to one that goes on so", async () => {
    for (const isInTrouble of [true, false]) {
      const told: number[] = [];
      let connections = 0;
      const server = net.createServer((socket) => {
        const splitter = new FrameSplitter();
        const number = ++connections;
        socket.on("error", () => undefined);
        socket.on("data", (bytes: Buffer) => {
          for (const frame of splitter.push(bytes)) {
            const type = (frame[0] ?? 0) >> 4;
            if (type === CONNECT) socket.write(Buffer.from([0x20, 2, 0, 0]));
            if (type !== PUBLISH) continue;
            if (frame.at(-1) === 0x31) told.push(number);
            if (!isInTrouble || number <= 2) socket.destroy();
          }
        });
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      cleanups.push(() => void server.close());
      const daemon = await start(`listener ${await freePort()} 127.0.0.1\n${connection((server.address() as net.AddressInfo).port, "cleansession true", "topic # out")}`);
      await daemon.waitForLine(/CWNAN0133I/, { count: isInTrouble ? 4 : 5, timeoutMs: 20_000 });
      await expect.poll(() => told).toEqual([1, 2, 4]);
      expect(daemon.lines.filter((line) => line.includes("CWNAN0326W"))).toHaveLength(1);
      await daemon.kill();
    }
  });

  it("keeps its state to itself with notifications_local_only", async () => {
    const port = await freePort();
    const upstream = await mosquitto();
    const daemon = await start(`listener ${port} 127.0.0.1\n${connection(upstream.port, "notification_topic s", "notifications_local_only true", "topic a out")}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const [here, there] = [await connect(port, "s"), await connect(upstream.port, "#")];
    await here.waitFor("s", "1");
    await here.publish("a", "x", { qos: 1 });
    await there.waitFor("a", "x");
    expect(there.messages).toHaveLength(1);
  });

  it("gives up at the remote what it no longer subscribes to, however often it has to ask", async () => {
    const port = await freePort();
    const upstream = await ScriptedUpstream.start("20 02 01 00");
    cleanups.push(() => upstream.close());
    const config = (topic: string): string => `listener ${port} 127.0.0.1\n${connection(upstream.port, "cleansession false", "notifications false", `topic ${topic} in`)}`;
    const daemon = await start(config("old/#"));
    await upstream.wait(SUBSCRIBE);
    writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace("old/#", "new/#"));
    ctl(daemon, "reload");
    const [asked] = await upstream.wait(UNSUBSCRIBE);
    upstream.cut();
    const again = (await upstream.wait(UNSUBSCRIBE, 2))[1];
    expect(again?.hex).toBe(asked?.hex);
    upstream.send(`b0 02 ${again?.frame.toString("hex", 2, 4)}`);
    const before = upstream.of(SUBSCRIBE).length;
    upstream.cut();
    await upstream.wait(SUBSCRIBE, before + 1);
    expect(upstream.of(UNSUBSCRIBE)).toHaveLength(2);
  });

  it("gives up at the remote what it no longer subscribes to", async () => {
    const port = await freePort();
    const upstream = await mosquitto({ persistence: true });
    const config = (topic: string): string => `listener ${port} 127.0.0.1\n${connection(upstream.port, `topic ${topic} in`)}`;
    const first = await start(config("old/#"));
    await upstream.waitForLine(/Sending SUBACK/);
    await first.kill();
    const second = await start(`persistence_location ${first.storeFolder}/\n${config("new/#")}`);
    await upstream.waitForLine(/Received UNSUBSCRIBE/);
    await second.waitForLine(/CWNAN0133I/);
    await upstream.waitForLine(/Sending SUBACK/, { count: 2 });
    const [local, remote] = [await connect(port, "#"), await connect(upstream.port)];
    await remote.publish("old/a", "1", { qos: 1 });
    await remote.publish("new/a", "2", { qos: 1 });
    await local.waitFor("new/a", "2");
    expect(payloads(local)).toEqual(["2"]);
  });
});
