// The load of scripts/bench: one process, one job given as JSON, one line of JSON as the answer. It fails when a message is lost, out of order or doubled.
import { setTimeout as wait } from "node:timers/promises";
import { cpuSeconds, residentKiB } from "../machine.mjs";
import { Connection } from "./connection.mjs";
import { forEach, Traffic } from "./traffic.mjs";

const LATE_MS = 100;
const SETTLE_MS = 500;
/** By then Node has compiled the way of a message. */
const WARM_UP_DELIVERIES = 20_000;

const job = JSON.parse(process.argv[2]);
const { place, pid } = job;
const loadSeconds = () => (process.cpuUsage().user + process.cpuUsage().system) / 1e6;

/** Filters that match nothing that is published, held by connections of their own. */
async function holdFilters(count) {
  const perPacket = 500;
  for (let at = 0; at < count; ) {
    const other = await opened(`bench-other${at}`);
    for (const end = Math.min(count, at + 5_000); at < end; at += perPacket) {
      const some = Array.from({ length: Math.min(perPacket, end - at) }, (_, i) => `site/${(at + i) % 100}/device/${at + i}`);
      await other.subscribe(some, 0);
    }
  }
}

async function opened(clientId, options) {
  const connection = new Connection(place, 4);
  await connection.open(clientId, options);
  return connection;
}

/** Messages that come late must still be right. */
async function settled(traffic, expected) {
  await wait(LATE_MS);
  const { delivered, wrong } = traffic.receipts;
  if (delivered !== expected || wrong > 0) throw new Error(`${delivered} deliveries instead of ${expected}, ${wrong} of them wrong`);
}

/** Warms this process up with another broker, so that it is quick when the one that is measured is cold. */
async function rehearse(place) {
  const traffic = new Traffic({ ...job, place });
  await traffic.openSubscribers();
  await traffic.openPublishers();
  await traffic.publish(WARM_UP_DELIVERIES);
  await Promise.all([...traffic.publishers, ...traffic.subscribers].map((connection) => connection.close()));
}

const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];

/** `seconds` of traffic after `warmUpSeconds` and `warmUpDeliveries`, or `messages` from the first one on. */
async function traffic() {
  if (job.rehearsal) await rehearse(job.rehearsal);
  const traffic = new Traffic(job);
  await holdFilters(job.otherFilters ?? 0);
  await traffic.openSubscribers();
  if (job.stopped) {
    const stopped = await opened("bench-stopped");
    await stopped.subscribe(["bench/#"], job.qos);
    stopped.stopReading();
  }
  await traffic.openPublishers();
  const marks = [];
  const mark = () => {
    marks.push({ at: performance.now(), cpu: cpuSeconds(pid), load: loadSeconds() + (job.upstreamPid === undefined ? 0 : cpuSeconds(job.upstreamPid)), delivered: traffic.receipts.delivered });
    traffic.receipts.begin();
    if (marks.length === 1 && traffic.receipts.latencies) traffic.receipts.latencies = [];
  };
  let longestPauseMs;
  if (job.messages === undefined) {
    await traffic.publishFor({ ms: job.warmUpSeconds * 1000, deliveries: job.warmUpDeliveries ?? WARM_UP_DELIVERIES }, job.seconds * 1000, mark);
  } else {
    mark();
    await traffic.publish(job.messages);
    ({ longestPauseMs } = traffic.receipts);
    mark();
  }
  await settled(traffic, traffic.sent * (job.pairs ? 1 : job.subscribers));
  const [before, after] = marks;
  const seconds = (after.at - before.at) / 1000;
  const deliveries = after.delivered - before.delivered;
  const latencies = traffic.receipts.latencies?.sort((a, b) => a - b);
  return {
    deliveries,
    seconds,
    perSecond: deliveries / seconds,
    cpuMicros: ((after.cpu - before.cpu) * 1e6) / deliveries,
    /** The share of its core that the load has used, with the broker behind a bridge, which is there too. */
    loadCoreBusy: (after.load - before.load) / seconds,
    longestPauseMs,
    ...(latencies && { latencyP50: quantile(latencies, 0.5) * 1000, latencyP99: quantile(latencies, 0.99) * 1000 }),
    residentKiB: residentKiB(pid),
  };
}

/** Stores `messages` for a subscriber that is away, in one go or in several, then lets it have them. */
async function offline() {
  const away = new Traffic({ ...job, subscribers: 1 });
  await away.openSubscribers({ clean: false });
  await Promise.all(away.subscribers.splice(0).map((subscriber) => subscriber.close()));
  await away.openPublishers();
  const stores = [];
  for (const messages of job.messages) {
    const before = { at: performance.now(), cpu: cpuSeconds(pid) };
    await away.publish(messages);
    const seconds = (performance.now() - before.at) / 1000;
    stores.push({ messages, perSecond: messages / seconds, cpuMicros: ((cpuSeconds(pid) - before.cpu) * 1e6) / messages });
    await wait(SETTLE_MS);
    stores.at(-1).residentKiB = residentKiB(pid);
  }
  const total = job.messages.reduce((sum, messages) => sum + messages, 0);
  const back = new Traffic({ ...job, subscribers: 1 });
  const before = { at: performance.now(), cpu: cpuSeconds(pid) };
  await back.openSubscribers({ clean: false });
  await back.receive(total);
  const seconds = (performance.now() - before.at) / 1000;
  const drain = { perSecond: total / seconds, cpuMicros: ((cpuSeconds(pid) - before.cpu) * 1e6) / total };
  await settled(back, total);
  return { stores, drain };
}

/** Opens `connections` that do nothing; memory before and after. */
async function idle() {
  await wait(2 * SETTLE_MS);
  const before = residentKiB(pid);
  const startedAt = performance.now();
  await forEach(job.connections, (i) => opened(`bench-idle${i}`));
  const seconds = (performance.now() - startedAt) / 1000;
  await wait(4 * SETTLE_MS);
  return { before, after: residentKiB(pid), connectsPerSecond: job.connections / seconds };
}

const jobs = { traffic, offline, idle };
process.on("uncaughtException", (error) => {
  console.error(String(error));
  process.exit(1);
});
const result = await jobs[job.kind]();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
