import type { Clock } from "../clock/clock.ts";
import { goneKey, goneRange, justBehind, MAX_SESSION_NUMBER, pageLane, pageSeq, pagesBetween, pagesOf, sessionNumberOf, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../store/store.ts";
import { StoreError } from "../store/store-error.ts";
import { readAll } from "./read-all.ts";
import type { Records } from "./records.ts";

/** How many bytes of gone sessions' pages are removed in one go, and the pause after it: 10 MiB a second at most. */
const REMOVAL_SLICE_BYTES = 512 * 1024;
const REMOVAL_PAUSE_MS = 50;
/** What can't be read is tried again so long afterwards. */
const RETRY_MS = 5_000;
/** So many times it is read before a pause: thousands of sessions may end at a time, and each is read twice. */
const READS_AT_ONCE = 20;
const NOTHING = Buffer.alloc(0);

/** Sessions that have ended and whose pages are still to be removed, in slices. */
export class GoneSessions implements Keeper {
  /** Pages that nobody is to get, to be handed to the store. */
  private removed: { readonly session: SessionNumber; readonly lane: number; readonly firstSeqs: number[]; bytes: number }[] = [];
  /** Under way, or waiting for their turn. */
  private readonly removals: { readonly number: SessionNumber; from: Buffer; readonly to: Buffer; after: GroupNumber; readonly left: Buffer }[] = [];
  /** What the store held at the start: the session, and where its messages stood if other members of its shared subscriptions are to get them. */
  private readonly found = new Map<SessionNumber, Buffer>();

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly records: Records,
    /** Takes what a page holds for others, before it is removed in the same group; false if it holds nothing for them. */
    private readonly moveOn: (page: Buffer, left: Buffer) => boolean,
  ) {}

  /** Takes up what the store holds; nothing is removed yet. */
  async recover(): Promise<readonly SessionNumber[]> {
    await readAll(this.store, goneRange, (key, value) => void this.found.set(sessionNumberOf(key), value));
    return [...this.found.keys()];
  }

  has(number: SessionNumber): boolean {
    return this.found.has(number);
  }

  /** Says, in the present group, that the session has ended. */
  note(number: SessionNumber, left: Buffer = NOTHING): void {
    this.records.put(goneKey(number), left, "synced");
  }

  /** Goes on with those that were found. */
  removeFound(): void {
    for (const [number, left] of this.found) this.removePages(number, 0, left);
  }

  /** `after`: the group of the session's end. Until it is stored a group with pages of the session may be on its way to the disk. */
  removePages(number: SessionNumber, after: GroupNumber, left: Buffer = NOTHING): void {
    if (!this.store.durable) return;
    this.removals.push({ number, ...pagesOf(number), after, left });
    if (this.removals.length === 1) this.pause();
  }

  private pause(ms = REMOVAL_PAUSE_MS): void {
    this.clock.after(ms, () => this.goOn({ bytes: 0, reads: 0 }));
  }

  /** One slice of one session at a time: each in turn, whoever has many pages. */
  private goOn(done: { bytes: number; reads: number }): void {
    const [removal] = this.removals;
    if (!removal) return;
    if (this.store.stored < removal.after || done.bytes >= REMOVAL_SLICE_BYTES || done.reads === READS_AT_ONCE) return this.pause();
    done.reads += 1;
    const slice = this.store.read(removal.from, removal.to, REMOVAL_SLICE_BYTES).then((pages) => {
      for (const [key, page] of pages) {
        const hasMoved = removal.left.length > 0 && pageLane(key) === 0 && this.moveOn(page, removal.left);
        if (hasMoved) removal.after = this.records.delete(key, "soon"); // what is handed on is not to pile up
        else this.remove(key, page.length);
        removal.from = justBehind(key); // deleted or not by now
        done.bytes += page.length;
      }
      if (pages.length === 0) this.records.delete(goneKey(removal.number), "soon");
      return pages.length > 0 ? "goesOn" : "done";
    }, (error: unknown) => (error instanceof StoreError && error.code === "closed" ? "done" : "failed")); // the gone record stays: the next start goes on
    void slice.then((result) => {
      // In one step with going on: one that came between the two would find none and begin a second turn beside this one.
      this.removals.shift();
      if (result !== "done") this.removals.push(removal);
      if (result === "failed") this.pause(RETRY_MS);
      else this.goOn(done);
    });
  }

  /** There may be thousands in a slice: with one group they would keep others waiting. */
  private remove(page: Buffer, bytes: number): void {
    const session = sessionNumberOf(page);
    const lane = pageLane(page);
    const last = this.removed.at(-1);
    if (last?.session === session && last.lane === lane) {
      last.firstSeqs.push(pageSeq(page));
      last.bytes += bytes;
    } else this.removed.push({ session, lane, firstSeqs: [pageSeq(page)], bytes });
    this.store.touch(this, "soon");
  }

  writeTo(group: GroupWriter): void {
    for (const { session, lane, firstSeqs, bytes } of this.removed) group.discard(session, lane, firstSeqs, bytes);
    this.removed = [];
  }

  /** Takes sessions from `nextNumber` on that have pages for ended, before one of those numbers is given. Returns the number after the last. */
  async removeOrphansFrom(nextNumber: SessionNumber): Promise<SessionNumber> {
    return Math.max(nextNumber, await this.removeOrphans(nextNumber, MAX_SESSION_NUMBER));
  }

  /** A power cut, or a repair, may bring back pages of a session that was removed. Not worth a start's time; looks only where no session is. */
  async removeOrphansBetween(live: readonly SessionNumber[], nextNumber: SessionNumber): Promise<void> {
    let from = 1;
    try {
      for (const number of [...live, ...this.found.keys(), nextNumber].sort((a, b) => a - b)) {
        if (from < number) await this.removeOrphans(from, number);
        from = number + 1;
      }
    } catch {
      // the store tells of its own failure; the next start tries again
    }
  }

  /** Takes sessions `from` to `before` that have pages for ended. Returns the number after the last of them, 0 if there is none. */
  private async removeOrphans(from: SessionNumber, before: SessionNumber): Promise<SessionNumber> {
    let behind = 0;
    for (let next = from; ; next = behind) {
      const range = pagesBetween(next, before);
      const [page] = await this.store.read(range.from, range.to, 1);
      if (!page) return behind;
      const number = sessionNumberOf(page[0]);
      this.removePages(number, this.records.put(goneKey(number), NOTHING, "soon"));
      behind = number + 1;
    }
  }
}
