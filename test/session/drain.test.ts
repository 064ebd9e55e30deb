import { describe, expect, it } from "vitest";
import { NO_LIMITS, SessionRig, type RecordingPeer } from "./rig.ts";

const MESSAGES = 2_000;

function backlog(messagesPerSecond: number, bytesPerSecond = Infinity, inflight = 100): SessionRig {
  const rig = new SessionRig({ inflight, queued: Infinity });
  rig.session.drainLimits = { messagesPerSecond, bytesPerSecond };
  for (let number = 1; number <= MESSAGES; number++) rig.deliver(String(number).padStart(5, "0"), 1);
  return rig;
}

/** Lets `ms` pass and acknowledges what comes; returns the topics, and when each came. */
async function take(rig: SessionRig, peer: RecordingPeer, ms: number): Promise<{ topic: string; atMs: number }[]> {
  const taken: { topic: string; atMs: number }[] = [];
  const endMs = rig.clock.nowMs() + ms;
  rig.clock.after(ms, () => undefined);
  while (rig.clock.nowMs() < endMs) {
    await new Promise((resolve) => setImmediate(resolve));
    rig.clock.step();
    for (const line of peer.take()) {
      const [, topic = "", , id = ""] = line.split(" ");
      taken.push({ topic, atMs: rig.clock.nowMs() });
      rig.session.sender?.onPuback(Number(id.slice(2)));
    }
  }
  return taken;
}

describe("drain_rate", () => {
  it.each([500, 50, 5])("of %s messages a second is what a backlog gets, in order", async (rate) => {
    const rig = backlog(rate);
    await rig.settle();
    const taken = await take(rig, rig.attach(), 3_000);
    expect(taken.length).toBeGreaterThanOrEqual(rate * 2.7);
    expect(taken.length).toBeLessThanOrEqual(rate * 3.1 + 1);
    expect(taken.map(({ topic }) => Number(topic))).toEqual(taken.map((_, index) => index + 1));
  });

  it("in bytes holds whatever the messages' sizes, even for one that is larger than it", async () => {
    const rig = backlog(Infinity, 1_000);
    await rig.settle();
    const taken = await take(rig, rig.attach(), 3_000);
    expect(taken.length * 10).toBeGreaterThanOrEqual(2_700);
    expect(taken.length * 10).toBeLessThanOrEqual(3_200);
  });

  it("is no limit without a backlog, but counts what goes at once", async () => {
    const rig = new SessionRig({ inflight: 100 });
    rig.session.drainLimits = { messagesPerSecond: 10, bytesPerSecond: Infinity };
    const peer = rig.attach();
    for (let number = 0; number < 90; number++) rig.deliver(`live${number}`, 1);
    expect(peer.take().length).toBe(90);
  });

  it("lets a more urgent lane go first, and what comes on it go at once", async () => {
    const rig = backlog(100);
    await rig.settle();
    const peer = rig.attach();
    await take(rig, peer, 1_000);
    rig.deliver("live1", 1, 1);
    expect(peer.take()).toEqual(["PUBLISH live1 q1 id16386"]);
    rig.session.sender?.onPuback(16386);
    const taken = await take(rig, peer, 1_000);
    expect(taken.length).toBeGreaterThan(80);
    expect(taken.length).toBeLessThanOrEqual(110);
  });

  it("gives a backlog what live traffic leaves", async () => {
    const rig = backlog(100);
    await rig.settle();
    const peer = rig.attach();
    let live = 0;
    const tick = (): void => {
      rig.deliver(`live${live++}`, 1, 1);
      if (live < 150) rig.clock.after(20, tick);
    };
    tick();
    const taken = await take(rig, peer, 3_000);
    expect(taken.filter(({ topic }) => topic.startsWith("live")).length).toBeGreaterThanOrEqual(149);
    expect(taken.length).toBeGreaterThan(260);
    expect(taken.length).toBeLessThanOrEqual(320);
  });

  it("stops with the connection", async () => {
    const rig = backlog(100);
    await rig.settle();
    const first = rig.attach();
    const before = (await take(rig, first, 500)).length;
    rig.session.detach();
    expect((await take(rig, first, 500)).length).toBe(0);
    const second = await take(rig, rig.attach(), 1_000);
    expect(Number(second[0]?.topic)).toBe(before + 1);
  });

  it("holds for messages of QoS 0 that have waited", async () => {
    const rig = new SessionRig({ queued: Infinity });
    rig.session.bounds.limits = { ...NO_LIMITS, queueQoS0: true };
    rig.session.drainLimits = { messagesPerSecond: 100, bytesPerSecond: Infinity };
    for (let number = 0; number < 500; number++) rig.deliver(`z${number}`, 0);
    const taken = await take(rig, rig.attach(), 1_000);
    expect(taken.length).toBeGreaterThan(80);
    expect(taken.length).toBeLessThanOrEqual(115);
  });
});
