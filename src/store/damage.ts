import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Database, OpenDatabase } from "./database.ts";
import { LogMark } from "./log-mark.ts";
import { endOfManifest, logByEnd } from "./manifest.ts";
import type { StoreEvent } from "./store-error.ts";
import { Uncertainty } from "./uncertainty.ts";

/** An open database. */
export interface Opened {
  readonly database: Database;
  /** A part of a log was damaged, or missing. What stood there may be what tells of later pages. */
  readonly hasDropped: boolean;
}

/**
 * Opens the database. LevelDB passes over what is damaged in a log, and has put the log away before anybody can ask: so the store is noted as uncertain before, and
 * that is taken back if nothing was dropped. Rejects with the system's error or LevelDB's.
 */
export async function openTellingLosses(directory: string, openDatabase: OpenDatabase, report: (event: StoreEvent) => void): Promise<Opened> {
  const uncertainty = new Uncertainty(directory);
  const { isNoted } = uncertainty;
  const mark = new LogMark(directory);
  const cut = mark.loss();
  // A start that was killed may have put a damaged log away; LevelDB's own still tells of it.
  if (cut !== undefined || (isNoted && droppedParts(directory).length > 0)) uncertainty.noteLoss();
  else if (existsSync(join(directory, "CURRENT"))) uncertainty.note();
  let hasDropped = false;
  try {
    const database = await openDatabase(directory);
    const dropped = [...(cut === undefined ? [] : [cut]), ...droppedParts(directory)];
    hasDropped = dropped.length > 0;
    if (hasDropped) uncertainty.noteLoss();
    for (const detail of dropped) report({ kind: "damaged", detail });
    mark.forget();
    return { database, hasDropped };
  } finally {
    if (!isNoted && !hasDropped) uncertainty.end();
  }
}

/** As LevelDB's own log tells it, which begins anew whenever the database is opened. */
function droppedParts(directory: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(join(directory, "LOG"), "utf8");
  } catch {
    return [];
  }
  return text.match(/[^ /\n]+\.log: dropping \d+ bytes; .*/g) ?? [];
}

/**
 * Without CURRENT LevelDB would take the directory for a new database and delete what is in it. With one that names no manifest it fails as if the system had refused
 * it something. Where the log is missing that the manifest names, it goes on without what is in there: somebody has deleted it, or a power cut has kept the deletion of an old
 * log and not the renaming of CURRENT that came before; then tables hold it, which LevelDB would delete. In words; undefined if nothing is wrong. Throws the system's error.
 */
export function damageOfNames(directory: string): string | undefined {
  const names = readdirSync(directory);
  if (!names.includes("CURRENT")) return names.some((name) => /^(MANIFEST-\d+|\d+\.(ldb|sst|log))$/.test(name)) ? "the file CURRENT is missing" : undefined;
  const current = readFileSync(join(directory, "CURRENT"), "latin1");
  if (!/^MANIFEST-\d+\n$/.test(current)) return "the file CURRENT names no manifest";
  const manifest = current.trimEnd();
  const log = names.includes(manifest) ? logNamedBy(join(directory, manifest)) : 0; // LevelDB tells of a manifest that is missing or damaged
  return log === 0 || names.some((name) => name.endsWith(".log") && Number.parseInt(name, 10) === log) ? undefined : `the log ${log} is missing`;
}

function logNamedBy(manifest: string): number {
  const file = openSync(manifest, "r");
  try {
    const { size } = fstatSync(file);
    return logByEnd(readFrom(file, endOfManifest(size), size)) ?? logByEnd(readFrom(file, 0, size)) ?? 0;
  } finally {
    closeSync(file);
  }
}

function readFrom(file: number, from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from);
  return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, from));
}
