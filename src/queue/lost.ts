interface Range {
  from: number;
  /** The first sequence number behind it. */
  to: number;
}

/** Messages of one queue that can't be read and have been counted: few runs of sequence numbers, which the head has not passed yet. */
export class LostRanges {
  private readonly ranges: Range[] = [];

  /** Adds one; false if it has been counted before. */
  add(seq: number): boolean {
    const { ranges } = this;
    let index = ranges.length;
    for (; index > 0; index--) {
      const range = ranges[index - 1] as Range; // 0 < index <= length
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

  /** The head has passed everything below `seq`. */
  forgetBelow(seq: number): void {
    while (this.ranges.length > 0 && (this.ranges[0]?.to ?? 0) <= seq) this.ranges.shift();
  }
}
