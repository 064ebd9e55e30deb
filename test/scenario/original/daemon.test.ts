import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "../clients.ts";
import { DaemonProcess, freePort, freePorts } from "../daemon.ts";
import { makeFolder, removeFolder } from "../process.ts";

// Control, persistence and tracing of the original. Paths, addresses and ports of the document's files are replaced.

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

/** Hands in a command file and waits until it is gone. Returns the result file's lines. */
async function update(daemon: DaemonProcess, ...commands: string[]): Promise<string[]> {
  const file = path.join(daemon.storeFolder, "amqtdd.upd");
  const result = `${file}.result`;
  writeFileSync(result, "");
  writeFileSync(`${file}.new`, `${commands.join("\n")}\n`);
  renameSync(`${file}.new`, file);
  await expect.poll(() => existsSync(file), { timeout: 5_000 }).toBe(false);
  await expect.poll(() => readFileSync(result, "utf8"), { timeout: 5_000 }).not.toBe("");
  return readFileSync(result, "utf8").trimEnd().split("\n");
}

const ctl = (daemon: DaemonProcess, ...words: string[]): { text: string; code: number | null } => {
  const { stdout, status } = spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, ...words], { encoding: "utf8" });
  return { text: stdout, code: status };
};

describe("A1.20 commands of the original", () => {
  it("stop_connection, start_connection and the document's connection_stop, in the command file, each with its console line", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const watcher = await connect(upstream);
    await watcher.subscribe("a", 1);
    const daemon = await start(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${upstream}\ntopic a out`);
    await daemon.waitForLine(/CWNAN0133I/);
    expect(await update(daemon, "stop_connection up")).toEqual([expect.stringMatching(/^1: stop_connection up: done: /)]);
    await daemon.waitForLine(/CWNAN0060I .*\bup\b/);
    await daemon.waitForLine(/CWNAN0062I .*\bup\b/);
    const client = await connect(port);
    await client.publish("a", "while stopped", { qos: 1 });
    expect(watcher.messages).toEqual([]);
    expect(await update(daemon, "stop_connection up", "start_connection up")).toEqual([
      expect.stringMatching(/^1: stop_connection up: ERROR: /), expect.stringMatching(/^2: start_connection up: done: /),
    ]);
    await daemon.waitForLine(/CWNAN0061W .*\bup\b/);
    await daemon.waitForLine(/CWNAN0124I .*\bup\b/);
    await watcher.waitFor("a", "while stopped");
    expect(await update(daemon, "connection_stop up", "connection_stop nobody")).toEqual([
      expect.stringMatching(/^1: connection_stop up: done: /), expect.stringMatching(/^2: connection_stop nobody: ERROR: /),
    ]);
    await daemon.waitForLine(/CWNAN0062I .*\bup\b/, { count: 2 });
    await daemon.waitForLine(/CWNAN0059I .*\bnobody\b/);
  });

  it("heap_dump, which wrote the C program's memory, is refused with its reason", async () => {
    const daemon = await start(`listener ${await freePort()} 127.0.0.1`);
    expect(ctl(daemon, "heap_dump", "stdout")).toEqual({ text: expect.stringContaining("has no meaning here") as string, code: 1 });
  });

  it.each(["trace_level maximum", "trace_output protocol", "trace_dump stdout", "take_ffdc why", "max_log_entries 50", "max_trace_entries 50"])(
    "%s is carried out",
    async (command) => {
      const daemon = await start(`listener ${await freePort()} 127.0.0.1`);
      expect(ctl(daemon, ...command.split(" "))).toMatchObject({ code: 0 });
    },
  );
});

describe("A1.21 persistence", () => {
  /** The document's sample. */
  const sample = (port: number, folder: string): string => `
# Sample configuration
# Daemon listens on port 1882 with persistence in /tmp
# Autosave every minute
port ${port}
persistence_location ${folder}/
retained_persistence true
autosave_on_changes false
autosave_interval 60
`;

  it.each([
    ["a stop", "SIGTERM"],
    ["a kill", "SIGKILL"],
  ] as const)("the document's sample keeps retained messages and durable subscriptions over %s, and beyond it queued QoS 1 and 2 messages", async (_name, signal) => {
    const port = await freePort();
    const folder = makeFolder("sample");
    cleanups.push(() => removeFolder(folder));
    const daemon = await start(sample(port, folder));
    expect(await daemon.waitForLine(/CWNAN0014I/)).toMatch(new RegExp(`port ${port}$`));
    expect(existsSync(path.join(folder, "amqtdd-store"))).toBe(true);
    const session = { clientId: "durable", clean: false };
    const durable = await connect(port, session);
    await durable.subscribe("news/#", 2);
    await durable.end();
    const clean = await connect(port, { clientId: "clean" });
    await clean.subscribe("news/#", 2);
    const publisher = await connect(port);
    await publisher.publish("state", "kept", { qos: 1, retain: true });
    if (signal === "SIGTERM") await publisher.publish("state/0", "kept too", { qos: 0, retain: true });
    for (const qos of [0, 1, 2] as const) await publisher.publish("news/queued", String(qos), { qos });
    await daemon.restart(signal);

    const again = await connect(port, session);
    expect(again.sessionPresent).toBe(true);
    await again.waitForMessages(2);
    expect(again.messages.map(({ payload }) => payload)).toEqual(["1", "2"]); // QoS 0 is not queued
    await (await connect(port)).publish("news/live", "3", { qos: 2 });
    await again.waitFor("news/live", "3");
    const later = await connect(port, { clientId: "clean" });
    expect(later.sessionPresent).toBe(false);
    await later.subscribe("state/#", 1);
    const kept = signal === "SIGTERM" ? ["kept", "kept too"] : ["kept"];
    const retained = await later.waitForMessages(kept.length);
    expect(retained.every(({ retain }) => retain)).toBe(true);
    expect(new Set(retained.map(({ payload }) => payload))).toEqual(new Set(kept));
  });

  it("the document's other spelling, Retained_persistence, is taken; with false nothing outlives the daemon", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1\nRetained_persistence false`);
    await daemon.waitForLine(/CWNAN0301W/);
    await (await connect(port)).publish("state", "lost", { qos: 1, retain: true });
    await daemon.restart("SIGTERM");
    const client = await connect(port);
    await client.subscribe("#", 1);
    await client.publish("end", "1", { qos: 1 });
    await client.waitFor("end", "1");
    expect(client.messages.map(({ topic }) => topic)).toEqual(["end"]);
  });
});

describe("A1.23 console and trace", () => {
  it("every console line has the original's form, from the start to the stop, and comes on standard output", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1\nlog_level config`);
    const client = await connect(port, { clientId: "someone" });
    await client.subscribe("a", 1);
    await client.publish("a", "x", { qos: 1 });
    await client.end();
    await daemon.waitForLine(/CWNAN0038I .*someone/);
    await daemon.kill();
    expect(daemon.lines.length).toBeGreaterThan(8);
    expect(daemon.lines.filter((line) => !/^\d{8} \d{6}\.\d{3} CWNAN\d{4}[CDIAWESF] \S/.test(line))).toEqual([]);
  });

  /** Whether each packet of a short conversation is on the console: direction and name. */
  async function expectTrace(daemon: DaemonProcess, port: number): Promise<void> {
    const client = await connect(port, { clientId: "traced" });
    await client.publish("a", "x", { qos: 1 });
    const traced = (): string[] => daemon.lines.flatMap((line) => / traced (<-|->) (\w+)/.exec(line)?.slice(1).join(" ") ?? []);
    await expect.poll(traced, { timeout: 1_000 }).toEqual(["<- CONNECT", "-> CONNACK", "<- PUBLISH", "-> PUBACK"]);
  }

  it("trace_output protocol in the configuration prints one line for each packet", async () => {
    const port = await freePort();
    await expectTrace(await start(`trace_output protocol\nlistener ${port} 127.0.0.1`), port);
  });

  it("trace_output protocol in the command file switches it on, off switches it off", async () => {
    const port = await freePort();
    const daemon = await start(`listener ${port} 127.0.0.1`);
    await update(daemon, "trace_output protocol");
    await expectTrace(daemon, port);
    await update(daemon, "trace_output off");
    const from = daemon.lines.length;
    await (await connect(port, { clientId: "untraced" })).end();
    await daemon.waitForLine(/CWNAN0038I .*untraced/, { from });
    expect(daemon.lines.slice(from).filter((line) => /<-|->/.test(line))).toEqual([]);
  });
});
