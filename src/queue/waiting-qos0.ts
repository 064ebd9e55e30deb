import { Chunk, ChunkList } from "./chunk.ts";
import { MemoryBudget } from "./memory-budget.ts";
import type { Message } from "./message.ts";
import type { QueueTotals } from "./queue-totals.ts";
import { readRecord, recordEnd, recordReceivedMs, recordSeq, recordSize, writeRecord } from "./record.ts";

/**
 * Messages of QoS 0 of one lane that wait, in RAM alone: sent, lost in a crash and sent again they would break at-most-once. They have no sequence
 * number of their own; each stands before the message of QoS 1 or 2 whose number is in its record, and behind all lower ones.
 */
export class WaitingQoS0 {
  messages = 0;
  /** Of their records. */
  bytes = 0;
  private readonly list = new ChunkList();
  /** Offset of the first record in `list.head`. */
  private headAt = 0;

  constructor(
    private readonly budget: MemoryBudget,
    private readonly totals: QueueTotals,
  ) {}

  /** What a queue has to which none ever came: nothing is appended to it. */
  static readonly none = new WaitingQoS0(new MemoryBudget(0), { messages: 0, bytes: 0 });

  /** Copies the message to the end, before the message `nextSeq`. */
  append(message: Message, retain: boolean, nextSeq: number): void {
    const size = recordSize(message);
    let chunk = this.list.tail;
    if (!chunk || chunk.room < size) {
      chunk = Chunk.forAppend(size, chunk?.bytes.length ?? 0);
      this.budget.usedBytes += chunk.bytes.length;
      this.list.push(chunk);
    }
    chunk.used = writeRecord(chunk.bytes, chunk.used, message, 0, nextSeq, retain);
    this.count(1, size);
  }

  private count(messages: number, bytes: number): void {
    this.messages += messages;
    this.bytes += bytes;
    this.totals.messages += messages;
    this.totals.bytes += bytes;
  }

  /** When the first came; there is one. */
  get oldestMs(): number {
    return recordReceivedMs(this.headBytes, this.headAt);
  }

  /** The message that the first one stands before; there is one. */
  get beforeSeq(): number {
    return recordSeq(this.headBytes, this.headAt);
  }

  private get headBytes(): Buffer {
    return this.list.head!.bytes; // as its users know
  }

  /** Puts the first under `message`; there is one. Its bytes stay where they are until more is appended. */
  read(message: Message): void {
    readRecord(message, this.headBytes, this.headAt);
  }

  /** Leaves the first; there is one. */
  dropFirst(): void {
    const head = this.list.head!; // as said
    const end = recordEnd(head.bytes, this.headAt);
    this.count(-1, this.headAt - end);
    this.headAt = end;
    if (end < head.used) return;
    this.budget.usedBytes -= head.bytes.length;
    this.list.shift();
    this.headAt = 0;
  }

  /** Leaves all of them; returns how many. */
  clear(): number {
    const { messages } = this;
    while (this.messages > 0) this.dropFirst();
    return messages;
  }
}
