import { describe, expect, it } from "vitest";
import { Admission } from "../../src/session/admission.ts";
import type { QueueFull, QueueLimits } from "../../src/session/bounds.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { decodeProgress } from "../../src/queue/progress.ts";
import { queueKey } from "../../src/store/keys.ts";
import { message, NO_LIMITS, type RecordingPeer, SessionRig } from "./rig.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const RECORD_OVERHEAD_BYTES = 23;

function limited(limits: Partial<QueueLimits>, options: { inflight?: number; durable?: boolean } = {}): SessionRig {
  const rig = new SessionRig(options);
  rig.session.bounds.limits = { ...NO_LIMITS, ...limits };
  return rig;
}

/** Attaches a peer that acknowledges everything; returns the topics that it got. */
async function drain(rig: SessionRig): Promise<string[]> {
  const topics: string[] = [];
  const peer = rig.attach();
  for (let idle = 0; idle < 5; idle++) {
    await rig.settle();
    for (const line of peer.take()) {
      const [, topic = "", , id = ""] = line.split(" ");
      topics.push(topic);
      rig.session.sender?.onPuback(Number(id.slice(2)));
      idle = 0;
    }
  }
  rig.session.detach();
  await rig.settle();
  return topics;
}

const numbers = (from: number, to: number): string => Array.from({ length: to - from + 1 }, (_, index) => `t${from + index}`).join(" ");

describe("max_queued_messages", () => {
  it("with drop_newest keeps the oldest and drops what comes", async () => {
    const rig = limited({ maxQueuedMessages: 5, queueFull: "drop_newest" });
    rig.deliver(numbers(1, 12), 1);
    expect(rig.session.deliver(message("t13"), 1, false)).toBe(Admission.dropped);
    expect(rig.session.bounds.dropped).toBe(8);
    expect(await drain(rig)).toEqual(numbers(1, 5).split(" "));
  });

  it("with drop_oldest keeps the newest", async () => {
    const rig = limited({ maxQueuedMessages: 5, queueFull: "drop_oldest" });
    rig.deliver(numbers(1, 12), 1);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 5, dropped: 7 });
    expect(await drain(rig)).toEqual(numbers(8, 12).split(" "));
  });

  it("with drop_oldest holds though all of the queue is on disk alone", async () => {
    const rig = limited({ maxQueuedMessages: 50, queueFull: "drop_oldest" });
    for (let number = 1; number <= 200; number++) {
      rig.deliver(`t${number}`, 1);
      await rig.settle();
      expect(rig.session.queuedMessages).toBe(Math.min(number, 50));
    }
    expect(await drain(rig)).toEqual(numbers(151, 200).split(" "));
  });

  it("with drop_oldest keeps the newest where the limit has been set far below what is on disk", async () => {
    const before = limited({});
    before.deliver(numbers(1, 2_000), 1);
    await before.settle();
    const rig = before.cutPower();
    rig.session.bounds.limits = { ...NO_LIMITS, maxQueuedMessages: 50, queueFull: "drop_oldest" };
    rig.deliver(numbers(2_001, 2_005), 1);
    expect(rig.session.queuedMessages).toBe(2_005);
    await rig.settle();
    expect(rig.session.queuedMessages).toBe(50);
    expect(await drain(rig)).toEqual(numbers(1_956, 2_005).split(" "));
  });

  it("with drop_oldest takes no more than a thousand beyond the limit while the oldest is read", async () => {
    const before = limited({});
    before.deliver(numbers(1, 2_000), 1);
    await before.settle();
    const rig = before.cutPower();
    rig.session.bounds.limits = { ...NO_LIMITS, maxQueuedMessages: 50, queueFull: "drop_oldest" };
    rig.deliver(numbers(2_001, 4_000), 1);
    expect(rig.session.queuedMessages).toBe(3_000);
    await rig.settle();
    expect(await drain(rig)).toEqual(numbers(2_951, 3_000).split(" "));
  });

  it("does not touch what was sent: the message behind it goes", async () => {
    const rig = limited({ maxQueuedMessages: 5, queueFull: "drop_oldest" }, { inflight: 2 });
    const peer = rig.attach();
    rig.deliver(numbers(1, 12), 1);
    expect(peer.take()).toEqual(["PUBLISH t1 q1 id2", "PUBLISH t2 q1 id3"]);
    expect(rig.session.queuedMessages).toBe(7);
    rig.session.sender?.onPuback(2);
    expect(peer.take()).toEqual(["PUBLISH t8 q1 id9"]);
    rig.session.detach();
    await rig.settle();
    const again = rig.attach();
    await rig.settle();
    expect(again.take()).toEqual(["PUBLISH t2 q1 id3 dup", "PUBLISH t8 q1 id9 dup"]);
  });

  it("drops what comes when all that is queued may have been sent", async () => {
    const before = limited({}, { inflight: 2 });
    before.attach();
    before.deliver(numbers(1, 5), 1);
    await before.settle();
    const rig = before.cutPower();
    rig.session.bounds.limits = { ...NO_LIMITS, maxQueuedMessages: 5, queueFull: "drop_oldest" };
    await rig.settle();
    rig.deliver("t6", 1);
    await rig.settle();
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 5, dropped: 1 });
    expect(await drain(rig)).toEqual(numbers(1, 5).split(" "));
  });

  it("removes the oldest in the group that adds the newest, whatever a power cut leaves", async () => {
    const rig = limited({ maxQueuedMessages: 3, queueFull: "drop_oldest" });
    rig.deliver(numbers(1, 3), 1);
    await rig.settle();
    rig.deliver("t4", 1);
    await rig.settle();
    for (let number = 5; number < 40; number++) {
      rig.deliver(`t${number}`, 1);
      for (let step = 0; step < number % 4; step++) rig.clock.step();
      const after = new SessionRig({ disk: new Map(rig.store.written), clock: rig.clock });
      const topics = await drain(after);
      expect(topics.length).toBeGreaterThanOrEqual(3);
      const first = Number(topics[0]?.slice(1));
      expect(topics).toEqual(numbers(first, first + topics.length - 1).split(" "));
    }
  });

  it("lets the less urgent lane give way to the more urgent one, never the other way", () => {
    const rig = limited({ maxQueuedMessages: 4, queueFull: "drop_oldest" });
    rig.deliver("low1 low2", 1, 2);
    rig.deliver("high1 high2", 1, 1);
    rig.deliver("high3", 1, 1);
    rig.deliver("low3", 1, 2);
    rig.deliver("high4 high5", 1, 1);
    const peer = rig.attach();
    expect(peer.take().map((line) => line.split(" ")[1])).toEqual(["high2", "high3"]);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 4, dropped: 4 });
  });

  it("is told of at 80 %, and when there are fewer again", async () => {
    const rig = limited({ maxQueuedMessages: 5 });
    rig.deliver(numbers(1, 12), 1);
    expect(rig.levels).toEqual([true]);
    await drain(rig);
    expect(rig.levels).toEqual([true, false]);
  });

  it("leaves a run of dropped messages behind those that are in flight on no disk", async () => {
    const rig = limited({ maxQueuedMessages: 100, queueFull: "drop_oldest" }, { inflight: 2 });
    const peer = rig.attach();
    for (let number = 1; number <= 1_000; number++) {
      rig.session.deliver(message(`t${number}`, "x".repeat(1_000)), 1, false);
      if (number % 20 === 0) await rig.settle();
    }
    await rig.settle();
    const record = rig.store.written.get(queueKey(7, 0).toString("latin1")) ?? Buffer.alloc(0);
    expect(decodeProgress(record)).toMatchObject({ ackedBelow: 1, messages: 102, dropped: [{ from: 3, to: 901 }] });
    const pages = [...rig.store.written].filter(([key]) => key.startsWith("z"));
    expect(pages.reduce((sum, [, page]) => sum + page.length, 0)).toBeLessThan(2 * 102 * 1_030);
    peer.take();
    const after = rig.cutPower();
    expect(after.session.queuedMessages).toBe(102);
    expect(await drain(after)).toEqual(["t1", "t2", ...numbers(901, 1_000).split(" ")]);
    expect([...after.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
    expect(after.lost).toBe(0);
  });
});

describe("max_queued_bytes", () => {
  const size = (topic: string): number => RECORD_OVERHEAD_BYTES + 2 * topic.length;

  it("bounds the size of what waits, not of what is in flight", async () => {
    const rig = limited({ maxQueuedBytes: 3 * size("t1"), queueFull: "drop_newest" });
    rig.attach();
    rig.deliver(numbers(1, 9), 1);
    expect({ queued: rig.session.queuedMessages, inFlight: rig.session.inFlightMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 5, inFlight: 2, dropped: 4 });
    rig.session.detach();
    expect(await drain(rig)).toEqual(numbers(1, 5).split(" "));
  });

  it("with drop_oldest drops as many as the new one needs, and none for one that can't ever be kept", async () => {
    const rig = limited({ maxQueuedBytes: 200, queueFull: "drop_oldest" });
    rig.deliver(numbers(1, 7), 1);
    rig.session.deliver(message("big", "x".repeat(100)), 1, false);
    rig.session.deliver(message("bigger", "x".repeat(300)), 1, false);
    expect(rig.session.queuedBytes).toBeLessThanOrEqual(200);
    expect(await drain(rig)).toEqual(["t6", "t7", "big"]);
  });
});

describe("max_queued_age", () => {
  it("drops what was never sent for so long, wherever it lies", async () => {
    const rig = limited({ maxQueuedAgeMs: 100_000 }, { inflight: 2 });
    const startMs = rig.clock.nowMs();
    rig.attach();
    for (let number = 1; number <= 20; number++) rig.deliverAt(startMs + number * 10_000, `t${number}`);
    await rig.settle();
    rig.session.detach();
    await rig.settle();
    await rig.passUntil(startMs + 250_500);
    rig.session.check();
    await rig.settle();
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 7, dropped: 13 });
    expect(await drain(rig)).toEqual(["t1", "t2", ...numbers(16, 20).split(" ")]);
  });

  it("is looked at before anything is sent", async () => {
    const rig = limited({ maxQueuedAgeMs: 10_000 });
    const startMs = rig.clock.nowMs();
    rig.deliverAt(startMs, "old");
    rig.deliverAt(startMs + 9_000, "young");
    await rig.settle();
    await rig.passUntil(startMs + 12_000);
    expect(await drain(rig)).toEqual(["young"]);
    expect(rig.session.bounds.dropped).toBe(1);
  });
});

describe("the limit of all clients together", () => {
  it("hold though the messages that are to go are on disk alone", async () => {
    const [totals, clock] = [{ messages: 0, bytes: 0 }, new VirtualClock()];
    const rigs = [1, 2, 3].map(() => new SessionRig({ totals, clock }));
    for (const { session } of rigs) session.bounds.limits = { ...NO_LIMITS, maxTotalQueuedMessages: 30, queueFull: "drop_oldest" };
    for (let number = 1; number <= 100; number++) {
      for (const rig of rigs) rig.deliver(`t${number}`, 1);
      for (const rig of rigs) await rig.settle();
      expect(totals.messages).toBeLessThanOrEqual(30);
    }
    for (const rig of rigs) expect((await drain(rig)).length).toBeGreaterThan(0);
  });

  it("costs no queue a message because others hold too much", async () => {
    const totals = { messages: 0, bytes: 0 };
    const [one, other] = [new SessionRig({ totals }), new SessionRig({ totals })];
    for (const { session } of [one, other]) session.bounds.limits = { ...NO_LIMITS, maxTotalQueuedMessages: 8, queueFull: "drop_oldest" };
    one.deliver(numbers(1, 5), 1);
    await one.settle();
    for (let number = 1; number <= 8; number++) other.session.queueRetained(message(`r${number}`), 1); // they do not count when they come
    expect(totals.messages).toBe(13);
    expect(await drain(one)).toEqual(numbers(1, 5).split(" "));
  });

  it("holds for each queue by its own rule, and frees what is acknowledged or ends", async () => {
    const totals = { messages: 0, bytes: 0 };
    const [one, other] = [new SessionRig({ totals }), new SessionRig({ totals })];
    for (const { session } of [one, other]) session.bounds.limits = { ...NO_LIMITS, maxTotalQueuedMessages: 6 };
    one.deliver(numbers(1, 5), 1);
    other.deliver(numbers(1, 5), 1);
    expect([one.session.queuedMessages, other.session.queuedMessages]).toEqual([5, 1]);
    expect(await drain(one)).toEqual(numbers(1, 5).split(" "));
    other.deliver(numbers(2, 9), 1);
    expect(other.session.queuedMessages).toBe(6);
    other.session.discard();
    expect(totals).toEqual({ messages: 0, bytes: 0 });
  });
});

describe("max_queue_memory, for a session that ends with its connection", () => {
  const MESSAGES = 100;
  const BUDGET_BYTES = 1 << 20;

  /** Its peer takes two messages and acknowledges none, of 100 KB each. */
  function flooded(queueFull: QueueFull, queued: number, budget = new MemoryBudget(BUDGET_BYTES)): { rig: SessionRig; peer: RecordingPeer } {
    const rig = new SessionRig({ durable: false, inflight: 2, queued, budget });
    rig.session.bounds.limits = { ...rig.limits, queueFull };
    const peer = rig.attach();
    for (let number = 0; number < MESSAGES; number++) rig.session.deliver(message(`t${number}`, "x".repeat(100_000)), 1, false);
    return { rig, peer };
  }

  it("is all that it may hold where messages are limited, and what comes is dropped", () => {
    const budget = new MemoryBudget(BUDGET_BYTES);
    const { rig } = flooded("drop_newest", 1000, budget);
    expect(budget.usedBytes).toBeLessThan(BUDGET_BYTES + 300_000);
    expect(rig.session.queuedMessages + rig.session.bounds.dropped).toBe(MESSAGES);
  });

  it("with drop_oldest leaves the newest", () => {
    const { rig, peer } = flooded("drop_oldest", 1000);
    expect(rig.session.queuedMessages + rig.session.bounds.dropped).toBe(MESSAGES);
    const sent: string[] = [];
    for (let lines = peer.take(); lines.length > 0; lines = peer.take()) {
      for (const line of lines) rig.session.sender?.onPuback(Number(/id(\d+)/.exec(line)?.[1]));
      sent.push(...lines);
    }
    expect(sent.at(-1)).toContain("PUBLISH t99 ");
  });

  it("is no limit without one of messages", () => {
    expect(flooded("drop_newest", Infinity).rig.session.bounds.dropped).toBe(0);
  });

  it("costs none of those that hold little when others have used it up", () => {
    const budget = new MemoryBudget(BUDGET_BYTES);
    flooded("drop_newest", 1000, budget);
    const rig = new SessionRig({ durable: false, inflight: 2, budget });
    rig.attach();
    rig.deliver(numbers(1, 100), 1);
    expect(rig.session.bounds.dropped).toBe(0);
  });
});
