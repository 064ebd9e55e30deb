import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { pageKey, queueKey } from "../../src/store/keys.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { message, SessionRig } from "./rig.ts";

const topics = (lines: readonly string[]): string[] => lines.filter((line) => line.startsWith("PUBLISH")).map((line) => line.split(" ")[1] ?? "");

/** A connection that ends with everything on it unanswered. */
async function connectInVain(rig: SessionRig): Promise<string[]> {
  const peer = rig.attach();
  await rig.settle();
  rig.session.detach();
  await rig.settle();
  return topics(peer.take());
}

/** Attaches a peer that acknowledges all it gets; what it got when nothing comes any more. */
async function drain(rig: SessionRig): Promise<string[]> {
  const peer = rig.attach();
  const received: string[] = [];
  for (let lines = peer.lines; ; ) {
    await rig.settle();
    lines = peer.take();
    if (lines.length === 0) break;
    for (const line of lines) {
      const id = Number(/id(\d+)/.exec(line)?.[1] ?? 0);
      if (line.includes(" q1 ")) rig.session.sender?.onPuback(id);
      else if (line.includes(" q2 ")) rig.session.sender?.onPubrec(id);
      else rig.session.sender?.onPubcomp(parseInt(line.slice(4, 8), 16));
    }
    received.push(...topics(lines));
  }
  rig.session.detach();
  return received;
}

describe("the message that a connection left unanswered first", () => {
  it("is the head of the lane, the same on the next connection, until it is answered", async () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("a b c", 1);
    expect(rig.session.unanswered[0]).toBeUndefined();
    for (let time = 0; time < 2; time++) {
      expect(await connectInVain(rig)).toEqual(["a", "b"]);
      expect(rig.session.unanswered[0]).toEqual({ lane: 0, seq: 1, isNoted: false });
    }
    rig.attach();
    await rig.settle();
    rig.session.sender?.onPuback(2);
    rig.session.detach();
    expect(rig.session.unanswered[0]).toEqual({ lane: 0, seq: 2, isNoted: false });
  });

  it("is in the lane that was sent first, whatever its priority", async () => {
    const rig = new SessionRig({ inflight: 1 });
    rig.attach();
    rig.deliver("low1 low2", 1, 2);
    rig.deliver("high1", 1, 1);
    await rig.settle();
    rig.session.sender?.onPuback(32770); // low1; low2 goes out behind high1
    rig.session.detach();
    expect(rig.session.unanswered[0]).toEqual({ lane: 1, seq: 1, isNoted: false });
  });

  it("tells whether PUBREC has come, so that PUBCOMP is missing", async () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("a b", 2);
    rig.attach();
    await rig.settle();
    rig.session.sender?.onPubrec(2);
    rig.session.detach();
    expect(rig.session.unanswered[0]).toEqual({ lane: 0, seq: 1, isNoted: true });
    await rig.settle();
    rig.attach();
    rig.session.sender?.onPubcomp(2);
    rig.session.detach();
    expect(rig.session.unanswered[0]).toEqual({ lane: 0, seq: 2, isNoted: false });
  });

  it("is none of a connection on which nothing was sent", async () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("a b", 2);
    expect(await connectInVain(rig)).toEqual(["a", "b"]);
    rig.attach(0);
    rig.session.detach();
    expect(rig.session.unanswered[0]).toBeUndefined();
  });
});

it("sends one message alone, whatever waits beside it or comes meanwhile", async () => {
  const rig = new SessionRig({ inflight: 10 });
  rig.deliver("low1 low2", 1, 2);
  expect(await connectInVain(rig)).toEqual(["low1", "low2"]);
  rig.deliver("high1", 1, 1);
  const suspect = rig.session.unanswered[0] ?? { lane: -1, seq: 0, isNoted: false };
  const peer = rig.attach(0);
  await rig.settle();
  rig.deliver("normal1", 1, 0);
  rig.session.sender?.sendAlone(suspect);
  rig.deliver("high2", 2, 1);
  await rig.settle();
  expect(topics(peer.take())).toEqual(["low1"]);
  rig.session.sender?.onPuback(32770);
  rig.session.sender?.widen(10);
  await rig.settle();
  expect(topics(peer.take()).sort()).toEqual(["high1", "high2", "low2", "normal1"]);
});

describe("parking", () => {
  it.each(["attached", "detached"])("takes the head out of the way (%s) and tells what it was; the rest goes on", async (when) => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("a b c", 1);
    await connectInVain(rig);
    if (when === "attached") {
      rig.attach(1);
      await rig.settle();
    }
    expect(await rig.session.parkHead()).toEqual({ topic: "a", bytes: 1, qos: 1 });
    expect({ queued: rig.session.queuedMessages, parked: rig.session.parkedMessages }).toEqual({ queued: 2, parked: 1 });
    expect(await rig.session.parkHead()).toBeUndefined();
    rig.session.detach();
    await rig.settle();
    expect(await drain(rig)).toEqual(["b", "c"]);
    expect(await rig.session.parked()).toEqual([{ topic: "a", bytes: 1, qos: 1 }]);
    const pages = [...rig.store.written.keys()].filter((key) => key.startsWith("z"));
    expect(pages).toEqual([pageKey(7, 3, 1).toString("latin1")]);
  });

  it("happens at once when the message lies in RAM, and its removal and its keeping are one group", async () => {
    const rig = new SessionRig({ inflight: 2 });
    rig.deliver("a b", 2);
    await connectInVain(rig);
    const peer = rig.attach(1);
    await rig.settle();
    peer.take();
    void rig.session.parkHead();
    expect(rig.session.parkedMessages).toBe(1);
    // PUBREL: the peer may know the identifier, and forgets it, but not before the message is kept elsewhere.
    expect(peer.take()).toEqual([`62020002 after ${rig.store.stored + 1}`, "PUBLISH b q2 id3 dup"]);
    expect((await rig.session.parked()).map(({ topic }) => topic)).toEqual(["a"]);
  });

  it("between two connections has the next peer forget the identifier, once, unless it has forgotten all", async () => {
    for (const forgets of [false, true]) {
      const rig = new SessionRig({ inflight: 2 });
      rig.deliver("a b", 2);
      await connectInVain(rig);
      await rig.session.parkHead();
      const group = rig.store.stored + 1;
      if (forgets) rig.session.forgetPeer();
      const peer = rig.attach();
      await rig.settle();
      expect(peer.take()).toEqual(forgets ? ["PUBLISH b q2 id3"] : [`62020002 after ${group}`, "PUBLISH b q2 id3 dup"]);
      expect(rig.attach().take()).toEqual(["PUBLISH b q2 id3 dup"]);
    }
  });

  it("takes a message out whose PUBREL the peer can't stand, sends it no PUBREL again, and gives its place to the next one", async () => {
    for (const when of ["attached", "detached"]) {
      const rig = new SessionRig({ inflight: 1 });
      rig.deliver("a b", 2);
      rig.attach();
      await rig.settle();
      rig.session.sender?.onPubrec(2);
      await rig.settle();
      rig.session.detach();
      const peer = when === "attached" ? rig.attach() : undefined;
      await rig.settle();
      if (peer) expect(peer.take()).toEqual([expect.stringContaining("62020002")]);
      expect(await rig.session.parkHead()).toEqual({ topic: "a", bytes: 1, qos: 2 });
      const next = peer ?? rig.attach();
      await rig.settle();
      expect(next.take()).toEqual(["PUBLISH b q2 id3"]);
      expect(rig.session.inFlightMessages).toBe(1);
      expect(await rig.session.parked()).toEqual([{ topic: "a", bytes: 1, qos: 2 }]);
    }
  });

  it("does nothing for a message that has been answered meanwhile, nor where none is left unanswered", async () => {
    const rig = new SessionRig({ inflight: 2 });
    expect(await rig.session.parkHead()).toBeUndefined();
    rig.deliver("a b", 1);
    await connectInVain(rig);
    rig.attach();
    await rig.settle();
    rig.session.sender?.onPuback(2);
    expect(await rig.session.parkHead()).toBeUndefined();
    expect({ queued: rig.session.queuedMessages, parked: rig.session.parkedMessages }).toEqual({ queued: 1, parked: 0 });
  });

  it("of a message that is in flight gives its place in the window to the next one, and a late PUBACK ends nothing", async () => {
    const rig = new SessionRig({ inflight: 1 });
    rig.deliver("a b", 1);
    await connectInVain(rig);
    const peer = rig.attach();
    await rig.settle();
    expect(topics(peer.take())).toEqual(["a"]);
    await rig.session.parkHead();
    expect(topics(peer.take())).toEqual(["b"]);
    expect(rig.session.sender?.onPuback(2)).toBe(false);
    expect(rig.session.inFlightMessages).toBe(1);
  });

  it("does not count against the limit of queued messages, and keeps what a start finds", async () => {
    const rig = new SessionRig({ inflight: 1, queued: 2 });
    rig.deliver("a b", 1);
    await connectInVain(rig);
    await rig.session.parkHead();
    rig.deliver("c", 1);
    expect(rig.dropped).toEqual([]);
    await rig.settle();
    const after = rig.cutPower();
    expect({ queued: after.session.queuedMessages, parked: after.session.parkedMessages }).toEqual({ queued: 2, parked: 1 });
    expect(await after.session.parked()).toEqual([{ topic: "a", bytes: 1, qos: 1 }]);
    expect(await drain(after)).toEqual(["b", "c"]);
  });
});

describe("parked messages", () => {
  /** Three lanes, of each the first message parked. */
  async function parkThree(options: ConstructorParameters<typeof SessionRig>[0] = {}): Promise<SessionRig> {
    const rig = new SessionRig({ inflight: 2, ...options });
    rig.deliver("high1 high2", 2, 1);
    rig.deliver("normal1 normal2", 1, 0);
    rig.session.deliver(message("low1", "x".repeat(100_000)), 1, true, 2);
    rig.deliver("low2", 1, 2);
    await rig.settle();
    for (let time = 0; time < 3; time++) {
      await connectInVain(rig);
      await rig.session.parkHead();
      const { unanswered } = rig.session;
      expect(unanswered).toEqual([]);
      // The next lane's turn.
      const peer = rig.attach();
      await rig.settle();
      for (const line of peer.take()) {
        const id = Number(/id(\d+)/.exec(line)?.[1]);
        if (/(high|normal)2/.test(line)) {
          if (line.includes("q2")) rig.session.sender?.onPubrec(id);
          rig.session.sender?.[line.includes("q2") ? "onPubcomp" : "onPuback"](id);
        }
      }
      rig.session.detach();
      await rig.settle();
    }
    return rig;
  }

  it("are listed in the order in which they were parked", async () => {
    const rig = await parkThree();
    expect(await rig.session.parked()).toEqual([
      { topic: "high1", bytes: 5, qos: 2 }, { topic: "normal1", bytes: 7, qos: 1 }, { topic: "low1", bytes: 100_000, qos: 1 },
    ]);
    expect(rig.session.queuedMessages).toBe(1);
  });

  it.each(["at once", "after a start"])("go to the end of their lanes when they are tried again (%s)", async (when) => {
    const before = await parkThree();
    const rig = when === "at once" ? before : before.cutPower();
    rig.deliver("high3", 1, 1);
    expect(await rig.session.retryParked()).toBe(3);
    expect({ queued: rig.session.queuedMessages, parked: rig.session.parkedMessages }).toEqual({ queued: 5, parked: 0 });
    await rig.settle();
    expect(await rig.session.parked()).toEqual([]);
    Object.assign(rig.limits, { maxInflightMessages: 5 });
    const peer = rig.attach();
    await rig.settle();
    const idOf = (line: string): number => Number(/id(\d+)/.exec(line)?.[1]);
    expect(peer.take().map((line) => line.replace(/ dup/, "")).sort((a, b) => idOf(a) - idOf(b))).toEqual([
      "PUBLISH normal1 q1 id4", "PUBLISH high3 q1 id16388", "PUBLISH high1 q2 id16389", "PUBLISH low2 q1 id32771", "PUBLISH low1 q1 id32772 retain",
    ]);
    rig.session.detach();
    await rig.settle();
    expect((await drain(rig)).length).toBe(5);
    await rig.settle();
    expect([...rig.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
  });

  it("are tried again once, though two ask for it", async () => {
    const rig = await parkThree();
    expect((await Promise.all([rig.session.retryParked(), rig.session.retryParked()])).reduce((sum, taken) => sum + taken)).toBe(3);
    expect(rig.session.queuedMessages).toBe(4);
  });

  it("are gone when they are dropped, and when their session ends", async () => {
    const rig = await parkThree();
    expect(rig.session.dropParked()).toBe(3);
    expect({ listed: await rig.session.parked(), again: rig.session.dropParked(), tried: await rig.session.retryParked() }).toEqual({ listed: [], again: 0, tried: 0 });
    await rig.settle();
    expect([...rig.store.written.keys()].filter((key) => key.startsWith(pageKey(7, 3, 0).toString("latin1").slice(0, 6)))).toEqual([]);
    const other = await parkThree();
    other.session.discard();
    expect({ parked: other.session.parkedMessages, listed: await other.session.parked() }).toEqual({ parked: 0, listed: [] });
  });

  it("whose page is damaged are lost when they are tried again, the others are not", async () => {
    const before = await parkThree();
    const disk = before.store.crash();
    const key = pageKey(7, 3, 2).toString("latin1");
    const page = Buffer.from(disk.get(key) ?? expect.fail("no page"));
    page[30]! ^= 1; // within the page
    disk.set(key, page);
    const rig = new SessionRig({ inflight: 2, disk, clock: before.clock });
    expect((await rig.session.parked()).map(({ topic }) => topic)).toEqual(["high1", "low1"]);
    expect(await rig.session.retryParked()).toBe(2);
    expect({ lost: rig.lost, parked: rig.session.parkedMessages, queued: rig.session.queuedMessages }).toEqual({ lost: 1, parked: 0, queued: 3 });
  });

  it.each(["older", "gone"])("are taken up when the store has been repaired and their lane's record is %s, and nothing is put in their place", async (what) => {
    const early = new SessionRig({ inflight: 2 });
    const before = await parkThree();
    const disk = before.store.crash();
    const key = queueKey(7, 3).toString("latin1");
    disk.delete(key);
    if (what === "older") {
      early.deliver("high1 high2", 2, 1);
      await connectInVain(early);
      await early.session.parkHead();
      await early.settle();
      disk.set(key, early.store.written.get(key) ?? expect.fail("nothing was parked"));
    }
    const rig = new SessionRig({ inflight: 2, disk, clock: before.clock });
    await rig.session.recoverBeyondRecords();
    expect(rig.session.parkedMessages).toBe(3);
    await connectInVain(rig);
    await rig.session.parkHead();
    await rig.settle();
    expect((await rig.session.parked()).map(({ topic }) => topic)).toEqual(["high1", "normal1", "low1", "low2"]);
    expect(await rig.session.retryParked()).toBe(4);
    expect({ lost: rig.lost, parked: rig.session.parkedMessages }).toEqual({ lost: 0, parked: 0 });
  });

  it("stay in memory when there is no store", async () => {
    const rig = await parkThree({ store: new MemoryStore() });
    expect((await rig.session.parked()).map(({ topic }) => topic)).toEqual(["high1", "normal1", "low1"]);
    expect(await rig.session.retryParked()).toBe(3);
    expect(rig.session.queuedMessages).toBe(4);
  });
});

describe("a power cut", () => {
  it("between any two groups finds each message once: queued or parked, never both, never neither", async () => {
    const all = ["a", "b", "c", "d", "e"];
    const walk = async (rig: SessionRig, steps: number): Promise<boolean> => {
      let left = steps;
      const turns = async (count: number): Promise<void> => {
        for (let turn = 0; turn < count && left > 0; turn++, left--) {
          await new Promise((resolve) => setImmediate(resolve));
          rig.clock.step();
        }
      };
      for (const what of ["connect", "park", "connect", "park", "retry", "connect", "park", "retry"]) {
        if (left === 0) return false;
        if (what === "park") void rig.session.parkHead();
        else if (what === "retry") void rig.session.retryParked();
        else {
          rig.attach(2);
          await turns(6);
          rig.session.detach();
        }
        await turns(4);
      }
      return left > 0;
    };
    await fc.assert(
      fc.asyncProperty(fc.nat(70), fc.nat(), fc.constantFrom(1 as const, 2 as const), async (steps, seed, qos) => {
        const rig = new SessionRig({ inflight: 2, rng: seededRng(seed) });
        for (const topic of all) {
          rig.deliver(topic, qos);
          await rig.settle();
        }
        await walk(rig, steps);
        const after = rig.cutPower({ inflight: 2 });
        const parked = (await after.session.parked()).map(({ topic }) => topic);
        expect(after.session.queuedMessages + after.session.parkedMessages).toBe(all.length);
        const received = await drain(after);
        expect([...received, ...parked].sort()).toEqual(all);
        await after.session.retryParked();
        expect((await drain(after)).sort()).toEqual(parked.sort());
        expect({ queued: after.session.queuedMessages, parked: after.session.parkedMessages, lost: after.lost }).toEqual({ queued: 0, parked: 0, lost: 0 });
      }),
      { numRuns: 300 },
    );
  });
});
