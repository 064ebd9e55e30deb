/** A timer that has been set; cancel is harmless when it has run. */
export interface Timer {
  cancel(): void;
}

/** Time as the core sees it: handed in, so that the simulation can turn it. */
export interface Clock {
  /** Milliseconds that pass evenly, whatever becomes of the wall clock; they began as milliseconds since 1970. */
  nowMs(): number;
  /** The same with fractions, for spans within a turn. */
  exactMs(): number;
  /** The wall clock, for people: it may jump. */
  wallMs(): number;
  /** Runs `task` once, after at least `delayMs`. */
  after(delayMs: number, task: () => void): Timer;
  /** Runs `task` once at the end of the current turn, when all input that is here has been read. */
  endOfTurn(task: () => void): void;
}

/** Randomness as the core sees it: a number in [0, 1). */
export type Rng = () => number;
