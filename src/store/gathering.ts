/** A disk that has paused for once does not hold up the next group for so long. */
const MAX_WAIT_MS = 20;
/** The share of what is expected at which a group is whole: somebody may send a little less than before. */
const WHOLE = 7 / 8;
/** A group of so many changes waits each time, and longer: where messages come so fast, fewer groups spare more CPU than anything else. */
const MANY_CHANGES = 32;
const SYNCS_FOR_MANY = 2;
/** So many groups are written at once after one that waited in vain: at first, and at most. */
const FIRST_SKIPPED = 1;
const MOST_SKIPPED = 1024;

/**
 * When a group is stored, its acknowledgements leave, and whoever gets them sends again at once, if there is more. What others have sent meanwhile,
 * written there and then, would be half of what one group can be: publishers with small windows would go on in two crews, each in the other's sync. So
 * the group waits until as much has come as was let go, no longer than the last one took. Publishers that send less often are waited for in vain; then
 * the next groups do not wait, unless they are large.
 */
export class Gathering {
  /** Changes in the group that was written last. */
  #written = 0;
  #expected = 0;
  #untilMs = 0;
  /** How many groups are still written without waiting, and how many there were last time. */
  #toSkip = 0;
  #skipped = 0;

  /** The group that was written last is stored after `tookMs`; the next one has so many changes by now. */
  begin(collected: number, tookMs: number, nowMs: number): void {
    const isLarge = this.#written >= MANY_CHANGES;
    if (this.#toSkip > 0 && !isLarge) {
      this.#toSkip -= 1;
      this.#expected = 0;
      return;
    }
    this.#expected = (this.#written + collected) * WHOLE;
    this.#untilMs = nowMs + Math.min(isLarge ? tookMs * SYNCS_FOR_MANY : tookMs, MAX_WAIT_MS);
  }

  /** How long a group with so many changes is to wait for more; 0: it is written now. */
  waitMs(collected: number, nowMs: number): number {
    if (collected < this.#expected) {
      if (nowMs < this.#untilMs) return this.#untilMs - nowMs;
      this.#toSkip = this.#skipped = Math.min(Math.max(this.#skipped * 2, FIRST_SKIPPED), MOST_SKIPPED);
    } else if (this.#expected > 0) {
      this.#skipped = 0;
    }
    this.#expected = 0;
    this.#written = collected;
    return 0;
  }
}
