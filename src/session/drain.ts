import type { Clock, Timer } from "../clock/clock.ts";

/** How fast what waits is sent: messages a second, and bytes a second of topics, properties and payloads. Infinity: as fast as the peer takes them. */
export interface DrainLimits {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

export const isUnlimited = ({ messagesPerSecond, bytesPerSecond }: DrainLimits): boolean => messagesPerSecond === Infinity && bytesPerSecond === Infinity;

/** What is saved up while nothing is sent, and what may be taken in advance, in seconds of the rate. */
const BURST_SECONDS = 0.1;
const ADVANCE_SECONDS = 1;
/** Between two goes; each sends what has come together. */
const MIN_WAIT_MS = 20;

/** An allowance that grows evenly and may be overdrawn: what was taken too much is waited for. */
class Allowance {
  private left = 1;

  constructor(private readonly perSecond: number) {}

  grow(seconds: number): void {
    if (this.perSecond === Infinity) return;
    this.left = Math.min(this.left + this.perSecond * seconds, Math.max(1, this.perSecond * BURST_SECONDS));
  }

  take(amount: number): void {
    if (this.perSecond !== Infinity) this.left = Math.max(this.left - amount, -Math.max(amount, this.perSecond * ADVANCE_SECONDS));
  }

  get waitMs(): number {
    return this.left > 0 ? 0 : Math.ceil(((1 - this.left) / this.perSecond) * 1_000);
  }
}

/** Holds a backlog to its rate. What is sent as it comes is not held back, but counts: the backlog gets what live traffic leaves. */
export class Drain {
  private messages = new Allowance(Infinity);
  private bytes = new Allowance(Infinity);
  private isUnlimited = true;
  private grownMs = 0;
  private timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    /** More may be sent. */
    private readonly onTurn: () => void,
  ) {}

  set limits(limits: DrainLimits) {
    this.messages = new Allowance(limits.messagesPerSecond);
    this.bytes = new Allowance(limits.bytesPerSecond);
    this.isUnlimited = isUnlimited(limits);
    this.grownMs = this.clock.nowMs();
  }

  /** Whether a message that has waited may go now; if not, `onTurn` is called when one may. */
  mayGo(): boolean {
    if (this.isUnlimited) return true;
    this.grow();
    const waitMs = Math.max(this.messages.waitMs, this.bytes.waitMs);
    if (waitMs === 0) return true;
    this.timer ??= this.clock.after(Math.max(waitMs, MIN_WAIT_MS), () => {
      this.timer = undefined;
      this.onTurn();
    });
    return false;
  }

  /** A message is sent. */
  note(bytes: number): void {
    if (this.isUnlimited) return;
    this.grow();
    this.messages.take(1);
    this.bytes.take(bytes);
  }

  private grow(): void {
    const nowMs = this.clock.nowMs();
    const seconds = Math.min((nowMs - this.grownMs) / 1_000, ADVANCE_SECONDS);
    this.grownMs = nowMs;
    this.messages.grow(seconds);
    this.bytes.grow(seconds);
  }

  /** Nothing is sent until the next connection. */
  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }
}
