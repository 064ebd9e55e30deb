import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, mqttString, RawClient, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";
import { connectPacket, makePacket, publishPacket, readCodes, subscribePacket } from "./packets.ts";
import { frame, RawConnection, RawWebSocket, upgradeRequest } from "./web-clients.ts";

/*
 * Each class of published weaknesses in brokers, and in libraries like those used here, has a test whose name begins with its number.
 * Those of the client's side, where the other broker is hostile, are in hostile-upstream.test.ts; power cuts and saving while messages are
 * acknowledged (mosquitto#3702) in test/crash.
 */

const CONNACK = "20020000";

let daemon: DaemonProcess;
let port: number;
let webPort: number;
let mountedPort: number;
let defaultPort: number;
let witness: TestClient;

const ACL = `topic public/#
topic read only/read
topic readwrite retained/#
topic readwrite $x/#
topic readwrite witness
pattern readwrite own/%c/#
pattern readwrite user/%u/#
user fred
topic readwrite public/#
topic readwrite fred/#
`;

beforeAll(async () => {
  [port = 0, webPort = 0, mountedPort = 0, defaultPort = 0] = await freePorts(4);
  daemon = new DaemonProcess(`
port ${defaultPort}
bind_address 127.0.0.1
allow_anonymous true
password_file FOLDER/passwords
acl_file FOLDER/acl
acl_style mosquitto
listener ${port} 127.0.0.1
listener ${webPort} 127.0.0.1 websockets
listener ${mountedPort} 127.0.0.1
mount_point mounted/
`);
  const { folder, configFile } = daemon;
  writeFileSync(configFile, readFileSync(configFile, "utf8").replaceAll("FOLDER", folder));
  writeFileSync(path.join(folder, "passwords"), "fred:secret\na/#:hash\n+:plus\n");
  writeFileSync(path.join(folder, "acl"), ACL);
  daemon.spawn();
  await daemon.waitForLine(/CWNAN0014I/, { count: 4 });
  witness = await connect311(port, { clientId: "witness" });
  await witness.subscribe("witness", 1);
});

afterAll(async () => {
  await witness?.end();
  await daemon?.cleanup();
});

async function served(mark: string): Promise<void> {
  await witness.publish("witness", mark, { qos: 1 });
  await witness.waitFor("witness", mark);
  expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
}

async function connected(clientId: string, options: { clean?: boolean } = {}, at = port): Promise<RawClient> {
  const raw = await RawClient.open(at);
  raw.send(connectPacket(clientId, options).toString("hex"));
  expect(await raw.frame()).toMatch(/^2002..00$/);
  return raw;
}

/** Sends to a client that is logged in, or to a stranger; the connection is closed for it. */
async function isClosedFor(bytes: Buffer, { isStranger = false } = {}): Promise<void> {
  const raw = isStranger ? await RawClient.open(port) : await connected("offender");
  raw.send(bytes.toString("hex"));
  await raw.closed();
  raw.destroy();
}

async function codesOf(raw: RawClient, filter: string): Promise<number[]> {
  raw.send(subscribePacket(1, filter, 1).toString("hex"));
  for (;;) {
    const answer = await raw.frame();
    if (answer.startsWith("90")) return readCodes(Buffer.from(answer, "hex"));
  }
}

const residentKiB = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"))?.[1]);

describe("who may do what", () => {
  it.each(["#", "+", "a/b", "$x", "%c", ".*", "[a-z]+"])("CVE-2017-7650, CVE-2026-44838: the client identifier %j opens nothing of others", async (id) => {
    const raw = await connected(id);
    for (const filter of ["own/#", "own/+/secret", "own/other/secret", "own/.*/secret", "user/#"]) {
      raw.send(subscribePacket(1, filter, 1).toString("hex"));
      const [code] = readCodes(Buffer.from(await raw.frame(), "hex"));
      if (code !== 0x80) expect(filter.startsWith("own/")).toBe(true); // each delivery is checked
    }
    const other = await connect311(port, { clientId: "other" });
    await other.publish("own/other/secret", "private", { qos: 1 });
    raw.send("c000");
    expect(await raw.frame()).toBe("d000"); // no PUBLISH came before it
    await other.end();
    raw.destroy();
  });

  it.each([["a/#", "hash"], ["+", "plus"]])("CVE-2017-7650: the user %j opens nothing of others", async (username, password) => {
    const client = await connect311(port, { clientId: `wild-${password}`, username, password });
    await expect(client.subscribe("user/fred/#", 1)).rejects.toThrow();
    await client.end();
  });

  it("CVE-2018-12550: an empty ACL file allows nothing", async () => {
    const at = await freePort();
    const strict = new DaemonProcess(`acl_file FOLDER/empty\nacl_style mosquitto\nlistener ${at} 127.0.0.1`);
    writeFileSync(strict.configFile, readFileSync(strict.configFile, "utf8").replace("FOLDER", strict.folder));
    writeFileSync(path.join(strict.folder, "empty"), "");
    try {
      await strict.start();
      const raw = await connected("anybody", {}, at);
      expect(await codesOf(raw, "#")).toEqual([0x80]);
      raw.destroy();
    } finally {
      await strict.cleanup();
    }
  });

  it.each(["fred\n", ":\n", ":x\n", "fred:\n", "   \nfred\n", "\u0000:x\nfred\n"])("CVE-2018-12551: the password line %j stops the start and changes nothing at a reload", async (text) => {
    const at = await freePort();
    const broken = new DaemonProcess(`password_file FOLDER/passwords\nlistener ${at} 127.0.0.1`);
    const file = path.join(broken.folder, "passwords");
    writeFileSync(broken.configFile, readFileSync(broken.configFile, "utf8").replace("FOLDER", broken.folder));
    try {
      writeFileSync(file, text);
      broken.spawn();
      expect((await broken.exited()).code).toBe(1);
      writeFileSync(file, "mary:secret\n");
      await broken.start();
      writeFileSync(file, text);
      const from = broken.lines.length;
      process.kill(broken.pid, "SIGHUP");
      await broken.waitForLine(/CWNAN0323E/, { from });
      await expect(connect311(at, { username: "", password: "" })).rejects.toThrow();
      await expect(connect311(at)).rejects.toThrow();
      await (await connect311(at, { username: "mary", password: "secret" })).end();
    } finally {
      await broken.cleanup();
    }
  });

  it("CVE-2018-20145: the ACL holds on every listener, the default one too", async () => {
    for (const at of [port, defaultPort, mountedPort]) {
      const raw = await connected(`limited-${at}`, {}, at);
      expect(await codesOf(raw, "private/#")).toEqual([0x80]);
      raw.send(publishPacket("private/x", "x", { qos: 1, id: 5 }).toString("hex"));
      await daemon.waitForLine(new RegExp(`CWNAN0149A.*limited-${at}`));
      raw.destroy();
    }
    const web = await RawWebSocket.open(webPort);
    web.send(connectPacket("limited-web").toString("hex"), subscribePacket(1, "private/#", 1).toString("hex"));
    expect([await web.packet(), await web.packet()]).toEqual([CONNACK, "9003000180"]);
    web.destroy();
  });

  it("CVE-2018-12546, CVE-2021-34434: who has lost a right delivers nothing retained, and gets nothing by his old subscriptions", async () => {
    const fred = await connect311(port, { clientId: "fred-1", username: "fred", password: "secret", clean: false });
    await fred.subscribe("fred/news", 1);
    await fred.publish("public/by-fred", "retained by fred", { qos: 1, retain: true });
    fred.drop();
    const acl = path.join(daemon.folder, "acl");
    const reload = async (text: string): Promise<void> => {
      writeFileSync(acl, text);
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/CWNAN0322I/, { from });
    };
    await reload(ACL.replace(/user fred\n[^]*$/, "user fred\ntopic read public/#\nuser mary\ntopic readwrite fred/#\n"));
    const reader = await connect311(port, { clientId: "reader" });
    await reader.subscribe("public/#", 1);
    const again = await connect311(port, { clientId: "fred-1", username: "fred", password: "secret", clean: false });
    expect(again.sessionPresent).toBe(true);
    await reload(`${ACL.replace(/user fred\n[^]*$/, "user fred\ntopic read public/#\n")}user a/#\ntopic readwrite fred/#\n`);
    const writer = await connect311(port, { clientId: "writer", username: "a/#", password: "hash" });
    await writer.publish("fred/news", "not for fred any more", { qos: 1 });
    await reader.publish("public/end", "end", { qos: 1 });
    await reader.waitFor("public/end", "end");
    expect(reader.messages.map(({ topic }) => topic)).toEqual(["public/end"]);
    expect(again.messages).toEqual([]);
    for (const client of [reader, again, writer]) await client.end();
    await reload(ACL);
  });

  it("CVE-2017-7652: a reload without file descriptors changes nothing", async () => {
    const limit = (files: number): void => {
      const { status, stderr } = spawnSync("prlimit", ["--pid", String(daemon.pid), `--nofile=${files}:`], { encoding: "utf8" });
      expect(status, stderr).toBe(0);
    };
    const used = new Set(readdirSync(`/proc/${daemon.pid}/fd`).map(Number));
    let firstFree = 0;
    while (used.has(firstFree)) firstFree += 1;
    limit(firstFree);
    try {
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      await daemon.waitForLine(/CWNAN0323E.*EMFILE/, { from });
      const strangers = await Promise.all(Array.from({ length: 20 }, () => RawConnection.dial(port)));
      for (const stranger of strangers) stranger.destroy();
      await served("without file descriptors");
    } finally {
      limit(4_096);
    }
    const raw = await connected("still-limited");
    expect(await codesOf(raw, "private/#")).toEqual([0x80]);
    raw.destroy();
    await expect(connect311(port, { username: "fred", password: "wrong" })).rejects.toThrow();
  });

  it("CVE-2017-9868: the store is its owner's alone, whatever the umask", async () => {
    const at = await freePort();
    const before = process.umask(0);
    const open = new DaemonProcess(`listener ${at} 127.0.0.1`);
    try {
      chmodSync(open.storeFolder, 0o777);
      await open.start();
      const client = await connect311(at);
      await client.publish("secret", "x", { qos: 1, retain: true });
      await client.end();
      await open.kill();
      const store = path.join(open.storeFolder, "amqtdd-store");
      expect(existsSync(store)).toBe(true);
      expect(statSync(store).mode & 0o077).toBe(0);
    } finally {
      process.umask(before);
      await open.cleanup();
    }
  });
});

describe("what strangers send", () => {
  it("CVE-2017-7651: 1,000 strangers that announce the largest packet take no memory", async () => {
    const before = residentKiB();
    const strangers: RawConnection[] = [];
    for (let i = 0; i < 1_000; i++) {
      const connection = await RawConnection.dial(port);
      connection.write(Buffer.from("10ffffff7f00044d515454", "hex"));
      strangers.push(connection);
    }
    await served("while strangers announce");
    await Promise.all(strangers.map((connection) => connection.closed()));
    expect(residentKiB() - before).toBeLessThan(60_000);
  });

  it("CVE-2017-7654: 20,000 malformed CONNECTs leave no memory behind", async () => {
    const bad = [
      makePacket(0x10, mqttString("MQTT"), Buffer.from([4, 0xc2, 0, 60]), mqttString("no-credentials")),
      makePacket(0x10, mqttString("MQTT"), Buffer.from([4, 3, 0, 60]), mqttString("reserved")),
      makePacket(0x10, mqttString("MQTT"), Buffer.from([4, 6, 0, 60]), mqttString("x"), mqttString("will/without/payload")),
    ];
    const round = async (connections: number): Promise<void> => {
      for (let i = 0; i < connections; i += 50) {
        await Promise.all(Array.from({ length: 50 }, async (_, j) => {
          const connection = await RawConnection.dial(port);
          connection.write(bad[(i + j) % bad.length] ?? "");
          await connection.closed();
          connection.destroy();
        }));
      }
    };
    await round(5_000);
    const before = residentKiB();
    await round(15_000);
    await served("after malformed CONNECTs");
    expect(residentKiB() - before).toBeLessThan(30_000);
  }, 120_000);

  it("CVE-2023-0809: a first packet that is no CONNECT is refused with its first byte", async () => {
    for (const first of [0x30, 0x82, 0xe0, 0x00, 0xf0, 0x20]) {
      const connection = await RawConnection.dial(port);
      connection.write(Buffer.from([first]));
      await connection.closed();
      connection.destroy();
    }
    await served("after a first byte");
  });

  it("CVE-2026-48779, CVE-2024-37890, CVE-2021-32640: neither tiny fragments nor many headers take memory or time", async () => {
    const before = residentKiB();
    const sockets: RawWebSocket[] = [];
    const fragments = Buffer.concat(Array.from({ length: 20_000 }, () => frame("", { opcode: 0, isFinal: false })));
    for (let i = 0; i < 20; i++) {
      const socket = await RawWebSocket.open(webPort);
      socket.write(Buffer.concat([frame(Buffer.from("10", "hex"), { isFinal: false }), fragments]));
      sockets.push(socket);
    }
    for (const headers of [
      Object.fromEntries(Array.from({ length: 1_900 }, (_, i) => [`X${i}`, "1"])),
      { "Sec-WebSocket-Protocol": `${"a,".repeat(3_000)}mqtt` },
      { "Sec-WebSocket-Protocol": `${" ".repeat(6_000)}mqtt x` },
      { "Sec-WebSocket-Extensions": "permessage-deflate; x=\"".padEnd(7_000, "\\") },
    ]) {
      const connection = await RawConnection.dial(webPort);
      const begun = performance.now();
      connection.write(upgradeRequest({ headers }));
      expect([101, 400, 431]).toContain((await connection.answer()).status);
      expect(performance.now() - begun).toBeLessThan(1_000);
      connection.destroy();
    }
    await served("beside fragments");
    expect(residentKiB() - before).toBeLessThan(60_000);
    for (const socket of sockets) socket.destroy();
  });

  it("CVE-2024-50948: what never becomes a packet holds up nobody", async () => {
    for (const bytes of ["10", "1080", "108080", "10ffffff", "100c0004", "101200044d5154540402003c00"]) {
      const connection = await RawConnection.dial(port);
      connection.write(Buffer.from(bytes, "hex"));
      await served(`beside ${bytes}`);
      connection.destroy();
    }
  });
});

describe("what clients send", () => {
  it.each(["$something", "$", "$x/y", "$SYS", "$SYS/broker/version", "$share", "$share/g", "$share//x", "$queue/x"])("CVE-2018-12543: PUBLISH to %j", async (topic) => {
    const raw = await connected("dollar");
    raw.send(publishPacket(topic, "x", { qos: 1, id: 1, retain: true }).toString("hex"));
    raw.send(publishPacket(topic, "", { qos: 1, id: 2, retain: true }).toString("hex"));
    expect([await raw.frame(), await raw.frame()]).toEqual(["40020001", "40020002"]);
    raw.destroy();
    await served(topic);
  });

  it("CVE-2019-11779: a filter and a topic of 65,400 slashes cost no stack and little time", async () => {
    const raw = await connected("slashes");
    const begun = performance.now();
    const slashes = "/".repeat(65_400);
    for (const filter of [slashes, `+${slashes}`, `${slashes}#`, "+/".repeat(32_700)]) expect(await codesOf(raw, filter)).toEqual([0x80]);
    expect(await codesOf(raw, "public/#")).toEqual([1]);
    raw.send(publishPacket(`public${slashes}`, "deep", { qos: 1, id: 9, retain: true }).toString("hex"));
    while ((await raw.frame()) !== "40020009") continue;
    raw.send(publishPacket(`public${slashes}`, "", { qos: 1, id: 9, retain: true }).toString("hex"));
    expect(performance.now() - begun).toBeLessThan(5_000);
    raw.destroy();
    await served("after slashes");
  });

  it("CVE-2020-13849: a client that goes silent is closed at one and a half keep alive intervals", async () => {
    const raw = await RawClient.open(port);
    raw.send(connectPacket("slow", { keepAliveSeconds: 1 }).toString("hex"));
    expect(await raw.frame()).toBe(CONNACK);
    const begun = performance.now();
    await raw.closed(5_000);
    expect(performance.now() - begun).toBeGreaterThan(1_400);
  });

  it.each([["CONNACK", 0x20], ["SUBACK", 0x90], ["UNSUBACK", 0xb0], ["PINGRESP", 0xd0], ["AUTH", 0xf0], ["type 0", 0x00]])("CVE-2021-28166: %s from a client closes it", async (_name, first) => {
    await isClosedFor(makePacket(first, Buffer.from([0, 1, 0])));
    await isClosedFor(makePacket(first));
    await served(`after ${first}`);
  });

  it("CVE-2021-34431: a second CONNECT closes its client, with or without its will", async () => {
    await isClosedFor(connectPacket("offender"));
    await isClosedFor(connectPacket("someone-else", { will: { topic: "public/will", payload: "x", qos: 2 } }));
    await served("after second CONNECTs");
  });

  it("CVE-2021-34432: an empty topic closes its client", async () => {
    await isClosedFor(publishPacket("", "x"));
    await isClosedFor(publishPacket("", "x", { qos: 2, id: 3, retain: true }));
    await served("after empty topics");
  });

  it("CVE-2023-28366: QoS 2 messages without PUBREL, and with one identifier again and again, take bounded memory", async () => {
    const before = residentKiB();
    const raw = await RawConnection.dial(port);
    raw.write(connectPacket("no-pubrel", { clean: false }));
    for (let round = 0; round < 3; round++) {
      for (let from = 1; from < 65_536; from += 5_000) {
        const ids = Array.from({ length: Math.min(5_000, 65_536 - from) }, (_, i) => from + i);
        raw.write(Buffer.concat(ids.map((id) => publishPacket("public/x", "y", { qos: 2, id }))));
      }
    }
    raw.write(Buffer.concat(Array.from({ length: 500 }, (_, i) => publishPacket("public/x", String(i), { qos: 2, id: 69 }))));
    raw.write(Buffer.from([0xc0, 0]));
    const answered = 4 + 4 * (3 * 65_535 + 500) + 2;
    await raw.until(() => raw.received.length >= answered || raw.ended, "not all are answered", 60_000);
    expect(raw.ended).toBe(false);
    await served("beside open exchanges");
    expect(residentKiB() - before).toBeLessThan(80_000);
    raw.destroy();
    (await connected("no-pubrel")).destroy(); // a clean session ends what was kept
  }, 90_000);

  it("CVE-2023-28366: many clients with QoS 2 messages without PUBREL take bounded memory together", async () => {
    const before = residentKiB();
    const clients: RawConnection[] = [];
    for (let i = 0; i < 9; i++) {
      const raw = await RawConnection.dial(port);
      clients.push(raw);
      raw.write(connectPacket(`no-pubrel${i}`));
      for (let from = 1; from < 65_536; from += 5_000) {
        raw.write(Buffer.concat(Array.from({ length: Math.min(5_000, 65_536 - from) }, (_, j) => publishPacket("public/x", "", { qos: 2, id: from + j }))));
      }
      await raw.until(() => raw.received.length >= 4 + 4 * 65_535 || raw.ended, "not all are answered", 60_000);
    }
    expect(clients.map(({ ended }) => ended)).toEqual([...Array.from({ length: 7 }, () => false), true, true]);
    await served("beside very many open exchanges");
    expect(residentKiB() - before).toBeLessThan(100_000);
    for (const raw of clients) raw.destroy();
  }, 120_000);

  it.each([
    ["a retained PUBLISH with DUP and QoS 3", "3f0500016100010a"],
    ["a retained PUBLISH without payload or topic", "3100"],
    ["a PUBLISH that ends within its packet identifier", "3204000161000".slice(0, 12)],
    ["a topic that ends within a UTF-8 sequence", "30040002e282"],
    ["a topic with a surrogate", "30050003eda080"],
    ["a topic with NUL", "3003000100"],
    ["a SUBSCRIBE that ends within a length", "8204000100ff"],
    ["a SUBSCRIBE whose filter is longer than it", "8206000100ff2300"],
    ["a SUBSCRIBE whose filter has no QoS", "82050001000123"],
    ["an UNSUBSCRIBE without a filter", "a2020001"],
    ["an UNSUBSCRIBE whose filter is longer than it", "a2050001ffff23"],
    ["a PUBACK without packet identifier", "4000"],
    ["a PUBREL that is too long", "62030001ff"],
    ["a DISCONNECT with a body", "e00100"],
  ])("CVE-2024-42644, CVE-2024-48080, NSWG-ECO-500: %s closes its client alone", async (name, hex) => {
    await isClosedFor(Buffer.from(hex, "hex"));
    await served(name);
  });

  it("CVE-2026-21888: a remaining length of five bytes is malformed with its fourth", async () => {
    await isClosedFor(Buffer.from("30ffffffff", "hex"));
    await isClosedFor(Buffer.from("10ffffffff", "hex"), { isStranger: true });
  });

  it("CVE-2025-66168, CVE-2026-40046: a length that is written too long hides no packet in another", async () => {
    const raw = await connected("smuggler");
    const hidden = publishPacket("public/hidden", "x");
    await witness.subscribe("public/hidden", 0);
    // A PINGREQ whose length spans a PUBLISH, with a length of one byte and of four.
    raw.send(Buffer.concat([Buffer.from([0xc0, hidden.length]), hidden]).toString("hex"));
    await raw.closed();
    const other = await connected("smuggler");
    other.send(Buffer.concat([Buffer.from([0xc0, 0x80 | hidden.length, 0x80, 0x80, 0]), hidden]).toString("hex"));
    await other.closed();
    const third = await connected("smuggler");
    third.send(Buffer.concat([Buffer.from("c080808000", "hex"), Buffer.from([0xc0, 0])]).toString("hex"));
    await Promise.race([third.closed(), third.frame()]);
    third.destroy();
    await served("after smugglers");
    expect(witness.messages.some(({ topic }) => topic === "public/hidden")).toBe(false);
  });

  it("CVE-2026-25627: a WebSocket frame shorter than its packet's remaining length is waited for, in bounds", async () => {
    const socket = await RawWebSocket.open(webPort);
    socket.write(frame(Buffer.from("10ffff7f", "hex")));
    await served("beside a short frame");
    await socket.closed(); // longer than any CONNECT
    const other = await RawWebSocket.open(webPort);
    other.write(frame(connectPacket("short-frames").subarray(0, 5)));
    await served("beside another");
    other.write(frame(connectPacket("short-frames").subarray(5)));
    expect(await other.packet()).toBe(CONNACK);
    other.destroy();
  });
});

describe("MQTT 5", () => {
  /** A CONNECT of MQTT 5 with these properties; a will if its properties are given. */
  function connect5(clientId: string, properties: string, willProperties?: string): Buffer {
    const block = (hex: string): Buffer => makePacket(0, Buffer.from(hex, "hex")).subarray(1); // behind its length
    const will = willProperties === undefined ? [] : [block(willProperties), mqttString("public/will5"), mqttString("will")];
    return makePacket(0x10, mqttString("MQTT"), Buffer.from([5, willProperties === undefined ? 2 : 6, 0, 0]), block(properties), mqttString(clientId), ...will);
  }

  async function connected5(clientId: string): Promise<RawConnection> {
    const connection = await RawConnection.dial(port);
    connection.write(connect5(clientId, ""));
    await connection.until(() => connection.received[0] === 0x20 && connection.received[3] === 0, "no CONNACK");
    connection.received = Buffer.alloc(0);
    return connection;
  }

  it("CVE-2019-11778: a will whose delay is longer than its session lasts comes with the session's end", async () => {
    const reader = await connect311(port, { clientId: "will-reader" });
    await reader.subscribe("public/will5", 1);
    for (const expiry of ["1100000000", "1100000001"]) {
      const dying = await RawConnection.dial(port);
      dying.write(connect5(`dying${expiry}`, expiry, "18ffffffff"));
      await dying.until(() => dying.received[0] === 0x20, "no CONNACK");
      dying.destroy();
    }
    await reader.waitForMessages(2);
    await reader.end();
    await served("after delayed wills");
  });

  it("CVE-2021-41039: thousands of user properties cost little time, in CONNECT, its will, PUBLISH and SUBSCRIBE", async () => {
    const begun = performance.now();
    const many = "260001610001 62".replaceAll(" ", "").repeat(9_000);
    for (const connect of [connect5("many", many), connect5("many", "", many)]) {
      const connection = await RawConnection.dial(port);
      connection.write(connect);
      await connection.until(() => connection.ended || connection.received.length > 0, "neither an answer nor an end");
      connection.destroy();
    }
    const connection = await connected5("many-more");
    const block = makePacket(0, Buffer.from(many, "hex")).subarray(1);
    for (let i = 0; i < 20; i++) connection.write(makePacket(0x32, mqttString("public/many"), Buffer.from([0, i + 1]), block, Buffer.from("x")));
    connection.write(makePacket(0x82, Buffer.from([0, 99]), block, mqttString("public/none"), Buffer.from([0])));
    connection.write(Buffer.from([0xc0, 0]));
    await connection.until(() => connection.ended || connection.received.includes(Buffer.from([0xd0, 0])), "no PINGRESP", 10_000);
    connection.destroy();
    await served("after user properties");
    expect(performance.now() - begun).toBeLessThan(10_000);
  });

  it.each(["1100000001", "2100ff", "0200", "ff", "010101", "0102", "1800", "26ffff"])("CVE-2023-3592: the properties %s of a will close its client", async (properties) => {
    const connection = await RawConnection.dial(port);
    connection.write(connect5("bad-will", "", properties));
    await connection.closed();
    connection.destroy();
    await served(properties);
  });

  it.each(["$share/ab", "$share", "$share/", "$share//x", "$share/a/", "$share/+/x", "$share/a#/x"])("CVE-2025-68699: SUBSCRIBE to %j is refused", async (filter) => {
    const connection = await connected5("sharer");
    connection.write(makePacket(0x82, Buffer.from([0, 1, 0]), mqttString(filter), Buffer.from([1])));
    await connection.until(() => connection.ended || connection.received.length >= 6, "neither SUBACK nor an end");
    // Either it is refused, or it is an ordinary filter that nobody may read.
    if (connection.received[0] === 0x90) expect(connection.received.at(-1)).toBeGreaterThanOrEqual(0x80);
    connection.destroy();
    await served(filter);
  });
});

describe("many at a time", () => {
  it("CVE-2025-59946, CVE-2026-22040: 300 take-overs of one client identifier, while it subscribes and leaves", async () => {
    const clients: RawConnection[] = [];
    for (let i = 0; i < 300; i++) {
      const connection = await RawConnection.dial(port);
      connection.write(Buffer.concat([
        connectPacket("wanted", { clean: i % 2 === 0, will: { topic: "public/wills", payload: String(i), qos: 1 } }), subscribePacket(1, "public/#", 2),
        publishPacket("public/from", String(i), { qos: 2, id: 7 }), makePacket(0xa2, Buffer.from([0, 2]), mqttString("public/#")), subscribePacket(3, "public/#", 1),
      ]));
      if (i % 5 === 0) connection.destroy();
      clients.push(connection);
    }
    await served("during take-overs");
    const last = await connected("wanted");
    last.send("c000");
    while ((await last.frame()) !== "d000") continue;
    last.destroy();
    for (const connection of clients) connection.destroy();
    await served("after take-overs");
  });

  it("aedes#1087: a queue for a client that is away keeps its limit", async () => {
    const at = await freePort();
    const small = await DaemonProcess.start(`listener ${at} 127.0.0.1\nmax_queued_messages 50\nmax_inflight_messages 10`);
    try {
      const away = await connect311(at, { clientId: "away", clean: false });
      await away.subscribe("q", 1);
      await away.end();
      const publisher = await connect311(at);
      for (let i = 0; i < 500; i++) await publisher.publish("q", String(i), { qos: 1 });
      const back = await connect311(at, { clientId: "away", clean: false });
      await back.waitForMessages(50);
      await publisher.publish("q", "last", { qos: 1 });
      await back.waitFor("q", "last");
      expect(back.messages.length).toBeLessThanOrEqual(61);
      await back.end();
      await publisher.end();
    } finally {
      await small.cleanup();
    }
  });

  it.each([
    "max_inflight_messages 1\nmax_queued_messages 1\nmax_packet_size 1\nmax_queue_memory 1\nmax_uncommitted_bytes 1",
    "max_inflight_messages 0\nmax_queued_messages 0\nmax_packet_size 0\nmax_queue_memory 0\nmax_uncommitted_bytes 0",
    "max_inflight_messages 9007199254740991\nmax_queued_messages 9007199254740991\nmax_packet_size 9007199254740991\nstore_min_free 0\nautosave_interval 0",
    "max_inflight_messages 65535\npersistence false\nmax_log_entries 0\nmax_trace_entries 0\ntrace_level maximum\npersistent_client_expiration 1s",
    "commit_interval_ms 1\ndurability process\nautosave_interval -1\nmax_connections 1\nretry_interval 0\nmax_connections_per_address 9007199254740991",
  ])("CVE-2026-42209: traffic with the unusual limits %j", async (options) => {
    const at = await freePort();
    const odd = await DaemonProcess.start(`${options}\nlistener ${at} 127.0.0.1`);
    try {
      for (const qos of [0, 1, 2] as const) {
        const raw = await RawConnection.dial(at);
        raw.write(Buffer.concat([connectPacket(`odd${qos}`), subscribePacket(1, "#", qos), ...Array.from({ length: 20 }, (_, i) => publishPacket("a", "x".repeat(i * 50), { qos, id: i + 1, retain: true })), Buffer.from([0xc0, 0])]));
        await raw.until(() => raw.ended || raw.received.includes(Buffer.from([0xd0, 0])), "neither an answer nor an end");
        raw.destroy();
      }
      expect(odd.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
      process.kill(odd.pid, 0); // it lives
    } finally {
      await odd.cleanup();
    }
  });
});
