import { spawn, spawnSync } from "node:child_process";
import { pbkdf2Sync } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { hashPassword } from "../../src/access/password-hash.ts";
import { connect311, mqttString, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makePacket, publishPacket } from "./packets.ts";
import { makeFolder, removeFolder, within } from "./process.ts";
import { RawConnection, upgradeRequest } from "./web-clients.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function start(config: (port: number, folder: string) => string): Promise<{ daemon: DaemonProcess; port: number }> {
  const port = await freePort();
  const folder = makeFolder("abuse");
  const daemon = await DaemonProcess.start(config(port, folder));
  cleanups.push(() => removeFolder(folder), () => daemon.cleanup());
  return { daemon, port };
}

async function client(port: number, clientId: string, options: { username?: string; password?: string } = {}): Promise<TestClient> {
  const connected = await connect311(port, { clientId, ...options });
  cleanups.push(() => connected.end());
  return connected;
}

async function raw(port: number, localAddress = "127.0.0.1"): Promise<RawConnection> {
  const connection = await RawConnection.dial(port, "127.0.0.1", localAddress);
  cleanups.push(() => connection.destroy());
  return connection;
}

/** A CONNECT of MQTT 3.1.1; with a user name if one is given. */
function connectPacket(clientId: string, username?: string, password = ""): Buffer {
  const credentials = username === undefined ? [] : [mqttString(username), mqttString(password)];
  return makePacket(0x10, mqttString("MQTT"), Buffer.from([4, username === undefined ? 2 : 0xc2, 0, 0]), mqttString(clientId), ...credentials);
}

/** Answers of the daemon to publishing, in ms: its event loop and its commits. */
async function slowestAcknowledgement(publisher: TestClient, isOver: () => boolean): Promise<number> {
  let slowest = 0;
  do {
    const begun = performance.now();
    await publisher.publish("local/traffic", "x", { qos: 1 });
    slowest = Math.max(slowest, performance.now() - begun);
  } while (!isOver());
  return slowest;
}

describe("connections without CONNECT", () => {
  it("of which there are too many give way, the oldest first: a client that speaks is served", async () => {
    const { port } = await start((at) => `listener ${at} 127.0.0.1 auto`);
    const silent: RawConnection[] = [];
    for (let i = 0; i < 1_010; i++) {
      const connection = await raw(port);
      // MQTT that does not go on, HTTP that does not go on, and nothing at all.
      if (i % 3 === 1) connection.write(Buffer.from([0x10, 0x20, 0]));
      if (i % 3 === 2) connection.write("GET / HTTP/1.1\r\nHost: x");
      silent.push(connection);
    }
    const served = await client(port, "served");
    await served.publish("still", "served", { qos: 1 });
    const last = silent.at(-1);
    await Promise.race(silent.slice(0, 12).map((connection) => connection.closed()));
    const ended = silent.filter((connection) => connection.ended).length;
    expect(ended).toBeGreaterThan(5);
    expect(ended).toBeLessThan(15); // the others have their time
    expect(last?.ended).toBe(false);
  });

  it("are closed when their time is over, whatever they dribble", async () => {
    const { port } = await start((at) => `listener ${at} 127.0.0.1 auto`);
    const begun = performance.now();
    const strangers = await Promise.all(["", "\u0010", "G"].map(async (beginning) => {
      const connection = await raw(port);
      connection.write(beginning);
      const timer = setInterval(() => connection.write("\u0000"), 1_000);
      cleanups.push(() => clearInterval(timer));
      if (beginning === "") clearInterval(timer);
      return connection;
    }));
    const request = upgradeRequest();
    const slow = await raw(port);
    slow.write(request.slice(0, 20));
    await Promise.all([...strangers, slow].map((connection) => connection.closed(14_000)));
    expect(performance.now() - begun).toBeGreaterThan(500);
  }, 20_000);
});

describe("max_connections_per_address", () => {
  it("closes further connections of an address at once, and no others, and is taken up by a reload", async () => {
    const { daemon, port } = await start((at) => `listener ${at} 127.0.0.1 auto\nmax_connections_per_address 3`);
    const three = [await raw(port), await raw(port), await raw(port)] as const;
    const fourth = await raw(port);
    await fourth.closed();
    await daemon.waitForLine(/CWNAN0380W 3 connections from 127.0.0.1/);
    const elsewhere = await raw(port, "127.0.0.2");
    elsewhere.write(connectPacket("elsewhere"));
    await elsewhere.until(() => elsewhere.received.length === 4, "no CONNACK");
    three[0].destroy();
    three[1].write(connectPacket("second"));
    await three[1].until(() => three[1].received.length === 4, "no CONNACK");
    const again = await raw(port);
    again.write(connectPacket("again"));
    await again.until(() => again.received.length === 4, "no CONNACK");

    writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace("max_connections_per_address 3", "max_connections_per_address 4"));
    const from = daemon.lines.length;
    process.kill(daemon.pid, "SIGHUP");
    await daemon.waitForLine(/CWNAN0322I/, { from });
    const one = await raw(port);
    one.write(connectPacket("one-more"));
    await one.until(() => one.received.length === 4, "no CONNACK");
  });
});

describe("wrong passwords", () => {
  async function withUsers(users: Readonly<Record<string, string>>): Promise<{ daemon: DaemonProcess; port: number }> {
    return start((at, folder) => {
      const file = path.join(folder, "passwords");
      writeFileSync(file, Object.entries(users).map(([user, stored]) => `${user}:${stored}\n`).join(""));
      return `listener ${at} 127.0.0.1\npassword_file ${file}\nconnection_messages false`;
    });
  }

  /** Milliseconds to the answer. */
  async function attempt(port: number, user: string, password: string, from = "127.0.0.1"): Promise<{ code: number; ms: number }> {
    const connection = await raw(port, from);
    const begun = performance.now();
    connection.write(connectPacket(`${user}-client`, user, password));
    await connection.until(() => connection.received.length >= 4, "no CONNACK", 20_000);
    const answer = { code: connection.received[3] ?? -1, ms: performance.now() - begun };
    connection.destroy();
    return answer;
  }

  it("are answered later and later to their address; right ones at once, and other addresses too", async () => {
    const { port } = await withUsers({ fred: await hashPassword(Buffer.from("right")), mary: "clear" });
    expect(await attempt(port, "fred", "right")).toMatchObject({ code: 0 });
    const waits: number[] = [];
    for (const user of ["fred", "mary", "nobody", "fred", "mary", "nobody"]) {
      const { code, ms } = await attempt(port, user, "wrong");
      expect(code).toBe(4);
      waits.push(ms);
    }
    expect(waits[3]).toBeGreaterThan(250);
    expect(waits[4]).toBeGreaterThan(500);
    expect(waits[5]).toBeGreaterThan(1_000);
    const right = await attempt(port, "fred", "right");
    expect([right.code, right.ms < 250]).toEqual([0, true]);
    const elsewhere = await attempt(port, "fred", "wrong", "127.0.0.3");
    expect([elsewhere.code, elsewhere.ms < 250]).toEqual([4, true]);
  });

  it("are not guessed faster by who does not wait for the answer: a right one of somebody new to the address comes late too, the next one at once", async () => {
    const { port } = await withUsers({ mary: "clear", fred: "clear" });
    for (let i = 0; i < 4; i++) await attempt(port, "mary", "wrong");
    const first = await attempt(port, "mary", "clear");
    expect([first.code, first.ms > 900]).toEqual([0, true]);
    const second = await attempt(port, "mary", "clear");
    expect([second.code, second.ms < 500]).toEqual([0, true]);
    const many = await Promise.all(Array.from({ length: 20 }, () => attempt(port, "fred", "wrong")));
    expect(many.filter(({ code, ms }) => code === 3 && ms < 900).length).toBeGreaterThanOrEqual(12);
    const elsewhere = await attempt(port, "fred", "clear", "127.0.0.3");
    expect([elsewhere.code, elsewhere.ms < 500]).toEqual([0, true]);
  }, 20_000);

  it("a connection that leaves while its answer waits leaves nothing behind", async () => {
    const { daemon, port } = await withUsers({ mary: "clear" });
    for (let i = 0; i < 300; i++) {
      const connection = await raw(port);
      connection.write(connectPacket(`guess-${i}`, "mary", "wrong"));
      if (i < 5) await connection.until(() => connection.received.length >= 4 || i >= 3, "no CONNACK");
      connection.destroy();
    }
    const served = await client(port, "served", { username: "mary", password: "clear" });
    await served.publish("x", "y", { qos: 1 });
    expect(daemon.lines.some((line) => /CWNAN\d{4}[ESF]/.test(line))).toBe(false);
  });

  it("a storm of 1,000 clients with hashed passwords of their own stalls neither local traffic nor commits", async () => {
    const salt = Buffer.from("0123456789abcdef");
    const iterations = 5_000; // a quarter of what amqtdd passwd writes, for the test's time
    const stored = `$7$${iterations}$${salt.toString("base64")}$${pbkdf2Sync("secret", salt, iterations, 64, "sha512").toString("base64")}`;
    const users = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`user${i}`, stored]));
    const { daemon, port } = await withUsers({ local: "clear", ...users });
    const local = await client(port, "local", { username: "local", password: "clear" });
    const quiet = await slowestAcknowledgement(local, () => true);
    let answered = 0;
    let refused = 0;
    const storm = Object.keys(users).map(async (user) => {
      for (;;) {
        const connection = await raw(port);
        connection.write(connectPacket(user, user, "secret"));
        await connection.until(() => connection.received.length >= 4 || connection.ended, "no CONNACK", 60_000);
        const code = connection.received[3];
        if (code === 0) break;
        expect([undefined, 3]).toContain(code); // it was too many, or closed to make room: it comes again
        refused += 1;
        connection.destroy();
      }
      answered += 1;
    });
    const slowest = await slowestAcknowledgement(local, () => answered === 1_000);
    await Promise.all(storm);
    expect(refused).toBeLessThan(1_000);
    // A turn of the event loop with a fsync in it, on a machine that does other work: a stall would be ten seconds.
    expect(slowest, `quiet: ${quiet} ms`).toBeLessThan(2_000);
    expect(daemon.lines.some((line) => /CWNAN\d{4}[ESF]/.test(line))).toBe(false);
  }, 120_000);

  it("many at a time from one address do not keep a user elsewhere from logging in for the first time", async () => {
    const { port } = await withUsers({ mary: await hashPassword(Buffer.from("right")) });
    for (let i = 0; i < 4; i++) await attempt(port, "mary", "wrong", "127.0.0.4");
    const guesses = Array.from({ length: 400 }, async (_, i) => {
      const connection = await raw(port, "127.0.0.4");
      connection.write(connectPacket(`guess${i}`, "mary", `guess${i}`));
      return connection;
    });
    await Promise.all(guesses);
    const { code, ms } = await attempt(port, "mary", "right", "127.0.0.5");
    expect(code).toBe(0);
    expect(ms).toBeLessThan(3_000); // 400 checks take longer
  });
});

describe("a peer that could fill the log", () => {
  const PACKETS = 2_000;

  it("with acknowledgements of what it was never sent causes few lines", async () => {
    const { daemon, port } = await start((at) => `listener ${at} 127.0.0.1`);
    const connection = await raw(port);
    connection.write(connectPacket("liar"));
    connection.write(Buffer.concat([...Array.from({ length: PACKETS }, () => makePacket(0x40, Buffer.from([0, 1]))), Buffer.from([0xc0, 0])]));
    await connection.until(() => connection.received.length === 6, "no PINGRESP");
    await daemon.waitForLine(/CWNAN0050W/);
    expect(daemon.lines.filter((line) => line.includes("CWNAN0050W")).length).toBeLessThan(100);
  });

  it("with messages that a bridge does not take causes few lines, none of them long", async () => {
    const flood = Buffer.concat(Array.from({ length: PACKETS }, () => publishPacket(`nobody/${"x".repeat(2_000)}`, "x")));
    const upstream = net.createServer((socket) => {
      socket.on("error", () => undefined).once("data", () => socket.write(Buffer.concat([Buffer.from([0x20, 2, 0, 0]), flood, publishPacket("remote/last", "x")])));
    }).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    cleanups.push(() => void upstream.close());
    const { daemon, port } = await start((at) => `listener ${at} 127.0.0.1
connection hostile
address 127.0.0.1:${(upstream.address() as net.AddressInfo).port}
cleansession true
start_type manual
topic # in 2 "" remote/`);
    const witness = await client(port, "witness");
    await witness.subscribe("#", 1);
    spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, "start_connection", "hostile"]);
    await witness.waitFor("last", "x");
    const lines = daemon.lines.filter((line) => line.includes("CWNAN0135W"));
    expect(lines.length).toBeLessThan(100);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(500);
  });
});

describe("a reader of the console that does not read", () => {
  it("costs lines, counted, and nobody his service", async () => {
    const port = await freePort();
    const folder = makeFolder("console");
    cleanups.push(() => removeFolder(folder));
    const config = path.join(folder, "amqtdd.cfg");
    writeFileSync(config, `persistence_location ${folder}/\nlistener ${port} 127.0.0.1\ntrace_output protocol\n`);
    const child = spawn(process.execPath, [program, "-c", config], { stdio: ["ignore", "pipe", "inherit"] });
    cleanups.push(async () => {
      child.stdout.resume();
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    });
    child.stdout.pause();
    await untilOpen(port);
    const connection = await raw(port);
    connection.write(connectPacket("chatty"));
    await connection.until(() => connection.received.length === 4, "no CONNACK");
    const messages = 20_000;
    const packet = publishPacket("a/topic/that/is/long/enough/to/fill/a/pipe", "x");
    connection.write(Buffer.concat(Array.from({ length: messages }, () => packet)));
    connection.write(Buffer.from([0xc0, 0]));
    await connection.until(() => connection.received.length === 6, "no PINGRESP while nobody reads the console", 15_000);
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
    child.stdout.resume();
    const served = await client(port, "served");
    await served.publish("x", "y", { qos: 1 });
    // Counted anew each time that the reader has taken something.
    const dropped = (): number => [...text.matchAll(/CWNAN0381W (\d+)/g)].reduce((sum, [, lines]) => sum + Number(lines), 0);
    await within((async () => {
      while (dropped() <= 1_000) await once(child.stdout, "data");
    })(), 5_000, () => `${dropped()} lines are said to be dropped`);
    expect(text.split("\n").filter((line) => line.includes("chatty <- PUBLISH")).length).toBeGreaterThan(100);
  });
});

async function untilOpen(port: number): Promise<void> {
  for (;;) {
    const socket = net.connect(port, "127.0.0.1");
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
  }
}
