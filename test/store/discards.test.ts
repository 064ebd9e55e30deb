import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { Discards } from "../../src/store/discards.ts";
import { GroupRecords } from "../../src/store/group.ts";
import { pageKey, pageSeq, queueKey, sessionKey } from "../../src/store/keys.ts";

const MAX_BYTES = 1000;
const SESSION = 7;
const LANE = 1;

/** A group that tells of a queue's progress and discards pages of it. */
function discarding(firstSeqs: number[], { bytes = 0, session = SESSION, progress = "told" } = {}): GroupRecords {
  const group = new GroupRecords();
  group.discard(session, LANE, firstSeqs, bytes);
  group.put(queueKey(session, LANE), Buffer.from(progress));
  return group;
}

function adding(group = new GroupRecords()): GroupRecords {
  group.put(pageKey(99, 0, 1), Buffer.from("page"));
  return group;
}

const seqs = (keys: readonly Buffer[]): number[] => keys.map(pageSeq).sort((a, b) => a - b);
const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1);
const progressIn = (group: GroupRecords): string[] => group.keys.flatMap((key, index) => (key.equals(queueKey(SESSION, LANE)) ? [String(group.values[index])] : []));

it("deletes with each group as many pages as keep nobody waiting, until none are left", () => {
  const discards = new Discards(MAX_BYTES, 4);
  const deleted: number[][] = [];
  for (let group = discarding(upTo(10)); ; group = new GroupRecords()) {
    deleted.push(seqs(discards.dueWith(group, false)));
    if (!discards.areDue) break;
  }
  expect(deleted.map(({ length }) => length)).toEqual([4, 4, 2]);
  expect(deleted.flat().sort((a, b) => a - b)).toEqual(upTo(10));
  expect(discards.dueWith(new GroupRecords(), false)).toEqual([]);
});

it("deletes a page only with a group that tells how far its queue has come, as it was told last", () => {
  const discards = new Discards(MAX_BYTES, 1);
  discards.dueWith(discarding([1, 2, 3, 4], { progress: "first" }), false);
  const without = new GroupRecords();
  discards.dueWith(without, false);
  expect(progressIn(without)).toEqual(["first"]);
  const later = new GroupRecords();
  later.put(queueKey(SESSION, LANE), Buffer.from("later"));
  discards.dueWith(later, false);
  expect(progressIn(later)).toEqual(["later"]);
  const last = new GroupRecords();
  expect(discards.dueWith(last, false)).toHaveLength(1);
  expect(progressIn(last)).toEqual(["later"]);
});

it("tells nothing of a queue whose record is deleted, whose session has ended, and deletes its pages", () => {
  const discards = new Discards(MAX_BYTES, 1);
  discards.dueWith(discarding([1, 2, 3]), false);
  const ended = new GroupRecords();
  ended.delete(queueKey(SESSION, LANE));
  expect(discards.dueWith(ended, false)).toHaveLength(1);
  expect(ended.count).toBe(1);
  const later = new GroupRecords();
  expect(discards.dueWith(later, false)).toHaveLength(1);
  expect(later.count).toBe(0);
  expect(discards.areDue).toBe(false);
  expect(discards.areWaiting).toBe(false);
});

it("deletes the pages of a session that has ended though its queue's record is deleted once more", () => {
  const discards = new Discards(MAX_BYTES, 2);
  const gone = new GroupRecords();
  gone.discard(SESSION, LANE, [1, 2, 3], 0);
  gone.delete(queueKey(SESSION, LANE));
  expect(seqs(discards.dueWith(gone, false))).toEqual([2, 3]);
  const later = new GroupRecords();
  expect(seqs(discards.dueWith(later, false))).toEqual([1]);
  expect(later.count).toBe(0);
});

it("deletes all that are left with the last group", () => {
  const discards = new Discards(MAX_BYTES, 4);
  discards.dueWith(discarding(upTo(10)), false);
  discards.dueWith(discarding([1, 2, 3], { session: 8 }), false);
  discards.close();
  discards.dueWith(adding(discarding([1], { session: 9 })), true);
  expect(discards.areWaiting).toBe(false);
});

it("lets pages wait while others are added, until a group adds none", () => {
  const discards = new Discards(MAX_BYTES);
  expect(discards.dueWith(adding(discarding([1, 2])), true)).toEqual([]);
  expect(discards.dueWith(adding(discarding([3])), true)).toEqual([]);
  expect(discards.areWaiting).toBe(true);
  expect(discards.areDue).toBe(false);
  const other = new GroupRecords();
  other.put(sessionKey(1), Buffer.from("{}"));
  expect(seqs(discards.dueWith(other, true))).toEqual([1, 2, 3]);
});

it("lets none wait where that is of no use", () => {
  expect(seqs(new Discards(MAX_BYTES).dueWith(adding(discarding([1, 2])), false))).toEqual([1, 2]);
});

it("lets all go when they hold much, also those that come until they have gone", () => {
  const discards = new Discards(MAX_BYTES, 3);
  expect(discards.dueWith(adding(discarding([1, 2, 3], { bytes: MAX_BYTES })), true)).toEqual([]);
  expect(discards.dueWith(adding(discarding([4, 5], { bytes: 1 })), true)).toHaveLength(3);
  expect(discards.areDue).toBe(true);
  expect(discards.dueWith(adding(discarding([6])), true)).toHaveLength(3);
  expect(discards.areDue).toBe(false);
  expect(discards.dueWith(adding(discarding([7], { bytes: 1 })), true)).toEqual([]);
});

it("takes no more than that of another queue when the first one's end with them", () => {
  const discards = new Discards(MAX_BYTES, 4);
  discards.dueWith(adding(discarding(upTo(4), { session: 1 })), true);
  discards.dueWith(adding(discarding(upTo(20), { session: 2 })), true);
  expect(discards.dueWith(new GroupRecords(), true)).toHaveLength(4);
  expect(discards.dueWith(new GroupRecords(), true)).toHaveLength(4);
});

it("takes more with a group that adds more pages: with as many queues as grow nothing would be left for those that come later", () => {
  const discards = new Discards(MAX_BYTES, 4);
  const queues = 20;
  let waiting = 0;
  for (let seq = 1; seq < 50; seq++) {
    const group = new GroupRecords();
    for (let session = 1; session <= queues; session++) {
      group.put(pageKey(session, LANE, seq + 1), Buffer.from("page"));
      group.put(queueKey(session, LANE), Buffer.from("told"));
      group.discard(session, LANE, [seq], 0);
    }
    waiting += queues - discards.dueWith(group, false).length;
  }
  expect(waiting).toBe(0);
});

it("keeps no group in memory whose queues have pages that wait", async () => {
  const discards = new Discards(MAX_BYTES);
  const groups = Array.from({ length: 10 }, (_, index) => {
    const group = adding(discarding([1], { session: index + 1 }));
    discards.dueWith(group, true);
    return new WeakRef(group);
  });
  discards.dueWith(adding(), true);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  await new Promise((resolve) => setImmediate(resolve)); // until then a WeakRef keeps what it was made of
  collect();
  expect(groups.filter((group) => group.deref() !== undefined)).toEqual([]);
  expect(discards.areWaiting).toBe(true);
});

it("takes the pages of many queues together", () => {
  const discards = new Discards(MAX_BYTES, 4);
  discards.dueWith(adding(discarding([1, 2, 3], { session: 1 })), true);
  discards.dueWith(adding(discarding([1, 2, 3], { session: 2 })), true);
  const first = discards.dueWith(new GroupRecords(), true);
  const second = discards.dueWith(new GroupRecords(), true);
  expect(new Set([...first, ...second].map((key) => key.toString("hex"))).size).toBe(6);
  expect(discards.areWaiting).toBe(false);
});
