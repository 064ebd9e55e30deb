import type { Clock, Timer } from "../clock/clock.ts";
import { type Database, WRITE_BUFFER_BYTES } from "./database.ts";
import { DeletedRanges } from "./deleted-ranges.ts";
import type { StoreFigures } from "./figures.ts";
import { type GenerationSource, scanGenerations, sourceOf } from "./find-generations.ts";
import type { Generations } from "./generations.ts";
import { generationOf, generationsBetween, type KeyRange, ridersIn } from "./keys.ts";
import type { Batch } from "./riders.ts";

/** What is worth it: the tables at a slice's ends are written anew. */
const WORTH_BYTES = 4 * 1024 * 1024;
/** Of what rode in one generation: less is written anew. */
const WORTH_DELETING_BYTES = 64 * 1024;
/** While more pages than this are deleted between two looks, the queue's tables hold what is still needed, which would be written anew each time. */
const QUIET_PAGES = 64;
/** A table of what is written in order, or of a generation. Under full load half as much again has come before it is cut. */
const CUT_BYTES = 768 * 1024;
/** A generation of many queues is larger, so that each has some pages in it that are read together: so much for each queue, up to so much in all. */
const QUEUE_BYTES = 64 * 1024;
const MAX_GENERATION_BYTES = 4 * 1024 * 1024;
const CROWD_OF_QUEUES = 1024;
/** So many groups may do something else before a table comes without any: theirs reach over all others. */
const MOST_OTHERS = 4;
/** So many records of generations without pages are deleted at a time, or a few more. */
const MOST_KEYS = 10_000;
const ALL_KEYS = 0x7fff_ffff;
/** A compaction of the whole store that has found no room is not tried again sooner: it may write much before it fails. */
const WHOLE_AGAIN_MS = 60_000;
const LOOK_MS = 4_000;
/** Looking may cost this part of the time. */
const LOOKING_PART = 1 / 50;
/** How often it is seen whether somebody still waits for a group. */
const PAUSE_MS = 20;
/** Every key of the store lies between them. */
const FIRST_KEY = Buffer.from([0]);
const LAST_KEY = Buffer.from([0xff]);

export interface CompactorParts {
  readonly clock: Clock;
  readonly figures: StoreFigures;
  readonly generations: Generations;
  /** How much that is all pages is written before the first table is cut, and then before each: where others than tests do not say so, a write buffer, and 0.75 MiB. */
  readonly cutBytes: number | undefined;
  /** Undefined when none is open, or none that may be written. */
  readonly database: () => Database | undefined;
  /** Whether somebody waits for a group. */
  readonly isAwaited: () => boolean;
  /** Generations have left records, which are to be deleted. */
  readonly onLeft: () => void;
  /** There may be more room. */
  readonly onCompacted: () => void;
}

/**
 * Gives the room of deleted pages back. LevelDB does so with what is written later, which after a drain may be long; so when a drain is over the
 * ranges of deleted pages are compacted, in slices, each begun while nobody waits for a group. On a full disk, to which little is written, everything
 * that was deleted is compacted at once, and the first time after a start, or a failure, the whole store: what was deleted before is not known.
 */
export class Compactor {
  readonly #parts: CompactorParts;
  readonly #deleted = new DeletedRanges();
  /** Pages that were deleted since the last look, and since the ranges were looked at. */
  #deletedLately = 0;
  #hasNew = false;
  #isQuiet = true;
  #writtenBytes = 0;
  /** There are more generations without pages than were forgotten at once, or they could not be looked for. */
  #hasLeft = false;
  #nextLookMs = 0;
  /** Of pages alone, since the last table was cut; whether those are of several queues; and how much of it makes the next one. */
  #pageBytes = 0;
  #isOfSeveral = false;
  #cutAtBytes: number;
  /** Groups that did something else, since the last table without any; and in this one. */
  #others = 0;
  #hasOthers = false;
  /** The current generation has had so many queues that it is time for another: of this one none is forgotten. */
  #isCrowded = false;
  #isFull = false;
  /** The whole store has been compacted since the start, or since a failure. */
  #knowsAll = false;
  #wholeFromMs = 0;
  #running: Promise<void> | undefined;
  #pause: { readonly timer: Timer; readonly end: () => void } | undefined;
  #isClosed = false;

  constructor(parts: CompactorParts) {
    this.#parts = parts;
    this.#cutAtBytes = this.#firstCutBytes;
  }

  /** By then what is in memory beside pages has been written with the buffer that was full. */
  get #firstCutBytes(): number {
    return this.#parts.cutBytes ?? WRITE_BUFFER_BYTES;
  }

  noteDeleted(key: Buffer): void {
    this.#deleted.note(key, this.#writtenBytes);
    this.#deletedLately++;
    this.#hasNew = true;
  }

  /**
   * What is written in the order of its keys goes from memory to the lowest level, as it is and for good. Then it does not wait until the write buffer
   * is full: LevelDB maps tables as they are. The pages of several queues are in order where each table has a generation for itself.
   */
  noteWritten(bytes: number, { growth }: Pick<Batch, "growth">): void {
    const { generations } = this.#parts;
    this.#writtenBytes += bytes;
    if (this.#isCrowded) generations.begin();
    this.#isCrowded = false;
    if (growth === "none") return;
    if (growth === undefined) {
      this.#hasOthers = true;
      if (++this.#others > MOST_OTHERS || this.#cutAtBytes === this.#firstCutBytes) return this.#beginAnew();
    }
    this.#pageBytes += bytes;
    this.#isOfSeveral ||= growth === "ofSeveral";
    const database = this.#parts.database();
    if (this.#pageBytes < this.#cutAtBytes || this.#pageBytes < this.#generationBytes || database === undefined || this.#running !== undefined || this.#isClosed) return;
    if (this.#isOfSeveral || generations.current > 0) generations.begin();
    if (!this.#hasOthers) this.#others = 0;
    this.#beginAnew();
    this.#cutAtBytes = this.#parts.cutBytes ?? CUT_BYTES;
    // The next batch is handed to LevelDB later than this.
    this.#begin(database.compactRange(FIRST_KEY, FIRST_KEY));
  }

  get #generationBytes(): number {
    return this.#isOfSeveral && this.#parts.cutBytes === undefined ? Math.min(this.#parts.generations.queues * QUEUE_BYTES, MAX_GENERATION_BYTES) : 0;
  }

  #beginAnew(): void {
    this.#pageBytes = 0;
    this.#isOfSeveral = this.#hasOthers = false;
    this.#cutAtBytes = this.#firstCutBytes;
  }

  #begin(work: Promise<void>): void {
    this.#running = work
      .catch(() => undefined) // the next batch fails too, then
      .finally(() => (this.#running = undefined));
  }

  /** A write has failed, perhaps because a compaction has: LevelDB tells of that with the next write alone. What was compacted may still be there. */
  noteFailure(): void {
    this.#knowsAll = false;
  }

  /** Called every few seconds, or more often. `isFull`: what can be had is to be had now. */
  compact(isFull: boolean): void {
    this.#isFull = isFull;
    if (this.#running !== undefined || this.#isClosed) return;
    if (!isFull && !this.#isDue()) return;
    this.#begin(this.#run());
  }

  #isDue(): boolean {
    const nowMs = this.#parts.clock.nowMs();
    if (nowMs < this.#nextLookMs) return false;
    this.#isQuiet = this.#deletedLately <= QUIET_PAGES;
    this.#deletedLately = 0;
    this.#nextLookMs = nowMs + LOOK_MS;
    return this.#isQuiet ? this.#hasNew || this.#hasLeft : this.#hasNew && this.#deleted.areMany;
  }

  async #run(): Promise<void> {
    const slices = await this.#slices();
    let compacted = 0;
    for (const slice of slices) {
      const { from, to } = slice;
      if (!this.#isFull) await this.#deleteRidden(slice).catch(() => undefined); // then it is written once more, and deleted later
      await this.#untilNobodyWaits();
      const database = this.#parts.database();
      if (database === undefined || this.#isClosed) break;
      // LevelDB counts the levels that it goes through before it writes out what is in memory: that has to be done before.
      if (compacted === 0) await database.compactRange(FIRST_KEY, FIRST_KEY);
      await database.compactRange(from, to);
      this.#parts.figures.compactions++;
      compacted++;
    }
    for (const { from, to } of slices.slice(compacted)) {
      this.#deleted.note(from, this.#writtenBytes);
      this.#deleted.note(to, this.#writtenBytes);
    }
    if (compacted === 0 && !(this.#hasLeft && this.#isQuiet)) return;
    const hasLeft = await this.#findEmptied().catch(() => undefined);
    this.#hasLeft = hasLeft ?? true;
    if (this.#parts.generations.hasLeft) this.#parts.onLeft();
    // Told of a look in vain, the store would have us look again at once while the disk is full.
    if (compacted > 0 || hasLeft !== undefined) this.#parts.onCompacted();
  }

  /** What has ridden beside the slice's pages rides in a later generation now. With what is left of those it would be written anew, and only then be deleted. */
  async #deleteRidden({ from, to }: KeyRange): Promise<void> {
    const { generations, onLeft } = this.#parts;
    const database = this.#parts.database();
    if (database === undefined) return;
    const { firstKeys } = this.#sourceOf(database);
    const before = Math.min(generationOf(to) + 1, generations.riding);
    let keys: Buffer[] = [];
    for (let generation = Math.max(generationOf(from), 1); generation < before; generation++) {
      const ridden = ridersIn(generation);
      if ((await database.approximateSize(ridden.from, ridden.to)) >= WORTH_DELETING_BYTES) keys.push(...(await firstKeys(ridden.from, ridden.to, ALL_KEYS)));
      if (keys.length === 0 || (keys.length <= MOST_KEYS && generation < before - 1)) continue;
      generations.leave(keys);
      onLeft();
      await this.#untilNobodyWaits();
      keys = [];
    }
  }

  /** Of keys until another database is to be opened, or none. */
  #sourceOf(database: Database): GenerationSource {
    const source = sourceOf(database);
    return {
      ...source,
      firstKeys: async (...range) => {
        if (this.#isClosed || this.#parts.database() !== database) throw new Error("others wait for the database to be closed");
        return source.firstKeys(...range);
      },
    };
  }

  /**
   * Now that what was deleted is gone, it is soon seen where nothing is left. A power cut may bring back pages whose deletion is not synced, and with them a queue that
   * still needs them: before they are forgotten all is written to tables, which LevelDB syncs. Resolves with whether to look another time; rejects where it can't be seen.
   */
  async #findEmptied(): Promise<boolean> {
    const { generations } = this.#parts;
    const { grown, riding } = generations;
    const database = this.#parts.database();
    if (grown === 0) return false;
    if (database === undefined) throw new Error("no database is open");
    const source = this.#sourceOf(database);
    const { places } = await scanGenerations(source, 0, grown);
    const emptied = new Map<number, Buffer[]>();
    let keys = 0;
    for (const generation of generations.emptied(places, riding)) {
      const { from, to } = generationsBetween(generation, generation + 1);
      const left = await source.firstKeys(from, to, ALL_KEYS);
      emptied.set(generation, left);
      keys += left.length;
      if (keys > MOST_KEYS) break;
    }
    await database.compactRange(FIRST_KEY, FIRST_KEY);
    generations.keepOnly(places, grown, emptied);
    this.#isCrowded = generations.queues >= CROWD_OF_QUEUES;
    return keys > MOST_KEYS;
  }

  async #slices(): Promise<readonly KeyRange[]> {
    const database = this.#parts.database();
    if (database === undefined) return [];
    const startMs = this.#parts.clock.nowMs();
    if (this.#isFull && !this.#knowsAll && startMs >= this.#wholeFromMs) {
      this.#knowsAll = true;
      this.#wholeFromMs = startMs + WHOLE_AGAIN_MS;
      return [{ from: FIRST_KEY, to: LAST_KEY }];
    }
    if (this.#isQuiet) this.#hasNew = false;
    // Before it is quiet it is only seen what need not be remembered.
    const worthBytes = this.#isFull ? 0 : this.#isQuiet ? WORTH_BYTES : Infinity;
    const slices = await this.#deleted.takeSlices(({ from, to }) => database.approximateSize(from, to), worthBytes, this.#writtenBytes);
    const nowMs = this.#parts.clock.nowMs();
    this.#nextLookMs = Math.max(this.#nextLookMs, nowMs + (nowMs - startMs) / LOOKING_PART);
    return slices;
  }

  /** And what generations have left is deleted. Nor longer than there is a database: while its replacement waits for us, everybody waits for it. */
  async #untilNobodyWaits(): Promise<void> {
    while (!this.#isFull && (this.#parts.isAwaited() || this.#parts.generations.hasLeft) && this.#parts.database() !== undefined && !this.#isClosed) {
      await new Promise<void>((end) => (this.#pause = { timer: this.#parts.clock.after(PAUSE_MS, end), end }));
    }
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
