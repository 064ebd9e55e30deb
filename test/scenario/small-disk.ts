import { spawnSync } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, openSync, rmSync, statfsSync, truncateSync, writeFileSync, writeSync } from "node:fs";
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

function run(command: string, ...argv: string[]): string | undefined {
  const { status, stderr, error } = spawnSync(command, argv, { encoding: "utf8" });
  return status === 0 ? undefined : `${command}: ${error?.message ?? stderr.trim()}`;
}

/** An ext4 in a file: unlike a tmpfs it can be made to turn read-only under open files, as it does when its device fails. */
export class FailingDisk {
  private readonly place = makeFolder("disk");
  readonly folder = path.join(this.place, "mount");
  readonly storeFolder = path.join(this.folder, "store");
  private image = path.join(this.place, "image");
  /** Why there is none; undefined if there is. */
  readonly problem: string | undefined;

  constructor(megabytes: number) {
    mkdirSync(this.folder);
    writeFileSync(this.image, "");
    truncateSync(this.image, megabytes * 1024 * 1024);
    this.problem = run("mkfs.ext4", "-q", this.image) ?? this.mount();
  }

  private mount(): string | undefined {
    return run("mount", "-o", "loop", this.image, this.folder);
  }

  /** From now on every write fails with EROFS, to files that are open as well. */
  fail(): void {
    const problem = run("mount", "-o", "remount,abort", this.folder);
    if (problem !== undefined) throw new Error(problem);
  }

  /** What is on the disk is checked and mounted again; open files stay where they were. */
  mend(): void {
    run("umount", "-l", this.folder);
    const image = `${this.image}.mended`;
    copyFileSync(this.image, image); // the old file system ends with its last open file
    this.image = image;
    run("e2fsck", "-fy", image);
    const problem = this.mount();
    if (problem !== undefined) throw new Error(problem);
  }

  remove(): void {
    run("umount", "-l", this.folder);
    removeFolder(this.place);
  }
}

/** Why no disk that fails can be made here; undefined if one can. */
export function noFailingDisk(): string | undefined {
  const disk = new FailingDisk(8);
  disk.remove();
  return disk.problem;
}
