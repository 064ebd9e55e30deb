import { readdirSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/** How many steps of niceness: a third of the weight. */
const STEPS = 5;
/** A tenth. There are four of these threads, and at a third each they would have more of a single core than the one that serves clients. */
const COMPILER_STEPS = 10;

/** Those of V8, which compile and collect garbage: all that there are before the first file is opened. */
let compilers: readonly string[] = [];

/**
 * On Linux, lets the process's other threads give way to the one that serves clients, which is this one. On a single core they would hold it up for
 * milliseconds at a time. Elsewhere threads have no priority of their own. First of all this is for those that are there from the beginning.
 */
export function lowerCompilerThreads(): void {
  compilers = lower(COMPILER_STEPS);
}

/** The same for those that write, sync and compact the database, and what they start. */
export function lowerOtherThreads(): void {
  lower(STEPS);
}

/** Returns the threads that have been lowered. */
function lower(steps: number): string[] {
  if (process.platform !== "linux") return [];
  try {
    const niceness = Math.min(19, getPriority() + steps);
    const threads = readdirSync("/proc/self/task").filter((thread) => thread !== String(process.pid) && !compilers.includes(thread));
    for (const thread of threads) setPriority(Number(thread), niceness);
    return threads;
  } catch {
    return []; // No /proc, or a thread has just ended: nothing depends on it.
  }
}
