import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { appendFile, copyFile, link, mkdir, open, readFile, rename, writeFile } from "node:fs/promises"; // none of these at a start: to load them takes 5 ms
import { join } from "node:path";
import type { Clock } from "../clock/clock.ts";
import { fileStatus } from "./file-status.ts";
import { namedTables } from "./manifest.ts";
import { isIntactTable, mendedTable } from "./table.ts";

const LIST_NAME = "tables";
const LOST_NAME = "lost";
/** The list is there again so long after a start: who dies before, perhaps of a table in it, has everything looked through the next time. */
const LIST_AFTER_MS = 5_000;

/** The first line of the list: in which boot of the system it was written, and how many processes had died in that one after another. */
const BOOT = "boot";
/** The last line, once the store has been closed. */
const CLOSED = "closed";
/** After so many the list is not believed: LevelDB ends the process where it reads rot, which leaves a table's times as they were. A power cut is no such death. */
const MAX_DEATHS = 2;

const isTable = (name: string): boolean => name.endsWith(".ldb");

/**
 * Tables that need not be looked through at a start, each known by size and times: those that were, and those that LevelDB has made since.
 * To look through a large store at each start would take too long.
 */
export class KnownTables {
  private readonly stamps = new Map<string, string>();
  /** Seen once since they were made: perhaps they are still being written. */
  private readonly young = new Map<string, string>();
  /** Found by the last look through. */
  private damaged: string[] = [];
  private readonly openedMs: number;
  private isListed = false;
  private deaths = 0;

  constructor(
    private readonly directory: string,
    private readonly clock: Clock,
  ) {
    this.openedMs = clock.nowMs();
  }

  private get listPath(): string {
    return join(this.directory, LIST_NAME);
  }

  private stampOf(name: string): string | undefined {
    const status = fileStatus(join(this.directory, name));
    return status && `${status.size} ${status.mtimeMs} ${status.ctimeMs}`;
  }

  private readList(): ReadonlySet<string> {
    const lines = new Set(readIfThere(this.listPath)?.toString("latin1").split("\n"));
    const [first = ""] = lines;
    const [word, boot, deaths] = first.split(" ");
    const hasDied = word === BOOT && boot === bootId() && !lines.has(CLOSED);
    this.deaths = hasDied ? Number(deaths) + 1 : 0;
    if (this.deaths < MAX_DEATHS) return lines;
    this.deaths = 0;
    return new Set();
  }

  /**
   * Before the database is opened: looks through the tables that the last run has not listed. Resolves with the names of those that are damaged and that LevelDB would open, by
   * its manifest or because that is damaged too. What it has no more, or was in the making when the process died, it removes.
   */
  async lookThrough(): Promise<string[]> {
    const listed = this.readList();
    rmSync(this.listPath, { force: true });
    const reader = new TableReader();
    this.damaged = [];
    for (const name of readdirSync(this.directory).filter(isTable)) {
      const stamp = this.stampOf(name);
      if (stamp === undefined) continue;
      if (!listed.has(`${name} ${stamp}`)) {
        await new Promise(setImmediate); // what else there is goes on between two tables
        const table = reader.read(join(this.directory, name)); // what can't be read is LevelDB's to tell
        if (!table) continue;
        if (!isIntactTable(table)) {
          this.damaged.push(name);
          continue;
        }
      }
      this.stamps.set(name, stamp);
    }
    if (this.damaged.length === 0) return [];
    const named = namedTables(this.directory);
    return this.damaged.filter((name) => named?.has(name) ?? true);
  }

  /** Before a repair: puts a table of what is intact in the place of each that is damaged, which goes below `lost`. Resolves with what was done, in words. */
  async mend(): Promise<string[]> {
    const told: string[] = [];
    if (this.damaged.length > 0) await mkdir(join(this.directory, LOST_NAME), { recursive: true, mode: 0o700 });
    for (const name of this.damaged) {
      const path = join(this.directory, name);
      const damaged = await readFile(path).catch(() => undefined);
      if (!damaged) continue; // left unfinished by the last process, and removed by LevelDB before it met the damage
      const mended = mendedTable(damaged);
      const lost = join(this.directory, LOST_NAME, name);
      if (mended) {
        await writeSynced(`${path}.mended`, mended);
        // There is a table of that name all the time: who is killed between finds what is intact in it again.
        await link(path, lost).catch(() => copyFile(path, lost));
        await rename(`${path}.mended`, path);
      } else {
        await rename(path, lost);
      }
      told.push(`${name}: ${mended?.length ?? 0} of ${damaged.length} bytes are intact`);
    }
    this.damaged = [];
    return told;
  }

  /** The directory has been looked at, and holds these names. */
  async note(names: readonly string[]): Promise<void> {
    let lines = "";
    for (const name of names) {
      if (!isTable(name) || this.stamps.has(name)) continue;
      const stamp = this.stampOf(name);
      if (stamp !== undefined && this.young.get(name) === stamp) {
        this.young.delete(name);
        this.stamps.set(name, stamp);
        lines += `${name} ${stamp}\n`;
      } else if (stamp !== undefined) {
        this.young.set(name, stamp);
      }
    }
    if (this.isListed) {
      if (lines !== "") await appendFile(this.listPath, lines);
    } else if (this.clock.nowMs() - this.openedMs >= LIST_AFTER_MS) {
      this.isListed = true;
      const list = [...this.stamps].map(([name, stamp]) => `${name} ${stamp}\n`).join("");
      await writeFile(this.listPath, `${BOOT} ${bootId()} ${this.deaths}\n${list}`, { mode: 0o600 });
    }
  }

  /** The store has been closed. */
  async close(): Promise<void> {
    if (this.isListed) await appendFile(this.listPath, `${CLOSED}\n`);
  }
}

/** Changes whenever the system starts; empty where there is none. */
const bootId = (): string => readIfThere("/proc/sys/kernel/random/boot_id")?.toString("latin1").trim() ?? "";

/** Reads files one after the other into one buffer: a store has hundreds of tables. */
class TableReader {
  private bytes = Buffer.alloc(0);

  /** What is in the file, until the next one is read; undefined if it can't be read. */
  read(path: string): Buffer | undefined {
    let file: number | undefined;
    try {
      file = openSync(path, "r");
      const { size } = fstatSync(file);
      if (size > this.bytes.length) this.bytes = Buffer.allocUnsafeSlow(size);
      let length = 0;
      for (let read = -1; read !== 0 && length < size; length += read) read = readSync(file, this.bytes, length, size - length, length);
      return this.bytes.subarray(0, length);
    } catch {
      return undefined;
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

async function writeSynced(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, "w", 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
