/** What collects packets and sends them together; a link's writer. */
export interface Collector {
  sendNow(): void;
  sendAtEndOfTurn(): void;
}

/**
 * What has something to send because of the read that is being handled. What one packet has caused leaves with its read, while it lies in the processor's
 * caches; where a read brings several more are likely to come in this turn, and what they cause waits for its end.
 */
export class ReadOutput {
  private isReading = false;
  /** The first `count` of them; the list keeps its room. */
  private readonly collectors: (Collector | undefined)[] = [];
  private count = 0;

  begin(): void {
    this.isReading = true;
  }

  /** False if no read is being handled. */
  takes(collector: Collector): boolean {
    if (this.isReading) this.collectors[this.count++] = collector;
    return this.isReading;
  }

  /** `packets`: so many the read has brought. */
  end(packets: number): void {
    const { collectors, count } = this;
    this.isReading = false;
    this.count = 0;
    let done = 0;
    try {
      while (packets === 1 && done < count) {
        const collector = collectors[done];
        collectors[done++] = undefined; // the list would keep it
        collector?.sendNow();
      }
    } finally {
      for (; done < count; done++) {
        collectors[done]?.sendAtEndOfTurn();
        collectors[done] = undefined;
      }
    }
  }
}
