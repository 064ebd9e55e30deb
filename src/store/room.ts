import type { Clock, Timer } from "../clock/clock.ts";
import type { StoreFigures } from "./figures.ts";
import type { StoreDirectory } from "./store-directory.ts";
import type { StoreEvent } from "./store-error.ts";

const CHECK_MS = 5000;
/** After so much the directory is looked at: less than LevelDB's write buffer, after which it starts a new log. */
const INSPECT_AFTER_BYTES = 1024 * 1024;

export interface RoomParts {
  readonly directory: StoreDirectory;
  readonly clock: Clock;
  readonly minFreeBytes: number;
  /** The same while there is no reserve to give up: opening the store needs room, and so does draining it. */
  readonly minFreeUnreservedBytes: number;
  readonly freeBytes: () => Promise<number>;
  readonly figures: StoreFigures;
  /** It was given up, to open the database or by an earlier process. */
  readonly isReserveGiven: boolean;
  readonly report: (event: StoreEvent) => void;
  /** The directory has been looked at; whether there is too little room. */
  readonly onInspected: (isShort: boolean) => void;
}

/** The room that the store's disk has, the reserve that is held there, and the names of the store's files, which LevelDB does not sync. */
export class Room {
  readonly #parts: RoomParts;
  isShort = false;
  /** The reserve's room is for progress and deletion: nothing new is admitted before it can be made again. */
  #isReserveGiven: boolean;
  #uninspectedBytes = 0;
  #inspection: Promise<void> | undefined;
  #reserving: Promise<void> | undefined;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(parts: RoomParts) {
    this.#parts = parts;
    this.#isReserveGiven = parts.isReserveGiven;
  }

  /** Looks at the free room now and every few seconds from now on. */
  async watch(): Promise<void> {
    await this.inspect();
    if (this.#isClosed) return;
    this.#timer = this.#parts.clock.after(CHECK_MS, () => void this.watch());
  }

  noteWritten(bytes: number): void {
    this.#uninspectedBytes += bytes;
    if (this.#uninspectedBytes >= INSPECT_AFTER_BYTES) void this.inspect();
  }

  inspect(): Promise<void> {
    this.#inspection ??= this.#inspectDirectory()
      // Nothing here is a promise to anybody: what keeps the disk from answering will fail a batch too.
      .catch(() => undefined)
      .finally(() => {
        this.#inspection = undefined;
      });
    return this.#inspection;
  }

  async #inspectDirectory(): Promise<void> {
    this.#uninspectedBytes = 0;
    const { directory, freeBytes, figures, report, onInspected } = this.#parts;
    await directory.syncNames();
    const free = await freeBytes();
    figures.freeBytes = free;
    const wanted = this.#wantedBytes;
    const isShort = free < wanted;
    if (!isShort) this.#isReserveGiven = false;
    if (isShort !== this.isShort) {
      this.isShort = isShort;
      report({ kind: isShort ? "full" : "roomAgain", detail: `${free} bytes free, ${wanted} wanted` });
    }
    onInspected(isShort);
  }

  get #wantedBytes(): number {
    const { directory, minFreeBytes, minFreeUnreservedBytes } = this.#parts;
    if (this.#isReserveGiven) return minFreeBytes + directory.spareForReserveBytes;
    return directory.hasReserve ? minFreeBytes : minFreeUnreservedBytes;
  }

  /** Beside everything else: 16 MiB take a slow card seconds. */
  makeReserve(): void {
    const { directory, figures, minFreeBytes } = this.#parts;
    this.#reserving ??= directory.makeReserve(figures.freeBytes - minFreeBytes).then((bytes) => {
      figures.reserveBytes = bytes;
      this.#reserving = undefined;
    });
  }

  async giveUpReserve(): Promise<void> {
    const { directory, figures } = this.#parts;
    await this.#reserving; // cut short while it is written it would end with holes, as long as a whole one
    if (await directory.giveUpReserve()) this.#isReserveGiven = true;
    figures.reserveBytes = 0;
  }

  stopWatching(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async settled(): Promise<void> {
    await this.#inspection;
    await this.#reserving;
  }
}
