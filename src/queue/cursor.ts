import type { Chunk } from "./chunk.ts";
import { recordEnd, recordSeq } from "./record.ts";

/** A place before a record of a chain of chunks. It begins at the chain's head, wherever that is by then. */
export class Cursor {
  chunk: Chunk | undefined;
  at = 0;
  /** Of the record that it stands before; settle returned true. */
  seq = 0;
  private end = 0;
  private isSettled = false;

  /** Moves on to the next record, should it stand at the end of a chunk; false if there is none. `head` and `headAt`: where the chain begins. */
  settle(head: Chunk | undefined, headAt: number): boolean {
    return this.isSettled || this.moveOn(head, headAt);
  }

  private moveOn(head: Chunk | undefined, headAt: number): boolean {
    let { chunk } = this;
    if (!chunk) {
      chunk = head;
      if (!chunk) return false;
      this.at = headAt;
    }
    for (;;) {
      this.chunk = chunk;
      if (this.at < chunk.used) break;
      if (!chunk.next) return false;
      chunk = chunk.next;
      this.at = 0;
    }
    this.seq = recordSeq(chunk.bytes, this.at);
    this.end = recordEnd(chunk.bytes, this.at);
    this.isSettled = true;
    return true;
  }

  /** Where the record lies; settle returned true. */
  get bytes(): Buffer {
    return this.chunk!.bytes; // settle returned true
  }

  /** The record's size; settle returned true. */
  get recordBytes(): number {
    return this.end - this.at;
  }

  /** Passes the record; settle returned true. */
  step(): void {
    this.at = this.end;
    this.isSettled = false;
  }

  /** To the beginning of a chunk, or of the chain. */
  reset(chunk?: Chunk): void {
    this.chunk = chunk;
    this.at = 0;
    this.isSettled = false;
  }
}
