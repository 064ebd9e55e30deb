import type { Identity } from "../access/identity.ts";
import type { Clock, Timer } from "../clock/clock.ts";
import { Message } from "../queue/message.ts";
import { isIntactRecord, readRecord, recordExpiresAtMs, recordSize, sealRecords, writeRecord } from "../queue/record.ts";
import { retainedKey, retainedRange } from "../store/keys.ts";
import type { GroupNumber, Need, Store } from "../store/store.ts";
import { NameTree } from "../topic/name-tree.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

/** A topic's retained message and who published it; undefined: the daemon itself. */
interface Value {
  readonly name: string;
  record: Buffer;
  author: Identity | undefined;
}

/** A value as others see it. */
export type RetainedValue = Readonly<Value>;

/** A value of QoS 0 is written once in this time at most. */
const LAZY_MS = 1_000;
/** Values whose time is over are nobody's from that moment; they are removed with the next look at them. */
const EXPIRY_CHECK_MS = 10_000;

/**
 * Retained messages by topic, each as a message record, in RAM and (but for `$SYS`) in the store. What came with QoS 1 or 2 is written with
 * its group. QoS 0 carries no promise and may change often: it is written lazily, unsynced, and synced when the autosave interval is over.
 */
export class Retained {
  /** The same values twice: by whole name for publishers, by levels for filters. */
  private readonly byTopic = new Map<string, Value>();
  private readonly byLevel = new NameTree<Value>();
  private systemCount = 0;
  private readonly records: Records;
  /** Keys by name whose last change is to be written, and those written without a sync. */
  private readonly lazy = new Map<string, Buffer>();
  private readonly unsynced = new Map<string, Buffer>();
  /** When the value of a name ends [MQTT-3.3.2-5]. */
  private readonly expiring = new Map<string, number>();
  private expiryTimer: Timer | undefined;

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    private readonly autosaveIntervalMs: number,
    private readonly onDamaged: (topicName: string) => void,
  ) {
    this.records = new Records(store);
  }

  /** How many there are, those of `$SYS` not counted. */
  get count(): number {
    return this.byTopic.size - this.systemCount;
  }

  async recover(): Promise<void> {
    if (!this.store.durable) return;
    await readAll(this.store, retainedRange, (key, record) => {
      const value = decodeValue(key.toString("utf8", 1), record);
      if (value) this.add(value);
      else this.onDamaged(key.toString("utf8", 1));
    });
  }

  private add(value: Value): void {
    this.byTopic.set(value.name, value);
    if (isSystem(value.name)) this.systemCount++;
    this.byLevel.set(value.name, value);
    this.noteExpiry(value);
  }

  private noteExpiry({ name, record }: Value): void {
    const atMs = recordExpiresAtMs(record, 0);
    if (atMs === 0) return void this.expiring.delete(name);
    this.expiring.set(name, atMs);
    this.expiryTimer ??= this.clock.after(EXPIRY_CHECK_MS, () => this.removeExpired());
  }

  private removeExpired(): void {
    const nowMs = this.clock.nowMs();
    for (const [name, atMs] of this.expiring) {
      if (atMs > nowMs) continue;
      this.remove(name);
      this.lazy.delete(name);
      this.unsynced.delete(name);
      if (!isSystem(name)) this.records.delete(retainedKey(Buffer.from(name)), "soon");
    }
    this.expiryTimer = this.expiring.size > 0 ? this.clock.after(EXPIRY_CHECK_MS, () => this.removeExpired()) : undefined;
  }

  private remove(name: string): boolean {
    if (!this.byTopic.delete(name)) return false;
    if (isSystem(name)) this.systemCount--;
    this.byLevel.delete(name);
    this.expiring.delete(name);
    return true;
  }

  /** Keeps the message for its topic; one without payload removes what was kept [MQTT-3.3.1-10]. Returns the group to wait for. */
  set(name: string, message: Message, author: Identity | undefined): GroupNumber {
    if (message.payloadLength === 0) {
      if (!this.remove(name) && message.qos === 0) return 0;
    } else {
      const record = Buffer.allocUnsafeSlow(recordSize(message));
      writeRecord(record, 0, message, message.qos, 0);
      sealRecords(record, 0, record.length);
      const value = this.byTopic.get(name);
      if (!value) this.add({ name, record, author });
      else {
        value.record = record;
        value.author = author;
        this.noteExpiry(value);
      }
    }
    if (!this.store.durable || isSystem(name)) return 0;
    const key = retainedKey(message.topic.subarray(message.topicStart, message.topicEnd));
    if (message.qos > 0) {
      this.lazy.delete(name);
      this.unsynced.delete(name);
      return this.write(name, key, "synced");
    }
    if (this.lazy.size === 0) this.clock.after(LAZY_MS, () => this.saveLazyIfRoom());
    this.lazy.set(name, key);
    return 0;
  }

  private write(name: string, key: Buffer, need: Need): GroupNumber {
    const value = this.byTopic.get(name);
    return value ? this.records.put(key, encodeValue(value), need) : this.records.delete(key, need);
  }

  /** They can wait longer: a full disk is left to what frees room. */
  private saveLazyIfRoom(): void {
    if (this.store.state === "healthy") this.saveLazy();
    else if (this.lazy.size > 0) this.clock.after(LAZY_MS, () => this.saveLazyIfRoom());
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

  /** The value of this topic, be it that its time is over. */
  get(name: string): RetainedValue | undefined {
    return this.byTopic.get(name);
  }

  /** The values of matching topics, step by step: undefined is a step that found none, after which one may pause. */
  find(filter: string): Iterator<RetainedValue | undefined> {
    return this.byLevel.find(filter);
  }

  /** Whether nobody gets the value any more. */
  hasExpired({ name }: RetainedValue): boolean {
    const atMs = this.expiring.get(name);
    return atMs !== undefined && atMs <= this.clock.nowMs();
  }

  /** Calls `take` with each retained message that matches; the message is valid until `take` returns. */
  match(filter: string, take: (message: Message, topicName: string, author: Identity | undefined) => void): void {
    const message = new Message();
    const steps = this.find(filter);
    for (let step = steps.next(); step.done !== true; step = steps.next()) {
      if (!step.value || this.hasExpired(step.value)) continue;
      readRetained(message, step.value);
      take(message, step.value.name, step.value.author);
    }
  }
}

const isSystem = (name: string): boolean => name.startsWith("$SYS/");

/** Lays `message` over the value. */
export function readRetained(message: Message, { record }: RetainedValue): void {
  readRecord(message, record, 0);
  message.retain = true;
}

const LENGTH_BYTES = 4;

/** `doc/store-format.md`: the author as JSON with its length before it, then the message record. */
function encodeValue({ record, author }: RetainedValue): Buffer {
  const text = Buffer.from(author ? JSON.stringify(author) : "");
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text, record]);
}

/** Undefined when the value is damaged. */
function decodeValue(name: string, bytes: Buffer): Value | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined;
  const start = LENGTH_BYTES + bytes.readUInt32BE(0);
  if (start > bytes.length || !isIntactRecord(bytes, start, bytes.length)) return undefined;
  const record = bytes.subarray(start);
  try {
    return { name, record, author: start === LENGTH_BYTES ? undefined : (JSON.parse(bytes.toString("utf8", LENGTH_BYTES, start)) as Identity) };
  } catch {
    return undefined;
  }
}
