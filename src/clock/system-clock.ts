import type { Clock, Timer } from "./clock.ts";

/** The machine's time. The wall clock may be set back; `nowMs` then stands still until it has caught up. */
export class SystemClock implements Clock {
  #latestMs = 0;

  nowMs(): number {
    this.#latestMs = Math.max(this.#latestMs, Date.now());
    return this.#latestMs;
  }

  after(delayMs: number, task: () => void): Timer {
    const timeout = setTimeout(task, delayMs);
    return { cancel: () => clearTimeout(timeout) };
  }

  endOfTurn(task: () => void): void {
    setImmediate(task);
  }
}
