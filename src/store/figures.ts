/** What a store has done since it was opened, and what it knows of its disk. */
export class StoreFigures {
  /** Of message records in pages and of retained messages: what there was to keep. */
  storedBytes = 0;
  /** Of all records, as they were handed to LevelDB: its log. It writes them again as tables, once and when it compacts. */
  loggedBytes = 0;
  /** Batches written, and how many of them were waited for until the disk had them. */
  groups = 0;
  syncs = 0;
  lastSyncMs = 0;
  /** Batches that failed. */
  failures = 0;
  /** Ranges of deleted records that were compacted. */
  compactions = 0;
  freeBytes = 0;
  reserveBytes = 0;
}
