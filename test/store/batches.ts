import type { ChainedBatch } from "classic-level";
import { type Database, type OpenDatabase, openLevelDatabase, type WriteOperation } from "../../src/store/database.ts";

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

/** What a power cut may leave where a second log begins at `second`, and all before `first` is in tables: of each log what the last sync in it has covered, and any part of what was written behind that. */
export function leftOfLogs(written: readonly Written[], first: number, second: number, rng: () => number): Written[] {
  const leftOfLog = (log: readonly Written[]): Written[] => {
    const synced = log.findLastIndex(({ sync }) => sync) + 1;
    return log.slice(0, synced + Math.floor(rng() * (log.length - synced + 1)));
  };
  return [...written.slice(0, first), ...leftOfLog(written.slice(first, second)), ...leftOfLog(written.slice(second))];
}
