import { MAX_SEQ, pageKey, pageSeq, type SessionNumber } from "../store/keys.ts";
import type { Store, StoredRecord } from "../store/store.ts";
import type { Message } from "./message.ts";
import { intactRecords } from "./page.ts";
import { readRecord, recordEnd, recordSeq } from "./record.ts";

/** So much is read at a time. */
const READ_BYTES = 256 * 1024;

/** The pages of one lane on disk, by the sequence numbers that they begin with. */
export class StoredPages {
  constructor(
    private readonly session: SessionNumber,
    private readonly lane: number,
    private readonly store: Store,
  ) {}

  key(firstSeq: number): Buffer {
    return pageKey(this.session, this.lane, firstSeq);
  }

  /** Some of the pages that begin at `fromSeq` or later, below `toSeq`, in order; none: there are none. Rejects with StoreError. */
  read(fromSeq: number, toSeq: number): Promise<StoredRecord[]> {
    return this.store.read(this.key(fromSeq), this.key(toSeq), READ_BYTES);
  }

  /** Visits the pages that begin at `fromSeq` or later, below `toSeq`, in order, slice by slice as they are read. Rejects with StoreError. */
  async visit(fromSeq: number, toSeq: number, visit: (firstSeq: number, page: Buffer) => void): Promise<void> {
    for (let from = fromSeq; ; ) {
      const pages = await this.read(from, toSeq);
      if (pages.length === 0) return;
      for (const [key, page] of pages) {
        from = pageSeq(key) + 1;
        visit(pageSeq(key), page);
      }
    }
  }

  /** Visits the intact records of each page from `fromSeq` on, in order; a page within another one is not of the same queue's time. Rejects with StoreError. */
  async visitBehind(fromSeq: number, visit: (firstSeq: number, records: Buffer, endSeq: number) => void): Promise<void> {
    let next = fromSeq;
    await this.visit(fromSeq, MAX_SEQ, (firstSeq, page) => {
      if (firstSeq < next) return;
      const records = intactRecords(page, firstSeq, MAX_SEQ);
      let last = firstSeq;
      for (let at = 0; at < records.length; at = recordEnd(records, at)) last = recordSeq(records, at);
      next = last + 1;
      visit(firstSeq, records, next);
    });
  }

  /** Looks for a message in the pages from `fromPage` on and puts it under `message`; false if it is not to be read. Rejects with StoreError. */
  async find(message: Message, seq: number, fromPage: number): Promise<boolean> {
    for (let from = fromPage; ; ) {
      const pages = await this.read(from, seq + 1);
      for (const [key, page] of pages) {
        from = pageSeq(key) + 1;
        const records = intactRecords(page, pageSeq(key), seq + 1);
        for (let at = 0; at < records.length; at = recordEnd(records, at)) {
          if (recordSeq(records, at) !== seq) continue;
          readRecord(message, records, at);
          return true;
        }
      }
      if (pages.length === 0) return false;
    }
  }
}
