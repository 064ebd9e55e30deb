// What a stored message costs the disk: bytes written and syncs, measured on the real daemon (dist/) with a bridge whose remote is this script.
//   node scripts/wear.mjs [--way backlog|live|beside] [--rates 1,10,100,1000] [--intervals 0,100,1000] [--seconds 20] [--payload 300]
//   node scripts/wear.mjs --window 10 --messages 200000      as fast as it goes, that many messages a group
//   node scripts/wear.mjs --connections 4 ...                each message goes to so many bridges' queues, and is stored so often
//   node scripts/wear.mjs --connections 4 --topics own ...   each message goes to one of them, at random
//   node scripts/wear.mjs --retained 100 ...                 each message is retained, too, on one of so many topics in turn
// A message is counted as often as it is stored: once for each queue that gets it, and once more if it is retained. What stands around it (keys, who published a retained
// one, progress) is not counted as stored, but as written.
// backlog: the remote is away while the messages come, and then takes all of them. live: it is there and acknowledges at once.
// beside: half of the messages come while all remotes are away; the other half while the first bridge's remote is there, which at first has its backlog to take.
// File bytes are what was handed to write(), without what came out of its sockets; page bytes what the kernel counts for the disk, in whole pages of
// 4 KiB (/proc/PID/io). Both until nothing more is written: drain and compaction included. Syncs are counted by strace, if it is there.
import { spawn, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { packet, string } from "./benchmark/load/packets.mjs";
import { freePort } from "./benchmark/ports.mjs";

const { values } = parseArgs({
  options: {
    way: { type: "string", default: "backlog" }, rates: { type: "string", default: "1,10,100,1000" }, intervals: { type: "string", default: "0,100,1000" },
    seconds: { type: "string", default: "20" }, payload: { type: "string", default: "300" }, window: { type: "string" }, messages: { type: "string", default: "100000" },
    connections: { type: "string", default: "1" }, topics: { type: "string", default: "one" }, retained: { type: "string", default: "0" }, "drain-rate": { type: "string" }, program: { type: "string", default: path.join(import.meta.dirname, "..", "dist", "amqtdd.js") },
  },
});
const payloadBytes = Number(values.payload);
const connections = Number(values.connections);
/** Of the first bridge, messages a second. */
const drainRate = values["drain-rate"];
const hasOwnTopics = values.topics === "own";
/** Topics on which each message is retained; 0: none is. */
const retainedTopics = Number(values.retained);
const isRetained = retainedTopics > 0;
if (hasOwnTopics && isRetained) throw new Error("--topics own and --retained exclude each other");
/** How many queues get a message; and how often it is stored. */
const receivers = hasOwnTopics ? 1 : connections;
const copies = receivers + Number(isRetained);
/** All of one length. */
const ownTopic = (connection) => `sensors/${String(connection).padStart(4, "0")}`;
const topicOf = (id) => (hasOwnTopics ? ownTopic(Math.floor(Math.random() * connections)) : isRetained ? ownTopic(id % retainedTopics) : "sensors/wear");
const numbers = (text) => text.split(",").map(Number);
const hasStrace = spawnSync("strace", ["-V"]).status === 0;

/** Calls `onPacket(type, bytes, bodyAt, end)` for each packet, `afterRead` when what has come is worked through. */
function reader(onPacket, afterRead) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    heardBytes += chunk.length;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      let length = 0;
      let i = at + 1;
      for (let shift = 0; i < bytes.length; shift += 7) {
        const byte = bytes[i++];
        length |= (byte & 127) << shift;
        if (byte < 128) break;
      }
      if (i >= bytes.length && !(length === 0 && i === bytes.length && bytes.length - at >= 2)) break;
      if (i + length > bytes.length) break;
      onPacket(bytes[at] >> 4, bytes, i, i + length, bytes[at] & 15);
      at = i + length;
    }
    rest = bytes.subarray(at);
    afterRead?.();
  };
}

/** What this script has got from the daemon's sockets and standard output. */
let heardBytes = 0;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Daemon {
  static async start(intervalMs) {
    const daemon = new Daemon();
    daemon.folder = mkdtempSync(path.join(tmpdir(), "amqtdd-wear-"));
    mkdirSync(path.join(daemon.folder, "store"));
    daemon.port = await freePort();
    daemon.remotePort = await freePort();
    daemon.firstRemotePort = values.way === "beside" ? await freePort() : daemon.remotePort;
    const file = path.join(daemon.folder, "amqtdd.cfg");
    writeFileSync(file, [
      `persistence_location ${daemon.folder}/store/`, `commit_interval_ms ${intervalMs}`, "max_inflight_messages 100", "store_min_free 0", `listener ${daemon.port} 127.0.0.1`,
      ...Array.from({ length: connections }, (_, index) => [
        `connection remote${index}`, `address 127.0.0.1:${index === 0 ? daemon.firstRemotePort : daemon.remotePort}`, ...(drainRate && index === 0 ? [`drain_rate ${drainRate}`] : []), "notifications false", "reconnect_interval 1", "max_reconnect_interval 1", `topic ${hasOwnTopics ? ownTopic(index) : "#"} out`, "",
      ]).flat(),
    ].join("\n"));
    daemon.child = spawn(process.execPath, [values.program, "-c", file], { stdio: ["ignore", "pipe", "inherit"], cwd: daemon.folder });
    heardBytes = 0;
    await new Promise((resolve) => {
      let output = "";
      daemon.child.stdout.on("data", (chunk) => {
        heardBytes += chunk.length;
        output += chunk;
        if (output.includes("CWNAN0014I")) resolve();
      });
    });
    return daemon;
  }

  #io(field) {
    return Number(new RegExp(`^${field}: (\\d+)`, "m").exec(readFileSync(`/proc/${this.child.pid}/io`, "latin1"))[1]);
  }

  /** In whole pages: what the disk gets. */
  get pageBytes() {
    return this.#io("write_bytes");
  }

  /** What was handed to write(), without what came out of its sockets and standard output. */
  get fileBytes() {
    return this.#io("wchar") - heardBytes;
  }

  get residentKiB() {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.child.pid}/status`, "latin1"))[1]);
  }

  get storeBytes() {
    const store = path.join(this.folder, "store", "amqtdd-store");
    return readdirSync(store).filter((name) => name !== "reserve").reduce((sum, name) => sum + (statSync(path.join(store, name), { throwIfNoEntry: false })?.size ?? 0), 0);
  }

  /** Until nothing has been written for so long. A drained store is compacted within ten seconds, on a busy machine a little later; then what rode with its pages is deleted, some every 15 s. */
  async untilQuiet(quietMs) {
    for (let before = -1, since = Date.now(); Date.now() - since < quietMs; await wait(100)) {
      const now = this.pageBytes;
      if (now !== before) since = Date.now();
      before = now;
    }
  }

  async stop() {
    this.child.kill("SIGTERM");
    if (this.child.exitCode === null) await once(this.child, "exit");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Takes and acknowledges everything. */
class Remote {
  received = 0;
  sockets = new Set();

  async listen(port) {
    this.server = net.createServer((socket) => {
      this.sockets.add(socket);
      let answers = [];
      socket.on("error", () => undefined);
      socket.on("data", reader((type, bytes, at, _end, flags) => {
        if (type === 1) answers.push(0x20, 2, 0, 0);
        if (type === 12) answers.push(0xd0, 0);
        if (type !== 3 || (flags & 6) === 0) return;
        const idAt = at + 2 + bytes.readUInt16BE(at);
        answers.push(0x40, 2, bytes[idAt], bytes[idAt + 1]);
        this.received++;
      }, () => {
        socket.write(Buffer.from(answers));
        answers = [];
      }));
    }).listen(port, "127.0.0.1");
    await once(this.server, "listening");
  }

  close() {
    for (const socket of this.sockets) socket.destroy();
    this.server?.close();
  }
}

class Publisher {
  acknowledged = 0;
  sent = 0;
  #waiting = [];
  #id = 0;

  static async connect(port) {
    const publisher = new Publisher();
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    publisher.socket = socket;
    socket.write(packet(0x10, Buffer.concat([string("MQTT"), Buffer.from([4, 2, 0, 0]), string("wear")])));
    socket.on("data", reader((type) => {
      if (type === 4) publisher.acknowledged++;
    }, () => publisher.#waiting.splice(0).forEach((resume) => resume())));
    return publisher;
  }

  publish(count) {
    const packets = [];
    for (let i = 0; i < count; i++) {
      this.#id = (this.#id % 60_000) + 1;
      const payload = randomFillSync(Buffer.allocUnsafe(payloadBytes));
      packets.push(packet(isRetained ? 0x33 : 0x32, Buffer.concat([string(topicOf(this.#id)), Buffer.from([this.#id >> 8, this.#id & 0xff]), payload])));
    }
    this.sent += count;
    this.socket.write(Buffer.concat(packets));
  }

  async untilAcknowledged() {
    while (this.acknowledged < this.sent) await new Promise((resume) => this.#waiting.push(resume));
  }

  /** Evenly, `rate` a second. */
  async atRate(rate, seconds) {
    const startMs = performance.now();
    const before = this.sent;
    for (let elapsed = 0; elapsed < seconds; elapsed = (performance.now() - startMs) / 1000) {
      const due = Math.min(Math.floor(elapsed * rate) + 1, rate * seconds) - (this.sent - before);
      if (due > 0) this.publish(due);
      await wait(Math.min(1000 / rate, 10));
    }
    await this.untilAcknowledged();
  }

  /** `window` messages in one write, the next ones when these are acknowledged. */
  async inGroups(window, messages) {
    const end = this.sent + messages;
    while (this.sent < end) {
      this.publish(Math.min(window, end - this.sent));
      await this.untilAcknowledged();
    }
  }
}

async function measure(intervalMs, load) {
  const daemon = await Daemon.start(intervalMs);
  const remote = new Remote();
  const first = new Remote();
  try {
    if (values.way === "live") await remote.listen(daemon.remotePort);
    await daemon.untilQuiet(2_000); // the reserve
    const publisher = await Publisher.connect(daemon.port);
    if (values.way === "live") await wait(1_500); // the bridge has connected
    const start = { file: daemon.fileBytes, page: daemon.pageBytes };
    const strace = hasStrace ? spawn("strace", ["-f", "-c", "-e", "trace=fdatasync,fsync", "-p", String(daemon.child.pid)], { stdio: ["ignore", "ignore", "pipe"] }) : undefined;
    let counted = "";
    strace?.stderr.on("data", (chunk) => (counted += chunk));
    if (strace) while (!counted.includes("attached")) await wait(20);
    const startMs = performance.now();
    await load(publisher, values.way === "beside" ? 1 / 2 : 1);
    if (values.way === "beside") {
      await first.listen(daemon.firstRemotePort);
      await load(publisher, 1 / 2);
    }
    const seconds = (performance.now() - startMs) / 1000;
    const beforeDrainBytes = daemon.fileBytes - start.file;
    const peakResidentKiB = daemon.residentKiB;
    const drainMs = performance.now();
    if (values.way !== "live") await remote.listen(daemon.remotePort);
    let drainResidentKiB = 0;
    for (; remote.received + first.received < publisher.sent * receivers; await wait(20)) drainResidentKiB = Math.max(drainResidentKiB, daemon.residentKiB);
    const drainSeconds = (performance.now() - drainMs) / 1000;
    await daemon.untilQuiet(25_000);
    if (strace) {
      strace.kill("SIGINT");
      await once(strace, "close");
    }
    const syncs = [...counted.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*sync\s*$/gm)].reduce((sum, [, calls]) => sum + Number(calls), 0);
    const fileBytes = daemon.fileBytes - start.file;
    const pageBytes = daemon.pageBytes - start.page;
    return { messages: publisher.sent * copies, seconds, drainSeconds, fileBytes, pageBytes, beforeDrainBytes, syncs, peakResidentKiB, drainResidentKiB, storeBytes: daemon.storeBytes };
  } finally {
    remote.close();
    first.close();
    await daemon.stop();
  }
}

const row = (cells) => console.log(`| ${cells.join(" | ")} |`);

const howCounted = isRetained ? `; each message counted ${copies} times: for ${receivers} queue${receivers === 1 ? "" : "s"}, and as retained on one of ${retainedTopics} topics` : "";
console.log(`${values.way}, payload ${payloadBytes} bytes, random${howCounted}; Node ${process.version}${hasStrace ? "" : "; no strace: syncs are not counted from outside"}`);
/** A message record: `doc/store-format.md`. */
const recordBytes = payloadBytes + 23 + topicOf(0).length;
const columns = ["load", "interval ms", "messages", "stored /s", "drained /s", "file bytes a message", "page bytes a message", "file bytes a stored byte", "of them before the drain", "page bytes a stored byte", "syncs a message", "RSS MiB", "RSS MiB in the drain", "store after MiB"];
row(columns);
row(columns.map(() => "---"));
const report = (name, intervalMs, { messages, seconds, drainSeconds, fileBytes, pageBytes, beforeDrainBytes, syncs, peakResidentKiB, drainResidentKiB, storeBytes }) => {
  const stored = messages * recordBytes;
  row([
    name, intervalMs, messages, Math.round(messages / seconds), Math.round(messages / drainSeconds), Math.round(fileBytes / messages), Math.round(pageBytes / messages),
    (fileBytes / stored).toFixed(2), (beforeDrainBytes / stored).toFixed(2), (pageBytes / stored).toFixed(2), hasStrace ? (syncs / messages).toFixed(3) : "-", Math.round(peakResidentKiB / 1024), Math.round(drainResidentKiB / 1024), (storeBytes / 1048576).toFixed(1),
  ]);
};
for (const intervalMs of numbers(values.intervals)) {
  if (values.window !== undefined) {
    const messages = Number(values.messages);
    for (const window of numbers(values.window)) report(`${window} a group`, intervalMs, await measure(intervalMs, (publisher, part) => publisher.inGroups(window, messages * part)));
  } else for (const rate of numbers(values.rates)) report(`${rate}/s`, intervalMs, await measure(intervalMs, (publisher, part) => publisher.atRate(rate, Number(values.seconds) * part)));
}
