// The ways to measure a broker once. Each gives an object of numbers.
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { startBroker, startTimes, user } from "./brokers.mjs";
import { cores, environment, onCore } from "./machine.mjs";
import { summary } from "./statistics.mjs";

const MIB = 1024 * 1024;

/** Runs the load in a process of its own; rejects when it fails, as it does when a message is lost, out of order or doubled. */
export async function runLoad(job) {
  const [command, ...args] = onCore(cores.load, [process.execPath, path.join(import.meta.dirname, "load", "main.mjs"), JSON.stringify(job)]);
  const load = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: environment });
  let output = "";
  load.stdout.setEncoding("utf8").on("data", (text) => (output += text));
  const [code] = await once(load, "close");
  if (code !== 0) throw new Error("the load failed");
  return JSON.parse(output);
}

/** Starts the broker, runs the job against it, stops it. */
async function measureLoad(name, job, options = {}) {
  const { webSocket, secure } = options;
  const broker = await startBroker(name, options);
  try {
    return await runLoad({ ...job, place: { ...user, port: broker.port, webSocket, secure }, pid: broker.pid });
  } finally {
    await broker.stop();
  }
}

export const traffic = (load, options) => (name, more) => measureLoad(name, { kind: "traffic", ...load }, { ...options, ...more });

/** The first messages after a start; the load has warmed up with another broker. Of mosquitto those of a warm process, with which they are compared. */
export const firstMessages = (load, messages) => async (name) => {
  if (name !== "amqtdd") return measureLoad(name, { kind: "traffic", ...load, warmUpSeconds: 0.4, seconds: 1 });
  const other = await startBroker("amqtdd", { core: cores.load });
  try {
    return await measureLoad(name, { kind: "traffic", ...load, messages, rehearsal: { ...user, port: other.port } });
  } finally {
    await other.stop();
  }
};

export const offline = (load) => async (name, options) => {
  const { stores, drain } = await measureLoad(name, { kind: "offline", ...load }, options);
  return { storePerSecond: stores[0].perSecond, storeCpuMicros: stores[0].cpuMicros, drainPerSecond: drain.perSecond, drainCpuMicros: drain.cpuMicros };
};

/** Memory for a queued message where none is on disk, told by how it grows from a first lot of messages to a second. */
export const queueMemory = (load, first, more) => async (name) => {
  const options = { words: ["persistence false", "max_queue_memory 0"] };
  const { stores } = await measureLoad(name, { kind: "offline", ...load, messages: [first, more] }, options);
  return { bytesPerMessage: ((stores[1].residentKiB.rss - stores[0].residentKiB.rss) * 1024) / more };
};

export const idle = (connections) => async (name) => {
  const { before, after, connectsPerSecond } = await measureLoad(name, { kind: "idle", connections });
  return { restMiB: (before.rss * 1024) / MIB, restAnonymousMiB: (before.anonymous * 1024) / MIB, bytesPerConnection: ((after.rss - before.rss) * 1024) / connections, connectsPerSecond };
};

/** What is published at the broker goes over its bridge to a mosquitto, on the load's core, and from there to the subscriber. */
export const bridge = (load) => async (name, options) => {
  const upstream = await startBroker("mosquitto", { core: cores.load });
  try {
    const broker = await startBroker(name, { ...options, upstreamPort: upstream.port });
    try {
      const job = { kind: "traffic", ...load, place: { ...user, port: broker.port }, subscriberPlace: { ...user, port: upstream.port }, pid: broker.pid, upstreamPid: upstream.pid };
      return await runLoad(job);
    } finally {
      await broker.stop();
    }
  } finally {
    await upstream.stop();
  }
};

export const start = (times) => async (name) => ({
  listeningMs: summary(await startTimes(name, times)).median,
  ...(name === "amqtdd" && { bareNodeMs: summary(await startTimes("node", times)).median }),
});
