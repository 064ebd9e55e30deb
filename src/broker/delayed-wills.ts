import type { Clock, Timer } from "../clock/clock.ts";
import { Message } from "../queue/message.ts";
import { isIntactRecord, readRecord, readUInt48, recordSize, sealRecords, writeRecord, writeUInt48 } from "../queue/record.ts";
import { placeOfWill, sessionNumberOf, willKey, willRange, type SessionNumber } from "../store/keys.ts";
import type { Store } from "../store/store.ts";
import type { Entry } from "./entry.ts";
import { readAll } from "./read-all.ts";
import { Records } from "./records.ts";

const DUE_BYTES = 6;
/** A timer may not run longer. */
const MAX_TIMER_MS = 86_400_000;

/** Wills of a client that fall due one after the other while the store is full. */
const MAX_WILLS = 16;

interface DelayedWill {
  readonly message: Message;
  readonly dueMs: number;
  readonly key: Buffer;
  timer: Timer | undefined;
}

/**
 * Wills whose connection is over and whose time has not come: they are published then, or when the session ends, whichever is first; not if
 * the client is back before [MQTT-3.1.3-9]. In the store, so that a restart forgets none. What is due and can't be published, because the store is
 * full, stays, and later wills of the client come behind it.
 */
export class DelayedWills {
  /** Of each client in the order of their times. Invariant: none is empty. */
  private readonly wills = new Map<Entry, DelayedWill[]>();
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
      this.add(entry, { message, dueMs: readUInt48(value, 0), key, timer: undefined });
    });
    for (const wills of this.wills.values()) wills.sort((a, b) => a.dueMs - b.dueMs);
  }

  private add(entry: Entry, will: DelayedWill): void {
    const wills = this.wills.get(entry);
    if (wills) wills.push(will);
    else this.wills.set(entry, [will]);
  }

  /** From now on those whose time has come are published. */
  begin(): void {
    for (const [entry, wills] of this.wills) for (const will of wills) this.wait(entry, will);
  }

  /** The message, which is kept as it is, is published after `delayMs`. */
  delay(entry: Entry, message: Message, delayMs: number): void {
    const before = this.wills.get(entry) ?? [];
    const [oldest] = before;
    if (oldest && before.length >= MAX_WILLS) this.remove(entry, oldest);
    const will = { message, dueMs: this.clock.nowMs() + delayMs, key: willKey(entry.session.number, placeBehind(before)), timer: undefined };
    const value = Buffer.alloc(DUE_BYTES + recordSize(message));
    writeUInt48(value, 0, will.dueMs);
    writeRecord(value, DUE_BYTES, message, message.qos, 0);
    sealRecords(value, DUE_BYTES, value.length);
    this.records.put(will.key, value, "synced");
    this.add(entry, will);
    this.wait(entry, will);
  }

  private wait(entry: Entry, will: DelayedWill): void {
    const waitMs = Math.max(0, will.dueMs - this.clock.nowMs());
    will.timer = this.clock.after(Math.min(waitMs, MAX_TIMER_MS), () => {
      if (this.isDue(will)) this.publishDue(entry);
      else this.wait(entry, will);
    });
  }

  /** Whether there is room for what `release` publishes. */
  mayRelease(entry: Entry): boolean {
    return (this.wills.get(entry) ?? []).every(({ message }) => this.mayPublish(entry, message));
  }

  /** The client is back; a will that is due already is published all the same. */
  cancel(entry: Entry): void {
    for (const will of [...(this.wills.get(entry) ?? [])]) if (!this.isDue(will)) this.remove(entry, will);
  }

  /** The store takes new messages again. */
  onRoom(): void {
    for (const entry of [...this.wills.keys()]) this.publishDue(entry);
  }

  private isDue({ dueMs }: DelayedWill): boolean {
    return dueMs <= this.clock.nowMs();
  }

  /** In their order; what the store does not take now is published when there is room. */
  private publishDue(entry: Entry): void {
    for (const will of [...(this.wills.get(entry) ?? [])]) {
      if (!this.isDue(will) || !this.mayPublish(entry, will.message)) return;
      this.publishNow(entry, will);
    }
  }

  /** Publishes the wills that wait, if there are any. */
  release(entry: Entry): void {
    for (const will of [...(this.wills.get(entry) ?? [])]) this.publishNow(entry, will);
  }

  /** Its appends and its removal are in one group. */
  private publishNow(entry: Entry, will: DelayedWill): void {
    const { message, dueMs } = will;
    this.remove(entry, will);
    const nowMs = this.clock.nowMs();
    // Its lifetime begins when it is published, which is before its time if the session has ended [MQTT 5.0 section 3.1.3.2.4].
    if (message.expiresAtMs > 0) message.expiresAtMs += nowMs - dueMs;
    message.receivedMs = nowMs; // it has not been there before: what a new remote of a bridge is owed goes by that
    this.publish(entry, message);
  }

  private remove(entry: Entry, will: DelayedWill): void {
    will.timer?.cancel();
    const left = (this.wills.get(entry) ?? []).filter((other) => other !== will);
    if (left.length > 0) this.wills.set(entry, left);
    else this.wills.delete(entry);
    this.records.delete(will.key, "synced");
  }
}

/** A number for the key of the next will: 0 if none waits. */
function placeBehind(wills: readonly DelayedWill[]): number {
  const last = wills.at(-1);
  return last ? (placeOfWill(last.key) + 1) & 0xff : 0;
}
