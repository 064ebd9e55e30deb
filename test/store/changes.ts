import { GroupRecords } from "../../src/store/group.ts";
import { pageKey, queueKey, retainedKey } from "../../src/store/keys.ts";

/** What a group does with one key; undefined deletes it. */
export type Change = readonly [key: Buffer, value: string | undefined];

export const page = (seq: number, session = 1): Change => [pageKey(session, 0, seq), `page ${session} ${seq}`];
export const progress = (seq: number, session = 1): Change => [queueKey(session, 0), `progress ${session} ${seq}`];
/** `value`: of the store's record; what is in it does not matter to the store. */
export const retained = (topic: number, value: string | undefined): Change => [retainedKey(Buffer.from(`${topic}`)), value];

export function groupOf(changes: readonly Change[]): GroupRecords {
  const records = new GroupRecords();
  for (const [key, value] of changes) {
    if (value === undefined) records.delete(key);
    else records.put(key, Buffer.from(value));
  }
  return records;
}
