import type { Clock, Timer } from "./clock.ts";

/** The machine's time. */
export class SystemClock implements Clock {
  readonly #startedMs = Date.now() - performance.now();

  nowMs(): number {
    return Math.floor(this.#startedMs + performance.now());
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, task: () => void): Timer {
    const timeout = setTimeout(task, delayMs);
    return { cancel: () => clearTimeout(timeout) };
  }

  endOfTurn(task: () => void): void {
    setImmediate(task);
  }
}
