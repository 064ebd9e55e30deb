import { expect, it } from "vitest";
import { MAX_CHUNK_BYTES } from "../../src/queue/chunk.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { StoreError } from "../../src/store/store-error.ts";
import { message, NO_LIMITS, SessionRig } from "./rig.ts";

const SESSIONS = 20;
const MESSAGES = 600;
const LIMIT_BYTES = 200_000;

it("max_queue_memory bounds what all queues hold in RAM, connected or not, and each drains in order all the same", async () => {
  const budget = new MemoryBudget(LIMIT_BYTES);
  const rigs = Array.from({ length: SESSIONS }, () => new SessionRig({ queued: Infinity, budget }));
  const peers = rigs.map((rig, index) => (index % 2 === 0 ? rig.attach() : undefined));
  let most = 0;
  for (let number = 0; number < MESSAGES; number++) {
    for (const rig of rigs) rig.session.deliver(message(`t${number}`, "x".repeat(1_000)), 1, false);
    if (number % 20 !== 0) continue;
    for (const rig of rigs) await rig.settle();
    most = Math.max(most, budget.usedBytes);
  }
  // 12 MB are queued. A connected queue keeps what its window is in, and what is appended to.
  expect(most).toBeLessThan(LIMIT_BYTES + (SESSIONS / 2) * 2 * MAX_CHUNK_BYTES);
  for (const [index, rig] of rigs.entries()) {
    const peer = peers[index] ?? rig.attach();
    const topics: string[] = [];
    for (let idle = 0; idle < 10; idle++) {
      await rig.settle();
      for (const line of peer.take()) {
        const [, topic = "", , id = ""] = line.split(" ");
        topics.push(topic);
        rig.session.sender?.onPuback(Number(id.slice(2)));
        idle = 0;
      }
    }
    expect(topics).toEqual(Array.from({ length: MESSAGES }, (_, number) => `t${number}`));
  }
  expect(budget.usedBytes).toBe(0);
});

/** Of 40 messages, 40 KB. */
async function away(budget: MemoryBudget): Promise<SessionRig> {
  const rig = new SessionRig({ queued: Infinity, inflight: 100, budget });
  for (let number = 0; number < 40; number++) rig.session.deliver(message("t", "x".repeat(1_000)), 1, false);
  await rig.settle();
  return rig;
}

/** What a peer gets that comes now, and how often the disk is read for it. */
async function visit(rig: SessionRig): Promise<{ got: number; reads: number }> {
  let reads = 0;
  rig.store.onRead = () => void reads++;
  const peer = rig.attach();
  await rig.settle();
  return { got: peer.take().length, reads };
}

it("what waits for a peer that is away stays in RAM as long as there is room", async () => {
  const rig = await away(new MemoryBudget(100_000));
  expect(await visit(rig)).toEqual({ got: 40, reads: 0 });
  rig.session.detach();
  expect(await visit(rig)).toEqual({ got: 40, reads: 0 });
});

it("others that need the room have it from peers that are away, first from the one that has been so for longest", async () => {
  const budget = new MemoryBudget(200_000);
  const [first, second, back] = [await away(budget), await away(budget), await away(budget)];
  expect(await visit(back)).toEqual({ got: 40, reads: 0 });
  const fourth = await away(budget);
  expect(budget.exceeded).toBe(false);
  expect([first, second, fourth].map((rig) => rig.session.lanes.get(0)?.hasGap)).toEqual([true, false, false]);
  const { got, reads } = await visit(first);
  expect({ got, hasRead: reads > 0 }).toEqual({ got: 40, hasRead: true });
  const slow = new SessionRig({ queued: Infinity, inflight: 1, budget });
  slow.attach();
  for (let number = 0; number < 40; number++) slow.session.deliver(message("t", "x".repeat(1_000)), 1, false);
  await slow.settle();
  expect({ isExceeded: budget.exceeded, slow: slow.session.lanes.get(0)?.hasGap, second: second.session.lanes.get(0)?.hasGap }).toEqual({ isExceeded: false, slow: false, second: true });
});

it("of very many sessions whose peers are away only the last hundred keep theirs, however little it is", async () => {
  const budget = new MemoryBudget(100_000_000);
  const rigs: SessionRig[] = [];
  for (let sessions = 0; sessions < 110; sessions++) rigs.push(await away(budget));
  expect(rigs.map((rig) => rig.session.lanes.get(0)?.hasGap)).toEqual(rigs.map((_, index) => index < 10));
});

it("messages of QoS 0 wait where messages on disk can leave RAM for them", async () => {
  const budget = new MemoryBudget(70_000);
  const stored = await away(budget);
  const rig = new SessionRig({ budget });
  rig.session.bounds.limits = { ...NO_LIMITS, queueQoS0: true };
  for (let number = 0; number < 30; number++) rig.session.deliver(message("t", "x".repeat(1_000)), 0, false);
  expect({ waiting: rig.session.waitingMessages, dropped: rig.session.bounds.dropped }).toEqual({ waiting: 30, dropped: 0 });
  expect(stored.session.lanes.get(0)?.hasGap).toBe(true);
});

it("a peer that has come back is not asked before those that are away", async () => {
  const budget = new MemoryBudget(150_000);
  const back = await away(budget);
  const gone = await away(budget);
  let isAsked = false;
  back.session.leaveToDisk = () => void (isAsked = true);
  await visit(back);
  await away(budget);
  expect({ isAsked, gone: gone.session.lanes.get(0)?.hasGap }).toEqual({ isAsked: false, gone: true });
});

it("a session that has ended asks for no room, and is not kept for it", async () => {
  const budget = new MemoryBudget(100_000);
  const ended = await away(budget);
  let isAsked = false;
  ended.session.leaveToDisk = () => void (isAsked = true);
  ended.session.discard();
  expect(budget.usedBytes).toBe(0);
  for (let sessions = 0; sessions < 3; sessions++) await away(budget);
  expect({ isAsked, isExceeded: budget.exceeded }).toEqual({ isAsked: false, isExceeded: false });
});

it("sessions with nothing queued take no room from those that have", async () => {
  const budget = new MemoryBudget(100_000_000);
  const rig = await away(budget);
  for (let sessions = 0; sessions < 110; sessions++) {
    const other = new SessionRig({ budget });
    const peer = other.attach();
    other.session.deliver(message("t"), 1, false);
    await other.settle();
    for (const line of peer.take()) other.session.sender?.onPuback(Number(line.split(" ")[3]?.slice(2)));
    await other.settle();
    expect(other.session.queuedMessages).toBe(0);
    other.session.detach();
  }
  expect(rig.session.lanes.get(0)?.hasGap).toBe(false);
});

it("a page that is read to look for old messages does not have another lane's read again, and so on without end", async () => {
  const rig = new SessionRig({ inflight: 2, queued: Infinity, budgetBytes: 1 });
  rig.session.bounds.limits = { ...NO_LIMITS, maxQueuedAgeMs: 10_000 };
  rig.attach();
  const startMs = rig.clock.nowMs();
  const deliver = async (receivedMs: number): Promise<void> => {
    for (const lane of [0, 1]) rig.deliverAt(receivedMs, `lane${lane}`, lane);
    await rig.settle();
  };
  await deliver(startMs);
  for (let number = 0; number < 5; number++) await deliver(startMs + 9_000);
  rig.session.detach();
  let reads = 0;
  rig.store.onRead = () => {
    reads += 1;
    if (reads === 100) rig.session.bounds.limits = NO_LIMITS;
  };
  await rig.passUntil(startMs + 11_000);
  rig.session.check();
  await rig.settle();
  expect(reads).toBeLessThan(100);
  expect(rig.session.bounds.dropped).toBe(0);
});

it("what could not be read for a moment is read again, though nothing else happens to the queue", async () => {
  const rig = new SessionRig({ inflight: 2, queued: Infinity, budgetBytes: 1 });
  rig.deliver("a b c", 1);
  await rig.settle();
  const read = rig.store.read.bind(rig.store);
  rig.store.read = () => Promise.reject(new StoreError("unwritable", "too many open files"));
  const peer = rig.attach();
  await rig.settle();
  rig.session.check();
  await rig.settle();
  rig.store.read = read;
  expect(peer.take()).toEqual([]);
  rig.session.check();
  await rig.settle();
  expect(peer.take()).toEqual(["PUBLISH a q1 id2", "PUBLISH b q1 id3"]);
});
