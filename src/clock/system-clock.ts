import type { Clock, Timer } from "./clock.ts";

/** The machine's time. */
export class SystemClock implements Clock {
  readonly #startedMs = Date.now() - performance.now();
  /** Tasks of this turn, and the list that the next turn's go to while these run. */
  #tasks: (() => void)[] = [];
  #spare: (() => void)[] = [];

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

  /** One immediate for all tasks of a turn: with a hundred connections that each got a message an immediate for each is what they cost most. */
  endOfTurn(task: () => void): void {
    if (this.#tasks.push(task) === 1) setImmediate(this.#runTasks);
  }

  readonly #runTasks = (): void => {
    const tasks = this.#tasks;
    this.#tasks = this.#spare;
    let done = 0;
    try {
      for (const task of tasks) {
        done += 1;
        task();
      }
    } finally {
      // After an exception, which is reported as if the task had been alone, the others still have their turn.
      for (; done < tasks.length; done++) this.endOfTurn(tasks[done] as () => void); // done < length
      tasks.length = 0;
      this.#spare = tasks;
    }
  };
}
