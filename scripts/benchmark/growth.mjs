// How the broker's CPU for a delivery grows: with bursts, and beside it with one message for each wake-up.
import { traffic } from "./measurements.mjs";
import { singles } from "./runs.mjs";
import { shown, summary } from "./statistics.mjs";

const MAX_OUTSTANDING_BYTES = 2_000_000;
const burst = { publishers: 10, subscribers: 1, qos: 0, ahead: 10_000 };

const versions = (publisherVersions, subscriberVersions) => ({ publisherVersions, subscriberVersions });
const both = (load) => ({ burst: { ...burst, ...load }, single: { ...singles, ...load } });

/** By title: the points in order, each with a load of either kind. */
const series = {
  "subscriptions that do not match": [1, 10, 100, 1_000, 10_000].map((otherFilters) => [otherFilters.toLocaleString("en-US"), both({ otherFilters })]),
  "topic names in turn": [10, 1_000, 10_000, 60_000, 100_000, 1_000_000].map((topics) => {
    const warmUpDeliveries = Math.max(20_000, Math.min(100_000, topics)); // each name once, where they are kept at all
    return [topics.toLocaleString("en-US"), { burst: { ...burst, topics, warmUpDeliveries }, single: { ...singles, publishers: Math.min(100, topics), topics, warmUpDeliveries } }];
  }),
  "payload, bytes": [20, 100, 1_000, 10_000, 100_000, 1_000_000].map((payloadBytes) => {
    const ahead = Math.max(2, Math.min(10_000, Math.floor(MAX_OUTSTANDING_BYTES / payloadBytes)));
    const warmUpDeliveries = Math.min(20_000, 200_000_000 / payloadBytes);
    return [
      payloadBytes.toLocaleString("en-US"),
      { burst: { ...burst, payloadBytes, ahead, warmUpDeliveries }, single: { ...singles, publishers: Math.min(100, ahead), payloadBytes, warmUpDeliveries } },
    ];
  }),
  "publishers (single: pairs)": [1, 10, 100, 1_000, 5_000].map((publishers) => [
    publishers.toLocaleString("en-US"),
    { burst: { ...burst, publishers }, single: { ...singles, publishers } },
  ]),
  "versions, publishers to subscribers": [
    ["3.1.1 to 3.1.1", both(versions([4], [4]))],
    ["3.1 to 3.1", both(versions([3], [3]))],
    ["5 to 5", both(versions([5], [5]))],
    ["3.1.1 to 5", both(versions([4], [5]))],
    ["5 to 3.1.1", both(versions([5], [4]))],
    ["all to all three", { burst: { ...burst, subscribers: 3, ...versions([3, 4, 5], [3, 4, 5]) }, single: { ...singles, ...versions([3, 4, 5], [5, 3, 4]) } }],
  ],
};

/** Prints a table for each series and returns the figures: median CPU for a delivery, us, by broker and kind of load. */
export async function printGrowth({ brokers, runs, scale }) {
  const results = [];
  const columns = ["burst", "single"].flatMap((kind) => brokers.map((broker) => ({ kind, broker })));
  console.log("Broker CPU, us a delivery. burst: 10 publishers to 1 subscriber, QoS 0; single: 100 pairs, QoS 1, one message for each wake-up.");
  for (const [title, points] of Object.entries(series)) {
    console.log(`\n${title.padEnd(38)}${columns.map(({ kind, broker }) => `${broker} ${kind}`.padStart(20)).join("")}`);
    for (const [label, loads] of points) {
      const cpuMicros = {};
      for (let run = 0; run < runs; run++) {
        for (const { kind, broker } of columns) {
          const measure = traffic({ ...loads[kind], warmUpSeconds: Math.max(0.1, 0.3 * scale), seconds: Math.max(0.1, 0.7 * scale) });
          (cpuMicros[`${broker} ${kind}`] ??= []).push((await measure(broker)).cpuMicros);
        }
      }
      console.log(`  ${label.padEnd(36)}${columns.map(({ kind, broker }) => shown(summary(cpuMicros[`${broker} ${kind}`]).median).padStart(20)).join("")}`);
      results.push({ series: title, point: label, cpuMicros });
    }
  }
  return results;
}
