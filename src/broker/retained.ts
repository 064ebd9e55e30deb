import { Message } from "../queue/message.ts";
import { isIntactRecord, readRecord, recordSize, sealRecords, writeRecord } from "../queue/record.ts";
import { retainedKey, retainedRange } from "../store/keys.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import { filterMatches } from "../topic/matching.ts";
import { hasWildcard } from "../topic/validity.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

/** Retained messages by topic, each as a message record, in RAM and (but for `$SYS`) in the store. */
export class Retained {
  private readonly byTopic = new Map<string, Buffer>();
  private readonly records: Records;

  constructor(private readonly store: Store) {
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
    const need = message.qos > 0 ? "synced" : "soon";
    const isSystem = name.startsWith("$SYS/");
    const key = retainedKey(message.topic.subarray(message.topicStart, message.topicEnd));
    let group: GroupNumber = 0;
    if (message.payloadLength === 0) {
      if (this.byTopic.delete(name) && !isSystem) group = this.records.delete(key, need);
    } else {
      const record = Buffer.allocUnsafeSlow(recordSize(message));
      writeRecord(record, 0, message, message.qos, 0);
      sealRecords(record, 0, record.length);
      this.byTopic.set(name, record);
      if (!isSystem) group = this.records.put(key, record, need);
    }
    return need === "synced" ? group : 0;
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
