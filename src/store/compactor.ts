import type { Clock, Timer } from "../clock/clock.ts";
import type { Database } from "./database.ts";
import { DeletedRanges } from "./deleted-ranges.ts";
import type { StoreFigures } from "./figures.ts";
import type { KeyRange } from "./keys.ts";

/** While pages are being deleted it takes this much of one queue to compact: the tables at a slice's ends are written anew, deleted or not. */
const BUSY_BYTES = 16 * 1024 * 1024;
const BUSY_PAGES = 64;
/** When none has been deleted for a while, this much. */
const QUIET_BYTES = 1024 * 1024;
const QUIET_MS = 10_000;
/** Between two slices, and while somebody waits for a group. */
const PAUSE_MS = 50;
/** Every key of the store lies between them. */
const FIRST_KEY = Buffer.from([0]);
const LAST_KEY = Buffer.from([0xff]);

export interface CompactorParts {
  readonly clock: Clock;
  readonly figures: StoreFigures;
  /** Undefined when none is open, or none that may be written. */
  readonly database: () => Database | undefined;
  /** Whether somebody waits for a group. */
  readonly isAwaited: () => boolean;
  /** There may be more room. */
  readonly onCompacted: () => void;
}

/**
 * Gives the room of deleted pages back. LevelDB does so with what is written later, which after a drain may be long; so ranges of deleted pages are
 * compacted, in slices, each begun while nobody waits for a group. On a full disk, to which little is written, everything that was deleted is
 * compacted at once, and the first time after a start the whole store: what was deleted before is not known.
 */
export class Compactor {
  readonly #parts: CompactorParts;
  readonly #deleted = new DeletedRanges();
  #lastDeletedMs = 0;
  /** What has been deleted since `#slices` has looked. */
  #newlyDeleted = 0;
  #lookedWhenQuiet = true;
  #knowsAll = false;
  #running: Promise<void> | undefined;
  #pause: { readonly timer: Timer; readonly end: () => void } | undefined;
  #isClosed = false;

  constructor(parts: CompactorParts) {
    this.#parts = parts;
  }

  noteDeleted(key: Buffer): void {
    this.#deleted.note(key);
    this.#lastDeletedMs = this.#parts.clock.nowMs();
    this.#newlyDeleted++;
    this.#lookedWhenQuiet = false;
  }

  /** Called now and then. `isFull`: what can be had is to be had now. */
  compact(isFull: boolean): void {
    if (this.#running !== undefined || this.#isClosed || (this.#deleted.isEmpty && (this.#knowsAll || !isFull))) return;
    this.#running = this.#run(isFull)
      .catch(() => undefined) // the next batch fails too, then
      .finally(() => (this.#running = undefined));
  }

  async #run(isFull: boolean): Promise<void> {
    const slices = await this.#slices(isFull);
    for (const [index, slice] of slices.entries()) {
      if (!isFull) await this.#untilNobodyWaits();
      const database = this.#parts.database();
      if (database === undefined || this.#isClosed) return;
      // LevelDB counts the levels that it goes through before it writes out what is in memory: that has to be done before.
      if (index === 0) await database.compactRange(FIRST_KEY, FIRST_KEY);
      await database.compactRange(slice.from, slice.to);
      this.#parts.figures.compactions++;
    }
    if (slices.length > 0) this.#parts.onCompacted();
  }

  async #slices(isFull: boolean): Promise<readonly KeyRange[]> {
    const database = this.#parts.database();
    if (database === undefined) return [];
    if (isFull && !this.#knowsAll) {
      this.#knowsAll = true;
      return [{ from: FIRST_KEY, to: LAST_KEY }];
    }
    const isQuiet = this.#parts.clock.nowMs() - this.#lastDeletedMs >= QUIET_MS;
    if (!isFull && (isQuiet ? this.#lookedWhenQuiet : this.#newlyDeleted < BUSY_PAGES)) return [];
    this.#newlyDeleted = 0;
    this.#lookedWhenQuiet = isQuiet;
    const [minBytes, minPages] = isFull ? [0, 0] : isQuiet ? [QUIET_BYTES, 0] : [BUSY_BYTES, BUSY_PAGES];
    return this.#deleted.takeSlices(({ from, to }) => database.approximateSize(from, to), minBytes, minPages);
  }

  /** Nor longer than there is a database: while its replacement waits for us, everybody waits for it. */
  async #untilNobodyWaits(): Promise<void> {
    do {
      await new Promise<void>((end) => (this.#pause = { timer: this.#parts.clock.after(PAUSE_MS, end), end }));
    } while (this.#parts.isAwaited() && this.#parts.database() !== undefined && !this.#isClosed);
  }

  /** Resolves when no slice is being compacted, and no other will be until the next call of `compact`. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#pause?.timer.cancel();
    this.#pause?.end();
    await this.#running;
  }
}
