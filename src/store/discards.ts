import type { GroupRecords } from "./group.ts";
import { isPageKey, isQueueKey, pageKey, queueKey, type SessionNumber } from "./keys.ts";
import type { Keeper } from "./store.ts";

/** So many are deleted with one group, unless it adds many: more would keep others waiting for milliseconds. */
const MAX_AT_ONCE = 500;
/** For each page that a group adds so many may be deleted with it, so that those that wait become fewer, however many queues grow. */
const MOST_FOR_ONE_ADDED = 2;

/** Pages of one queue. */
interface Waiting {
  readonly session: SessionNumber;
  readonly lane: number;
  /** Sequence numbers of their first messages. */
  readonly firstSeqs: number[];
  /** The queue's record as it was written last, as latin1: a small buffer would keep others in memory; and in which group. Undefined: there is none, its session has ended. */
  progress: string | undefined;
  toldIn: number;
}

/**
 * Pages that nobody asks for any more and that are still to be deleted. Where more of them come than a group takes, the rest goes with the next groups.
 *
 * In generations they wait while pages are added: otherwise each table would tell of deletions in older generations, all would overlap, and compaction would write what has
 * grown twice more. So they go together, when they are many, or when a group adds no page. Those that wait when the process ends are there at the next start,
 * which removes what lies before a queue's first page.
 *
 * A page goes with a group that writes its queue's record, if need be once more: a power cut may take back the group that told first that the page is done with, and not a later one.
 * The end of a session is synced, and stored by then: of its queues nothing is told.
 */
export class Discards implements Keeper {
  readonly #waiting = new Map<string, Waiting>();
  /** Of all that have come since none waited. */
  #bytes = 0;
  #mustGo = false;
  #isClosing = false;
  /** Groups so far: none of them is kept, they hold pages. */
  #groups = 0;

  /** `maxBytes`: more than that does not wait. */
  constructor(
    private readonly maxBytes: number,
    private readonly maxAtOnce = MAX_AT_ONCE,
  ) {}

  get areWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  /** Some wait for nothing but the next group. */
  get areDue(): boolean {
    return this.#mustGo && this.areWaiting;
  }

  /** To be called once for each group: the keys of the pages that are to be deleted with it. `mayWait`: if it adds pages others may wait. */
  dueWith(group: GroupRecords, mayWait: boolean): Buffer[] {
    this.#groups++;
    if (!this.areWaiting) {
      this.#bytes = 0;
      this.#mustGo = false;
    }
    for (const { session, lane, firstSeqs, bytes } of group.discarded) {
      const name = nameOf(queueKey(session, lane));
      const waiting = this.#waiting.get(name);
      if (waiting === undefined) this.#waiting.set(name, { session, lane, firstSeqs, progress: undefined, toldIn: 0 });
      else for (const firstSeq of firstSeqs) waiting.firstSeqs.push(firstSeq);
      this.#bytes += bytes;
    }
    if (!this.areWaiting) return [];
    this.#noteProgress(group);
    const added = countPages(group);
    this.#mustGo ||= this.#isClosing || this.#bytes > this.maxBytes || !mayWait || added === 0;
    if (!this.#mustGo) return [];
    return this.#take(group, this.#isClosing ? Infinity : Math.max(this.maxAtOnce, added * MOST_FOR_ONE_ADDED));
  }

  /** With the next group, the last one, all go: nobody else waits for it. */
  close(): void {
    this.#isClosing = true;
  }

  #noteProgress(group: GroupRecords): void {
    for (const [index, key] of group.keys.entries()) {
      if (!isQueueKey(key)) continue;
      const waiting = this.#waiting.get(nameOf(key));
      if (waiting !== undefined) Object.assign(waiting, { progress: group.values[index]?.toString("latin1"), toldIn: this.#groups });
    }
  }

  #take(group: GroupRecords, most: number): Buffer[] {
    const due: Buffer[] = [];
    for (const [name, { session, lane, firstSeqs, progress, toldIn }] of this.#waiting) {
      if (due.length === most) break;
      for (const firstSeq of firstSeqs.splice(due.length - most)) due.push(pageKey(session, lane, firstSeq));
      if (progress !== undefined && toldIn !== this.#groups) group.put(queueKey(session, lane), Buffer.from(progress, "latin1"));
      if (firstSeqs.length === 0) this.#waiting.delete(name);
    }
    return due;
  }

  /** Nothing of its own: it is touched for a group for pages to go with. */
  writeTo(): void {}
}

const nameOf = (queue: Buffer): string => queue.toString("latin1");

/** How many pages the group adds. */
function countPages({ keys, values }: GroupRecords): number {
  let pages = 0;
  for (let index = 0; index < keys.length; index++) if (values[index] !== undefined && isPageKey(keys[index] as Buffer)) pages++; // index < length
  return pages;
}
