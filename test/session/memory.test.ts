import { expect, it } from "vitest";
import { MAX_CHUNK_BYTES } from "../../src/queue/chunk.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
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
  rig.session.dropOld();
  await rig.settle();
  expect(reads).toBeLessThan(100);
  expect(rig.session.bounds.dropped).toBe(0);
});
