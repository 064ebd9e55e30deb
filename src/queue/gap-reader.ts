import { pageSeq } from "../store/keys.ts";
import type { StoredRecord } from "../store/store.ts";
import type { Backlog } from "./backlog.ts";
import { Chunk } from "./chunk.ts";
import { intactRecords } from "./page.ts";
import { emptyRecord, recordEnd, recordSeq } from "./record.ts";
import { SeqRanges } from "./seq-ranges.ts";
import type { StoredPages } from "./stored-pages.ts";
import { Slot, type Window } from "./window.ts";

/** Reads pages from the disk, puts them where the gap of a backlog begins, and tells which messages can't be read any more. */
export class GapReader {
  /** Some that were lost still stand in the count of bytes. */
  hasMissed = false;
  /** While it does, the gap stays where it is. */
  isReading = false;
  /** Messages that the pages read last have shown to be lost. */
  private found = 0;
  /** Those below the head are forgotten. */
  private readonly lostRanges = new SeqRanges();

  constructor(
    private readonly pages: StoredPages,
    private readonly backlog: Backlog,
    private readonly window: Window,
    private readonly dropped: SeqRanges,
    /** Told when pages have been put there, and of how many messages more it is known that they are lost. */
    private readonly queue: { onRead(lost: number): void },
  ) {}

  /** Reads what stands next in the gap, unless that is under way. */
  readAhead(): void {
    const { backlog } = this;
    if (!backlog.hasGap || this.isReading) return;
    this.isReading = true;
    this.pages.read(backlog.gapPage, backlog.gapTo).then(
      (pages) => {
        this.isReading = false;
        if (!backlog.hasGap) return; // the queue has been cleared
        this.found = 0;
        this.take(pages);
        this.queue.onRead(this.found);
      },
      () => {
        this.isReading = false; // the store tells of its own failure; the next pump tries again
      },
    );
  }

  /** Whether it knows of nothing that the next one must not count again. */
  get isDone(): boolean {
    return this.lostRanges.isEmpty;
  }

  /** The head has passed everything below `seq`. */
  forgetBelow(seq: number): void {
    this.lostRanges.forgetBelow(seq);
  }

  /** Takes what stands next in the gap, in order; no page at all: nothing of the gap is left on disk. */
  private take(pages: readonly StoredRecord[]): void {
    for (const [key, page] of pages) this.takePage(pageSeq(key), page);
    if (pages.length === 0) this.passGap();
  }

  /** Whatever the page is like, the gap moves past it. What is missing at its end shows when the next one is read. */
  private takePage(firstSeq: number, page: Buffer): void {
    const { backlog } = this;
    const { ackedBelow } = this.window;
    const records = intactRecords(page, firstSeq, backlog.gapTo);
    backlog.gapPage = firstSeq + 1;
    if (records.length === 0) {
      backlog.deletePage(firstSeq, page.length);
      return;
    }
    let chunk = Chunk.ofPage(firstSeq, records);
    if (chunk.firstSeq > this.wantedSeq || chunk.endSeq - chunk.firstSeq > chunk.records) chunk = Chunk.ofPage(firstSeq, this.mend(records));
    backlog.gapPage = Math.max(backlog.gapPage, chunk.endSeq);
    backlog.gapFrom = Math.max(backlog.gapFrom, chunk.endSeq);
    if (chunk.endSeq > ackedBelow && this.dropped.next(chunk.firstSeq) < chunk.endSeq) backlog.pushRead(chunk, ackedBelow);
    else backlog.deletePage(firstSeq, page.length);
  }

  /** No page is left in the gap. */
  private passGap(): void {
    const { backlog } = this;
    const standIns: Buffer[] = [];
    this.miss(this.wantedSeq, backlog.gapTo, standIns);
    backlog.gapFrom = backlog.gapPage = backlog.gapTo;
    const [first] = standIns;
    if (first) backlog.pushRead(Chunk.ofPage(recordSeq(first, 0), Buffer.concat(standIns)), this.window.ackedBelow);
  }

  /** The next message that the gap should bring. */
  private get wantedSeq(): number {
    return Math.max(this.backlog.gapFrom, this.window.ackedBelow);
  }

  /** Counts what is missing before and between the records; returns them with what stands in for some of those. */
  private mend(records: Buffer): Buffer {
    const parts: Buffer[] = [];
    let wanted = this.wantedSeq;
    let from = 0;
    for (let at = 0; at < records.length; at = recordEnd(records, at)) {
      const seq = recordSeq(records, at);
      if (seq > wanted) {
        parts.push(records.subarray(from, at));
        this.miss(wanted, seq, parts);
        from = at;
      }
      wanted = Math.max(wanted, seq + 1);
    }
    parts.push(records.subarray(from));
    return Buffer.concat(parts);
  }

  /**
   * Messages from `from` up to `before` can't be read. Those whose PUBREC has come are the receiver's already: an empty record stands in for each
   * until PUBREL and PUBCOMP have ended the exchange. The others are lost.
   */
  private miss(from: number, before: number, standIns: Buffer[]): void {
    const { window, dropped } = this;
    for (let seq = dropped.next(from); seq < before; seq = dropped.next(seq + 1)) {
      const state = window.stateOf(seq);
      if (state === Slot.acknowledged) continue;
      this.hasMissed = true;
      if (state === Slot.received) {
        standIns.push(emptyRecord(seq, this.backlog.oldestMs));
        continue;
      }
      if (state === Slot.sent) window.set(seq, Slot.unsent);
      if (this.lostRanges.add(seq)) this.found += 1;
    }
  }
}
