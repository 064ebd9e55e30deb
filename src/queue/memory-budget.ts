/** The RAM all queues share (`max_queue_memory`): a sum, so that a queue knows when to leave its stored messages to the disk. */
export class MemoryBudget {
  usedBytes = 0;

  constructor(readonly maxBytes: number) {}

  get exceeded(): boolean {
    return this.usedBytes > this.maxBytes;
  }
}
