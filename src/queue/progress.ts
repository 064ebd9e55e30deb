import { readUInt48, writeUInt48 } from "./record.ts";
import type { SeqRange } from "./seq-ranges.ts";
import { Slot } from "./window.ts";

/** Layout of a queue's progress record: `doc/store-format.md`. */
const FORMAT = 3;
/** Without runs behind the slots. */
const OLD_FORMAT = 2;
const FIXED_BYTES = 43;
const SLOT_BYTES = 3;
const RANGE_BYTES = 12;

export interface Progress {
  readonly nextSeq: number;
  readonly ackedBelow: number;
  readonly firstPage: number;
  readonly messages: number;
  readonly bytes: number;
  readonly oldestMs: number;
  /** No message from here on had been sent when the record was written. */
  readonly sentLimit: number;
  readonly slots: readonly { readonly seq: number; readonly state: number }[];
  /** Messages above the head that were dropped. */
  readonly dropped: readonly SeqRange[];
}

/** What was merely sent is sent again. */
const isKept = (state: number | undefined): state is number => state === Slot.received || state === Slot.acknowledged;

/** Keeps the states 2 (PUBREC received) and 3 (acknowledged out of order). */
export function encodeProgress(
  queue: { readonly nextSeq: number; readonly ackedBelow: number; readonly messages: number; readonly bytes: number },
  firstPage: number,
  oldestMs: number,
  sentLimit: number,
  slots: Uint8Array,
  dropped: readonly SeqRange[],
): Buffer {
  const mask = slots.length - 1;
  const span = Math.min(slots.length, queue.nextSeq - queue.ackedBelow);
  let count = 0;
  for (let offset = 0; offset < span; offset++) if (isKept(slots[(queue.ackedBelow + offset) & mask])) count += 1;
  const record = Buffer.allocUnsafe(FIXED_BYTES + count * SLOT_BYTES + dropped.length * RANGE_BYTES);
  record[0] = FORMAT;
  writeUInt48(record, 1, queue.nextSeq);
  writeUInt48(record, 7, queue.ackedBelow);
  writeUInt48(record, 13, firstPage);
  record.writeUInt32BE(queue.messages, 19);
  writeUInt48(record, 23, queue.bytes);
  writeUInt48(record, 29, oldestMs);
  writeUInt48(record, 35, sentLimit);
  record.writeUInt16BE(count, 41);
  let at = FIXED_BYTES;
  for (let offset = 0; offset < span && count > 0; offset++) {
    const state = slots[(queue.ackedBelow + offset) & mask];
    if (!isKept(state)) continue;
    record.writeUInt16BE(offset, at);
    record[at + 2] = state;
    at += SLOT_BYTES;
    count -= 1;
  }
  for (const { from, to } of dropped) {
    writeUInt48(record, at, from);
    writeUInt48(record, at + 6, to);
    at += RANGE_BYTES;
  }
  return record;
}

/** Throws when the record is not of a format this version knows. */
export function decodeProgress(record: Buffer): Progress {
  if ((record[0] !== FORMAT && record[0] !== OLD_FORMAT) || record.length < FIXED_BYTES) throw new Error(`queue record of unknown format ${String(record[0])}`);
  const ackedBelow = readUInt48(record, 7);
  const slots: { seq: number; state: number }[] = [];
  let at = FIXED_BYTES;
  for (const end = at + record.readUInt16BE(41) * SLOT_BYTES; at < end; at += SLOT_BYTES) {
    slots.push({ seq: ackedBelow + record.readUInt16BE(at), state: record[at + 2] ?? 0 });
  }
  const dropped: SeqRange[] = [];
  for (; at < record.length; at += RANGE_BYTES) dropped.push({ from: readUInt48(record, at), to: readUInt48(record, at + 6) });
  return {
    nextSeq: readUInt48(record, 1),
    ackedBelow,
    firstPage: readUInt48(record, 13),
    messages: record.readUInt32BE(19),
    bytes: readUInt48(record, 23),
    oldestMs: readUInt48(record, 29),
    sentLimit: readUInt48(record, 35),
    slots,
    dropped,
  };
}
