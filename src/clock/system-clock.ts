import type { Clock, Timer } from "./clock.ts";

/** The machine's time. */
export class SystemClock implements Clock {
  readonly #startedMs = Date.now() - performance.now();
  /** Tasks of this turn, the first `#taskCount` of the list, and the list that the next turn's go to while these run. Both keep their room: to set a length costs as much as a task. */
  #tasks: (() => void)[] = [];
  #taskCount = 0;
  #spare: (() => void)[] = [];

  nowMs(): number {
    return Math.floor(this.exactMs());
  }

  exactMs(): number {
    return this.#startedMs + performance.now();
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
    if (this.#taskCount === 0) setImmediate(this.#runTasks);
    this.#tasks[this.#taskCount++] = task;
  }

  readonly #runTasks = (): void => {
    const tasks = this.#tasks;
    const count = this.#taskCount;
    this.#tasks = this.#spare;
    this.#taskCount = 0;
    let done = 0;
    try {
      while (done < count) {
        const task = tasks[done] as () => void; // done < count
        tasks[done++] = NOTHING; // the list would keep what it holds
        task();
      }
    } finally {
      // After an exception, which is reported as if the task had been alone, the others still have their turn.
      for (; done < count; done++) this.endOfTurn(tasks[done] as () => void); // done < count
      this.#spare = tasks;
    }
  };
}

const NOTHING = (): void => undefined;
