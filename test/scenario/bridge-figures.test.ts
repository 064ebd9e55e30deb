import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "./mosquitto.ts";

// Figures 31 to 41 of the documents, with a real mosquitto as the remote broker and free ports.

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Pair {
  daemon: DaemonProcess;
  /** A client of the remote broker that has subscribed to `#`. */
  remote: TestClient;
  /** A client of the daemon's plain listener that has subscribed to `#`. */
  local: TestClient;
}

/** Starts both brokers; `figure` gets the words that add the address to its connection. */
async function bridge(figure: (address: string) => string, options: { subscribes: boolean }): Promise<Pair> {
  const mosquitto = await MosquittoProcess.start();
  cleanups.push(() => mosquitto.cleanup());
  const port = await freePort();
  // The plain listener comes first: after it come the figure's own sections.
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\n${figure(`127.0.0.1:${mosquitto.port}`).trim()}`);
  cleanups.push(() => daemon.cleanup());
  // The bridge is the only client of mosquitto so far.
  await mosquitto.waitForLine(options.subscribes ? /Sending SUBACK to / : /Sending CONNACK to /);
  return { daemon, remote: await observe(mosquitto.port), local: await observe(port) };
}

async function observe(port: number): Promise<TestClient> {
  const client = await connect311(port);
  cleanups.push(() => client.end());
  await client.subscribe("#", 1);
  return client;
}

async function mounted(port: number): Promise<TestClient> {
  const client = await connect311(port);
  cleanups.push(() => client.end());
  return client;
}

/** Topics of application messages, without what is retained from before. */
const topics = (client: TestClient): string[] => client.messages.filter(({ topic }) => !topic.startsWith("$")).map(({ topic }) => topic);

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "bridge figures" : mosquittoMissing, () => {
  it.each([
    ["A1.8: figure 31: publishes everything to the remote broker by default, on the line `topic #`", "topic #"],
    ["A1.8: figure 32: publishes everything to the remote broker, with the direction given", "topic # out"],
  ])("%s", async (_name, line) => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddress ${address}\n${line}`, { subscribes: false });
    await remote.publish("remote/only", "1", { qos: 1 });
    await local.publish("a/b", "2", { qos: 1 });
    await remote.waitFor("a/b", "2");
    await local.waitFor("a/b", "2");
    expect(topics(remote)).toEqual(["remote/only", "a/b"]);
    expect(topics(local)).toEqual(["a/b"]);
  });

  it("A1.8: figure 33: publishes everything to the local broker", async () => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddress ${address}\ntopic # in`, { subscribes: true });
    await local.publish("local/only", "1", { qos: 1 });
    await remote.publish("a/b", "2", { qos: 1 });
    await local.waitFor("a/b", "2");
    expect(topics(local)).toEqual(["local/only", "a/b"]);
    expect(topics(remote)).toEqual(["a/b"]);
  });

  it("A1.9: figure 34: moves export/ to import/ on the way out", async () => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddresses ${address}\ntopic # out export/ import/`, { subscribes: false });
    await local.publish("other", "1", { qos: 1 });
    await local.publish("export/a", "2", { qos: 1 });
    await remote.waitFor("import/a", "2");
    expect(topics(remote)).toEqual(["import/a"]);
  });

  it("A1.9: figure 35: moves export/ to import/ on the way in", async () => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddresses ${address}\ntopic # in import/ export/`, { subscribes: true });
    await remote.publish("other", "1", { qos: 1 });
    await remote.publish("export/a", "2", { qos: 1 });
    await local.waitFor("import/a", "2");
    expect(topics(local)).toEqual(["import/a"]);
  });

  it("A1.9: figure 36: takes the mount point off on the way out", async () => {
    const port = await freePort();
    const { remote, local } = await bridge(
      (address) => `listener ${port} 127.0.0.1\nmount_point 1884/\nconnection Daemon1\naddress ${address}\ntopic # out 1884/ ""`,
      { subscribes: false },
    );
    await local.publish("plain", "1", { qos: 1 });
    const client = await mounted(port);
    await client.publish("a/b", "2", { qos: 1 });
    await remote.waitFor("a/b", "2");
    await local.waitFor("1884/a/b", "2");
    expect(topics(remote)).toEqual(["a/b"]);
  });

  it("A1.9: figure 37: puts the building in front of one topic", async () => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddress ${address}\ntopic power out "" meters/building01/`, { subscribes: false });
    await local.publish("water", "1", { qos: 1 });
    await local.publish("power", "2", { qos: 1 });
    await remote.waitFor("meters/building01/power", "2");
    expect(topics(remote)).toEqual(["meters/building01/power"]);
  });

  const figure38 = (ports: readonly number[], address: string, filter: string): string =>
    `listener ${ports[0]} 127.0.0.1\nmount_point meters/building01/\nlistener ${ports[1]} 127.0.0.1\nmount_point meters/building02/\n` +
    `connection Daemon1\naddress ${address}\ntopic ${filter} out`;

  it("A1.11: figure 38: tells the buildings of one daemon apart by mount point", async () => {
    const ports = (await freePorts(2)) as [number, number];
    const { remote } = await bridge((address) => figure38(ports, address, "meters/+/power"), { subscribes: false });
    const first = await mounted(ports[0]);
    const second = await mounted(ports[1]);
    await first.publish("water", "0", { qos: 1 });
    await first.publish("power", "1", { qos: 1 });
    await second.publish("power", "2", { qos: 1 });
    await remote.waitForMessages(2);
    expect(remote.messages.map(({ topic, payload }) => [topic, payload])).toEqual([
      ["meters/building01/power", "1"],
      ["meters/building02/power", "2"],
    ]);
  });

  it("A1.11: figure 38 as printed: refuses `meters+/power` at the start and says what was meant", async () => {
    const ports = await freePorts(3);
    const daemon = new DaemonProcess(figure38(ports, `127.0.0.1:${ports[2]}`, "meters+/power"));
    cleanups.push(() => daemon.cleanup());
    daemon.spawn();
    const exit = await daemon.exited();
    const output = daemon.lines.join("\n");
    expect(exit.code, output).not.toBe(0);
    expect(output).toContain(`${daemon.configFile}:8:7`);
    expect(output).toContain("meters/+/power");
  });

  it("A1.10: figure 39: maps single topics in both directions", async () => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddress ${address}\ntopic "" in a b\ntopic "" out x y`, { subscribes: true });
    await remote.publish("b", "1", { qos: 1 });
    await local.waitFor("a", "1");
    await local.publish("x", "2", { qos: 1 });
    await remote.waitFor("y", "2");
    expect(topics(remote)).toEqual(["b", "y"]);
    expect(topics(local)).toEqual(["a", "x"]);
  });

  it.each([
    ["A1.12: figure 40: maps the same topics in both directions without a loop", `topic "" in a b\ntopic "" out a b`],
    ["A1.12: figure 41: maps the same topics with `both` without a loop", `topic "" both a b`],
  ])("%s", async (_name, lines) => {
    const { remote, local } = await bridge((address) => `connection Daemon1\naddress ${address}\n${lines}`, { subscribes: true });
    await remote.publish("b", "from remote", { qos: 1 });
    await local.waitFor("a", "from remote");
    await local.publish("a", "from local", { qos: 1 });
    await remote.waitFor("b", "from local");
    // A second pair travels behind any copy that came back, in both directions.
    await remote.publish("b", "marker", { qos: 1 });
    await local.waitFor("a", "marker");
    await local.publish("a", "last", { qos: 1 });
    await remote.waitFor("b", "last");
    expect(remote.messages.map(({ payload }) => payload)).toEqual(["from remote", "from local", "marker", "last"]);
    expect(local.messages.map(({ payload }) => payload)).toEqual(["from remote", "from local", "marker", "last"]);
  });
});
