import { expect, it } from "vitest";
import { type Figures, SystemTopics, systemTopics, systemTopicsReference } from "../../src/control/system-topics.ts";
import { StoreFigures } from "../../src/store/figures.ts";

it("doc/system-topics.md is what the table says (update it with -u)", async () => {
  await expect(systemTopicsReference()).toMatchFileSnapshot("../../doc/system-topics.md");
});

const figures = (uptimeMs: number, received: number): Figures => ({
  version: "1.2.3", built: "", uptimeMs, received: { messages: received, bytes: received * 10 }, sent: { messages: 0, bytes: 0 }, droppedMessages: 0,
  losses: { expired: 0, oversized: 0, refused: 0 },
  clients: { connected: 2, disconnected: 3 }, subscriptions: 4, retainedMessages: 5, queued: { messages: 6, bytes: 600 },
  settings: { maxQueuedMessages: Infinity, maxInflightMessages: 10 }, process: { heapBytes: 1, residentBytes: 2, writtenBytes: undefined, maxHeapBytes: 3 },
  store: { state: "healthy", figures: new StoreFigures() },
});

function updated(topics: SystemTopics, now: Figures): Map<string, string> {
  const texts = new Map<string, string>();
  topics.update(now, (topic, text) => texts.set(topic, text));
  return texts;
}

it("every topic has a name of its own", () => {
  expect(new Set(systemTopics.map(({ name }) => name)).size).toBe(systemTopics.length);
});

it("publishes everything that is known at first, then what has changed", () => {
  const topics = new SystemTopics();
  const first = updated(topics, figures(0, 0));
  expect(first.get("$SYS/broker/clients/total")).toBe("5");
  expect(first.get("$SYS/broker/store/messages/count")).toBe("11");
  expect(first.get("$SYS/broker/settings/max_queued_messages")).toBe("0");
  expect([...first.keys()].filter((topic) => /timestamp|written/.test(topic))).toEqual([]);
  expect([...updated(topics, figures(10_000, 50))]).toEqual([
    ["$SYS/broker/uptime", "10 seconds"], ["$SYS/broker/messages/received", "50"], ["$SYS/broker/messages/per second/received", "5"],
    ["$SYS/broker/publish/messages/received", "50"], ["$SYS/broker/bytes/received", "500"], ["$SYS/broker/bytes/per second/received", "50"],
  ]);
});
