import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, frameBody, RawClient, type TestClient } from "../clients.ts";
import { DaemonProcess, freePort, freePorts } from "../daemon.ts";
import { connectPacket, DISCONNECT, subscribePacket } from "../packets.ts";
import { LineProcess, makeFolder, removeFolder } from "../process.ts";
import { RecordingProxy } from "../proxy.ts";

// What was said of the Really Small Message Broker, the same program for tests.

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

async function connect(port: number, options: Parameters<typeof connect311>[1] = {}): Promise<TestClient> {
  const client = await connect311(port, options);
  cleanups.push(() => client.end());
  return client;
}

function folder(name: string): string {
  const made = realpathSync(makeFolder(name));
  cleanups.push(() => removeFolder(made));
  return made;
}

/** Standard output and standard error of a command with these arguments. */
function run(args: readonly string[], cwd: string): LineProcess {
  const [command = "", ...rest] = args;
  const started = new LineProcess("amqtdd", command, rest, cwd);
  cleanups.push(() => started.kill("SIGKILL"));
  started.spawn();
  return started;
}

async function roundTrip(port: number): Promise<void> {
  const client = await connect(port);
  await client.subscribe("a", 1);
  await client.publish("a", "alive", { qos: 1 });
  await client.waitFor("a", "alive");
}

/** A network of its own, where port 1883 is free whatever runs on this machine. */
const alone = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"];
const canBeAlone = spawnSync(alone[0] ?? "", [...alone.slice(1), "true"]).status === 0;

it.skipIf(!canBeAlone)(
  canBeAlone ? "A2 no configuration needed: without arguments and file it listens on 1883" : "skipped: port 1883 of our own needs network namespaces (unshare -rn, ip)",
  async () => {
    const cwd = folder("bare");
    const daemon = run([...alone, process.execPath, program], cwd);
    expect(await daemon.waitForLine(/CWNAN0014I/)).toMatch(/listening on port 1883$/);
    await daemon.waitForLine(/No configuration file: listening on 127\.0\.0\.1:1883 only/);
    expect(existsSync(path.join(cwd, "amqtdd-store"))).toBe(true);
    const script = `require("net").connect(1883, "127.0.0.1").on("data", (b) => { console.log(b.toString("hex")); process.exit() }).write(Buffer.from("${connectPacket("x").toString("hex")}", "hex"))`;
    const answer = spawnSync("nsenter", ["-t", String(daemon.pid), "-U", "-n", "--preserve-credentials", process.execPath, "-e", script], { encoding: "utf8", timeout: 10_000 });
    expect(answer.stdout, answer.stderr).toBe("20020000\n");
    expect(await daemon.kill()).toEqual({ code: 0, signal: null });
  },
);

describe("A2 runs without a terminal", () => {
  async function write(): Promise<{ cwd: string; port: number; file: string; pidFile: string }> {
    const cwd = folder("detached");
    const port = await freePort();
    const file = path.join(cwd, "amqtdd.cfg");
    const pidFile = path.join(cwd, "pid");
    writeFileSync(file, `persistence_location ${cwd}/\npid_file ${pidFile}\nlistener ${port} 127.0.0.1\n`);
    return { cwd, port, file, pidFile };
  }

  it.each([
    ["nohup in the background, output to /dev/null", '(nohup "$@" >> /dev/null 2>&1 &)'],
    ["standard output and error closed", '("$@" <&- >&- 2>&- &)'],
  ])("%s: it serves when the shell that started it is gone, and stops in order", async (_name, command) => {
    const { cwd, port, file, pidFile } = await write();
    // In a session of its own there is no terminal to fall back on.
    const shell = spawn("setsid", ["sh", "-c", command, "sh", process.execPath, program, "-c", file], { cwd, stdio: "ignore" });
    await once(shell, "exit");
    // Its lines go nowhere: the file is written when it listens.
    await expect.poll(() => existsSync(pidFile) && readFileSync(pidFile, "utf8").endsWith("\n"), { timeout: 10_000 }).toBe(true);
    const pid = Number(readFileSync(pidFile, "utf8"));
    const isRunning = (): boolean => existsSync(`/proc/${pid}/exe`);
    cleanups.push(() => {
      if (isRunning()) process.kill(pid, "SIGKILL");
    });
    await roundTrip(port);
    process.kill(pid, "SIGTERM");
    await expect.poll(() => existsSync(pidFile) || isRunning(), { timeout: 10_000 }).toBe(false);
  });

  it("whoever read its output is gone: it serves on, and logs into the void", async () => {
    const { cwd, port, file } = await write();
    const child = spawn(process.execPath, [program, "-c", file], { cwd, stdio: ["ignore", "pipe", "pipe"] });
    cleanups.push(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    });
    let output = "";
    for await (const text of child.stdout.setEncoding("utf8")) {
      output += String(text);
      if (output.includes("CWNAN0014I")) break; // leaving the loop closes the pipe
    }
    child.stderr.destroy();
    for (let i = 0; i < 20; i++) await (await connect311(port)).end();
    await roundTrip(port);
    expect(child.exitCode).toBeNull();
  });
});

describe("A2 starts from any directory", () => {
  it.each([
    ["/", (at: { file: string }) => [program, "-c", at.file]],
    ["a folder beside the file", (at: { file: string }) => [program, "-c", path.join("..", path.basename(path.dirname(at.file)), "amqtdd.cfg")]],
    ["a folder with a link to the program", (at: { link: string; file: string }) => [at.link, at.file]],
  ] as const)("%s: texts and workers are found, files are where the configuration says", async (where, argsOf) => {
    const home = folder("home");
    const port = await freePort();
    const file = path.join(home, "amqtdd.cfg");
    const beside = folder("beside");
    const link = path.join(beside, "amqtdd");
    symlinkSync(program, link);
    mkdirSync(path.join(home, "var"));
    writeFileSync(file, `persistence_location ${home}/var/\nlistener ${port} 127.0.0.1\n`);
    const daemon = run([process.execPath, ...argsOf({ file, link })], where === "/" ? "/" : beside);
    await daemon.waitForLine(/CWNAN0014I MQTT protocol starting, listening on port/);
    expect(existsSync(path.join(home, "var", "amqtdd-store"))).toBe(true);
    await roundTrip(port);
    await daemon.kill();
    expect(daemon.lines.filter((line) => !line.includes("CWNAN"))).toEqual([]);
  });
});

it("A2 start-up and stop lines are these, in this order", async () => {
  const [port = 0, other = 0] = await freePorts(2);
  const daemon = await start(`listener ${port} 127.0.0.1\nlistener ${other} 127.0.0.1\nmount_point m/`);
  await daemon.kill();
  const { version } = JSON.parse(readFileSync(path.join(import.meta.dirname, "..", "..", "..", "package.json"), "utf8")) as { version: string };
  const lines = daemon.lines.map((line) => line.replace(/^\d{8} \d{6}\.\d{3} /, "").replace(/\d{4}-\d\d-\d\dT\S+$/, "BUILT").replace(/ran for \d+ seconds/, "ran for N seconds"));
  expect(lines).toEqual([
    "CWNAN9999I amqtdd, an MQTT daemon for devices",
    `CWNAN0049I Configuration file ${daemon.configFile}`,
    `CWNAN0053I Version ${version}, BUILT`,
    "CWNAN0054I Features included: bridge",
    `CWNAN0300I Messages are kept in ${daemon.storeFolder}/amqtdd-store`,
    `CWNAN0014I MQTT protocol starting, listening on port ${port}`,
    `CWNAN0014I MQTT protocol starting, listening on port ${other}`,
    "CWNAN0046I The daemon is stopping",
    `CWNAN0016I MQTT protocol stopping, listener on port ${port}`,
    `CWNAN0016I MQTT protocol stopping, listener on port ${other}`,
    "CWNAN0042I The daemon ran for N seconds",
    "CWNAN0047I The daemon has stopped",
  ]);
});

describe("A2 connects and disconnects on the console", () => {
  it("are told with identifier, listener and address:port", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1`);
    await (await connect(port, { clientId: "stdout-subscriber" })).end();
    expect(await daemon.waitForLine(/CWNAN0033I/)).toMatch(new RegExp(`listener ${port} from client stdout-subscriber at 127\\.0\\.0\\.1:\\d+$`));
    expect(await daemon.waitForLine(/CWNAN0038I/)).toContain("stdout-subscriber");
  });

  it("are not with connection_messages false; other lines are", async () => {
    const port = await freePort();
    const daemon = await start(`connection_messages false\nlistener ${port} 127.0.0.1`);
    await (await connect(port, { clientId: "quiet" })).end();
    const odd = await RawClient.open(port);
    cleanups.push(() => odd.destroy());
    odd.send(Buffer.concat([connectPacket("odd"), subscribePacket(1, "a/#/b", 0), DISCONNECT]).toString("hex"));
    await odd.closed();
    await daemon.waitForLine(/CWNAN0153W .*odd/);
    expect(daemon.lines.filter((line) => /CWNAN00(33|38)I/.test(line))).toEqual([]);
  });

  it("tell of a client too that closes its connection without DISCONNECT (18 in the original)", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const watcher = await connect(port, { clientId: "watcher" });
    await watcher.subscribe("will", 1);
    const vanishing = await connect(port, { clientId: "vanishing", will: { topic: "will", payload: Buffer.from("gone"), qos: 1, retain: false } });
    vanishing.client.stream.end();
    await watcher.waitFor("will", "gone"); // the daemon has seen it
    await expect.poll(() => daemon.lines.filter((line) => line.includes("vanishing")).length, { timeout: 1_000 }).toBe(2);
  });
});

it("A2 bridging in both directions with a second amqtdd, for RSMB: each QoS, retain kept on live messages, the private protocol in CONNECT", async () => {
  const [port = 0, upstream = 0] = await freePorts(2);
  await start(`listener ${upstream} 127.0.0.1`);
  const levels: number[] = [];
  const proxy = await RecordingProxy.start(upstream, {
    fromBridge: (frame) => {
      if ((frame[0] ?? 0) >> 4 === 1) levels.push(frameBody(frame)[6] ?? 0);
    },
    fromBroker: () => undefined,
    closed: () => undefined,
  });
  cleanups.push(() => proxy.close());
  const daemon = await start(`listener ${port} 127.0.0.1\nconnection other\naddress 127.0.0.1:${proxy.port}\ntopic # both`);
  await daemon.waitForLine(/CWNAN0133I/);
  const [here, there] = [await connect(port), await connect(upstream)];
  for (const side of [here, there]) await side.subscribe("#", 2);
  await expect.poll(async () => {
    await there.publish("ready", "x");
    return here.messages.length;
  }).toBeGreaterThan(0);
  for (const qos of [0, 1, 2] as const) await here.publish(`up/${qos}`, "x", { qos, retain: qos === 2 });
  for (const qos of [0, 1, 2] as const) await there.publish(`down/${qos}`, "x", { qos, retain: qos === 2 });
  for (const topic of ["up/0", "up/1", "up/2"]) await there.waitFor(topic, "x");
  for (const topic of ["down/0", "down/1", "down/2"]) await here.waitFor(topic, "x");
  // Behind any echo.
  await here.publish("end/up", "x", { qos: 2 });
  await there.waitFor("end/up", "x");
  await there.publish("end/down", "x", { qos: 2 });
  await here.waitFor("end/down", "x");
  await there.waitFor("end/down", "x");
  const seen = (client: TestClient): string[] => client.messages.filter(({ topic }) => topic !== "ready").map(({ topic, qos }) => `${topic} ${qos}`).sort();
  const all = ["down/0 0", "down/1 1", "down/2 2", "end/down 2", "end/up 2", "up/0 0", "up/1 1", "up/2 2"];
  expect(seen(here)).toEqual(all);
  expect(seen(there)).toEqual(all);
  expect(new Set(levels)).toEqual(new Set([0x84]));
  for (const [broker, topic] of [[upstream, "up/2"], [port, "down/2"]] as const) {
    const late = await connect(broker);
    await late.subscribe(topic, 2);
    expect((await late.waitForMessages(1))[0]).toMatchObject({ topic, qos: 2, retain: true });
  }
});
