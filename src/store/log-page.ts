import type { WriteOperation } from "./database.ts";
import { isPageKey, plainKey } from "./keys.ts";
import { paddedPage, PADDING_FRAME_BYTES } from "./page-load.ts";
import { varintBytes } from "./varint.ts";

/*
 * A sync writes the last, unfinished page of LevelDB's log, and the next sync writes it again: with few messages a group that is half of what the disk gets.
 * So a group that is to be synced ends with the page, where that takes little padding.
 *
 * The log (doc/log_format.md there) has blocks of 32 KiB; what would cross their ends is cut, each part with a header, and none begins in the last
 * bytes of a block. A batch is a header and its operations (db/write_batch.cc).
 */

/** What the kernel writes at a time. Blocks of the log end with one. */
const LOG_PAGE_BYTES = 4096;
const BLOCK_BYTES = 32 * 1024;
const PART_HEADER_BYTES = 7;
const BATCH_HEADER_BYTES = 12;
/** Padding saves a page, and costs itself twice: in the log and, unless LevelDB can compress it there, in a table. */
const MAX_PADDING_BYTES = LOG_PAGE_BYTES / 2;
/** Nor more than this part of the group: log and write buffer would fill with it. */
const MAX_PADDING_PART = 1 / 2;
/** A page is hardly anything to a larger group, whose message page would be copied. */
const MAX_GROUP_BYTES = 64 * 1024;

/**
 * Pads the last message page of a batch that is to be written at `logBytes`, where the log ends now, so that it ends with a page of the log; if that is worth
 * it. Returns the bytes added. Where LevelDB has begun another log since, they are wasted, and nothing else happens.
 */
export function fillLogPage(operations: WriteOperation[], logBytes: number): number {
  const batchBytes = operations.reduce((sum, operation) => sum + operationBytes(operation), BATCH_HEADER_BYTES);
  if (batchBytes > MAX_GROUP_BYTES) return 0;
  const padding = (LOG_PAGE_BYTES - (endOf(batchBytes, logBytes) % LOG_PAGE_BYTES)) % LOG_PAGE_BYTES;
  if (padding > Math.min(MAX_PADDING_BYTES, batchBytes * MAX_PADDING_PART)) return 0;
  const index = operations.findLastIndex(({ type, key }) => type === "put" && isPageKey(key));
  const page = operations[index];
  if (page?.type !== "put") return 0;
  const { key, value } = page;
  // Its length may take more bytes then.
  const bytes = padding - (varintBytes(value.length + padding) - varintBytes(value.length));
  if (bytes < PADDING_FRAME_BYTES) return 0;
  operations[index] = { type: "put", key, value: paddedPage(plainKey(key), value, bytes) };
  return bytes;
}

function operationBytes(operation: WriteOperation): number {
  const { key } = operation;
  const keyBytes = 1 + varintBytes(key.length) + key.length;
  return operation.type === "del" ? keyBytes : keyBytes + varintBytes(operation.value.length) + operation.value.length;
}

/** Where a record of the log ends. */
function endOf(recordBytes: number, from: number): number {
  let at = from;
  let left = recordBytes;
  while (left > 0) {
    const room = BLOCK_BYTES - (at % BLOCK_BYTES);
    const part = Math.min(left, room - PART_HEADER_BYTES);
    at += part < 0 ? room : PART_HEADER_BYTES + part;
    left -= Math.max(part, 0);
  }
  return at;
}
