import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

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

async function connect(port: number, options: Parameters<typeof connect311>[1] = {}): Promise<TestClient> {
  const client = await connect311(port, options);
  cleanups.push(() => client.end());
  return client;
}

function ctl(daemon: DaemonProcess, ...words: string[]): { code: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, "ctl", "-c", daemon.configFile, ...words], { encoding: "utf8" });
  return { code: status, text: stdout + stderr };
}

/** Hands in commands as an operator should: written elsewhere, then renamed. Resolves with the result file. */
async function update(daemon: DaemonProcess, commands: string, name = "amqtdd.upd"): Promise<string> {
  const result = path.join(daemon.storeFolder, "amqtdd.upd.result");
  const before = existsSync(result) ? readFileSync(result, "utf8") : "";
  const file = path.join(daemon.storeFolder, name);
  writeFileSync(`${file}.new`, commands);
  renameSync(`${file}.new`, file);
  await expect.poll(() => existsSync(file), { timeout: 5_000 }).toBe(false);
  await expect.poll(() => existsSync(result) && readFileSync(result, "utf8") !== before, { timeout: 2_000 }).toBe(true);
  return readFileSync(result, "utf8");
}

describe("the update-command file", () => {
  it("A1.19: runs its commands in order, the right ones beside wrong ones, leaves a result and is gone", async () => {
    const [port = 0] = await freePorts(1);
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const client = await connect(port);
    await client.publish("kept", "1", { qos: 1, retain: true });
    await client.publish("cleared/a", "1", { qos: 1, retain: true });
    const result = await update(daemon, "# a comment\nclear_retained cleared/#\nfrobnicate\nstart_connection nobody\nlog_level loud\nclear_retained $SYS/#\nlog_level warning\n");
    expect(result.split("\n").map((line) => line.replace(/: [^:]*$/, ""))).toEqual([
      "2: clear_retained cleared/#: done", "3: frobnicate: ERROR", "4: start_connection nobody: ERROR", "5: log_level loud: ERROR: log_level loud",
      "6: clear_retained $SYS/#: ERROR", "7: log_level warning: done", "",
    ]);
    await daemon.waitForLine(/CWNAN0068I/);
    await daemon.waitForLine(/CWNAN0059I .*nobody/);
    await daemon.waitForLine(/CWNAN0065A/);
    await client.subscribe("#", 1);
    await client.publish("end", "1", { qos: 1 });
    await client.waitFor("end", "1");
    expect(client.messages.map(({ topic }) => topic)).toEqual(["kept", "end"]);
    // The level stays: what is informative is not written any more.
    const from = daemon.lines.length;
    await (await connect(port)).end();
    await update(daemon, "clear_retained nothing\nclear_retained $SYS\n");
    expect(daemon.lines.slice(from).some((line) => / CWNAN\d{4}I /.test(line))).toBe(false);
  });

  it.each(["amqtd.d.upd", "amqtdc.upd", "broker.upd"])("A1.19: is read under the documents' spelling %s too, with a hint", async (name) => {
    const [port = 0] = await freePorts(1);
    const daemon = await start(`listener ${port} 127.0.0.1`);
    expect(await update(daemon, "log_level info\n", name)).toContain("log_level info: done");
    await daemon.waitForLine(/CWNAN0319W .*amqtdd\.upd/);
  });

  it("A1.20: stops the daemon, in order", async () => {
    const [port = 0] = await freePorts(1);
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const file = path.join(daemon.storeFolder, "amqtdd.upd");
    writeFileSync(file, "stop\n");
    expect(await daemon.exited()).toEqual({ code: 0, signal: null });
    expect(existsSync(file)).toBe(false);
    expect(existsSync(`${file}.running`)).toBe(false);
    expect(readFileSync(`${file}.result`, "utf8")).toContain("1: stop: done");
  });

  it("A1.20: adds, changes and deletes connections while others go on; an added one is back after a restart", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    const remote = await start(`listener ${upstream} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\nconnection first\naddress 127.0.0.1:${upstream}\nclientid first\ntopic # out f/ first/`);
    const watcher = await connect(upstream);
    await watcher.subscribe("#", 1);
    const client = await connect(port);
    await client.publish("f/a", "1", { qos: 1 });
    await watcher.waitFor("first/a", "1");
    const lines = `address 127.0.0.1:${upstream}\nclientid second\ntopic # out s/ second/\n`;

    const result = await update(daemon, `connection second\n${lines}status\nconnection broken\ntopic # sideways\nconnection first\n${lines}`);
    expect(result).toMatch(/^1: connection second: done/m);
    expect(result).toMatch(/connection first: connected to/);
    expect(result).toMatch(/connection broken: ERROR: .*command:2:9: error: topic direction sideways/);
    expect(result).toMatch(/connection first: ERROR: .*configuration file/);
    await client.publish("s/a", "2", { qos: 1 });
    await watcher.waitFor("second/a", "2");

    await update(daemon, `connection second\n${lines.replace("second/", "changed/")}`);
    await client.publish("s/b", "3", { qos: 1 });
    await watcher.waitFor("changed/b", "3");
    expect(daemon.lines.filter((line) => /CWNAN0133I Connection first /.test(line))).toHaveLength(1);

    await daemon.restart();
    const again = await connect(port);
    await again.publish("s/c", "4", { qos: 1 });
    await watcher.waitFor("changed/c", "4");

    expect(await update(daemon, "delete_connection second\n")).toContain("done");
    await daemon.waitForLine(/CWNAN0057I .*second/);
    await again.publish("s/d", "5", { qos: 1 });
    await again.publish("f/d", "6", { qos: 1 });
    await watcher.waitFor("first/d", "6");
    expect(watcher.messages.some(({ payload }) => payload === "5")).toBe(false);
    await daemon.restart();
    expect(ctl(daemon, "status").text).not.toContain("second");
    expect(remote.lines.some((line) => / CWNAN\d{4}[ESF] /.test(line))).toBe(false);
  });
});

it("A1.23: writes a line for each packet, in and out, while trace_output says so; never a password", async () => {
  const [port = 0] = await freePorts(1);
  const daemon = await start(`listener ${port} 127.0.0.1`);
  const traced = (): string[] => daemon.lines.filter((line) => / (->|<-) /.test(line)).map((line) => line.replace(/^\d{8} \d{6}\.\d{3} \d+ /, ""));
  await (await connect(port)).publish("before", "x", { qos: 1 });
  expect(traced()).toEqual([]);
  await update(daemon, "trace_output protocol\n");
  const client = await connect(port, { clientId: "seen", username: "u", password: "hidden" });
  await client.subscribe("a/#", 1);
  await client.publish("a/b", "21.5", { qos: 1, retain: true });
  await client.waitFor("a/b", "21.5");
  await client.end();
  await expect.poll(() => traced().at(-1)).toBe("seen <- DISCONNECT");
  expect(traced().slice(1).map((line) => line.replace(/msgid: \d+/, "msgid: n")).sort()).toEqual([
    "seen -> CONNACK rc: 0 sessionpresent: 0", "seen -> PUBACK msgid: n", "seen -> PUBLISH msgid: n qos: 1 retained: 0 topic: a/b payload: 21.5",
    "seen -> SUBACK msgid: n", "seen <- DISCONNECT", "seen <- PUBACK msgid: n",
    "seen <- PUBLISH msgid: n qos: 1 retained: 1 topic: a/b payload: 21.5", "seen <- SUBSCRIBE msgid: n",
  ]);
  expect(traced()[0]).toBe("seen <- CONNECT version: 4 cleansession: 1 noLocal: 0");
  expect(daemon.lines.join("\n")).not.toContain("hidden");
  ctl(daemon, "trace_output", "off");
  const count = traced().length;
  await (await connect(port)).publish("after", "x", { qos: 1 });
  expect(traced()).toHaveLength(count);
});

describe("amqtdd ctl", () => {
  it("does the same at once, prints the result, and says by its exit code whether it went well", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1\nconnection up\naddress 127.0.0.1:${upstream}\ntopic # out`);
    await daemon.waitForLine(/CWNAN0133I/);
    expect(ctl(daemon, "status")).toEqual({ code: 0, text: expect.stringContaining(`connection up: connected to 127.0.0.1:${upstream}`) as string });
    expect(ctl(daemon, "stop_connection", "up").code).toBe(0);
    await daemon.waitForLine(/CWNAN0062I/);
    expect(ctl(daemon, "connection_stop", "up")).toEqual({ code: 1, text: expect.stringContaining("not running") as string });
    expect(ctl(daemon, "start_conection", "up")).toEqual({ code: 1, text: expect.stringContaining("start_connection") as string });
    expect(ctl(daemon, "start_connection", "up").code).toBe(0);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    expect(ctl(daemon, "start_connection").text).toContain("NAME");
    await daemon.kill();
    expect(ctl(daemon, "status").code).toBe(2);
  });

  it("drops a session with its queue, but not under a client that is connected", async () => {
    const [port = 0] = await freePorts(1);
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const options = { clientId: "keeper", clean: false };
    const keeper = await connect(port, options);
    await keeper.subscribe("a", 1);
    expect(ctl(daemon, "purge", "keeper").code).toBe(1);
    await keeper.end();
    await (await connect(port)).publish("a", "1", { qos: 1 });
    expect(ctl(daemon, "purge", "keeper")).toEqual({ code: 0, text: expect.stringContaining("1 queued") as string });
    const again = await connect(port, options);
    expect(again.sessionPresent).toBe(false);
  });
});

describe("a reload", () => {
  it("A1.25: takes up listeners, connections, limits and access, and leaves alone who need not be disturbed", async () => {
    const [port = 0, second = 0, upstream = 0] = await freePorts(3);
    await start(`listener ${upstream} 127.0.0.1`);
    const bridges = `connection stays\naddress 127.0.0.1:${upstream}\nclientid stays\ntopic # out stays/`;
    const daemon = await start(`max_queued_messages 5\nlistener ${port} 127.0.0.1\n${bridges}`);
    await daemon.waitForLine(/CWNAN0133I/);
    const client = await connect(port);
    const folder = path.dirname(daemon.configFile);
    const users = path.join(folder, "users");
    writeFileSync(users, "fred:secret\n");
    const prefix = readFileSync(daemon.configFile, "utf8").split("\n")[0] ?? "";
    const write = (text: string): void => writeFileSync(daemon.configFile, `${prefix}\n${text}\n`);
    const reload = async (pattern: RegExp): Promise<string> => {
      const from = daemon.lines.length;
      process.kill(daemon.pid, "SIGHUP");
      return daemon.waitForLine(pattern, { from });
    };

    write(`max_queued_messages 7\nlistener ${port} 127.0.0.1\nlistener ${second} 127.0.0.1\nmount_point m/\n${bridges}\nconnection more\naddress 127.0.0.1:${upstream}\nclientid more\ntopic # out more/`);
    expect(await reload(/CWNAN032[23]/)).toMatch(/connection more added; listening on/);
    const mounted = await connect(second);
    await client.subscribe("m/#", 1);
    await mounted.publish("a", "1", { qos: 1 });
    await client.waitFor("m/a", "1");
    expect(daemon.lines.filter((line) => /CWNAN0133I Connection stays /.test(line))).toHaveLength(1);

    // A file that is wrong changes nothing.
    write(`listener ${port} 127.0.0.1\npasword_file ${users}`);
    expect(await reload(/CWNAN032[23]/)).toMatch(/CWNAN0323E .*pasword_file/);
    await mounted.publish("a", "2", { qos: 1 });
    await client.waitFor("m/a", "2");

    // With a password file anonymous clients go; the listener that is gone takes its clients along.
    write(`password_file ${users}\ndurability process\nlistener ${port} 127.0.0.1\n${bridges}`);
    const gone = Promise.all([client.closed(), mounted.closed()]);
    expect(await reload(/CWNAN0322I/)).toContain("connection more removed");
    await gone;
    await daemon.waitForLine(/CWNAN0324W .*durability/);
    await expect(connect(port)).rejects.toThrow();
    const fred = await connect(port, { username: "fred", password: "secret" });
    await fred.publish("stays/a", "1", { qos: 1 });
    expect(daemon.lines.filter((line) => /CWNAN0133I Connection stays /.test(line))).toHaveLength(1);
    await expect(connect(second)).rejects.toThrow();
  });

  it("changes nothing when a new port is taken: the old one goes on, and so do its clients and the rules", async () => {
    const [port = 0, taken = 0] = await freePorts(2);
    await start(`listener ${taken} 127.0.0.1`);
    const daemon = await start(`listener ${port} 127.0.0.1`);
    const client = await connect(port);
    const before = readFileSync(daemon.configFile, "utf8");
    writeFileSync(daemon.configFile, `${before.replace(String(port), String(taken))}clientid_prefixes nobody\n`);
    expect(ctl(daemon, "reload")).toEqual({ code: 1, text: expect.stringContaining("EADDRINUSE") as string });
    await client.publish("a", "still here", { qos: 1 });
    await connect(port, { clientId: "anybody" });
    expect(ctl(daemon, "status").text).toContain(`listening on ${port}`);
  });

  it("leaves a connection off that was stopped by hand, and one away that was deleted", async () => {
    const [port = 0, upstream = 0] = await freePorts(2);
    await start(`listener ${upstream} 127.0.0.1`);
    const section = (name: string): string => `connection ${name}\naddress 127.0.0.1:${upstream}\nclientid ${name}\ntopic ${name} out\n`;
    const daemon = await start(`listener ${port} 127.0.0.1\n${section("stopped")}${section("deleted")}`);
    await daemon.waitForLine(/CWNAN0133I/, { count: 2 });
    ctl(daemon, "stop_connection", "stopped");
    ctl(daemon, "delete_connection", "deleted");
    writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace("topic stopped out", "topic changed out"));
    expect(ctl(daemon, "reload").text).toContain("connection stopped changed");
    const { text } = ctl(daemon, "status");
    expect(text).toContain("connection stopped: stopped");
    expect(text).not.toContain("connection deleted");
  });

  it("puts a new limit into force for sessions that exist", async () => {
    const [port = 0] = await freePorts(1);
    const daemon = await start(`max_queued_messages 3\nlistener ${port} 127.0.0.1`);
    const keeper = await connect(port, { clientId: "keeper", clean: false });
    await keeper.subscribe("a", 1);
    await keeper.end();
    writeFileSync(daemon.configFile, readFileSync(daemon.configFile, "utf8").replace("max_queued_messages 3", "max_queued_messages 6"));
    expect(ctl(daemon, "reload").code).toBe(0);
    const client = await connect(port);
    for (let i = 0; i < 10; i++) await client.publish("a", String(i), { qos: 1 });
    expect(ctl(daemon, "status").text).toContain("6 messages queued");
  });
});
