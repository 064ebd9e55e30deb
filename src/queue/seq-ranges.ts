export interface SeqRange {
  readonly from: number;
  /** The first sequence number behind it. */
  to: number;
}

/** Runs of sequence numbers of one queue that need no handling any more when the head comes to them: few, in order, all above the head. */
export class SeqRanges {
  private ranges: SeqRange[] = NONE;

  get all(): readonly SeqRange[] {
    return this.ranges;
  }

  get isEmpty(): boolean {
    return this.ranges.length === 0;
  }

  recover(ranges: readonly SeqRange[]): void {
    if (ranges.length > 0) this.ranges = ranges.map(({ from, to }) => ({ from, to }));
  }

  /** Adds one; false if it is in already. */
  add(seq: number): boolean {
    const ranges = this.ranges === NONE ? (this.ranges = []) : this.ranges;
    let index = ranges.length;
    for (; index > 0; index--) {
      const range = ranges[index - 1] as SeqRange; // 0 < index <= length
      if (seq > range.to) break;
      if (seq === range.to) {
        range.to += 1;
        return true;
      }
      if (seq >= range.from) return false;
    }
    ranges.splice(index, 0, { from: seq, to: seq + 1 });
    return true;
  }

  /** The first sequence number from `seq` on that is in no run. */
  next(seq: number): number {
    let next = seq;
    for (const { from, to } of this.ranges) if (next >= from && next < to) next = to;
    return next;
  }

  has(seq: number): boolean {
    return this.ranges.length > 0 && this.next(seq) !== seq;
  }

  /** The head has passed everything below `seq`. */
  forgetBelow(seq: number): void {
    while (this.ranges.length > 0 && (this.ranges[0]?.to ?? 0) <= seq) this.ranges.shift();
  }
}

/** What most queues have, for ever: nothing is ever added to it. */
const NONE: SeqRange[] = [];
