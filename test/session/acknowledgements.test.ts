import { describe, expect, it } from "vitest";
import { range, SimulatedSession } from "./simulated-session.ts";

describe("an acknowledgement", () => {
  // Packet identifiers whose slot in the window's ring is that of message 1, or that name a message not sent.
  it.each([1 + 64 + 1, 1 + 128 + 1, 1 + 4096 + 1, 1 + 16383])("of identifier %i, never sent, ends no message", async (stranger) => {
    const rig = new SimulatedSession(10);
    const first = rig.attach();
    rig.deliver(30);
    await rig.settle();
    expect(first.topics).toEqual(range(1, 10));
    expect(rig.session.sender?.onPuback(stranger)).toBe(false);
    expect(rig.session.sender?.onPubcomp(stranger)).toBe(false);
    expect(rig.session.sender?.onPubrec(stranger)).toBe(false);
    expect(rig.session.queuedMessages).toBe(30);
    rig.session.detach();
    expect((await rig.drain()).topics).toEqual(range(1, 30));
  });

  it("of a message that waits in the window, not sent yet, ends nothing", async () => {
    const rig = new SimulatedSession(2);
    const peer = rig.attach();
    rig.deliver(5);
    await rig.settle();
    expect(rig.session.sender?.onPuback((peer.packetIds[1] ?? 0) + 1)).toBe(false);
    expect(rig.session.queuedMessages).toBe(5);
  });

  it("of an earlier connection does not widen the window of this one", async () => {
    const rig = new SimulatedSession(10);
    const first = rig.attach();
    rig.deliver(40);
    await rig.settle();
    rig.session.detach();
    await rig.settle();
    rig.session.leaveToDisk();
    const second = rig.attach(); // what it is owed lies on disk and is being read
    for (const packetId of first.packetIds) expect(rig.session.sender?.onPuback(packetId)).toBe(false);
    await rig.settle();
    expect(second.topics).toEqual(range(1, 10));
    expect(second.repeats).toEqual(range(1, 10));
    expect(rig.session.inFlightMessages).toBe(10);
  });

  it("of an earlier connection that comes before the session is attached again counts for nothing", async () => {
    const rig = new SimulatedSession(10);
    const first = rig.attach();
    rig.deliver(40);
    rig.session.detach(); // none of it is on disk yet
    for (const packetId of first.packetIds) expect(rig.session.sender?.onPuback(packetId)).toBeFalsy();
    const second = rig.attach();
    await rig.settle();
    expect(second.topics).toEqual(range(1, 10));
  });

  it("PUBREC of an earlier connection is taken: the peer has the message and must not get it again", async () => {
    const rig = new SimulatedSession(10);
    const first = rig.attach();
    rig.deliver(3, 2);
    await rig.settle();
    expect(first.topics).toEqual(range(1, 3));
    rig.session.detach();
    await rig.settle();
    rig.session.leaveToDisk();
    const second = rig.attach();
    expect(rig.session.sender?.onPubrec(first.packetIds[0] ?? 0)).toBe(true);
    await rig.settle();
    expect(second.topics).toEqual(range(2, 3));
    expect(new Set(second.pubrels)).toEqual(new Set([first.packetIds[0]]));
    expect(rig.session.sender?.onPubcomp(first.packetIds[0] ?? 0)).toBe(true);
    expect(rig.session.sender?.onPubcomp(first.packetIds[0] ?? 0)).toBe(false);
    expect(rig.session.inFlightMessages).toBe(2);
  });
});
