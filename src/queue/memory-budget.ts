/** Of more than so many the messages lie in small pieces, each of which costs more RAM than it holds. */
const MAX_IDLE = 100;

/** Holds messages in RAM that are on disk, too, while nobody takes them. */
export interface Idle {
  leaveToDisk(): void;
}

/** The RAM all queues share (`max_queue_memory`). What is on disk stays in RAM, too, until others need the room: first goes what waits for peers that are away. */
export class MemoryBudget {
  usedBytes = 0;
  /** The one that has been idle for longest comes first. */
  private readonly idle = new Set<Idle>();

  constructor(readonly maxBytes: number) {}

  get exceeded(): boolean {
    return this.usedBytes > this.maxBytes;
  }

  /** It is idle from now on. */
  lend(idle: Idle): void {
    this.idle.add(idle);
    if (this.idle.size > MAX_IDLE) this.leaveFirst();
  }

  /** It is not idle any more, or has ended. */
  takeBack(idle: Idle): void {
    this.idle.delete(idle);
  }

  /** Has as many as need be leave their messages to the disk. Returns whether what is used is within the limit then. */
  makeRoom(): boolean {
    while (this.exceeded && this.idle.size > 0) this.leaveFirst();
    return !this.exceeded;
  }

  private leaveFirst(): void {
    const [first] = this.idle;
    if (!first) return;
    this.idle.delete(first);
    first.leaveToDisk();
  }
}
