import { describe, expect, it } from "vitest";
import { Admission } from "../../src/session/admission.ts";
import type { QueueLimits } from "../../src/session/bounds.ts";
import { message, NO_LIMITS, SessionRig, type RecordingPeer } from "./rig.ts";

function queueing(limits: Partial<QueueLimits> = {}, options: { inflight?: number; durable?: boolean; budgetBytes?: number } = {}): SessionRig {
  const rig = new SessionRig(options);
  rig.session.bounds.limits = { ...NO_LIMITS, queueQoS0: true, ...limits };
  return rig;
}

const topics = (peer: RecordingPeer): string[] => peer.take().map((line) => line.split(" ")[1] ?? "");

/** Acknowledges what comes until nothing does. */
async function drain(rig: SessionRig, peer: RecordingPeer): Promise<string[]> {
  const got: string[] = [];
  for (let idle = 0; idle < 5; idle++) {
    await rig.settle();
    for (const line of peer.take()) {
      const [, topic = "", qos, id = ""] = line.split(" ");
      got.push(topic);
      if (qos === "q1") rig.session.sender?.onPuback(Number(id.slice(2)));
      idle = 0;
    }
  }
  return got;
}

describe("messages of QoS 0 that wait", () => {
  it("for a peer that is away come when it does, in their place among the others, once", async () => {
    const rig = queueing();
    for (const [topic, qos] of [["z1", 0], ["a", 1], ["b", 1], ["z2", 0], ["c", 1], ["d", 1], ["z3", 0], ["z4", 0]] as const) {
      rig.deliver(topic, qos);
      await rig.settle(); // what is stored leaves RAM
    }
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 8, dropped: 0 });
    const peer = rig.attach();
    expect(await drain(rig, peer)).toEqual(["z1", "a", "b", "z2", "c", "d", "z3", "z4"]);
    rig.session.detach();
    expect(await drain(rig, rig.attach())).toEqual([]);
    expect(rig.session.queuedBytes).toBe(0);
  });

  it("do not overtake what waits for room in the window, and hold nothing up themselves", () => {
    const rig = queueing({}, { inflight: 1 });
    const peer = rig.attach();
    rig.deliver("a b", 1);
    rig.deliver("z1", 0);
    rig.deliver("c", 1);
    expect(topics(peer)).toEqual(["a"]);
    rig.session.sender?.onPuback(2);
    expect(topics(peer)).toEqual(["b", "z1"]);
    rig.deliver("z2", 0);
    rig.session.sender?.onPuback(3);
    expect(topics(peer)).toEqual(["c", "z2"]);
    rig.deliver("z3", 0);
    expect(topics(peer)).toEqual(["z3"]);
  });

  it("for a peer that does not read go out when it does", () => {
    const rig = queueing({}, { durable: false });
    const peer = rig.attach();
    peer.congested = true;
    rig.deliver("z1 z2", 0);
    expect(peer.take()).toEqual([]);
    peer.congested = false;
    rig.session.pump();
    expect(peer.take()).toEqual(["PUBLISH z1 q0", "PUBLISH z2 q0"]);
  });

  it("are not on disk: a restart does not bring them back, nor count them", async () => {
    const rig = queueing();
    rig.deliver("z1", 0);
    rig.deliver("a", 1);
    rig.deliver("z2", 0);
    await rig.settle();
    const after = rig.cutPower();
    expect(after.session.queuedMessages).toBe(1);
    expect(await drain(after, after.attach())).toEqual(["a"]);
  });

  it("count against the limits, and give way to the others with drop_oldest", () => {
    const rig = queueing({ maxQueuedMessages: 4, queueFull: "drop_oldest" });
    rig.deliver("z1 z2 z3 z4 z5", 0);
    expect(rig.session.bounds.dropped).toBe(1);
    rig.deliver("a b c", 1);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 4, dropped: 4 });
    rig.deliver("d", 1);
    rig.deliver("z6", 0);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 4, dropped: 6 });
    const peer = rig.attach(100);
    expect(topics(peer)).toEqual(["a", "b"]);
  });

  it("with drop_newest are dropped when the queue is full", () => {
    const rig = queueing({ maxQueuedMessages: 2 });
    rig.deliver("a", 1);
    rig.deliver("z1", 0);
    expect(rig.session.deliver(message("z2"), 0, false)).toBe(Admission.dropped);
    expect(rig.session.deliver(message("b"), 1, false)).toBe(Admission.dropped);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 2, dropped: 2 });
  });

  it("are dropped when they are too old", async () => {
    const rig = queueing({ maxQueuedAgeMs: 10_000 });
    for (const [topic, seconds] of [["z1", 0], ["z2", 9]] as const) {
      const waiting = message(topic);
      waiting.receivedMs = rig.clock.nowMs() + seconds * 1_000;
      rig.session.deliver(waiting, 0, false);
    }
    await rig.passUntil(rig.clock.nowMs() + 12_000);
    expect(topics(rig.attach())).toEqual(["z2"]);
    expect(rig.session.bounds.dropped).toBe(1);
  });

  it("are dropped, counted, when the RAM of all queues is used up", async () => {
    const rig = queueing({}, { budgetBytes: 10_000 });
    rig.deliver("z1 z2", 0);
    rig.session.deliver(message("z3", "x".repeat(20_000)), 0, false);
    expect(rig.session.queuedMessages).toBe(3);
    rig.deliver("z4", 0);
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 3, dropped: 1 });
    rig.deliver("a", 1);
    await rig.settle();
    expect({ queued: rig.session.queuedMessages, dropped: rig.session.bounds.dropped }).toEqual({ queued: 1, dropped: 4 });
    expect(await drain(rig, rig.attach())).toEqual(["a"]);
  });

  it("go with their session", () => {
    const totals = { messages: 0, bytes: 0 };
    const rig = new SessionRig({ totals });
    rig.session.bounds.limits = { ...NO_LIMITS, queueQoS0: true };
    rig.deliver("z1 z2", 0);
    expect(totals.messages).toBe(2);
    rig.session.discard();
    expect(totals).toEqual({ messages: 0, bytes: 0 });
  });
});
