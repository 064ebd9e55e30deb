import { readdirSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/** How many steps of niceness: a third of the weight. */
const STEPS = 5;

/**
 * On Linux, lets the process's other threads give way to the one that serves clients, which is this one: those that compile, collect garbage, write, sync and
 * compact. On a single core they would hold it up for milliseconds at a time. Elsewhere threads have no priority of their own.
 */
export function lowerOtherThreads(): void {
  if (process.platform !== "linux") return;
  try {
    const niceness = Math.min(19, getPriority() + STEPS);
    for (const thread of readdirSync("/proc/self/task")) if (thread !== String(process.pid)) setPriority(Number(thread), niceness);
  } catch {
    // No /proc, or a thread has just ended: nothing depends on it.
  }
}
