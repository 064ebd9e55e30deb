import { spawnSync } from "node:child_process";
import { closeSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";
import { makeFolder, removeFolder } from "./process.ts";

function mount(folder: string, megabytes: number): string | undefined {
  const { status, stderr, error } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder], { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

/** Why no small disk can be made here; undefined if one can. */
export function noSmallDisk(): string | undefined {
  const folder = makeFolder("mount");
  const problem = mount(folder, 1);
  if (problem === undefined) spawnSync("umount", [folder]);
  removeFolder(folder);
  return problem;
}

/** A file system of its own, small enough to fill. */
export class SmallDisk {
  readonly folder = makeFolder("disk");
  readonly storeFolder = path.join(this.folder, "store");
  readonly #ballast = path.join(this.folder, "ballast");

  constructor(megabytes: number) {
    const problem = mount(this.folder, megabytes);
    if (problem !== undefined) throw new Error(problem);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes all the room but `leaveBytes`. */
  fill(leaveBytes = 0): void {
    const file = openSync(this.#ballast, "a");
    const block = Buffer.alloc(4096, "ballast");
    try {
      while (this.freeBytes > leaveBytes) writeSync(file, block);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    } finally {
      closeSync(file);
    }
  }

  clear(): void {
    rmSync(this.#ballast, { force: true });
  }

  remount(option: "ro" | "rw"): void {
    const { status, stderr } = spawnSync("mount", ["-o", `remount,${option}`, this.folder], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  }

  remove(): void {
    spawnSync("umount", ["-l", this.folder]);
    removeFolder(this.folder);
  }
}
