// The machine under the measurement: its cores, and what /proc tells of a process.
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, fdatasyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { cpus } from "node:os";
import path from "node:path";

export const pinned = cpus().length > 1 && spawnSync("taskset", ["-c", "0", "true"]).status === 0;
/** The broker has the first for itself; the load, and whatever else the measurement needs, the second. */
export const cores = { broker: 0, load: 1 };

/** The words that run a command on one core. taskset executes it in its own place, so that the child's process id is the command's. */
export const onCore = (core, words) => (pinned ? ["taskset", "-c", String(core), ...words] : words);

/** Without what costs Node 20 45 ms at each start. */
export const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== "NODE_EXTRA_CA_CERTS"));

const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** User and system time of a process with all its threads; in steps of 10 ms. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Memory of a process in KiB: all that is resident, and what of it is no file's. */
export function residentKiB(pid) {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)[1]);
  return { rss: field("VmRSS"), anonymous: field("RssAnon") };
}

/** How long the disk below `folder` takes to sync 4 KiB more of a file: the median of 200. */
export function fdatasyncMs(folder) {
  const file = path.join(folder, "fdatasync");
  const page = Buffer.alloc(4096, 1);
  const fd = openSync(file, "w");
  const times = Array.from({ length: 200 }, () => {
    writeSync(fd, page);
    const before = performance.now();
    fdatasyncSync(fd);
    return performance.now() - before;
  });
  closeSync(fd);
  rmSync(file);
  return times.sort((a, b) => a - b)[100];
}
