import { describe, expect, it, onTestFinished } from "vitest";
import { bytesOf } from "../vectors/notation.ts";
import { RawClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

/** A daemon with two listeners. */
async function start(config: string): Promise<{ daemon: DaemonProcess; one: number; two: number }> {
  const [one = 0, two = 0] = await freePorts(2);
  const daemon = await DaemonProcess.startForTest(`${config}\nlistener ${one} 127.0.0.1\nlistener ${two} 127.0.0.1`);
  return { daemon, one, two };
}

async function connect(port: number, packet: string): Promise<{ client: RawClient; answer: string }> {
  const client = await RawClient.open(port);
  onTestFinished(() => client.destroy());
  client.send(bytesOf(packet).toString("hex"));
  return { client, answer: await client.frame() };
}

/** The connection is over for the daemon, too. */
async function leave(daemon: DaemonProcess, client: RawClient): Promise<void> {
  const from = daemon.lines.length;
  client.send("e000");
  await daemon.waitForLine(/CWNAN0038I/, { from });
}

const clean = (clientId: string): string => `10 LL <MQTT> 04 02 0000 <${clientId}>`;
const kept = (clientId: string): string => `10 LL <MQTT> 04 00 0000 <${clientId}>`;
const clean5 = (clientId: string): string => `10 LL <MQTT> 05 02 0000 {} <${clientId}>`;
const [TAKEN, PRESENT, UNAVAILABLE] = ["20020000", "20020100", "20020003"];
const SERVER_BUSY = /^20..0089/;

describe("global_max_connections", () => {
  it("is for the clients of all listeners together, and is taken up by a reload, which disconnects nobody", async () => {
    const { daemon, one, two } = await start("global_max_connections 2");
    const { client: a, answer } = await connect(one, clean("a"));
    expect(answer).toBe(TAKEN);
    const { client: b } = await connect(two, clean5("b"));
    const refused = await connect(one, clean("c"));
    expect(refused.answer).toBe(UNAVAILABLE);
    await refused.client.closed();
    const refused5 = await connect(two, clean5("c"));
    expect(refused5.answer).toMatch(SERVER_BUSY);
    await refused5.client.closed();
    await daemon.waitForLine(/CWNAN0385W global_max_connections 2 /, { count: 2 });

    await daemon.reload("global_max_connections 2", "global_max_connections 1");
    for (const client of [a, b]) {
      client.send("c000");
      expect(await client.frame()).toBe("d000");
    }
    await leave(daemon, a);
    expect((await connect(one, clean("a"))).answer).toBe(UNAVAILABLE);
    await daemon.reload("global_max_connections 1", "global_max_connections -1");
    for (const id of ["c", "d"]) expect((await connect(one, clean(id))).answer).toBe(TAKEN);
  });

  it("lets a client take its own place, at another listener, too, and another have a place that is free", async () => {
    const { daemon, one, two } = await start("global_max_connections 1");
    const { client: first } = await connect(one, clean("a"));
    const { client: second, answer } = await connect(two, clean("a"));
    expect(answer).toBe(TAKEN);
    await first.closed();
    expect((await connect(one, clean("b"))).answer).toBe(UNAVAILABLE);
    await leave(daemon, second);
    expect((await connect(one, clean("b"))).answer).toBe(TAKEN);
  });
});

describe("global_max_clients", () => {
  it("counts sessions whose client is away; those come back, others come when a session has ended, and a restart changes nothing", async () => {
    const { daemon, one, two } = await start("global_max_clients 2");
    await leave(daemon, (await connect(one, kept("a"))).client);
    const { client: b } = await connect(two, clean("b"));
    const refused = await connect(two, clean("c"));
    expect(refused.answer).toBe(UNAVAILABLE);
    await refused.client.closed();
    await daemon.waitForLine(/CWNAN0385W global_max_clients 2 /);
    expect((await connect(two, clean5("c"))).answer).toMatch(SERVER_BUSY);

    const { client: a, answer } = await connect(two, kept("a"));
    expect(answer).toBe(PRESENT);
    await leave(daemon, b); // its session goes with it
    await leave(daemon, a);
    expect((await connect(one, kept("c"))).answer).toBe(TAKEN);
    expect((await connect(one, kept("d"))).answer).toBe(UNAVAILABLE);

    await daemon.restart();
    expect((await connect(one, kept("d"))).answer).toBe(UNAVAILABLE);
    for (const id of ["a", "c"]) expect((await connect(one, kept(id))).answer).toBe(PRESENT);
    expect((await connect(one, clean("a"))).answer).toBe(TAKEN); // in the place of its own session
  });

  it("is taken up by a reload; who has a session is served beyond it", async () => {
    const { daemon, one } = await start("global_max_clients 0");
    for (const id of ["a", "b", "c"]) await leave(daemon, (await connect(one, kept(id))).client);
    await daemon.reload("global_max_clients 0", "global_max_clients 1");
    expect((await connect(one, kept("d"))).answer).toBe(UNAVAILABLE);
    for (const id of ["a", "b", "c"]) expect((await connect(one, kept(id))).answer).toBe(PRESENT);
  });
});
