import type { GroupRecords } from "./group.ts";
import { isPageKey, isQueueKey, pageKey, queueKey, type SessionNumber } from "./keys.ts";
import type { Keeper } from "./store.ts";

/** So many are deleted with one group: more would keep others waiting for milliseconds. */
const MAX_AT_ONCE = 500;

/** Pages of one queue. */
interface Waiting {
  readonly session: SessionNumber;
  readonly lane: number;
  /** Sequence numbers of their first messages. */
  readonly firstSeqs: number[];
  /** The queue's record as it was written last, and the group that did. */
  progress: Buffer;
  toldIn: GroupRecords;
}

/**
 * Pages that nobody asks for any more and that are still to be deleted. Where more of them come than a group takes, the rest goes with the next groups.
 *
 * In generations they wait while pages are added: otherwise each table would tell of deletions in older generations, all would overlap, and compaction would write what has
 * grown twice more. So they go together, when they are many, or when a group adds no page. Those that wait when the process ends are there at the next start,
 * which removes what lies before a queue's first page.
 *
 * A page goes with a group that writes its queue's record, if need be once more: a power cut may take back the group that told first that the page is done with, and not a later one.
 */
export class Discards implements Keeper {
  readonly #waiting = new Map<string, Waiting>();
  /** Of all that have come since none waited. */
  #bytes = 0;
  #mustGo = false;

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
    if (!this.areWaiting) {
      this.#bytes = 0;
      this.#mustGo = false;
    }
    for (const { session, lane, firstSeqs, bytes } of group.discarded) {
      const name = nameOf(queueKey(session, lane));
      const waiting = this.#waiting.get(name);
      if (waiting === undefined) this.#waiting.set(name, { session, lane, firstSeqs, progress: NONE, toldIn: group });
      else for (const firstSeq of firstSeqs) waiting.firstSeqs.push(firstSeq);
      this.#bytes += bytes;
    }
    if (!this.areWaiting) return [];
    this.#noteProgress(group);
    this.#mustGo ||= this.#bytes > this.maxBytes || !mayWait || !addsPages(group);
    return this.#mustGo ? this.#take(group) : [];
  }

  #noteProgress(group: GroupRecords): void {
    for (const [index, key] of group.keys.entries()) {
      if (!isQueueKey(key)) continue;
      const waiting = this.#waiting.get(nameOf(key));
      const progress = group.values[index];
      if (waiting === undefined) continue;
      if (progress === undefined) this.#waiting.delete(nameOf(key)); // the session has ended: all its pages are looked for
      else Object.assign(waiting, { progress, toldIn: group });
    }
  }

  #take(group: GroupRecords): Buffer[] {
    const due: Buffer[] = [];
    for (const [name, { session, lane, firstSeqs, progress, toldIn }] of this.#waiting) {
      for (const firstSeq of firstSeqs.splice(-(this.maxAtOnce - due.length))) due.push(pageKey(session, lane, firstSeq));
      if (toldIn !== group) group.put(queueKey(session, lane), progress);
      if (firstSeqs.length > 0) return due;
      this.#waiting.delete(name);
    }
    return due;
  }

  /** Nothing of its own: it is touched for a group for pages to go with. */
  writeTo(): void {}
}

const NONE = Buffer.alloc(0);
const nameOf = (queue: Buffer): string => queue.toString("latin1");

function addsPages({ keys, values }: GroupRecords): boolean {
  return keys.some((key, index) => values[index] !== undefined && isPageKey(key));
}
