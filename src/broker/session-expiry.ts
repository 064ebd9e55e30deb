import type { Clock, Timer } from "../clock/clock.ts";
import type { Entry } from "./entry.ts";

/** Between two looks at all sessions. */
const MIN_CHECK_MS = 1_000;
const MAX_CHECK_MS = 60_000;
/** So many end at a time, and the pause after them: thousands may be over at once, as after a long stop or a change of the limit. */
const MOST_AT_ONCE = 50;
const PAUSE_MS = 20;

/** Ends sessions that nobody has taken up in time [MQTT 5.0 section 3.1.2.11.2]. */
export class SessionExpiry {
  /** `persistent_client_expiration`: no client's session outlives its connection by more. */
  private capMs = Infinity;
  private timer: Timer | undefined;
  private checkAtMs = Infinity;

  constructor(
    private readonly clock: Clock,
    private readonly entries: () => Iterable<Entry>,
    /** Whether what comes with its end can be done now. */
    private readonly mayEnd: (entry: Entry) => boolean,
    private readonly end: (entry: Entry) => void,
  ) {}

  /** May be changed while sessions wait. */
  setCap(capMs: number): void {
    this.capMs = capMs;
    this.check();
  }

  /** Nothing ends by itself any more. */
  stop(): void {
    this.timer?.cancel();
    this.checkAtMs = -Infinity;
  }

  /** How long after its connection the session ends; Infinity: never. */
  expiryOf({ kind, expiryMs }: Entry): number {
    return kind === "client" ? Math.min(expiryMs, this.capMs) : expiryMs;
  }

  isOver(entry: Entry): boolean {
    return !entry.holder && this.clock.nowMs() >= entry.leftMs + this.expiryOf(entry);
  }

  /** A session is left alone from now on. */
  left(entry: Entry): void {
    this.checkAt(entry.leftMs + this.expiryOf(entry));
  }

  private checkAt(atMs: number, minMs = MIN_CHECK_MS): void {
    const nowMs = this.clock.nowMs();
    const wantedMs = Math.min(Math.max(atMs, nowMs + minMs), nowMs + MAX_CHECK_MS);
    if (atMs === Infinity || this.checkAtMs <= wantedMs) return;
    this.timer?.cancel();
    this.checkAtMs = wantedMs;
    this.timer = this.clock.after(wantedMs - nowMs, () => this.check());
  }

  /** Ends what is over, and comes back when the next one is; soon, if one may not end yet. */
  check(): void {
    this.timer?.cancel();
    this.checkAtMs = Infinity;
    let nextMs = Infinity;
    let ended = 0;
    for (const entry of [...this.entries()]) {
      if (entry.holder) continue;
      if (!this.isOver(entry) || !this.mayEnd(entry)) nextMs = Math.min(nextMs, entry.leftMs + this.expiryOf(entry));
      else if (ended === MOST_AT_ONCE) return this.checkAt(0, PAUSE_MS);
      else {
        this.end(entry);
        ended += 1;
      }
    }
    this.checkAt(nextMs);
  }
}
