import type { Clock, Timer } from "../clock/clock.ts";
import { Message } from "../queue/message.ts";
import { isIntactRecord, readRecord, readUInt48, recordSize, sealRecords, writeRecord, writeUInt48 } from "../queue/record.ts";
import { sessionNumberOf, willKey, willRange, type SessionNumber } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import type { Entry } from "./entry.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

const DUE_BYTES = 6;
/** A timer may not run longer. */
const MAX_TIMER_MS = 86_400_000;

interface DelayedWill {
  readonly message: Message;
  readonly dueMs: number;
  timer: Timer | undefined;
}

/**
 * Wills whose connection is over and whose time has not come: they are published then, or when the session ends, whichever is first; not if
 * the client is back before [MQTT-3.1.3-9]. In the store, so that a restart forgets none.
 */
export class DelayedWills {
  private readonly wills = new Map<Entry, DelayedWill>();
  private readonly records: Records;

  constructor(
    private readonly store: Store,
    private readonly clock: Clock,
    /** Whether the store takes what publishing it adds. */
    private readonly mayPublish: (entry: Entry, message: Message) => boolean,
    private readonly publish: (entry: Entry, message: Message) => void,
  ) {
    this.records = new Records(store);
  }

  /** Takes up what the store holds for these sessions; `begin` follows. */
  async recover(sessions: Iterable<Entry>): Promise<void> {
    if (!this.store.durable) return;
    const byNumber = new Map<SessionNumber, Entry>();
    for (const entry of sessions) byNumber.set(entry.session.number, entry);
    await readAll(this.store, willRange, (key, value) => {
      const entry = byNumber.get(sessionNumberOf(key));
      if (!entry || !isIntactRecord(value, DUE_BYTES, value.length)) return void this.records.delete(key, "soon");
      const message = new Message();
      readRecord(message, value, DUE_BYTES);
      this.wills.set(entry, { message, dueMs: readUInt48(value, 0), timer: undefined });
    });
  }

  /** From now on those whose time has come are published. */
  begin(): void {
    for (const [entry, will] of this.wills) this.wait(entry, will);
  }

  /** The message, which is kept as it is, is published after `delayMs`. */
  delay(entry: Entry, message: Message, delayMs: number): void {
    const will = { message, dueMs: this.clock.nowMs() + delayMs, timer: undefined };
    const value = Buffer.alloc(DUE_BYTES + recordSize(message));
    writeUInt48(value, 0, will.dueMs);
    writeRecord(value, DUE_BYTES, message, message.qos, 0);
    sealRecords(value, DUE_BYTES, value.length);
    this.records.put(willKey(entry.session.number), value, "synced");
    this.wait(entry, will);
  }

  private wait(entry: Entry, will: DelayedWill): void {
    this.wills.set(entry, will);
    const waitMs = Math.max(0, will.dueMs - this.clock.nowMs());
    will.timer = this.clock.after(Math.min(waitMs, MAX_TIMER_MS), () => {
      if (waitMs > MAX_TIMER_MS) this.wait(entry, will);
      else if (this.mayRelease(entry)) this.release(entry); // else when there is room
    });
  }

  /** Whether there is room for what `release` publishes. */
  mayRelease(entry: Entry): boolean {
    const will = this.wills.get(entry);
    return !will || this.mayPublish(entry, will.message);
  }

  /** The client is back; a will that is due already is published all the same. */
  cancel(entry: Entry): void {
    if (!this.isDue(entry)) this.take(entry);
  }

  /** The store takes new messages again. */
  onRoom(): void {
    for (const entry of [...this.wills.keys()]) if (this.isDue(entry)) this.release(entry);
  }

  private isDue(entry: Entry): boolean {
    return (this.wills.get(entry)?.dueMs ?? Infinity) <= this.clock.nowMs();
  }

  /** Publishes the will that waits, if there is one: its appends and its removal are in one group. */
  release(entry: Entry): void {
    const will = this.take(entry);
    if (!will) return;
    const { message, dueMs } = will;
    // Its lifetime begins when it is published, which is before its time if the session has ended [MQTT 5.0 section 3.1.3.2.4].
    if (message.expiresAtMs > 0) message.expiresAtMs += this.clock.nowMs() - dueMs;
    this.publish(entry, message);
  }

  private take(entry: Entry): DelayedWill | undefined {
    const will = this.wills.get(entry);
    if (!will) return undefined;
    will.timer?.cancel();
    this.wills.delete(entry);
    this.records.delete(willKey(entry.session.number), "synced");
    return will;
  }
}
