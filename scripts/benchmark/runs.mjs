// The runs of scripts/bench: what is done, which figures come of it, and what they should be.
import { mosquittoVersion } from "./brokers.mjs";
import { deviceSize } from "./device-size.mjs";
import { bridge, firstMessages, idle, offline, queueMemory, start, traffic } from "./measurements.mjs";

/**
 * A figure: `of` a sample, and whether `less` is better. `atLeast`: how many times better than mosquitto it should be, by the medians; `atMost`: what it may be.
 * The rate of a run is not judged where the load is the limit: there it tells of the load.
 */
const cpu = (atLeast) => ({ name: "broker CPU, us a delivery", of: (sample) => sample.cpuMicros, less: true, atLeast });
const rate = (atLeast) => ({ name: "deliveries a second", of: (sample) => sample.perSecond, atLeast });

const bursts = (qos) => ({ publishers: 10, subscribers: 1, qos, ahead: qos === 0 ? 10_000 : 1_000 });
const singlesQos0 = { publishers: 100, pairs: true, qos: 0, batch: 1, ahead: 200 };
export const singles = { publishers: 100, pairs: true, qos: 1, batch: 1, window: 1 };

/** `seconds` after a warm-up; `repeats`: most times that it is run. */
function allRuns(scale) {
  const timed = (load, seconds = 1) => ({ ...load, warmUpSeconds: Math.max(0.1, 0.4 * scale), seconds: Math.max(0.1, seconds * scale) });
  const count = (messages) => Math.max(1000, Math.round(messages * scale));
  const delivered = (title, load, atLeast, options) => ({ title, measure: traffic(timed(load), options), figures: [cpu(atLeast), rate(load.batch === 1 ? undefined : atLeast)] });
  const stored = (title, load, atLeast, figures) => ({
    title,
    measure: offline({ ...load, qos: 1, messages: [count(100_000)] }),
    figures: [
      { name: "stored a second", of: (sample) => sample.storePerSecond, atLeast },
      { name: "broker CPU, us a message stored", of: (sample) => sample.storeCpuMicros, less: true },
      ...figures,
    ],
  });
  const oneByOne = { ...singles, pairs: false, subscribers: 1 };
  /** The same runs over another transport than plain TCP. */
  const over = (short, long, transport) => ({
    [`${short}-fanin-q0`]: delivered(`${long}: 10 publishers to 1 subscriber, QoS 0, bursts`, bursts(0), 5, transport),
    [`${short}-fanin-q1`]: delivered(`${long}: 10 publishers to 1 subscriber, QoS 1, window 20`, bursts(1), 5, transport),
    [`${short}-fanin-q0-window1`]: delivered(`${long}: 100 publishers to 1 subscriber, QoS 0, one write for each message`, { ...oneByOne, qos: 0, ahead: 100 }, 1, transport),
    [`${short}-fanin-q1-window1`]: delivered(`${long}: 100 publishers to 1 subscriber, QoS 1, one message for each wake-up`, oneByOne, 1, transport),
    [`${short}-pairs-q1-window1`]: delivered(`${long}: 100 pairs, QoS 1, one message for each wake-up`, singles, undefined, transport),
  });
  return {
    "fanin-q0": delivered("10 publishers to 1 subscriber, QoS 0, bursts", bursts(0), 30),
    "fanin-q1": delivered("10 publishers to 1 subscriber, QoS 1, window 20", bursts(1), 12),
    "fanin-q2": delivered("10 publishers to 1 subscriber, QoS 2, window 20", bursts(2), 20),
    "fanout50-q0": delivered("1 publisher to 50 subscribers, QoS 0, bursts", { publishers: 1, subscribers: 50, qos: 0, ahead: 10_000 }, 40),
    "pairs-q1": delivered("10 pairs, QoS 1, window 20", { publishers: 10, pairs: true, qos: 1, ahead: 1_000 }, 10),
    "pairs-q0-single": delivered("100 pairs, QoS 0, one write for each message", singlesQos0, 1.5),
    "pairs-q1-window1": delivered("100 pairs, QoS 1, one message for each wake-up", singles, 1.15),
    "rate-1000": {
      title: "1,000 messages a second, 10 pairs, QoS 1",
      measure: traffic({ ...timed({ publishers: 10, pairs: true, qos: 1, window: 1_000, perSecond: 1_000 }, 3), warmUpSeconds: 1.5, warmUpDeliveries: 0 }),
      figures: [
        { name: "latency, median, us", of: (sample) => sample.latencyP50, less: true, atLeast: 1 / 1.15 },
        { name: "latency, 99th percentile, us", of: (sample) => sample.latencyP99, less: true, atLeast: 1 / 1.5 },
        cpu(1 / 1.25),
      ],
    },
    "offline-window20": stored("stored for a subscriber that is away, QoS 1, 4 publishers, window 20", { publishers: 4, window: 20 }, 0.9, [
      { name: "drained a second", of: (sample) => sample.drainPerSecond, atLeast: 3 },
      { name: "broker CPU, us a message drained", of: (sample) => sample.drainCpuMicros, less: true, atLeast: 3 },
    ]),
    "offline-window100": stored("the same, 50 publishers, window 100", { publishers: 50, window: 100 }, 2, []),
    bridge: {
      title: "through a bridge to a mosquitto, sustained, QoS 1, window 20",
      measure: mosquittoVersion === undefined ? undefined : bridge(timed({ publishers: 10, subscribers: 1, qos: 1, subscriberQos: 0, ahead: 1_000 }, 8)),
      figures: [cpu(1.5), rate(1.5)],
    },
    start: {
      title: "start: exec until a connection is accepted, the store open",
      measure: start(5),
      figures: [
        { name: "listening, ms", of: (sample) => sample.listeningMs, less: true, atMost: 75 },
        { name: "a bare Node listening, ms", of: (sample) => sample.bareNodeMs, less: true, own: true },
      ],
    },
    ...Object.fromEntries(
      [0, 1].map((qos) => [
        `first-q${qos}`,
        {
          title: `the first 5,000 messages after a start, QoS ${qos}, 10 publishers to 1 subscriber; mosquitto warm`,
          measure: firstMessages(bursts(qos), 5_000),
          figures: [rate(1), { name: "longest pause, ms", of: (sample) => sample.longestPauseMs, less: true, own: true, atMost: 20 }],
        },
      ]),
    ),
    idle: {
      title: `memory: at rest, and with ${count(10_000)} idle connections`,
      measure: idle(count(10_000)),
      figures: [
        { name: "resident at rest, the store open, MiB", of: (sample) => sample.restMiB, less: true, atMost: 52 },
        { name: "of it no file's, MiB", of: (sample) => sample.restAnonymousMiB, less: true },
        { name: "bytes a connection", of: (sample) => sample.bytesPerConnection, less: true, atMost: 6 * 1024 },
      ],
    },
    queue: {
      title: "memory: messages of 100 bytes queued in RAM",
      measure: queueMemory({ publishers: 4, qos: 1 }, count(20_000), count(80_000)),
      figures: [{ name: "bytes a message", of: (sample) => sample.bytesPerMessage, less: true, atMost: 250 }],
    },
    size: {
      title: "what a device needs besides Node: bundle, binding and one native add-on",
      measure: () => deviceSize(),
      figures: [
        { name: "MB", of: (sample) => sample.total / 1e6, less: true, own: true, atMost: 6 },
        { name: "of it the add-on, MB", of: (sample) => sample.addOn / 1e6, less: true, own: true },
      ],
    },
    ...over("ws", "WebSockets", { webSocket: true }),
    ...over("tls", "TLS", { secure: true }),
  };
}

/** Runs by their names; the ones with TLS and WebSockets only when they are asked for. */
export function runsNamed(names, scale) {
  const runs = allRuns(scale);
  for (const name of names ?? []) if (!(name in runs)) throw new Error(`no mode ${name}; there are ${Object.keys(runs).join(", ")}`);
  const wanted = names ?? Object.keys(runs).filter((name) => !/^(ws|tls)-/.test(name));
  return wanted.map((name) => ({ name, ...runs[name] })).filter(({ measure }) => measure !== undefined);
}
