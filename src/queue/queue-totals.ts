/** What all queues of one kind hold together, in flight or not. */
export interface QueueTotals {
  messages: number;
  /** Of the records. */
  bytes: number;
}
