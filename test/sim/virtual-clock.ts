import type { Clock, Timer } from "../../src/clock/clock.ts";

interface Task {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Time that stands still until it is turned. Tasks of one moment run in the order in which they were set. */
export class VirtualClock implements Clock {
  #nowMs = Date.UTC(2026, 0, 1);
  readonly #heap: Task[] = [];
  #endOfTurn: (() => void)[] = [];
  #order = 0;
  /** A promise has been settled in this turn: who awaits it is to be heard before the next one. */
  mustSettle = false;
  /** What the wall clock has been set forward by; negative: back. */
  wallOffsetMs = 0;

  nowMs(): number {
    return Math.floor(this.exactMs());
  }

  exactMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.nowMs() + this.wallOffsetMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const task: Task = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run };
    this.#push(task);
    return { cancel: () => void (task.run = undefined) };
  }

  endOfTurn(task: () => void): void {
    this.#endOfTurn.push(task);
  }

  /** Runs one turn: the next timer, or what waits for the end of this turn. False if there is nothing to run. */
  step(): boolean {
    if (this.#endOfTurn.length > 0) {
      const tasks = this.#endOfTurn;
      this.#endOfTurn = [];
      for (const task of tasks) task();
      return true;
    }
    const task = this.#pop();
    if (!task) return false;
    this.#nowMs = Math.max(this.#nowMs, task.atMs);
    task.run?.();
    return true;
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(task);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(task, heap[parent] ?? task)) break;
      heap[index] = heap[parent] ?? task;
      index = parent;
    }
    heap[index] = task;
  }

  #pop(): Task | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (!first || !last || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (!left) break;
      const right = heap[child + 1];
      if (right && before(right, left)) child += 1;
      const smaller = heap[child] ?? left;
      if (!before(smaller, last)) break;
      heap[index] = smaller;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function before(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** A generator that replays: mulberry32. */
export function seededRng(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
