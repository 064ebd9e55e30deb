// Runs each mode against amqtdd and mosquitto in turn and prints medians. The load comes from a process of its own
// (scripts/bench-load.mjs); the broker has core 0, the load core 1, where taskset allows it.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { runs: { type: "string", default: "3" }, modes: { type: "string" }, scale: { type: "string", default: "1" }, json: { type: "string" } },
});
const runs = Number(values.runs);
const scale = Number(values.scale);
const root = path.join(import.meta.dirname, "..");

/** `window`: messages a publisher has unanswered (QoS 0: undelivered); `messages`: in all, before --scale. */
const allModes = {
  "fanin-q0": { publishers: 10, subscribers: 1, qos: 0, window: 1000, messages: 500_000 },
  "fanin-q1": { publishers: 10, subscribers: 1, qos: 1, window: 50, messages: 100_000 },
  "fanin-q2": { publishers: 10, subscribers: 1, qos: 2, window: 50, messages: 50_000 },
  "fanout50-q0": { publishers: 1, subscribers: 50, qos: 0, window: 200, messages: 20_000 },
  "pairs-q1": { publishers: 20, pairs: true, qos: 1, window: 50, messages: 100_000 },
  "pairs-q1-window1": { publishers: 100, pairs: true, qos: 1, window: 1, messages: 50_000 },
  "ws-fanin-q0": { publishers: 10, subscribers: 1, qos: 0, window: 1000, messages: 500_000, webSocket: true },
  "ws-fanin-q1": { publishers: 10, subscribers: 1, qos: 1, window: 50, messages: 100_000, webSocket: true },
  "ws-pairs-q1-window1": { publishers: 100, pairs: true, qos: 1, window: 1, messages: 50_000, webSocket: true },
  "tls-fanin-q0": { publishers: 10, subscribers: 1, qos: 0, window: 1000, messages: 500_000, secure: true },
  "tls-fanin-q1": { publishers: 10, subscribers: 1, qos: 1, window: 50, messages: 100_000, secure: true },
  "tls-fanin-q0-window1": { publishers: 100, subscribers: 1, qos: 0, window: 1, messages: 50_000, secure: true },
  "tls-fanin-q1-window1": { publishers: 100, subscribers: 1, qos: 1, window: 1, messages: 50_000, secure: true },
  "tls-pairs-q1-window1": { publishers: 100, pairs: true, qos: 1, window: 1, messages: 50_000, secure: true },
};
const modeNames = values.modes?.split(",") ?? Object.keys(allModes);
for (const name of modeNames) if (!(name in allModes)) throw new Error(`no mode ${name}; there are ${Object.keys(allModes).join(", ")}`);
if (!(runs >= 1) || !(scale > 0)) throw new Error("--runs and --scale are positive numbers");

const pinned = cpus().length > 1 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;
const onCore = (core, command, args) => (pinned ? ["taskset", ["-c", String(core), command, ...args]] : [command, args]);
const hasMosquitto = spawnSync("mosquitto", ["-h"]).error === undefined;
const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function untilOpen(port, child) {
  const deadline = Date.now() + 15_000;
  while (Date.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("the broker does not listen");
}

/** Keywords of a TLS listener, the same for both brokers, with a certificate made now. */
function tlsKeywords(folder) {
  const [cert, key] = [path.join(folder, "cert.pem"), path.join(folder, "key.pem")];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", "/CN=localhost"];
  execFileSync("openssl", ["req", ...kind, "-keyout", key, "-out", cert], { stdio: "ignore" });
  chmodSync(folder, 0o755); // a mosquitto that root starts reads them as another user
  chmodSync(key, 0o644);
  return [`certfile ${cert}`, `keyfile ${key}`];
}

async function startBroker(broker, { webSocket = false, secure = false }) {
  const folder = mkdtempSync(path.join(tmpdir(), "amqtdd-bench-"));
  const tls = secure ? tlsKeywords(folder) : [];
  const port = await freePort();
  let command;
  if (broker === "amqtdd") {
    mkdirSync(path.join(folder, "store"));
    const config = [
      `persistence_location ${folder}/store/`, "max_inflight_messages 100", "max_queued_messages 0", "connection_messages false", `listener ${port} 127.0.0.1`,
      ...(webSocket ? ["protocol websockets"] : []), ...tls,
    ];
    writeFileSync(path.join(folder, "broker.cfg"), `${config.join("\n")}\n`);
    command = onCore(0, process.execPath, [path.join(root, "dist", "amqtdd.js"), "-c", path.join(folder, "broker.cfg")]);
  } else {
    const config = [
      // mosquitto does not start with WebSockets alone.
      ...(webSocket ? [`listener ${await freePort()} 127.0.0.1`] : []), `listener ${port} 127.0.0.1`, ...(webSocket ? ["protocol websockets"] : []), ...tls,
      "max_inflight_messages 100", "max_queued_messages 0", "set_tcp_nodelay true",
      "allow_anonymous true", "log_dest none", "connection_messages false",
    ];
    writeFileSync(path.join(folder, "broker.cfg"), `${config.join("\n")}\n`);
    command = onCore(0, "mosquitto", ["-c", path.join(folder, "broker.cfg")]);
  }
  // taskset executes the broker in its own place, so the child's id is the broker's.
  const child = spawn(command[0], command[1], { stdio: ["ignore", "ignore", "inherit"], cwd: folder });
  const ended = once(child, "close");
  const stop = async () => {
    child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await ended;
    clearTimeout(killer);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilOpen(port, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, pid: child.pid, stop };
}

async function measure(broker, modeName) {
  const mode = { ...allModes[modeName] };
  mode.messages = Math.max(mode.publishers, Math.round((mode.messages * scale) / mode.publishers) * mode.publishers);
  const { port, pid, stop } = await startBroker(broker, mode);
  try {
    const [command, args] = onCore(1, process.execPath, [
      path.join(import.meta.dirname, "bench-load.mjs"), JSON.stringify({ ...mode, port, pid, ticksPerSecond }),
    ]);
    const load = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    load.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    const [code] = await once(load, "close");
    if (code !== 0) throw new Error(`the load on ${broker} in ${modeName} failed`);
    return JSON.parse(output);
  } finally {
    await stop();
  }
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

if (!hasMosquitto) console.error("mosquitto is not installed: amqtdd alone");
if (!pinned) console.error("no taskset or a single core: the broker and the load share cores");
const brokers = hasMosquitto ? ["amqtdd", "mosquitto"] : ["amqtdd"];
const results = [];
for (const modeName of modeNames) {
  const samples = { amqtdd: [], mosquitto: [] };
  for (let run = 0; run < runs; run++) for (const broker of brokers) samples[broker].push(await measure(broker, modeName));
  const result = { mode: modeName };
  for (const broker of brokers) {
    result[broker] = {
      cpuMicrosPerDelivery: median(samples[broker].map((one) => one.cpuMicrosPerDelivery)),
      deliveriesPerSecond: median(samples[broker].map((one) => one.deliveriesPerSecond)),
      samples: samples[broker],
    };
  }
  if (hasMosquitto) {
    result.cpuRatio = result.amqtdd.cpuMicrosPerDelivery / result.mosquitto.cpuMicrosPerDelivery;
    result.rateRatio = result.amqtdd.deliveriesPerSecond / result.mosquitto.deliveriesPerSecond;
  }
  results.push(result);
  console.error(`${modeName} done`);
}

const row = (cells) => console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(18) : cell.padStart(13))).join(" "));
row(["mode", "amqtdd us", "mosquitto us", "CPU ratio", "amqtdd /s", "mosquitto /s", "rate ratio"]);
for (const { mode, amqtdd, mosquitto, cpuRatio, rateRatio } of results) {
  row([
    mode, amqtdd.cpuMicrosPerDelivery.toFixed(2), mosquitto?.cpuMicrosPerDelivery.toFixed(2) ?? "-", cpuRatio?.toFixed(2) ?? "-",
    String(Math.round(amqtdd.deliveriesPerSecond)), mosquitto ? String(Math.round(mosquitto.deliveriesPerSecond)) : "-", rateRatio?.toFixed(2) ?? "-",
  ]);
}
if (values.json !== undefined) {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, pinned };
  writeFileSync(values.json, `${JSON.stringify({ date: new Date().toISOString(), machine, runs, scale, results }, null, 2)}\n`);
}
