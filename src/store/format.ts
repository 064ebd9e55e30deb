import type { Clock } from "../clock/clock.ts";
import { isSealed, seal } from "./checked.ts";
import type { Database } from "./database.ts";
import { formatKey, isOldPage, OLD_PAGES, pageKeyOfOld, withoutPages } from "./keys.ts";
import { StoreError } from "./store-error.ts";

const FORMAT = 3;
/** Pages stand in generations, too. Written with the first of those: a store without is read by versions that know none. */
const FORMAT_OF_GENERATIONS = 4;
/** Its pages stood among other records, and nothing rode on them. */
const MIXED_FORMAT = 2;
/** Its records had no CRCs but those of messages. */
const UNSEALED_FORMAT = 1;
const MOVED_BYTES = 1024 * 1024;

/** Returns the format record's value, of format 3 or 4. Rejects with StoreError `format`. An empty database gets one; so does one that may have lost it. */
export async function ensureFormat(database: Database, directory: string, isUncertain: boolean, clock: Clock): Promise<Buffer> {
  const present = await database.get(formatKey);
  if (present !== undefined) {
    const format = formatOf(present);
    if (format === FORMAT || format === FORMAT_OF_GENERATIONS) return present;
    if (format === UNSEALED_FORMAT || format === MIXED_FORMAT) return convert(database, format === UNSEALED_FORMAT, clock);
    throw new StoreError("format", `store ${directory} has a format this version does not know: ${present.toString("utf8", 0, 200)}`);
  }
  const [someKey] = await database.keys({ limit: 1 }).all();
  if (someKey !== undefined && !isUncertain) throw new StoreError("format", `store ${directory} is a LevelDB database, but not ours`);
  const format = formatRecord(clock);
  await database.put(formatKey, format, { sync: true });
  return format;
}

function formatRecord(clock: Clock): Buffer {
  return Buffer.from(JSON.stringify({ format: FORMAT, created: new Date(clock.wallMs()).toISOString() }));
}

/** Makes a store of an older format one of ours. Pages are moved slice by slice; until they all are it is one of the older format. */
async function convert(database: Database, isUnsealed: boolean, clock: Clock): Promise<Buffer> {
  let batch = database.batch();
  let bytes = 0;
  for await (const [key, value] of database.iterator({ gte: OLD_PAGES.from, lt: OLD_PAGES.to, fillCache: false })) {
    batch.put(pageKeyOfOld(key), value).del(key);
    bytes += value.length;
    if (bytes < MOVED_BYTES) continue;
    await batch.write({ sync: true });
    batch = database.batch();
    bytes = 0;
  }
  for (const { from, to } of isUnsealed ? withoutPages : []) {
    for await (const [key, value] of database.iterator({ gte: from, lt: to })) if (isSealed(key) && !isOldPage(key)) batch.put(key, seal(key, value));
  }
  const format = formatRecord(clock);
  await batch.put(formatKey, format).write({ sync: true });
  return format;
}

/** Whether the store has, or had, generations of pages. */
export const hasGenerations = (record: Buffer): boolean => formatOf(record) === FORMAT_OF_GENERATIONS;

/** The record of the same store when it has them. */
export function withGenerations(record: Buffer): Buffer {
  return Buffer.from(JSON.stringify({ ...(JSON.parse(record.toString()) as object), format: FORMAT_OF_GENERATIONS }));
}

function formatOf(value: Buffer): unknown {
  try {
    const record: unknown = JSON.parse(value.toString());
    return typeof record === "object" && record !== null && "format" in record ? record.format : undefined;
  } catch {
    return undefined;
  }
}
