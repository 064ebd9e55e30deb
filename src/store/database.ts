import type { ClassicLevel } from "classic-level";
import { Level } from "level";

export type Database = ClassicLevel<Buffer, Buffer>;

export type WriteOperation = { type: "put"; key: Buffer; value: Buffer } | { type: "del"; key: Buffer };

/** Opens the database in `directory`, creating it if it is missing; rejects with LevelDB's error in the cause chain. */
export type OpenDatabase = (directory: string) => Promise<Database>;

/** On Node `level` is classic-level; its own types know only what a browser has too. */
const NodeLevel = Level as unknown as typeof ClassicLevel;

const MIB = 1024 * 1024;

/** What LevelDB keeps in memory before it makes a table of it. Measured: `doc/durability.md`. */
export const WRITE_BUFFER_BYTES = 8 * MIB;

/** Tables are small on purpose: LevelDB maps 64 at a time, and what is mapped counts as resident. */
const OPTIONS = {
  keyEncoding: "buffer",
  valueEncoding: "buffer",
  compression: true,
  writeBufferSize: WRITE_BUFFER_BYTES,
  cacheSize: 2 * MIB,
  maxOpenFiles: 64,
  maxFileSize: 2 * MIB,
} as const;

export const openLevelDatabase: OpenDatabase = async (directory) => {
  const database: Database = new NodeLevel<Buffer, Buffer>(directory, OPTIONS);
  await database.open();
  return database;
};

/** From so many operations on a chained batch is filled in a tenth of the time. It keeps its bytes until it is collected, and what native code holds does not hurry the collector: so only few, or those of very many small records. */
const MANY_OPERATIONS = 100;
const FEW_BYTES = 64 * 1024;
const SMALL_BYTES = 128;

/** All of it or nothing. `bytes`: of keys and values. */
export function writeBatch(database: Database, operations: WriteOperation[], bytes: number, options: { readonly sync: boolean }): Promise<void> {
  if (operations.length < MANY_OPERATIONS || bytes > Math.max(FEW_BYTES, operations.length * SMALL_BYTES)) return database.batch(operations, options);
  const batch = database.batch();
  for (const operation of operations) {
    if (operation.type === "put") batch.put(operation.key, operation.value);
    else batch.del(operation.key);
  }
  return batch.write(options);
}

/** Rebuilds the manifest from the tables and logs that can be read; the database must not be open. */
export const repairLevelDatabase = (directory: string): Promise<void> => NodeLevel.repair(directory);
