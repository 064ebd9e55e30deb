import { readFileSync } from "node:fs";

/** Descriptors that the store, the bridges and Node itself want; with a small limit half of them. */
const RESERVED = 100;

/** How many sockets may be accepted before the process runs out of file descriptors; Infinity where the system does not say. */
export function socketLimit(): number {
  let limits: string;
  try {
    limits = readFileSync("/proc/self/limits", "latin1");
  } catch {
    return Infinity;
  }
  const soft = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  return Math.max(1, soft - Math.min(RESERVED, Math.ceil(soft / 2)));
}
