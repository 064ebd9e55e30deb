import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { Admission } from "../../src/session/admission.ts";
import { message, RecordingPeer, SessionRig } from "./rig.ts";

describe("the in-flight window", () => {
  it("lets as many messages out as the limit, the next with each PUBACK", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    rig.deliver("a b c d", 1);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3"]);
    expect(rig.session.inFlightMessages).toBe(2);
    expect(rig.session.sender?.onPuback(3)).toBe(true);
    expect(peer.take()).toEqual(["PUBLISH c q1 id4"]);
    expect(rig.session.sender?.onPuback(2)).toBe(true);
    expect(peer.take()).toEqual(["PUBLISH d q1 id5"]);
    expect(rig.session.sender?.onPuback(4)).toBe(true);
    expect(rig.session.sender?.onPuback(5)).toBe(true);
    expect({ queued: rig.session.queuedMessages, inFlight: rig.session.inFlightMessages }).toEqual({ queued: 0, inFlight: 0 });
  });

  it("is as narrow as the peer asks, and never wider than the limit", () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.deliver("a b c d", 1);
    expect(rig.attach(1).take().length).toBe(1);
    expect(rig.attach(100).take().length).toBe(3);
  });

  it("goes on after a peer had no memory for a message, which it gets over its next connection", () => {
    const rig = new SessionRig({ inflight: 10 });
    const peer = rig.attach();
    const publish = peer.publish.bind(peer);
    peer.publish = () => {
      throw new RangeError("Array buffer allocation failed");
    };
    expect(() => rig.deliver("a", 1)).toThrow(RangeError);
    peer.publish = publish;
    rig.deliver("b c", 1);
    expect(peer.take()).toEqual(["PUBLISH b q1 id3", "PUBLISH c q1 id4"]);
    rig.session.detach();
    expect(rig.attach().take().map((line) => line.replace(" dup", ""))).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3", "PUBLISH c q1 id4"]);
  });

  it("stays shut while the peer does not read", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    peer.congested = true;
    rig.deliver("a b", 1);
    expect(peer.take()).toEqual([]);
    expect(rig.session.deliver(message("zero"), 0, false)).toBe(Admission.dropped);
    peer.congested = false;
    rig.session.pump();
    expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3"]);
  });

  it("is one for all lanes [MQTT-3.3.4-9]: the high one goes first, the low one last, their identifiers apart", () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("low1 low2", 1, 2);
    rig.deliver("normal1 normal2", 1, 0);
    rig.deliver("high1 high2", 1, 1);
    const peer = rig.attach();
    expect(peer.take()).toEqual(["PUBLISH high1 q1 id16386", "PUBLISH high2 q1 id16387"]);
    expect(rig.session.sender?.onPuback(16387)).toBe(true);
    expect(peer.take()).toEqual(["PUBLISH normal1 q1 id2"]);
    rig.deliver("high3", 1, 1);
    expect(peer.take()).toEqual([]);
    for (const id of [2, 16386, 16388, 3, 32770, 32771]) expect(rig.session.sender?.onPuback(id)).toBe(true);
    expect(peer.take()).toEqual(["PUBLISH high3 q1 id16388", "PUBLISH normal2 q1 id3", "PUBLISH low1 q1 id32770", "PUBLISH low2 q1 id32771"]);
  });

  it("does not take acknowledgements of identifiers that are not in use", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    rig.deliver("a b", 1);
    for (const id of [1, 4, 16386, 65535]) expect(rig.session.sender?.onPuback(id)).toBe(false);
    expect(rig.session.sender?.onPubcomp(2)).toBe(false);
    expect(rig.session.sender?.onPuback(2)).toBe(true);
    expect(rig.session.sender?.onPuback(2)).toBe(false);
    expect(rig.session.queuedMessages).toBe(1);
    expect(peer.take().length).toBe(2);
  });

  it.each([true, false])("does not take the answer to another QoS for one: PUBREC ends nothing of QoS 1, PUBACK nothing of QoS 2 [MQTT-4.3.3-4] (durable: %s)", async (durable) => {
    const rig = new SessionRig({ durable });
    const peer = rig.attach();
    rig.deliver("once", 2);
    await rig.settle();
    expect(rig.session.sender?.onPuback(2)).toBe(false);
    rig.session.detach();
    const again = rig.attach();
    await rig.settle();
    expect(peer.take()).toEqual(["PUBLISH once q2 id2"]);
    if (durable) expect(again.take()).toEqual(["PUBLISH once q2 id2 dup"]);
    const id = durable ? 2 : 3;
    if (!durable) rig.deliver("once", 2);
    expect(rig.session.sender?.onPuback(id)).toBe(false);
    expect(rig.session.sender?.onPubrec(id)).toBe(true);
    expect(rig.session.sender?.onPubcomp(id)).toBe(true);
    rig.deliver("least", 1);
    await rig.settle();
    expect(rig.session.sender?.onPubrec(id + 1)).toBe(false);
    expect(rig.session.sender?.onRefused(id + 1)).toBe(false);
    expect(rig.session.sender?.onPuback(id + 1)).toBe(true);
  });

  it("sends with the QoS that the peer takes at most, and takes the answer to that", async () => {
    const rig = new SessionRig({ inflight: 8 });
    const first = rig.attach();
    rig.deliver("a", 2);
    rig.deliver("b", 2);
    rig.deliver("c", 1);
    await rig.settle();
    expect(first.take()).toEqual(["PUBLISH a q2 id2", "PUBLISH b q2 id3", "PUBLISH c q1 id4"]);
    expect(rig.session.sender?.onPubrec(2)).toBe(true);
    rig.session.detach();
    const second = rig.attach(100, 1);
    await rig.settle();
    expect(second.take().slice(1)).toEqual(["PUBLISH b q1 id3 dup", "PUBLISH c q1 id4 dup"]);
    expect(rig.session.sender?.onPubrec(3)).toBe(false);
    expect(rig.session.sender?.onPuback(3)).toBe(true);
    expect(rig.session.sender?.onPubcomp(2)).toBe(true);
    rig.session.detach();
    const third = rig.attach(100, 0);
    rig.deliver("d", 2);
    await rig.settle();
    expect(third.take()).toEqual(["PUBLISH c q0", "PUBLISH d q0"]);
    expect(rig.session.queuedMessages).toBe(0);
  });

  it.each([1, 2] as const)("keeps no identifier for what goes with QoS 0 to a peer that takes no more (QoS %i, session of one connection)", (qos) => {
    const rig = new SessionRig({ durable: false, inflight: 2 });
    const peer = rig.attach(2, 0);
    for (const topic of ["a", "b", "c", "d"]) rig.deliver(topic, qos);
    expect(peer.take()).toEqual(["PUBLISH a q0", "PUBLISH b q0", "PUBLISH c q0", "PUBLISH d q0"]);
    expect(rig.session.queuedMessages).toBe(0);
  });

  it("does not end a message for the acknowledgement of an identifier eight places away", () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.attach();
    rig.deliver("a", 1);
    expect(rig.session.sender?.onPuback(2 + 8)).toBe(false);
    expect(rig.session.queuedMessages).toBe(1);
  });
});

describe("packet identifiers", () => {
  it("are used again after 16384 messages, not before", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    const seen = new Set<string>();
    for (let number = 1; number <= 16384; number++) {
      rig.deliver("a", 1);
      const [line = ""] = peer.take();
      seen.add(line);
      expect(rig.session.sender?.onPuback(Number(/id(\d+)/.exec(line)?.[1]))).toBe(true);
    }
    expect(seen.size).toBe(16384);
    rig.deliver("a", 1);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2"]);
  });

  it("of unacknowledged messages are the same after a power cut", async () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    rig.deliver("a b", 1);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3"]);
    rig.session.sender?.onPuback(2);
    rig.deliver("c", 1);
    await rig.settle();
    const after = rig.cutPower();
    const next = after.attach();
    await after.settle();
    expect(next.take()).toEqual(["PUBLISH b q1 id3 dup", "PUBLISH c q1 id4 dup"]);
  });
});

describe("a new connection", () => {
  it("gets what is unacknowledged again, with DUP, the same identifiers, in order, and then the rest [MQTT-4.4.0-1]", () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b c d", 1);
    rig.session.sender?.onPuback(3);
    const peer = rig.attach();
    expect(peer.take()).toEqual(["PUBLISH a q1 id2 dup", "PUBLISH c q1 id4 dup", "PUBLISH d q1 id5 dup"]);
    rig.deliver("e", 1);
    rig.session.sender?.onPuback(2);
    expect(peer.take()).toEqual(["PUBLISH e q1 id6"]);
  });

  it("gets it from the disk, when it has been left there", async () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b c d", 1);
    await rig.settle();
    rig.session.detach();
    rig.session.leaveToDisk();
    const peer = rig.attach();
    expect(peer.take()).toEqual([]);
    await rig.settle();
    expect(peer.take()).toEqual(["PUBLISH a q1 id2 dup", "PUBLISH b q1 id3 dup", "PUBLISH c q1 id4 dup"]);
  });

  it("that ends before it has come to what an earlier one began leaves that open", async () => {
    const before = new SessionRig({ inflight: 3 });
    before.attach();
    before.deliver("a b", 2);
    await before.settle();
    before.session.sender?.onPubrec(2);
    await before.settle();
    const rig = before.cutPower({ inflight: 3 });
    const peer = rig.attach();
    expect(peer.take()).toEqual([]); // it is read from the disk first
    expect(rig.session.leavesExchanges).toBe(true);
    rig.session.detach();
    rig.attach();
    await rig.settle();
    rig.session.sender?.onPubcomp(2);
    expect(rig.session.leavesExchanges).toBe(true);
    rig.session.sender?.onPubrec(3);
    await rig.settle();
    rig.session.sender?.onPubcomp(3);
    expect(rig.session.leavesExchanges).toBe(false);
    rig.session.detach();
    rig.deliver("c", 2);
    expect(rig.session.leavesExchanges).toBe(false);
  });

  it("with a smaller window gets the rest of the old one later, DUP set", () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b c d", 1);
    const peer = rig.attach(1);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2 dup"]);
    for (const id of [2, 3, 4]) rig.session.sender?.onPuback(id);
    expect(peer.take()).toEqual(["PUBLISH b q1 id3 dup", "PUBLISH c q1 id4 dup", "PUBLISH d q1 id5"]);
  });

  it("has the window of a limit that was raised meanwhile, and knows where the messages of the old one stand", async () => {
    const rig = new SessionRig({ inflight: 1 });
    rig.deliver("a b c", 2);
    await rig.settle();
    const before = rig.attach();
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    await rig.settle();
    expect(before.take()).toEqual(["PUBLISH a q2 id2", "62020002 after 3"]);
    rig.session.detach();
    Object.assign(rig.limits, { maxInflightMessages: 100 });
    rig.deliver(Array.from({ length: 50 }, (_, index) => `m${index}`).join(" "), 1);
    await rig.settle();
    const peer = rig.attach();
    await rig.settle();
    const sent = peer.take();
    expect(sent.slice(0, 3)).toEqual(["62020002 after 3", "PUBLISH b q2 id3", "PUBLISH c q2 id4"]);
    expect(sent.length).toBe(3 + 50);
    rig.session.sender?.onPuback(5);
    rig.session.sender?.onPubcomp(2);
    expect({ inFlight: rig.session.inFlightMessages, queued: rig.session.queuedMessages }).toEqual({ inFlight: 51, queued: 51 });
  });

  it("whose peer acknowledges at once what its last connection brought has the window it asked for", () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b c d e f g", 1);
    const peer = rig.attach(1);
    for (const id of [3, 4]) expect(rig.session.sender?.onPuback(id)).toBe(false);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2 dup"]);
    expect(rig.session.inFlightMessages).toBe(1);
  });

  it("does not hold up what comes in between, and what comes after it is at the end", () => {
    const rig = new SessionRig();
    rig.deliver("a b", 1);
    rig.attach();
    rig.session.detach();
    rig.deliver("c", 1);
    expect(rig.attach().take()).toEqual(["PUBLISH a q1 id2 dup", "PUBLISH b q1 id3 dup"]);
    expect(rig.session.queuedMessages).toBe(3);
  });

  it("of a peer that has no session gets everything as new", async () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b", 2);
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    rig.session.detach();
    await rig.settle();
    rig.session.forgetPeer();
    const peer = rig.attach();
    await rig.settle();
    expect(peer.take()).toEqual(["PUBLISH a q2 id2", "PUBLISH b q2 id3"]);
  });

  it("of a peer that has no session waits until that is on disk before it gets what had got PUBREC, and a power cut does not undo it", async () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b", 2);
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    rig.session.detach();
    await rig.settle();
    const group = rig.session.forgetPeer();
    expect(group).toBeGreaterThan(rig.store.stored);
    const peer = rig.attach();
    while (rig.store.stored < group) {
      expect(peer.take()).toEqual([]);
      rig.clock.step();
      await new Promise((resolve) => setImmediate(resolve));
    }
    const after = rig.cutPower({ inflight: 3 });
    const next = after.attach();
    await after.settle();
    expect(next.take().map((line) => line.replace(" dup", ""))).toEqual(["PUBLISH a q2 id2", "PUBLISH b q2 id3"]);
  });
});

describe("a QoS 2 message", () => {
  it("goes out when its group is stored, and not before a message that waits", async () => {
    const rig = new SessionRig({ inflight: 3 });
    const peer = rig.attach();
    rig.deliver("a", 2);
    rig.deliver("b", 1);
    expect(peer.take()).toEqual([]);
    await rig.settle();
    expect(peer.take()).toEqual(["PUBLISH a q2 id2", "PUBLISH b q1 id3"]);
  });

  it("gets PUBREL when the note of its PUBREC is stored, and ends with PUBCOMP", async () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    rig.deliver("a", 2);
    await rig.settle();
    peer.take();
    expect(rig.session.sender?.onPubcomp(2)).toBe(false);
    const { stored } = rig.store;
    expect(rig.session.sender?.onPubrec(2)).toBe(true);
    expect(peer.take()).toEqual([`62020002 after ${stored + 1}`]);
    expect(rig.session.sender?.onPuback(2)).toBe(false);
    expect(rig.session.queuedMessages).toBe(1);
    expect(rig.session.sender?.onPubcomp(2)).toBe(true);
    expect(rig.session.queuedMessages).toBe(0);
  });

  it("whose PUBREC is repeated gets PUBREL again, behind the same note", async () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    rig.deliver("a", 2);
    await rig.settle();
    peer.take();
    rig.session.sender?.onPubrec(2);
    expect(rig.session.sender?.onPubrec(2)).toBe(false);
    const [first, second] = peer.take();
    expect(second).toBe(first);
  });

  it("that is not known gets PUBREL all the same, so that the peer can finish", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    expect(rig.session.sender?.onPubrec(77)).toBe(false);
    expect(peer.take()).toEqual(["6202004d after 0"]);
  });

  it.each(["connection", "start"])("after PUBREC gets PUBREL, not PUBLISH, on the next %s", async (next) => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b", 2);
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    await rig.settle();
    rig.session.detach();
    const again = next === "start" ? rig.cutPower({ inflight: 3 }) : rig;
    const peer = again.attach();
    await again.settle();
    const lines = peer.take();
    expect(lines[0]).toMatch(/^62020002 after \d+$/);
    expect(lines.slice(1)).toEqual(["PUBLISH b q2 id3 dup"]);
    expect(again.session.sender?.onPubcomp(2)).toBe(true);
    expect(again.session.queuedMessages).toBe(1);
  });

  it("that its peer may have and takes no more, as it is too large by now, gets PUBREL: the peer would hide a later message behind its identifier", async () => {
    const rig = new SessionRig({ inflight: 3 });
    rig.attach();
    rig.deliver("a b", 2);
    await rig.settle();
    rig.session.detach();
    rig.deliver("c", 2);
    await rig.settle();
    const peer = new RecordingPeer();
    for (const topic of ["a", "c"]) peer.tooLarge.add(topic);
    rig.session.attach(peer, 3);
    await rig.settle();
    expect(peer.take().map((line) => line.replace(/ after .*/, ""))).toEqual(["62020002", "PUBLISH b q2 id3 dup"]);
    expect(rig.session.queuedMessages).toBe(1);
    expect(rig.session.bounds.oversized).toBe(2);
  });

  it("that is ended with PUBREL on a connection which breaks before that may leave has it sent on the next one, once", async () => {
    const rig = new SessionRig();
    rig.deliver("a", 2);
    rig.attach();
    await rig.settle();
    const connect = async (breaks: "at once" | "later"): Promise<string[]> => {
      const peer = new RecordingPeer();
      peer.tooLarge.add("a");
      rig.session.attach(peer, 10);
      if (breaks === "later") await rig.settle();
      rig.session.detach();
      await rig.settle();
      return peer.take();
    };
    rig.session.detach();
    await rig.settle();
    const [released, ...others] = await connect("at once");
    expect({ released, others }).toEqual({ released: expect.stringMatching(/^62020002 after /), others: [] });
    expect(rig.session.queuedMessages).toBe(0);
    expect(await connect("later")).toEqual([released]);
    expect(await connect("later")).toEqual([]);
  });

  it("takes a place of the window until PUBCOMP", async () => {
    const rig = new SessionRig({ inflight: 1 });
    const peer = rig.attach();
    rig.deliver("a b", 2);
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    await rig.settle();
    expect(peer.take()[0]).toBe("PUBLISH a q2 id2");
    expect(peer.take()).toEqual([]);
    rig.session.sender?.onPubcomp(2);
    expect(peer.take()).toEqual(["PUBLISH b q2 id3"]);
  });
});

describe("what is handed over", () => {
  it("is dropped and counted when the queue beyond the window is full, without touching what is queued", () => {
    const rig = new SessionRig({ inflight: 2, queued: 3 });
    const peer = rig.attach();
    rig.deliver("a b c d e f g", 1);
    expect(rig.dropped).toEqual([1, 2]);
    expect(rig.session.queuedMessages).toBe(5);
    expect(rig.session.deliver(message("h"), 1, false)).toBe(Admission.dropped);
    for (const id of [2, 3, 4, 5, 6]) rig.session.sender?.onPuback(id);
    expect(peer.take().map((line) => line.split(" ")[1])).toEqual(["a", "b", "c", "d", "e"]);
  });

  it("is not dropped for messages that were acknowledged out of turn: they wait no more", async () => {
    const rig = new SessionRig({ inflight: 3, queued: 3 });
    rig.attach();
    rig.deliver("a b c d e f", 1);
    for (const id of [3, 4]) rig.session.sender?.onPuback(id);
    await rig.settle();
    rig.session.detach();
    expect(rig.session.queuedMessages).toBe(4); // a, d, e, f
    const peer = rig.attach();
    await rig.settle();
    expect(peer.take().map((line) => line.split(" ")[1])).toEqual(["a", "d", "e"]);
    rig.deliver("g h i", 1);
    expect(rig.dropped).toEqual([1]);
    expect(rig.session.queuedMessages).toBe(6);
  });

  it("tells the group that keeps it, which is the one that the store comes to", async () => {
    const rig = new SessionRig();
    const group = rig.session.deliver(message("a"), 1, false);
    expect(group).toBeGreaterThan(rig.store.stored);
    await rig.settle();
    expect(rig.store.stored).toBeGreaterThanOrEqual(group);
    expect(rig.cutPower().session.queuedMessages).toBe(1);
  });

  it("with QoS 0 goes at once or not at all", () => {
    const rig = new SessionRig();
    expect(rig.session.deliver(message("a"), 0, false)).toBe(Admission.dropped);
    const peer = rig.attach();
    expect(peer.take()).toEqual([]);
    expect(rig.session.deliver(message("b"), 0, true)).toBe(Admission.taken);
    const frame = message("c");
    frame.frame = Buffer.from("..bytes of c..");
    [frame.frameStart, frame.frameEnd] = [2, 12];
    rig.session.deliver(frame, 0, false);
    expect(peer.take()).toEqual(["PUBLISH b q0 retain", "FORWARD bytes of c"]);
    expect(rig.dropped).toEqual([]);
  });

  it("keeps its RETAIN flag for this receiver, and the message its own", () => {
    const rig = new SessionRig();
    const peer = rig.attach();
    const retained = message("a");
    rig.session.deliver(retained, 1, true);
    expect(retained.retain).toBe(false);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2 retain"]);
  });

  it("loses its mount point on the way, and what lies outside of it is not sent and counts as done", () => {
    const rig = new SessionRig({ inflight: 5 });
    rig.deliver("mp/a other m mp/b", 1);
    rig.session.strippedPrefix = Buffer.from("mp/");
    const peer = rig.attach();
    rig.deliver("elsewhere mp/c", 1);
    rig.deliver("elsewhere mp/d", 0);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id5", "PUBLISH c q1 id6", "PUBLISH d q0"]);
    for (const id of [2, 5, 6]) expect(rig.session.sender?.onPuback(id)).toBe(true);
    expect(rig.session.queuedMessages).toBe(0);
  });

  it("is not sent when nothing is left of its topic without the mount point: a topic name has a character [MQTT-4.7.3-1]", () => {
    const rig = new SessionRig();
    rig.deliver("mp/", 1);
    rig.session.strippedPrefix = Buffer.from("mp/");
    const peer = rig.attach();
    rig.deliver("mp/", 0);
    expect(peer.take()).toEqual([]);
  });

  it("is nothing any more after discard, and no memory either", async () => {
    const rig = new SessionRig();
    rig.attach();
    rig.deliver("a b c", 1);
    rig.session.discard();
    expect({ queued: rig.session.queuedMessages, attached: rig.session.isAttached }).toEqual({ queued: 0, attached: false });
    await rig.settle();
    expect(rig.attach().take()).toEqual([]);
  });
});

describe("a session that ends with its connection", () => {
  it("waits for no disk and leaves nothing there", async () => {
    const rig = new SessionRig({ durable: false });
    const peer = rig.attach();
    expect(rig.session.deliver(message("a"), 2, false)).toBe(Admission.taken);
    rig.deliver("b c", 1);
    expect(peer.take()).toEqual(["PUBLISH a q2 id2", "PUBLISH b q1 id3"]);
    rig.session.sender?.onPubrec(2);
    expect(peer.take()).toEqual(["62020002 after 0"]);
    expect(rig.session.sender?.onPubcomp(2)).toBe(true);
    expect(peer.take()).toEqual(["PUBLISH c q1 id4"]);
    for (const id of [3, 4]) expect(rig.session.sender?.onPuback(id)).toBe(true);
    rig.deliver("d", 1);
    expect(peer.take()).toEqual(["PUBLISH d q1 id5"]);
    expect(rig.session.queuedMessages).toBe(1);
    await rig.settle();
    expect(rig.store.written.size).toBe(0);
  });

  it("keeps the order when the peer reads again, and its window when messages wait", () => {
    const rig = new SessionRig({ durable: false });
    const peer = rig.attach();
    rig.deliver("a", 1);
    peer.congested = true;
    rig.deliver("b", 1);
    peer.congested = false;
    rig.deliver("c", 1);
    expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3"]);
    rig.session.sender?.onPuback(3);
    rig.session.sender?.onPuback(2);
    rig.session.sender?.onPuback(4);
    expect(peer.take()).toEqual(["PUBLISH c q1 id4"]);
    expect(rig.session.queuedMessages).toBe(0);
  });

  it("drops beyond its limit", () => {
    const rig = new SessionRig({ durable: false, inflight: 1, queued: 1 });
    rig.attach();
    rig.deliver("a b c", 1);
    expect(rig.dropped).toEqual([1]);
  });
});

it("a durable session keeps its messages in memory when there is no store", () => {
  const rig = new SessionRig({ store: new MemoryStore() });
  const peer = rig.attach();
  expect(rig.session.deliver(message("a"), 2, false)).toBe(0);
  expect(peer.take()).toEqual(["PUBLISH a q2 id2"]);
  rig.session.detach();
  expect(rig.attach().take()).toEqual(["PUBLISH a q2 id2 dup"]);
});
