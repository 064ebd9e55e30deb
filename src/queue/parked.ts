import type { QoS } from "../mqtt/protocol.ts";
import { MAX_SEQ, pageSeq, queueKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../store/store.ts";
import { Message } from "./message.ts";
import { decodeProgress, encodeProgress } from "./progress.ts";
import { isIntactRecord, readRecord, recordEnd, recordLane, recordSize, sealRecords, setRecordLane, writeRecord } from "./record.ts";
import { StoredPages } from "./stored-pages.ts";

/** A message that is put aside. */
export interface ParkedMessage {
  readonly topic: string;
  /** Of the payload. */
  readonly bytes: number;
  readonly qos: QoS;
}

const NO_SLOTS = new Uint8Array(1);

/**
 * Messages of one session that are put aside: kept, never sent, until all are taken back or dropped. On disk a lane of its own, each message
 * in a page of its own, so that a page's key is known without reading it. RAM holds the messages whose group is not stored yet.
 */
export class Parked implements Keeper {
  messages = 0;
  /** Of those messages' records. */
  bytes = 0;
  private nextSeq = 1;
  private firstSeq = 1;
  private readonly unstored = new Map<number, { readonly record: Buffer; readonly group: GroupNumber }>();
  private unwritten: number[] = [];
  private removed: number[] = [];
  private oldestMs = 0;
  private touchedIn: GroupNumber = 0;
  private hasEnded = false;
  private readonly pages: StoredPages;

  constructor(
    private readonly session: SessionNumber,
    private readonly lane: number,
    private readonly durable: boolean,
    private readonly store: Store,
    /** Called when messages can't be read any more. */
    private readonly onLost: (messages: number) => void,
  ) {
    this.pages = new StoredPages(session, lane, store);
  }

  recover(record: Buffer): void {
    const { nextSeq, ackedBelow, messages, bytes, oldestMs } = decodeProgress(record);
    this.nextSeq = nextSeq;
    this.firstSeq = ackedBelow;
    this.messages = messages;
    this.bytes = bytes;
    this.oldestMs = oldestMs;
  }

  /** After a repair of the store the record may be older than pages are, or gone: takes up what lies behind its end. Rejects with StoreError. */
  async recoverBeyondRecord(): Promise<void> {
    const before = this.nextSeq;
    if (!this.durable) return;
    await this.pages.visit(before, MAX_SEQ, (seq, page) => {
      if (this.messages === 0) this.firstSeq = this.nextSeq = seq;
      this.messages += seq + 1 - this.nextSeq;
      this.bytes += page.length;
      this.nextSeq = seq + 1;
    });
    if (this.nextSeq !== before) this.touch();
  }

  /** Copies the message, which came from queue `fromLane`. Returns the group that makes it durable, 0 if nothing is to be waited for. */
  add(message: Message, fromLane: number): GroupNumber {
    const record = Buffer.allocUnsafe(recordSize(message));
    const seq = this.nextSeq++;
    writeRecord(record, 0, message, message.qos, seq);
    setRecordLane(record, 0, fromLane);
    sealRecords(record, 0, record.length);
    if (this.messages === 0) this.oldestMs = message.receivedMs;
    this.messages += 1;
    this.bytes += record.length;
    if (this.durable) this.unwritten.push(seq);
    const group = this.touch();
    this.unstored.set(seq, { record, group });
    return group;
  }

  /** Rejects with StoreError when the store can't be read. */
  async list(): Promise<ParkedMessage[]> {
    const parked: ParkedMessage[] = [];
    const message = new Message();
    await this.readAll((_seq, record) => {
      if (!record) return;
      readRecord(message, record, 0);
      parked.push({ topic: message.topic.toString("utf8", message.topicStart, message.topicEnd), bytes: message.payloadLength, qos: message.qos });
    });
    return parked;
  }

  /**
   * Takes back what is put aside now, in order: `append` is called for each, in the turn, and so the group, in which it is removed here.
   * Returns how many those were. Rejects with StoreError when the store can't be read; what was not taken stays.
   */
  async takeBack(append: (message: Message, lane: number) => void): Promise<number> {
    const message = new Message();
    let taken = 0;
    await this.readAll((seq, record) => {
      this.removeThrough(seq, record?.length ?? 0);
      if (!record) return this.onLost(1);
      readRecord(message, record, 0);
      append(message, recordLane(record, 0));
      taken += 1;
    });
    return taken;
  }

  /** Returns how many were dropped. */
  drop(): number {
    const dropped = this.messages;
    while (this.firstSeq < this.nextSeq) this.removeThrough(this.firstSeq, 0);
    return dropped;
  }

  private removeThrough(seq: number, bytes: number): void {
    this.firstSeq = seq + 1;
    this.messages -= 1;
    this.bytes -= bytes;
    if (this.firstSeq === this.nextSeq) this.messages = this.bytes = this.oldestMs = 0;
    this.unstored.delete(seq);
    if (this.durable) this.removed.push(seq);
    this.touch();
  }

  /** Visits what is put aside now, in order, slice by slice as it is read; without a record what is not readable. */
  private async readAll(visit: (seq: number, record: Buffer | undefined) => void): Promise<void> {
    const before = this.nextSeq;
    for (let from = this.firstSeq; from < before; ) {
      const records = new Map<number, Buffer>();
      // Before the store is read: what is stored meanwhile leaves RAM.
      for (const [seq, { record }] of this.unstored) records.set(seq, record);
      const pages = this.durable ? await this.pages.read(from, before) : [];
      const last = pages.at(-1);
      for (const [key, page] of pages) if (isIntactRecord(page, 0, page.length) && recordEnd(page, 0) === page.length) records.set(pageSeq(key), page);
      const end = last ? pageSeq(last[0]) + 1 : before;
      for (let seq = from; seq < end; seq++) if (seq >= this.firstSeq) visit(seq, records.get(seq));
      from = end;
    }
  }

  private touch(): GroupNumber {
    if (this.durable) this.touchedIn = this.store.touch(this, "synced");
    return this.touchedIn;
  }

  /** Group `upTo` is on disk. */
  onStored(upTo: GroupNumber): void {
    if (!this.durable) return;
    for (const [seq, { group }] of this.unstored) if (group <= upTo) this.unstored.delete(seq);
  }

  get awaitsStore(): boolean {
    return this.touchedIn > this.store.stored;
  }

  /** The session has ended: nothing is written from now on. */
  end(): void {
    this.hasEnded = true;
    this.firstSeq = this.nextSeq;
    this.messages = this.bytes = 0;
    this.unstored.clear();
  }

  writeTo(group: GroupWriter): void {
    if (this.hasEnded) return group.delete(queueKey(this.session, this.lane));
    for (const seq of this.unwritten) {
      const entry = this.unstored.get(seq);
      if (entry) group.put(this.pages.key(seq), entry.record);
    }
    for (const seq of this.removed) group.delete(this.pages.key(seq));
    this.unwritten = [];
    this.removed = [];
    const { nextSeq, firstSeq, messages, bytes } = this;
    const progress = encodeProgress({ nextSeq, ackedBelow: firstSeq, messages, bytes }, firstSeq, this.oldestMs, nextSeq, NO_SLOTS, []);
    group.put(queueKey(this.session, this.lane), progress);
  }
}
