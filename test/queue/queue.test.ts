import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { Queue } from "../../src/queue/queue.ts";
import { Slot, Window } from "../../src/queue/window.ts";
import { pageKey, queueKey } from "../../src/store/keys.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { message } from "./messages.ts";
import { LANE, Rig, SESSION } from "./rig.ts";

const topics = (first: number, last: number): string[] => Array.from({ length: last - first + 1 }, (_, index) => `t/${first + index}`);

/** Appends messages `first` to `last`, one group each, so that each lies in a page of its own. */
async function appendPages(rig: Rig, first: number, last: number, payloadBytes = 10): Promise<void> {
  for (let number = first; number <= last; number++) {
    rig.queue.append(message(number, payloadBytes), 1);
    await rig.settle();
  }
}

/** Flips one byte of a stored page. */
function damage(disk: Map<string, Buffer>, firstSeq: number, at = 30): void {
  const key = pageKey(SESSION, LANE, firstSeq).toString("latin1");
  const page = Buffer.from(disk.get(key) ?? expect.fail(`no page ${firstSeq}`));
  page[at]! ^= 1; // within the page
  disk.set(key, page);
}

/** A rig that starts on the disk that another has left, some of its pages damaged. */
async function startDamaged(rig: Rig, pages: readonly number[], at?: number): Promise<Rig> {
  await rig.store.close();
  const disk = rig.store.crash();
  for (const page of pages) damage(disk, page, at);
  return new Rig(disk, rig.options, rig.clock);
}

describe("the window", () => {
  it("closes at the count, and opens with each acknowledgement", () => {
    const rig = new Rig();
    for (let number = 1; number <= 6; number++) rig.queue.append(message(number), 1);
    expect(rig.send().map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(rig.queue.windowOpen(4)).toBe(false);
    expect(rig.queue.windowOpen(5)).toBe(true);
    rig.queue.acknowledge(3, Slot.sent);
    expect(rig.send().map(({ seq }) => seq)).toEqual([5]);
  });

  it("closes at its span, when the first message alone is not acknowledged", () => {
    const rig = new Rig();
    for (let number = 1; number <= 40; number++) rig.queue.append(message(number), 1);
    let last = 0;
    for (let next; (next = rig.sendNext()); last = next.seq) if (next.seq > 1) rig.queue.acknowledge(next.seq, Slot.sent);
    expect(last).toBe(16);
    expect(rig.queue.windowOpen(4)).toBe(false);
    rig.queue.acknowledge(1, Slot.sent);
    expect(rig.queue.ackedBelow).toBe(17);
    expect(rig.send().map(({ seq }) => seq)).toEqual([17, 18, 19, 20]);
  });

  it("is as wide after a start as it was before, though the limit was lowered", async () => {
    const before = new Rig(new Map(), { windowSlots: 64, maxInflight: 16 });
    for (let number = 1; number <= 40; number++) before.queue.append(message(number), 1);
    for (let next; (next = before.sendNext()) && next.seq <= 35; ) if (next.seq > 1) before.queue.acknowledge(next.seq, Slot.sent);
    const after = await before.restart({ windowSlots: 16, maxInflight: 4 });
    expect(await after.drain()).toEqual(["t/1", ...topics(36, 40)]);
  });
});

describe("what is unacknowledged", () => {
  it("is sent again in order, DUP set, on the next connection; what was not sent has it not", () => {
    const rig = new Rig();
    for (let number = 1; number <= 6; number++) rig.queue.append(message(number), 1);
    expect(rig.send().map(({ again }) => again)).toEqual([false, false, false, false]);
    rig.queue.acknowledge(2, Slot.sent);
    rig.attach();
    expect(rig.send().map(({ seq, again }) => [seq, again])).toEqual([[1, true], [3, true], [4, true], [5, false]]);
  });

  it("is sent with DUP after a start, as it may have been sent before", async () => {
    const before = new Rig();
    for (let number = 1; number <= 6; number++) before.queue.append(message(number), 1);
    before.send();
    const after = await before.restart();
    after.send();
    await after.settle();
    expect(after.send().map(({ seq, again }) => [seq, again])).toEqual([[1, true], [2, true], [3, true], [4, true]]);
    for (let seq = 1; seq <= 4; seq++) after.queue.acknowledge(seq, Slot.sent);
    expect(after.send().map(({ seq, again }) => [seq, again])).toEqual([[5, false], [6, false]]);
  });

  it("never carries DUP when it came after the start: it can't have been sent before [MQTT-3.3.1-3]", async () => {
    const rig = await new Rig().restart();
    rig.queue.append(message(1), 1);
    await rig.settle();
    const restarted = await rig.restart();
    expect((await restarted.drain()).length).toBe(1);
    restarted.queue.append(message(2), 1);
    expect(restarted.send().map(({ again }) => again)).toEqual([false]);
  });

  it("may be dropped, once, when the peer has forgotten it, though later messages were dropped before", async () => {
    const rig = new Rig(new Map(), { windowSlots: 16, maxInflight: 2 });
    for (let number = 1; number <= 6; number++) rig.queue.append(message(number), 1);
    expect(rig.send().map(({ seq }) => seq)).toEqual([1, 2]);
    expect([rig.queue.dropFirst(), rig.queue.dropFirst()]).toEqual(["dropped", "dropped"]);
    rig.queue.forgetPeer();
    expect(rig.queue.dropFirst()).toBe("dropped");
    expect(rig.queue.messages).toBe(3);
    rig.attach();
    expect(await rig.drain()).toEqual(["t/2", "t/5", "t/6"]);
    expect({ messages: rig.queue.messages, bytes: rig.queue.bytes }).toEqual({ messages: 0, bytes: 0 });
  });

  it("is new to a peer that has no session, exchanges of QoS 2 included", async () => {
    const rig = new Rig();
    for (let number = 1; number <= 4; number++) rig.queue.append(message(number), 2);
    await rig.settle();
    rig.send(3);
    rig.queue.acknowledge(2, Slot.sentQoS2);
    rig.queue.receive(3);
    rig.queue.forgetPeer();
    rig.attach();
    await rig.settle();
    expect(rig.send().map(({ seq, again }) => [seq, again])).toEqual([[1, false], [3, false], [4, false]]);
    expect(rig.queue.window.stateOf(3)).toBe(Slot.sent);
  });
});

describe("an acknowledgement", () => {
  it("counts once, and only for what was sent", () => {
    const rig = new Rig();
    rig.queue.append(message(1), 1);
    rig.queue.append(message(2), 1);
    expect(rig.queue.acknowledge(1, Slot.sent)).toBe(false);
    rig.send(1);
    expect(rig.queue.acknowledge(1, Slot.sent)).toBe(true);
    expect(rig.queue.acknowledge(1, Slot.sent)).toBe(false);
    expect(rig.queue.acknowledge(2, Slot.sent)).toBe(false);
    expect({ messages: rig.queue.messages, inFlight: rig.queue.inFlight }).toEqual({ messages: 1, inFlight: 0 });
  });

  it("of a message one ring away from a sent one does not end that one", () => {
    const rig = new Rig();
    rig.queue.append(message(1), 1);
    rig.send();
    expect(rig.queue.acknowledge(1 + rig.options.windowSlots, Slot.sent)).toBe(false);
    expect(rig.queue.messages).toBe(1);
  });

  it("that comes before its message is sent again leaves the window as wide as it is", () => {
    const rig = new Rig(new Map(), { windowSlots: 16, maxInflight: 2 });
    for (let number = 1; number <= 8; number++) rig.queue.append(message(number), 1);
    rig.send();
    rig.attach(); // and before anything is sent, the peer acknowledges what it got on its last connection
    for (const seq of [1, 2]) expect(rig.queue.acknowledge(seq, Slot.sent)).toBe(false);
    expect(rig.send().map(({ seq, again }) => [seq, again])).toEqual([[1, true], [2, true]]);
    expect({ inFlight: rig.queue.inFlight, open: rig.queue.windowOpen(2) }).toEqual({ inFlight: 2, open: false });
  });

  it("names its message by the low part of the sequence number", () => {
    const window = new Window(16);
    for (const [ackedBelow, index, seq] of [[1, 1, 1], [1, 0, 100], [250, 50, 250], [250, 49, 349], [300, 0, 300], [301, 0, 400]] as const) {
      window.ackedBelow = ackedBelow;
      expect(window.seqOf(index, 100)).toBe(seq);
    }
  });
});

describe("memory", () => {
  it("holds nothing of a queue that is stored and whose peer is away", async () => {
    const rig = new Rig();
    for (let number = 1; number <= 100; number++) rig.queue.append(message(number, 1000), 1);
    rig.detach();
    expect(rig.budget.usedBytes).toBeGreaterThan(100_000);
    await rig.settle();
    rig.detach();
    expect(rig.budget.usedBytes).toBe(0);
    rig.attach();
    expect(await rig.drain()).toEqual(topics(1, 100));
  });

  it("holds a bounded part of a long queue that drains, and of one that grows behind a slow peer", async () => {
    const rig = new Rig();
    for (let number = 1; number <= 200; number++) {
      rig.queue.append(message(number, 10_000), 1);
      rig.send();
      await rig.settle();
      rig.queue.evict("cursor");
    }
    expect(rig.budget.usedBytes).toBeLessThan(150_000);
    let most = 0;
    const received: string[] = [];
    for (let seq = 1; seq <= 200; seq++) {
      received.push(...rig.send().map(({ topic }) => topic));
      await rig.settle();
      most = Math.max(most, rig.budget.usedBytes);
      rig.queue.acknowledge(seq, Slot.sent);
    }
    expect(["t/1", "t/2", "t/3", "t/4", ...received]).toEqual(expect.arrayContaining(topics(1, 200)));
    expect(most).toBeLessThan(700_000);
    expect(rig.budget.usedBytes).toBe(0);
  });

  it("is given back when the queue is cleared, and what was being read does not come back", async () => {
    const rig = new Rig();
    await appendPages(rig, 1, 3);
    rig.detach();
    rig.attach();
    expect(rig.send()).toEqual([]);
    rig.queue.end();
    await rig.settle();
    const { messages, bytes } = rig.queue;
    expect({ used: rig.budget.usedBytes, loads: rig.loads, messages, bytes }).toEqual({ used: 0, loads: 0, messages: 0, bytes: 0 });
    rig.queue.append(message(4), 1);
    expect(rig.send().map(({ topic }) => topic)).toEqual(["t/4"]);
  });

  it("keeps what is on its way to the disk and not there yet", async () => {
    const rig = new Rig();
    const group = rig.queue.append(message(1), 1);
    await rig.pass(1); // the group is closed and being written
    rig.queue.onStored(group - 1);
    rig.detach();
    expect(rig.budget.usedBytes).toBeGreaterThan(0);
    expect(rig.queue.maySend(1, 2)).toBe(false);
    rig.attach();
    expect(rig.send().map(({ topic }) => topic)).toEqual(["t/1"]);
  });

  it("that others have left holds messages of any size", async () => {
    const other = new Rig();
    for (let number = 1; number <= 2_000; number++) other.queue.append(message(number, 100), 1);
    await other.settle();
    other.detach();
    const sizes = [2_300, 4_400, 10, 5_000, 9_500, 70_000, 100, 1_500, 3_000];
    const rig = new Rig();
    for (const [index, payloadBytes] of sizes.entries()) rig.queue.append(message(index + 1, payloadBytes), 1);
    await rig.settle();
    rig.detach();
    rig.attach();
    const payloads: Buffer[] = [];
    for (let idle = 0; idle < 10; idle++) {
      await rig.settle();
      for (let next; (next = rig.sendNext()); idle = 0) {
        payloads.push(next.payload);
        rig.end(next);
      }
    }
    expect(payloads).toEqual(sizes.map((payloadBytes, index) => Buffer.alloc(payloadBytes, index + 1)));
  });

  it("is filled from the disk ahead of the cursor", async () => {
    const before = new Rig();
    await appendPages(before, 1, 3, 200_000);
    const rig = await before.restart();
    expect(rig.send()).toEqual([]);
    await rig.settle();
    expect(rig.loads).toBe(1);
    expect(rig.send(1).length).toBe(1);
    await rig.settle();
    expect(rig.loads).toBe(2);
  });

  it("is all there is without a store: nothing waits, nothing is evicted", () => {
    const budget = new MemoryBudget(0);
    const queue = new Queue(SESSION, LANE, false, 16, { store: new MemoryStore(), budget, totals: { messages: 0, bytes: 0 } }, { onLoaded: () => undefined, onLost: () => undefined });
    expect(queue.append(message(1), 2)).toBe(0);
    expect(queue.maySend(1, 2)).toBe(true);
    queue.evict("nothing");
    expect(budget.usedBytes).toBeGreaterThan(0);
    expect(budget.exceeded).toBe(true);
  });
});

describe("after a repair", () => {
  it.each(["an older record", "no record"])("that has left %s of the queue, messages behind it are taken up, and none of their numbers is given again", async (what) => {
    const before = new Rig();
    before.detach();
    await appendPages(before, 1, 3);
    const key = queueKey(SESSION, LANE).toString("latin1");
    const record = before.store.written.get(key) ?? expect.fail("no record");
    await appendPages(before, 4, 9);
    await before.store.close();
    const disk = before.store.crash();
    if (what === "no record") disk.delete(key);
    else disk.set(key, record);
    const after = new Rig(disk, before.options, before.clock);
    await after.queue.recoverBeyondRecord();
    expect(after.queue.messages).toBe(9);
    after.queue.append(message(10), 1);
    expect(await after.drain()).toEqual(topics(1, 10));
    expect({ messages: after.queue.messages, bytes: after.queue.bytes, lost: after.queue.lost, totals: after.totals }).toEqual({ messages: 0, bytes: 0, lost: 0, totals: { messages: 0, bytes: 0 } });
  });
});

describe("on disk", () => {
  it("is nothing of a message that came and went within one group", async () => {
    const rig = new Rig();
    rig.queue.append(message(1), 1);
    rig.send();
    rig.queue.acknowledge(1, Slot.sent);
    await rig.settle();
    expect([...rig.store.written.keys()]).toEqual([queueKey(SESSION, LANE).toString("latin1")]);
  });

  it("is of a group what is left of it when it closes", async () => {
    const rig = new Rig();
    for (let number = 1; number <= 3; number++) rig.queue.append(message(number), 1);
    rig.send(1);
    rig.queue.acknowledge(1, Slot.sent);
    await rig.settle();
    const keys = [queueKey(SESSION, LANE), pageKey(SESSION, LANE, 2)].map((key) => key.toString("latin1"));
    expect([...rig.store.written.keys()].sort()).toEqual(keys.sort());
  });

  it("pages that a power cut brought back are removed at the start, and their messages are not sent", async () => {
    const rig = new Rig();
    await appendPages(rig, 1, 3, 70_000);
    const before = new Map(rig.store.written);
    rig.send(2);
    rig.queue.acknowledge(1, Slot.sent);
    rig.queue.acknowledge(2, Slot.sent);
    await rig.settle();
    await rig.store.close();
    const disk = rig.store.crash();
    const pages = [1, 2, 3].map((seq) => pageKey(SESSION, LANE, seq).toString("latin1"));
    expect([...disk.keys()].filter((key) => pages.includes(key))).toEqual(pages.slice(2));
    for (const key of pages) disk.set(key, before.get(key) ?? expect.fail("no page"));
    const after = new Rig(disk, rig.options, rig.clock);
    expect(await after.drain()).toEqual(["t/3"]);
    await after.settle();
    expect([...after.store.written.keys()].filter((key) => pages.includes(key))).toEqual([]);
  });

  it("messages of one group share a page of at most 64 KiB", async () => {
    const rig = new Rig();
    for (let number = 1; number <= 100; number++) rig.queue.append(message(number, 1000), 1);
    rig.queue.append(message(101, 100_000), 1);
    await rig.settle();
    const pages = [...rig.store.written].filter(([key]) => key.startsWith("z")).map(([, value]) => value.length).sort((a, b) => a - b);
    expect(pages.length).toBeLessThan(10);
    expect(pages.slice(0, -1).every((bytes) => bytes <= 64 * 1024)).toBe(true);
    expect(pages.at(-1)).toBe(100_000 + 23 + "t/101".length);
  });

  it("a QoS 2 message waits for its group, a QoS 1 message need not", async () => {
    const rig = new Rig();
    rig.queue.append(message(1), 1);
    rig.queue.append(message(2), 2);
    expect(rig.send().map(({ seq }) => seq)).toEqual([1]);
    await rig.settle();
    expect(rig.send().map(({ seq }) => seq)).toEqual([2]);
  });

  it("the note of a PUBREC outlives a power cut once its group is stored", async () => {
    const rig = new Rig();
    rig.queue.append(message(1), 2);
    await rig.settle();
    rig.send();
    expect(rig.queue.receive(1)).toBe(true);
    await rig.settle();
    expect(rig.store.stored).toBeGreaterThanOrEqual(rig.queue.receivedNoted);
    const after = new Rig(rig.store.crash(), rig.options, rig.clock);
    expect(after.queue.window.stateOf(1)).toBe(Slot.received);
  });

  it("counts the bytes of what is left, though a message acknowledged out of turn had been left to the disk", async () => {
    const rig = new Rig();
    await appendPages(rig, 1, 3, 2000);
    rig.send();
    rig.queue.acknowledge(2, Slot.sent);
    rig.attach();
    rig.send(1);
    rig.queue.evict("cursor");
    rig.queue.acknowledge(1, Slot.sent);
    rig.send();
    await rig.settle(); // now it has been read again
    expect({ messages: rig.queue.messages, bytes: rig.queue.bytes }).toEqual({ messages: 1, bytes: 2000 + 23 + "t/3".length });
  });
});

describe("a damaged page", () => {
  it("loses what it must and nothing else, whatever bytes are wrong, whatever stood in the window", async () => {
    const flip = fc.record({ page: fc.nat(20), at: fc.nat(400), bit: fc.nat(7) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 12 }), fc.array(flip, { maxLength: 4 }), fc.nat(2 ** 12), async (groups, flips, mask) => {
        const before = new Rig();
        let total = 0;
        for (const size of groups) {
          for (let index = 0; index < size; index++) before.queue.append(message(++total), 2);
          await before.settle();
        }
        // Of what was sent some is acknowledged, some has got PUBREC.
        const done = new Set<number>();
        const received = new Set<number>();
        for (const { seq } of before.send()) {
          const fate = (mask >> ((seq - 1) * 2)) & 3;
          if (fate === 1) received.add(seq);
          if (fate === 2) done.add(seq);
          if (fate === 1) before.queue.receive(seq);
          if (fate === 2) before.queue.acknowledge(seq, Slot.sentQoS2);
        }
        before.detach();
        await before.settle();
        await before.store.close();
        const disk = before.store.crash();
        const pages = [...disk.keys()].filter((key) => key.startsWith("z")).sort();
        for (const { page, at, bit } of flips) {
          const key = pages[page % Math.max(1, pages.length)];
          if (key === undefined) continue;
          const bytes = Buffer.from(disk.get(key) ?? expect.fail("no page"));
          bytes[at % bytes.length]! ^= 1 << bit; // within the page
          disk.set(key, bytes);
        }
        const after = new Rig(disk, before.options, before.clock);
        const sent: number[] = [];
        for (let idle = 0; idle < 12; idle++) {
          await after.settle();
          for (let next; (next = after.sendNext()); idle = 0) {
            const state = after.queue.window.stateOf(next.seq);
            expect(state).toBe(received.has(next.seq) ? Slot.received : Slot.sent);
            if (state === Slot.sent) expect(next.topic).toBe(`t/${next.seq}`);
            sent.push(next.seq);
            expect(after.queue.acknowledge(next.seq, state === Slot.sent ? Slot.sentQoS2 : state)).toBe(true);
          }
        }
        expect(sent).toEqual([...new Set(sent)].sort((a, b) => a - b));
        for (const seq of received) expect(sent).toContain(seq);
        expect(after.lost).toBe(total - done.size - sent.length);
        if (flips.length === 0) expect(after.lost).toBe(0);
        const { lost, messages, bytes, inFlight, ackedBelow } = after.queue;
        expect({ lost, messages, bytes, inFlight, ackedBelow }).toEqual({ lost: after.lost, messages: 0, bytes: 0, inFlight: 0, ackedBelow: total + 1 });
        await after.settle();
        expect([...after.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
        expect(after.budget.usedBytes).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it.each([[[1]], [[3]], [[1, 2]], [[2, 4]], [[1, 3]]])("(%j of 5) is counted lost and skipped, its neighbours are kept", async (damaged) => {
    const before = new Rig();
    await appendPages(before, 1, 5);
    const after = await startDamaged(before, damaged);
    expect(await after.drain()).toEqual(topics(1, 5).filter((_, index) => !damaged.includes(index + 1)));
    const { lost, messages, bytes } = after.queue;
    expect({ lost, messages, bytes, used: after.budget.usedBytes }).toEqual({ lost: damaged.length, messages: 0, bytes: 0, used: 0 });
  });

  it("at the head is reported as it is read", async () => {
    const before = new Rig();
    await appendPages(before, 1, 5);
    const after = await startDamaged(before, [1, 2]);
    await after.drain();
    expect(after.lost).toBe(2);
  });

  it("behind the head is reported, too", async () => {
    const before = new Rig();
    await appendPages(before, 1, 5);
    const after = await startDamaged(before, [3]);
    await after.drain();
    expect(after.lost).toBe(1);
  });

  const recordBytes = 23 + "t/1".length + 10;
  it.each([
    ["loses the damaged record alone", 2 * recordBytes + 30, ["t/1", "t/2", "t/4", "t/5", "t/6", "t/7"]],
    ["loses its first record alone", 30, ["t/2", "t/3", "t/4", "t/5", "t/6", "t/7"]],
    ["loses its last record alone", 4 * recordBytes + 30, ["t/1", "t/2", "t/3", "t/4", "t/6", "t/7"]],
    ["is lost from a record on whose length is damaged", 2 * recordBytes + 3, ["t/1", "t/2", "t/6", "t/7"]],
  ])("%s", async (_what, at, kept) => {
    const before = new Rig();
    for (let number = 1; number <= 5; number++) before.queue.append(message(number), 1);
    await before.settle();
    await appendPages(before, 6, 7);
    const after = await startDamaged(before, [1], at);
    await after.settle();
    expect(await after.drain()).toEqual(kept);
    await after.settle();
    const { lost, messages, bytes } = after.queue;
    expect({ lost, told: after.lost, messages, bytes }).toEqual({ lost: 7 - kept.length, told: 7 - kept.length, messages: 0, bytes: 0 });
    expect([...after.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
  });

  it("is counted once, however often it is read, and again by a start that finds it before the head has passed it", async () => {
    const before = new Rig();
    await appendPages(before, 1, 40);
    const after = await startDamaged(before, [5, 30]);
    expect(after.send()).toEqual([]);
    await after.settle();
    const size = 23 + "t/1".length + 10;
    for (let time = 0; time < 3; time++) {
      expect(after.send().map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
      expect({ lost: after.lost, messages: after.queue.messages }).toEqual({ lost: 2, messages: 38 });
      expect(after.queue.bytes).toBe(8 * size + 30 * (size + 1));
      after.detach();
      await after.settle();
      after.attach();
      after.send();
      await after.settle();
    }
    const next = await after.restart();
    expect((await next.drain()).length).toBe(38);
    expect({ lost: next.lost, messages: next.queue.messages }).toEqual({ lost: 2, messages: 0 });
  });

  it("whose message had got PUBREC is not lost: its exchange is ended with PUBREL and PUBCOMP", async () => {
    const before = new Rig();
    for (let number = 1; number <= 3; number++) {
      before.queue.append(message(number), 2);
      await before.settle();
    }
    before.send();
    before.queue.receive(2);
    await before.settle();
    const after = await startDamaged(before, [2, 3]);
    after.send();
    await after.settle();
    expect(after.send().map(({ seq }) => seq)).toEqual([1]);
    await after.settle();
    expect(after.send().map(({ seq, topic }) => [seq, topic])).toEqual([[2, ""]]);
    expect({ slot: after.queue.window.stateOf(2), lost: after.lost, messages: after.queue.messages }).toEqual({ slot: Slot.received, lost: 1, messages: 2 });
    after.detach();
    await after.settle();
    after.attach();
    for (let time = 0; time < 3; time++) {
      after.send();
      await after.settle();
    }
    expect(after.queue.acknowledge(2, Slot.received)).toBe(true);
    expect(after.queue.acknowledge(1, Slot.sentQoS2)).toBe(true);
    await after.settle();
    const { lost, messages, bytes, inFlight, ackedBelow } = after.queue;
    expect({ lost, messages, bytes, inFlight, ackedBelow }).toEqual({ lost: 1, messages: 0, bytes: 0, inFlight: 0, ackedBelow: 4 });
    expect([...after.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
  });

  it.each(["read", "not read"])("whose message had got PUBREC from a peer that has forgotten it is lost (%s before)", async (when) => {
    const before = new Rig();
    for (let number = 1; number <= 3; number++) before.queue.append(message(number), 2);
    await before.settle();
    before.send();
    before.queue.receive(2);
    await before.settle();
    const after = await startDamaged(before, [1], 36 + 30);
    if (when === "read") {
      after.send();
      await after.settle();
    }
    after.queue.forgetPeer();
    after.attach();
    const received = await after.drain();
    expect(received).toEqual(["t/1", "t/3"]);
    expect({ lost: after.lost, messages: after.queue.messages, bytes: after.queue.bytes }).toEqual({ lost: 1, messages: 0, bytes: 0 });
  });

  it("that is missing altogether is lost, too", async () => {
    const before = new Rig();
    await appendPages(before, 1, 4);
    await before.store.close();
    const disk = before.store.crash();
    for (const seq of [2, 4]) disk.delete(pageKey(SESSION, LANE, seq).toString("latin1"));
    const after = new Rig(disk, before.options, before.clock);
    expect(await after.drain()).toEqual(["t/1", "t/3"]);
    expect({ lost: after.queue.lost, messages: after.queue.messages }).toEqual({ lost: 2, messages: 0 });
  });

  it("at the end does not hold up what comes after it", async () => {
    const before = new Rig();
    await appendPages(before, 1, 3);
    const after = await startDamaged(before, [3]);
    after.queue.append(message(4), 1);
    expect(await after.drain()).toEqual(["t/1", "t/2", "t/4"]);
  });

  it("whose messages had been sent does not hold up what comes after it", async () => {
    const rig = new Rig();
    await appendPages(rig, 1, 3);
    expect(rig.send().length).toBe(3);
    rig.detach();
    const page = rig.store.written.get(pageKey(SESSION, LANE, 2).toString("latin1")) ?? expect.fail("no page");
    page[30]! ^= 1; // within the page
    rig.attach();
    expect(await rig.drain()).toEqual(["t/1", "t/3"]);
    for (let number = 4; number <= 40; number++) rig.queue.append(message(number), 1);
    expect(await rig.drain()).toEqual(topics(4, 40));
    expect(rig.queue.messages).toBe(0);
  });

  it("is removed from the disk", async () => {
    const before = new Rig();
    await appendPages(before, 1, 3);
    const after = await startDamaged(before, [2]);
    await after.drain();
    await after.settle();
    expect([...after.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
  });
});
