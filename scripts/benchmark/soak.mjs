// Memory over a long saturated load.
import { setTimeout as wait } from "node:timers/promises";
import { startBroker, user } from "./brokers.mjs";
import { residentKiB } from "./machine.mjs";
import { runLoad } from "./measurements.mjs";

const SAMPLES = 20;

/** Loads amqtdd for `seconds` with 10 publishers of QoS 1 and two subscribers, one of which never reads, and prints its memory meanwhile. */
export async function printSoak(seconds) {
  // The queue of the subscriber that does not read is full at once, and stays so.
  const broker = await startBroker("amqtdd", { words: ["max_queued_messages 1000"] });
  const samples = [];
  try {
    const job = { kind: "traffic", publishers: 10, subscribers: 1, qos: 1, ahead: 500, stopped: true, warmUpSeconds: 1, seconds, place: { ...user, port: broker.port }, pid: broker.pid };
    const over = runLoad(job);
    const startedAt = performance.now();
    console.log("\n10 publishers, QoS 1, window 20, to one subscriber; a second one never reads.\n\n seconds   RSS, MiB   of it no file's, MiB");
    for (let i = 0; i <= SAMPLES; i++) {
      await Promise.race([wait((i * seconds * 1000) / SAMPLES - (performance.now() - startedAt)), over]);
      const { rss, anonymous } = residentKiB(broker.pid);
      samples.push({ seconds: (performance.now() - startedAt) / 1000, rss, anonymous });
      console.log(`${samples.at(-1).seconds.toFixed(0).padStart(8)}${(rss / 1024).toFixed(1).padStart(11)}${(anonymous / 1024).toFixed(1).padStart(23)}`);
    }
    const load = await over;
    console.log(`\n${load.deliveries.toLocaleString("en-US")} deliveries, ${Math.round(load.perSecond).toLocaleString("en-US")} a second, ${load.cpuMicros.toFixed(2)} us of broker CPU each; none lost, out of order or doubled.`);
    return { samples, load };
  } finally {
    await broker.stop();
  }
}
