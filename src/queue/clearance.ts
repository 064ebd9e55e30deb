import type { QoS } from "../mqtt/protocol.ts";
import type { GroupNumber, Need, Store } from "../store/store.ts";

/**
 * Messages that a stored record allows to be sent beyond those that have been. Half of it is what goes out while the next record is on its way,
 * more than any disk takes that long for; all of it is the most that carries DUP after a crash although it was never sent.
 */
const SEND_AHEAD = 65_536;
/**
 * After so many messages it is asked whether such a record is wanted: often enough for V8 to know of it when it optimizes the way of a message, which it would throw
 * away in the middle of a drain otherwise.
 */
const ASK_EVERY = 512;

/**
 * What the disk lets go out. A QoS 2 message waits until its group is stored. One that was sent carries DUP when it is sent again after a crash
 * [MQTT-3.3.1-1]: once it is in a group, it goes out only when whichever record a crash leaves says that it may have been sent.
 */
export class Clearance {
  /** Sequence numbers below this are on disk; `writtenBelow` is what the group in flight adds. */
  storedBelow = 1;
  private writtenBelow = 1;
  private writtenIn: GroupNumber = 0;
  /** Sequence numbers below this may have been sent before: they carry DUP. Never below the head. */
  sentBelow = 1;
  /**
   * Whichever record of those written so far a crash leaves with a message below this, it says that the message may have been sent.
   * Infinity: no record with such a message has been written.
   */
  private sendableBelow = Infinity;
  /** The limit in the last record that was written with a synced group, and that group; 0 once it is stored and has been counted. */
  private syncedLimit = 0;
  private syncedIn: GroupNumber = 0;
  /** The group that will hold the next record needs a sync for this queue. */
  private needsSync = false;
  private writtenLimit = 1;
  private isAttached = false;
  /** The group that holds it that the peer knows nothing, 0 once that is stored; what it had noted with PUBREC lies below the limit. */
  private forgottenIn: GroupNumber = 0;
  private forgottenBelow = 0;

  constructor(
    private readonly store: Store,
    /** Whose messages these are. */
    private readonly queue: { touch(need: Need): GroupNumber },
  ) {}

  recover(sentLimit: number, ackedBelow: number, nextSeq: number): void {
    this.storedBelow = this.writtenBelow = nextSeq;
    this.sentBelow = Math.min(Math.max(sentLimit, ackedBelow), nextSeq);
    this.sendableBelow = this.writtenLimit = sentLimit;
  }

  maySend(seq: number, qos: QoS): boolean {
    if (qos === 2 && (seq >= this.storedBelow || (this.forgottenIn !== 0 && seq < this.forgottenBelow))) return false;
    if (seq >= this.writtenBelow || seq < this.sendableBelow) return true;
    // No such record can be written now: better a copy without DUP after a crash than nothing for as long as the disk fails.
    if (this.store.writesFail) return true;
    this.keepAhead();
    return seq < this.sendableBelow;
  }

  /** Has a record written that allows more to be sent, unless one is on its way. */
  private keepAhead(): void {
    this.countSynced();
    if (this.sentBelow + SEND_AHEAD / 2 > this.sendableBelow && !this.needsSync && this.syncedIn === 0) this.queue.touch("synced");
  }

  /** Takes notice of a record that is stored by now; true if there is one. It may allow no more, if it was written when the connection was over; then the next one is wanted. */
  private countSynced(): boolean {
    if (this.syncedIn === 0 || this.syncedIn > this.store.stored) return false;
    this.syncedIn = 0;
    this.sendableBelow = Math.max(this.sendableBelow, this.syncedLimit);
    return true;
  }

  /** The message is sent. Returns whether it may have been before. */
  pass(seq: number): boolean {
    if (seq < this.sentBelow) return true;
    this.sentBelow = seq + 1;
    if (seq % ASK_EVERY === 0) this.keepAhead();
    return false;
  }

  /** What lies below `seq` and was never sent never will be. */
  skipTo(seq: number): void {
    if (this.sentBelow < seq) this.sentBelow = seq;
  }

  attach(isEmpty: boolean): void {
    this.isAttached = true;
    if (isEmpty) this.sendableBelow = Infinity;
    else this.keepAhead();
  }

  /** The connection is over. True if the last record says more than was sent: what was not sent need not carry DUP after a crash. */
  detach(): boolean {
    this.isAttached = false;
    return this.writtenLimit > this.sentBelow;
  }

  /** The peer knows nothing of what was sent before: all from `ackedBelow` on is new to it. What it had noted with PUBREC, if anything, lies below `notedBelow`. */
  forget(ackedBelow: number, notedBelow: number, group: GroupNumber): void {
    this.sentBelow = ackedBelow;
    if (notedBelow > 0) this.forgottenBelow = notedBelow;
    this.forgottenIn = group;
  }

  /** The group of the last `forget`, 0 once it is stored. */
  get forgottenGroup(): GroupNumber {
    return this.forgottenIn;
  }

  /** The group that will hold the next record is synced. */
  expectSync(): void {
    this.needsSync = true;
  }

  /**
   * A record is written with `group`, and with it all messages below `nextSeq`. Returns the limit that stands in it: no message from there on has
   * been sent. An unsynced record may be the one that a crash leaves, or not: it can lower what is allowed, not raise it.
   */
  noteWritten(group: GroupNumber, nextSeq: number): number {
    this.writtenBelow = nextSeq;
    this.writtenIn = group;
    this.countSynced();
    const limit = this.isAttached ? this.sentBelow + SEND_AHEAD : this.sentBelow;
    this.writtenLimit = limit;
    this.sendableBelow = Math.min(this.sendableBelow, limit);
    if (this.needsSync) {
      this.syncedLimit = limit;
      this.syncedIn = group;
    }
    this.needsSync = false;
    return limit;
  }

  /** Group `upTo` is on disk. Returns whether messages that waited for it may now be sent. */
  onStored(upTo: GroupNumber): boolean {
    if (this.writtenIn > upTo) return false;
    let mayGoOn = this.countSynced();
    if (this.forgottenIn !== 0 && this.forgottenIn <= upTo) {
      this.forgottenIn = 0;
      mayGoOn = true;
    }
    if (this.writtenBelow <= this.storedBelow) return mayGoOn;
    this.storedBelow = this.writtenBelow;
    return true;
  }

  /** Whether a group is awaited, with messages below `nextSeq` or with leave to send more. */
  awaitsStore(nextSeq: number): boolean {
    return this.storedBelow !== nextSeq || this.needsSync || this.syncedIn !== 0 || this.forgottenIn !== 0;
  }
}
