import { describe, expect, it } from "vitest";
import { range, SimulatedSession } from "./simulated-session.ts";

describe("after a power cut DUP is set", () => {
  it("on all that was sent, though more than a window was and its acknowledgements are lost", async () => {
    const rig = new SimulatedSession(4);
    const first = rig.attach();
    rig.deliver(10);
    for (const { packetId } of first.sent.slice(0, 2)) rig.session.sender?.onPuback(packetId);
    while (rig.store.stored === 0) rig.clock.step(); // the group with the messages is on disk
    for (let answered = 2; answered < first.sent.length; answered++) rig.session.sender?.onPuback(first.packetIds[answered] ?? 0);
    expect(first.topics).toEqual(range(1, 10));
    const second = await rig.cutPower().drain();
    expect(second.topics).toEqual(range(3, 10));
    expect(second.repeats).toEqual(second.topics);
  });

  it("on what was sent from a stored backlog", async () => {
    const rig = new SimulatedSession(4);
    rig.deliver(20);
    await rig.settle();
    rig.session.detach();
    const first = rig.attach();
    for (let answered = 0; answered < 12; ) {
      await new Promise((resolve) => setImmediate(resolve));
      if (answered < first.sent.length) rig.session.sender?.onPuback(first.packetIds[answered++] ?? 0);
      else rig.clock.step();
    }
    expect(first.topics).toEqual(range(1, 16)); // the power fails before it is on disk that 12 are done
    const second = await rig.cutPower().drain();
    expect(second.topics).toEqual(range(1, 20));
    expect(second.repeats).toEqual(expect.arrayContaining(first.topics));
  });

  it("not on a backlog of which nothing was sent", async () => {
    const rig = new SimulatedSession(4);
    rig.deliver(30);
    await rig.settle();
    const peer = await rig.cutPower().drain();
    expect(peer.topics).toEqual(range(1, 30));
    expect(peer.repeats).toEqual([]);
  });

  it("not on what came after the last connection, nor on what that one had not come to", async () => {
    const rig = new SimulatedSession(4);
    rig.attach();
    rig.deliver(10);
    await rig.settle();
    rig.session.detach();
    rig.deliver(5);
    await rig.settle();
    expect((await rig.cutPower().drain()).repeats).toEqual(range(1, 4));
  });

  it("not on what comes after the start", async () => {
    const before = new SimulatedSession(4);
    before.deliver(3);
    await before.settle();
    const rig = before.cutPower();
    const peer = rig.attach();
    await rig.settle();
    rig.deliver(2);
    await rig.settle();
    for (let answered = 0; answered < peer.sent.length; answered++) rig.session.sender?.onPuback(peer.packetIds[answered] ?? 0);
    expect(peer.sent.length).toBe(5);
    expect(peer.repeats).toEqual([]);
  });
});

describe("a stored message", () => {
  it("goes out when it is on disk that it may have been sent, and at once while that is ahead", async () => {
    const rig = new SimulatedSession(4);
    rig.deliver(3);
    const peer = rig.attach();
    expect(peer.topics).toEqual(range(1, 3)); // nothing of them is on its way to the disk yet
    await rig.settle();
    rig.session.detach();
    rig.deliver(3);
    await rig.settle();
    const second = rig.attach();
    const { stored } = rig.store;
    await rig.settle();
    expect(second.topics).toEqual(range(1, 4));
    expect(rig.store.stored).toBeGreaterThan(stored);
    rig.session.sender?.onPuback(second.packetIds[0] ?? 0);
    expect(second.topics).toEqual(range(1, 5));
  });

  it("of a backlog longer than what one record allows is sent all the same, in order", { timeout: 60_000 }, async () => {
    const rig = new SimulatedSession(1_000);
    rig.deliver(150_000);
    await rig.settle();
    rig.session.detach();
    const peer = await rig.drain();
    expect(peer.topics.length).toBe(150_000);
    expect(peer.repeats).toEqual([]);
    expect(peer.topics.every((topic, index) => topic === String(index + 1))).toBe(true);
    expect(rig.session.queuedMessages).toBe(0);
  });
});

it("a peer that comes while a message is on its way to the disk gets it, at whatever step of the clock", async () => {
  for (let steps = 0; steps < 6; steps++) {
    const rig = new SimulatedSession(4);
    rig.deliver(1);
    for (let step = 0; step < steps; step++) rig.clock.step();
    const peer = rig.attach();
    await rig.settle();
    expect([steps, peer.topics]).toEqual([steps, ["1"]]);
  }
});

it.each(
  [0, 1, 2, 3].flatMap((turns) => [0, 1, 2, 3].map((away) => [turns, away] as const)),
)("a backlog goes out to a peer that goes again %i turns after it came, and is back %i later: before, while or after leave to send is written", async (turns, away) => {
  const rig = new SimulatedSession(4);
  rig.deliver(3);
  await rig.settle();
  const pass = async (count: number): Promise<void> => {
    for (let turn = 0; turn < count; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      rig.clock.step();
    }
  };
  rig.attach();
  await pass(turns);
  rig.session.detach();
  await pass(away);
  const peer = rig.attach();
  await rig.settle();
  expect(peer.topics).toEqual(range(1, 3));
});
