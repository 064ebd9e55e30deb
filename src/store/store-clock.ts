import type { Clock, Timer } from "../clock/clock.ts";
import { timeKey, timeRange } from "./keys.ts";
import type { GroupWriter, Keeper, Need, Store } from "./store.ts";

const NOTE_INTERVAL_MS = 60_000;
/** A wall clock that tells less has not been set: a device without a battery begins with 1970, or with the day its system was built. */
const FIRST_BELIEVED_MS = Date.UTC(2020, 0, 1);
/** How often it is looked for, and what counts as one: not how a clock drifts. */
const STEP_CHECK_MS = 1_000;
const STEP_MS = 1_000;
const RECORD_BYTES = 12;

/**
 * Store time: what the times in the store are in. It never runs back, and while the daemon runs it passes evenly, so that a wall clock which is set
 * makes no message older. Over a restart it takes over from where it was, and adds what the wall clock says has passed meanwhile.
 */
export class StoreClock implements Clock, Keeper {
  private offsetMs = 0;
  private notedMs = -Infinity;
  /** How far the wall clock was ahead by what the store knows. */
  private notedLeadMs = 0;
  private timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly store: Store,
  ) {}

  /** Takes up the time where the store left it. To be called before anybody asks for the time. */
  async recover(): Promise<void> {
    const { clock, store } = this;
    if (!store.durable) return;
    const [record] = await store.read(timeRange.from, timeRange.to, RECORD_BYTES);
    if (record) {
      const storeMs = record[1].readUIntBE(0, 6);
      const wallMs = record[1].readUIntBE(6, 6);
      const awayMs = wallMs < FIRST_BELIEVED_MS ? 0 : Math.max(0, clock.wallMs() - wallMs);
      this.offsetMs = storeMs + awayMs - clock.nowMs();
    }
    this.notedLeadMs = this.leadMs;
    store.onStored(() => {
      if (this.nowMs() - this.notedMs >= NOTE_INTERVAL_MS) this.note();
    });
  }

  private get leadMs(): number {
    return this.wallMs() - this.nowMs();
  }

  /** Has the time written down whenever the wall clock has been set: a start would take the step for time that has passed. */
  watchWallClock(): void {
    if (Math.abs(this.leadMs - this.notedLeadMs) >= STEP_MS) this.note("synced");
    this.timer = this.after(STEP_CHECK_MS, () => this.watchWallClock());
  }

  stop(): void {
    this.timer?.cancel();
  }

  /** Has the time written down, with the next group. By itself it is, once a minute while anything else is. */
  note(need: Need = "soon"): void {
    if (!this.store.durable) return;
    this.notedMs = this.nowMs();
    this.notedLeadMs = this.leadMs;
    this.store.touch(this, need);
  }

  writeTo(group: GroupWriter): void {
    const record = Buffer.allocUnsafe(RECORD_BYTES);
    record.writeUIntBE(this.nowMs(), 0, 6);
    record.writeUIntBE(Math.max(0, this.clock.wallMs()), 6, 6);
    group.put(timeKey, record);
  }

  nowMs(): number {
    return this.clock.nowMs() + this.offsetMs;
  }

  exactMs(): number {
    return this.clock.exactMs() + this.offsetMs;
  }

  wallMs(): number {
    return this.clock.wallMs();
  }

  after(delayMs: number, task: () => void): Timer {
    return this.clock.after(delayMs, task);
  }

  endOfTurn(task: () => void): void {
    this.clock.endOfTurn(task);
  }
}
