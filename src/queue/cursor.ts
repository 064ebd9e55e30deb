import type { Chunk } from "./chunk.ts";
import { recordEnd, recordSeq } from "./record.ts";

/** A place before a record of a chain of chunks. It begins at the chain's head, wherever that is by then. */
export class Cursor {
  chunk: Chunk | undefined;
  at = 0;

  /** Moves on to the next record, should it stand at the end of a chunk; false if there is none. `head` and `headAt`: where the chain begins. */
  settle(head: Chunk | undefined, headAt: number): boolean {
    let { chunk } = this;
    if (!chunk) {
      chunk = head;
      if (!chunk) return false;
      this.at = headAt;
    }
    for (;;) {
      this.chunk = chunk;
      if (this.at < chunk.used) return true;
      if (!chunk.next) return false;
      chunk = chunk.next;
      this.at = 0;
    }
  }

  /** Where the record lies; settle returned true. */
  get bytes(): Buffer {
    return this.chunk!.bytes; // settle returned true
  }

  /** The record's sequence number; settle returned true. */
  get seq(): number {
    return recordSeq(this.bytes, this.at);
  }

  /** The record's size; settle returned true. */
  get recordBytes(): number {
    return recordEnd(this.bytes, this.at) - this.at;
  }

  /** Passes the record; settle returned true. */
  step(): void {
    this.at = recordEnd(this.bytes, this.at);
  }

  reset(): void {
    this.chunk = undefined;
    this.at = 0;
  }
}
