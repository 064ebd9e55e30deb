import type { Clock } from "../clock/clock.ts";
import { Message } from "../queue/message.ts";
import { isIntactRecord, readRecord, recordSize, sealRecords, writeRecord } from "../queue/record.ts";
import { retainedKey, retainedRange } from "../store/keys.ts";
import type { GroupNumber, Need, Store } from "../store/store.ts";
import { filterMatches } from "../topic/matching.ts";
import { hasWildcard } from "../topic/validity.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

/** A value of QoS 0 is written once in this time at most. */
const LAZY_MS = 1_000;

/**
 * Retained messages by topic, each as a message record, in RAM and (but for `$SYS`) in the store. What came with QoS 1 or 2 is written with
 * its group. QoS 0 carries no promise and may change often: it is written lazily, unsynced, and synced when the autosave interval is over.
 */
export class Retained {
  private readonly byTopic = new Map<string, Buffer>();
  private readonly records: Records;
  /** Keys by name whose last change is to be written, and those written without a sync. */
  private readonly lazy = new Map<string, Buffer>();
  private readonly unsynced = new Map<string, Buffer>();

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly autosaveIntervalMs: number,
  ) {
    this.records = new Records(store);
  }

  get size(): number {
    return this.byTopic.size;
  }

  async recover(): Promise<void> {
    if (!this.store.durable) return;
    await readAll(this.store, retainedRange, (key, record) => {
      if (isIntactRecord(record, 0, record.length)) this.byTopic.set(key.toString("utf8", 1), record);
    });
  }

  /** Keeps the message for its topic; one without payload removes what was kept [MQTT-3.3.1-10]. Returns the group to wait for. */
  set(name: string, message: Message): GroupNumber {
    if (message.payloadLength === 0) {
      const existed = this.byTopic.delete(name);
      if (!existed && message.qos === 0) return 0;
    } else {
      const record = Buffer.allocUnsafeSlow(recordSize(message));
      writeRecord(record, 0, message, message.qos, 0);
      sealRecords(record, 0, record.length);
      this.byTopic.set(name, record);
    }
    if (!this.store.durable || name.startsWith("$SYS/")) return 0;
    const key = retainedKey(message.topic.subarray(message.topicStart, message.topicEnd));
    if (message.qos > 0) {
      this.lazy.delete(name);
      this.unsynced.delete(name);
      return this.write(name, key, "synced");
    }
    if (this.lazy.size === 0) this.clock.after(LAZY_MS, () => this.saveLazy());
    this.lazy.set(name, key);
    return 0;
  }

  private write(name: string, key: Buffer, need: Need): GroupNumber {
    const record = this.byTopic.get(name);
    return record ? this.records.put(key, record, need) : this.records.delete(key, need);
  }

  /** Hands the changes that wait to the store. */
  saveLazy(): void {
    if (this.unsynced.size === 0 && this.lazy.size > 0 && this.autosaveIntervalMs < Infinity) {
      this.clock.after(this.autosaveIntervalMs, () => this.syncLazy());
    }
    for (const [name, key] of this.lazy) {
      this.write(name, key, "soon");
      this.unsynced.set(name, key);
    }
    this.lazy.clear();
  }

  private syncLazy(): void {
    for (const [name, key] of this.unsynced) this.write(name, key, "synced");
    this.unsynced.clear();
  }

  /** Calls `take` with each retained message that matches; the message is valid until `take` returns. */
  match(filter: string, take: (message: Message) => void): void {
    const message = new Message();
    const visit = (record: Buffer): void => {
      readRecord(message, record, 0);
      message.retain = true;
      take(message);
    };
    if (!hasWildcard(filter)) {
      const record = this.byTopic.get(filter);
      if (record) visit(record);
      return;
    }
    for (const [name, record] of this.byTopic) if (filterMatches(filter, name)) visit(record);
  }
}
