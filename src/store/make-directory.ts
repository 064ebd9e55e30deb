import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { isForbidden, isUnsupported } from "./store-error.ts";

/**
 * Makes the store's directory, and those above it that are missing. While there is no database in it yet, its name is synced too: a power cut takes a directory
 * away whose name is not on disk, with all that was synced in it; and one that was set aside would be back in its place.
 */
export function makeDirectory(directory: string): void {
  const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (made !== undefined) chmodSync(directory, 0o700);
  // An earlier start may have been killed when it had made it.
  if (existsSync(join(directory, "CURRENT"))) return;
  const highest = resolve(made ?? directory);
  for (let at = resolve(directory); ; at = dirname(at)) {
    syncNamesIn(dirname(at));
    if (at === highest || at === dirname(at)) return;
  }
}

function syncNamesIn(directory: string): void {
  let file: number;
  try {
    file = openSync(directory, "r");
  } catch (error) {
    if (isForbidden(error)) return; // who may write to it may not be allowed to read it
    throw error;
  }
  try {
    fsyncSync(file);
  } catch (error) {
    // The file system can't sync directories: a read-only one such as squashfs, in which another one is mounted.
    if (!isUnsupported(error)) throw error;
  } finally {
    closeSync(file);
  }
}
