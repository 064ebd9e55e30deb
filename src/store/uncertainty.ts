import { closeSync, existsSync, fsyncSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

const NAME = "uncertain";
/** A line of it: more is known than that a start was killed. */
const LOST = "lost\n";

/**
 * A file beside LevelDB's that says: the store was damaged, so records may be older than others that they go with, or gone. It is there, synced, before anything
 * is repaired, and until a start has taken up what lies behind such records and has stored that: a start that is killed leaves it to the next one.
 */
export class Uncertainty {
  constructor(private readonly directory: string) {}

  get isNoted(): boolean {
    return existsSync(this.path);
  }

  /** Something has been lost, not only may have been. */
  get hasLost(): boolean {
    return this.isNoted && statSync(this.path).size > 0;
  }

  /** Where it is there it is synced all the same: who made it may have been killed before. Throws the system's error. */
  note(): void {
    sync(this.path, "a");
    sync(this.directory, "r");
  }

  /** Throws the system's error. */
  noteLoss(): void {
    sync(this.path, "a", LOST);
    sync(this.directory, "r");
  }

  /**
   * Before anything is changed by a repair: one that is broken off is to be done again. It may have put away logs whose tables no manifest names yet. LevelDB ends it by writing CURRENT, and
   * without that the store is repaired. Throws the system's error.
   */
  noteRepair(): void {
    this.noteLoss();
    rmSync(join(this.directory, "CURRENT"), { force: true });
    sync(this.directory, "r");
  }

  /** All that was to be taken up is stored. */
  end(): void {
    try {
      rmSync(this.path, { force: true });
    } catch {
      // the next start finds nothing more to take up
    }
  }

  private get path(): string {
    return join(this.directory, NAME);
  }
}

function sync(path: string, flags: "a" | "r", text = ""): void {
  const file = openSync(path, flags, 0o600);
  try {
    if (text !== "") writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
