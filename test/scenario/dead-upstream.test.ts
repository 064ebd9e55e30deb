import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { FrameSplitter } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { ackPacket, connectPacket, PUBACK, publishPacket, readId, readPublish, subscribePacket } from "./packets.ts";
import { LineProcess, makeFolder, removeFolder, within } from "./process.ts";

const connectionsEach = 4;
/** The measurement goes on until both are reached: every connection fails several times meanwhile. */
const minRounds = 150;
const minMs = 5_000;

/**
 * How slow round trips may be, compared with those without a bridge. Measured on two idle cores: medians within 5 % of each other, p99 within
 * a quarter, nothing held. Other tests share the machine and its disk, so the margins are wide; yet a daemon that stood still for 100 ms at
 * each attempt (four of them, every other second) was held for 340 to 1,500 ms.
 */
const medianLimitMs = (plainMs: number): number => plainMs * 2 + 0.5;
const p99LimitMs = (plainMs: number): number => plainMs * 4 + 20;
/** For the time that is spent, in all, in round trips of more than `heldTripMs`. */
const heldLimitMs = (plainMs: number): number => plainMs * 3 + 300;
const heldTripMs = 25;

const cleanups: (() => Promise<unknown> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A port that is open, where nothing is ever accepted: the process stands still and its queue of connections is full. */
async function blackHole(): Promise<string> {
  const folder = makeFolder("black-hole");
  const script = `require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () { console.log(this.address().port) })`;
  const listener = new LineProcess("black hole", process.execPath, ["-e", script], folder);
  cleanups.push(() => removeFolder(folder));
  cleanups.push(() => listener.kill("SIGKILL"));
  listener.spawn();
  const port = Number(await listener.waitForLine(/^\d+$/));
  process.kill(listener.pid, "SIGSTOP");
  for (let i = 0; i < 20; i++) {
    const socket = net.connect(port, "127.0.0.1").on("error", () => undefined);
    cleanups.push(() => void socket.destroy());
    const connected = await within(once(socket, "connect"), 300, () => "").catch(() => undefined);
    if (!connected) return `127.0.0.1:${port}`;
  }
  throw new Error(`port ${port} still takes connections`);
}

/** A port where connections are accepted and handed to `serve`. */
async function acceptor(serve: (socket: net.Socket) => void): Promise<string> {
  const server = net.createServer((socket) => {
    cleanups.push(() => void socket.destroy());
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => void server.close());
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

/** Connections that fail again every second; the first wants everything below `central/`. */
const connections = (address: string): string =>
  Array.from({ length: connectionsEach }, (_, i) =>
    [
      `connection dead${i}`,
      `address ${address}`,
      `topic ${i === 0 ? "central" : `unused${i}`}/# out`,
      "reconnect_interval 1",
      "max_reconnect_interval 1",
      "connect_timeout 1",
      "",
    ].join("\n"),
  ).join("");

const daemonConfig = (port: number, bridges: string): string => `listener ${port} 127.0.0.1\nmax_queued_messages -1\n${bridges}`;

/** What waits for an off-line session costs what waits for a bridge does: both have to be on disk before PUBACK. */
async function leaveSession(port: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  socket.write(Buffer.concat([connectPacket("away", { clean: false }), subscribePacket(1, "central/#", 2)]));
  let bytes = 0;
  while (bytes < 9) bytes += ((await once(socket, "data")) as [Buffer])[0].length;
  socket.destroy();
}

/** One client that publishes to itself: QoS 1 in both directions. */
class Traveller {
  readonly tripsMs: { local: number[]; central: number[] } = { local: [], central: [] };
  #awaited = 0;
  #done: (() => void) | undefined;
  #nextId = 0;

  private constructor(private readonly socket: net.Socket) {
    const splitter = new FrameSplitter();
    socket.setNoDelay(true).on("data", (bytes) => {
      for (const frame of splitter.push(bytes)) this.#receive(frame);
    });
  }

  static async start(port: number): Promise<Traveller> {
    const socket = net.connect(port, "127.0.0.1");
    cleanups.push(() => void socket.destroy());
    await once(socket, "connect");
    const traveller = new Traveller(socket);
    await traveller.#until(2, Buffer.concat([connectPacket("traveller"), subscribePacket(1, "+/trip", 1)]));
    return traveller;
  }

  /** Time until a message has been acknowledged and has come back. */
  async travel(kind: "local" | "central"): Promise<void> {
    this.#nextId = (this.#nextId % 0xffff) + 1;
    const startMs = performance.now();
    await this.#until(2, publishPacket(`${kind}/trip`, "there and back", { qos: 1, id: this.#nextId }));
    this.tripsMs[kind].push(performance.now() - startMs);
  }

  #until(packets: number, request: Buffer): Promise<void> {
    this.#awaited = packets;
    this.socket.write(request);
    return within(new Promise<void>((resolve) => (this.#done = resolve)), 10_000, () => "no answer");
  }

  #receive(frame: Buffer): void {
    const type = (frame[0] ?? 0) >> 4;
    if (type === 3) this.socket.write(ackPacket(PUBACK, readPublish(frame).id));
    if (type === 4 && readId(frame) !== this.#nextId) throw new Error(`PUBACK ${readId(frame)} for ${this.#nextId}`);
    if (--this.#awaited === 0) this.#done?.();
  }
}

interface Figures {
  median: number;
  p99: number;
  slowest: number;
}

function figuresOf(tripsMs: readonly number[]): Figures {
  const sorted = tripsMs.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  return { median: at(0.5), p99: at(0.99), slowest: at(1) };
}

const heldMs = (tripsMs: readonly number[]): number => tripsMs.filter((ms) => ms > heldTripMs).reduce((sum, ms) => sum + ms, 0);

interface Contestant {
  name: string;
  port: number;
}

/** Measures the daemons in turn, one round trip at a time, so that what disturbs one disturbs all. Returns what is wrong, by name. */
async function measure(plain: Contestant, bridged: readonly Contestant[]): Promise<Map<string, string>> {
  const contestants = [plain, ...bridged];
  const travellers = await Promise.all(contestants.map(({ port }) => Traveller.start(port)));
  for (const traveller of travellers) for (let i = 0; i < 50; i++) await traveller.travel(i % 2 === 0 ? "local" : "central");
  for (const { tripsMs } of travellers) tripsMs.local.length = tripsMs.central.length = 0;
  const startMs = performance.now();
  let rounds = 0;
  for (; rounds < minRounds || performance.now() - startMs < minMs; rounds++) {
    for (let i = 0; i < travellers.length; i++) {
      const traveller = travellers[(rounds + i) % travellers.length];
      await traveller?.travel("local");
      await traveller?.travel("central");
    }
  }
  const all = travellers.map(({ tripsMs: { local, central } }, i) => ({
    name: contestants[i]?.name ?? "",
    local: figuresOf(local),
    central: figuresOf(central),
    heldMs: heldMs([...local, ...central]),
  }));
  const text = ({ median, p99, slowest }: Figures): string => [median, p99, slowest].map((ms) => ms.toFixed(2)).join(" / ");
  const line = ({ name, local, central, heldMs: held }: (typeof all)[number]): string =>
    `${name.padEnd(20)} local ${text(local)}; to be bridged ${text(central)}; held ${Math.round(held)} ms`;
  console.log([`round trips of QoS 1, ms (median / p99 / slowest of ${rounds})`, ...all.map(line)].join("\n"));
  const [reference, ...others] = all;
  if (!reference) throw new Error("nothing was measured");
  const isSlow = (one: typeof reference): boolean =>
    one.heldMs > heldLimitMs(reference.heldMs) ||
    ([one.local, one.central] as const).some(({ median, p99 }, i) => {
      const allowed = i === 0 ? reference.local : reference.central;
      return median > medianLimitMs(allowed.median) || p99 > p99LimitMs(allowed.p99);
    });
  return new Map(others.filter(isSlow).map((one) => [one.name, `${line(one)}; without: ${line(reference)}`]));
}

/** Who is slow is measured again: a burst of other work passes, a daemon that waits for its upstream is slow each time. */
async function expectAllQuick(plain: Contestant, bridged: readonly Contestant[]): Promise<void> {
  let slow = await measure(plain, bridged);
  for (let again = 0; again < 2 && slow.size > 0; again++) {
    slow = await measure(
      plain,
      bridged.filter(({ name }) => slow.has(name)),
    );
  }
  expect([...slow.values()]).toEqual([]);
}

async function startPlain(): Promise<Contestant> {
  const port = await freePort();
  const daemon = await DaemonProcess.start(daemonConfig(port, ""));
  cleanups.push(() => daemon.cleanup());
  await leaveSession(port);
  return { name: "no bridge", port };
}

it("local round trips of QoS 1 are as quick with a dead upstream as without a bridge", { timeout: 60_000 }, async () => {
  const upstreams = [
    { name: "black hole", address: await blackHole(), failure: /CWNAN0128I Connection dead\d got no answer/ },
    { name: "closing at once", address: await acceptor((socket) => socket.destroy()), failure: /CWNAN0154I Connection dead\d tries/ },
    { name: "silent", address: await acceptor((socket) => socket.resume()), failure: /CWNAN0128I Connection dead\d got no answer/ },
    // A name that can't exist [RFC 6761]; where no name server answers the attempt times out instead.
    { name: "no such host", address: "upstream.invalid:1883", failure: /CWNAN0130W Connection dead\d can't reach|CWNAN0128I Connection dead\d got/ },
  ];
  const bridged = await Promise.all(
    upstreams.map(async ({ name, address, failure }) => {
      const port = await freePort();
      const daemon = await DaemonProcess.start(daemonConfig(port, connections(address)));
      cleanups.push(() => daemon.cleanup());
      return { name, port, daemon, failure };
    }),
  );
  await expectAllQuick(await startPlain(), bridged);
  for (const { name, daemon, failure } of bridged) {
    const count = (pattern: RegExp): number => daemon.lines.filter((line) => pattern.test(line)).length;
    expect(count(failure), `${name}: failures of each connection`).toBeGreaterThanOrEqual(2 * connectionsEach);
    expect(count(/CWNAN0133I/), `${name}: connections that were established`).toBe(0);
  }
});

const canMount = spawnSync("unshare", ["-m", "mount", "--bind", "/etc/hosts", "/etc/resolv.conf"]).status === 0;

it.skipIf(!canMount)(
  canMount
    ? "local round trips of QoS 1 are as quick when no name server answers"
    : "skipped: a name server of its own for one process needs the right to mount (unshare -m)",
  { timeout: 60_000 },
  async ({ skip }) => {
    // A loopback address of our own, so that two runs do not meet; port 53 is the only one that the system asks.
    const nameServer = `127.53.${process.pid & 0xff}.${1 + ((process.pid >> 8) % 250)}`;
    const socket = dgram.createSocket("udp4");
    cleanups.push(() => void socket.close());
    let questions = 0;
    socket.on("message", () => questions++).bind(53, nameServer);
    await once(socket, "listening");

    const folder = makeFolder("nameless");
    cleanups.push(() => removeFolder(folder));
    const port = await freePort();
    const file = (name: string): string => path.join(folder, name);
    writeFileSync(file("resolv.conf"), `nameserver ${nameServer}\n`);
    writeFileSync(file("amqtdd.cfg"), `persistence_location ${folder}/\n${daemonConfig(port, connections("upstream.example:1883"))}`);
    const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
    const command = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
    const args = ["-m", "sh", "-c", command, file("resolv.conf"), process.execPath, program, "-c", file("amqtdd.cfg")];
    const daemon = new LineProcess("amqtdd", "unshare", args, folder);
    cleanups.push(() => daemon.kill("SIGKILL"));
    daemon.spawn();
    await daemon.waitForLine(/CWNAN0014I/);
    await expectAllQuick(await startPlain(), [{ name: "silent name server", port }]);
    if (questions === 0) skip("skipped: this system does not ask the name server of /etc/resolv.conf");
    expect(daemon.lines.filter((line) => /CWNAN0128I/.test(line)).length).toBeGreaterThanOrEqual(2 * connectionsEach);
  },
);
