/** What bounds some queues, those of clients or that of the bridge: chosen by the seed. */
export class QueueBounds {
  /** 0: none. */
  readonly maxMessages: number;
  readonly whenFull: string;
  /** 0: for ever. */
  readonly maxAgeSeconds: number;
  private readonly queuesQoS0: boolean;

  constructor(pick: <T>(choices: readonly T[]) => T) {
    this.maxMessages = pick([0, 0, 0, 5, 50]);
    this.whenFull = pick(["drop_newest", "drop_oldest", "block"]);
    this.maxAgeSeconds = pick([0, 0, 0, 0, 0, 3]);
    this.queuesQoS0 = pick([true, false]);
  }

  get config(): string {
    return `max_queued_messages ${this.maxMessages}
queue_full ${this.whenFull}
max_queued_age ${this.maxAgeSeconds}
queue_qos0_messages ${String(this.queuesQoS0)}
`;
  }

  get mayBlock(): boolean {
    return this.maxMessages > 0 && this.whenFull === "block";
  }

  get mayDropOldest(): boolean {
    return (this.maxMessages > 0 && this.whenFull === "drop_oldest") || this.maxAgeSeconds > 0;
  }

  get mayDrop(): boolean {
    return (this.maxMessages > 0 && this.whenFull !== "block") || this.maxAgeSeconds > 0;
  }
}
