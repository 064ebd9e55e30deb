import type { ChainedBatch } from "classic-level";
import { type Database, type OpenDatabase, openLevelDatabase, type WriteOperation } from "../../src/store/database.ts";
import { generationKey, generationOf } from "../../src/store/keys.ts";

/** A batch that LevelDB has got. */
export interface Written {
  readonly operations: readonly WriteOperation[];
  readonly sync: boolean;
}

/** A real database; `sizes` gets how many operations each batch has, be it an array or chained. */
export function countingBatches(sizes: number[]): OpenDatabase {
  return async (directory) => {
    const database = await openLevelDatabase(directory);
    const batch = database.batch.bind(database) as (...changes: unknown[]) => unknown;
    const counting = (...changes: unknown[]): unknown => {
      const made = batch(...changes);
      if (Array.isArray(changes[0])) sizes.push(changes[0].length);
      if (changes.length > 0) return made;
      const chained = made as ChainedBatch<Database, Buffer, Buffer>;
      const write = chained.write.bind(chained);
      return Object.assign(chained, { write: (...options: []) => (sizes.push(chained.length), write(...options)) });
    };
    return Object.assign(database, { batch: counting });
  };
}

/** A real database; `written` gets what it gets. Tables are not asked for, so that generations begin where the test has them begin. */
export function notingBatches(written: Written[]): OpenDatabase {
  return async (directory) => {
    const database = await openLevelDatabase(directory);
    const batch = database.batch.bind(database) as (operations: WriteOperation[], options: { readonly sync: boolean }) => Promise<void>;
    return Object.assign(database, {
      batch: (operations: WriteOperation[], options: { readonly sync: boolean }) => {
        written.push({ operations: [...operations], sync: options.sync });
        return batch(operations, options);
      },
      compactRange: () => Promise.resolve(),
    });
  };
}

/**
 * What may be left of what was written: LevelDB has at most two logs that are not tables yet, and a power cut leaves of each what the last sync in it has covered, and any part of what
 * was written behind that.
 */
export function leftOf(written: readonly Written[], rng: () => number): Written[] {
  const upTo = (limit: number): number => Math.floor(rng() * (limit + 1));
  const begins = written.flatMap(({ operations }, at) => (operations.some(({ key }) => key.equals(generationKey(generationOf(key), 0))) ? [at, at + 1] : []));
  const second = rng() < 0.7 ? (begins[upTo(begins.length - 1)] ?? 0) : upTo(written.length);
  const first = upTo(second);
  return leftOfLogs(written, first, second, rng);
}

/** What a power cut may leave where a second log begins at `second`, and all before `first` is in tables: of each log what the last sync in it has covered, and any part of what was written behind that. */
export function leftOfLogs(written: readonly Written[], first: number, second: number, rng: () => number): Written[] {
  const leftOfLog = (log: readonly Written[]): Written[] => {
    const synced = log.findLastIndex(({ sync }) => sync) + 1;
    return log.slice(0, synced + Math.floor(rng() * (log.length - synced + 1)));
  };
  return [...written.slice(0, first), ...leftOfLog(written.slice(first, second)), ...leftOfLog(written.slice(second))];
}

/** Writes the batches to the database in the directory, which nobody has opened. */
export async function replay(directory: string, written: readonly Written[]): Promise<void> {
  const database = await openLevelDatabase(directory);
  for (const { operations } of written) await database.batch([...operations]);
  await database.close();
}
