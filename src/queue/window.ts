/**
 * Where a message of the window stands. `unsent` is also what a slot outside the window holds. `sentQoS2` is a kind of `sent`: the answer to it is PUBREC,
 * to any other PUBACK [MQTT-4.3.3-4].
 */
export const Slot = { unsent: 0, sent: 1, received: 2, acknowledged: 3, sentQoS2: 5 } as const;
const KINDS = 3;

/**
 * Where the messages of one lane stand from the head on: a ring with one slot for each sequence number from `ackedBelow`, as far as it reaches.
 * Beyond it nothing has been sent. A slot that the head has passed is unsent again.
 */
export class Window {
  /** Every message below is done. */
  ackedBelow = 1;
  /** Sent on this connection and not done, and the size of their records. */
  inFlight = 0;
  inFlightBytes = 0;
  /** On this connection sending has passed every message below; nothing else can be acknowledged. */
  passedBelow = 1;
  /** Until one of them is set, those that all windows of this size have. */
  slots: Uint8Array;
  private isShared = true;
  private mask: number;

  /** `size` is a power of two. */
  constructor(size: number) {
    this.slots = unsentSlots(size);
    this.mask = size - 1;
  }

  get size(): number {
    return this.slots.length;
  }

  /** Takes up what a progress record tells; the window may have been wider when it was written. */
  recover(ackedBelow: number, slots: readonly { readonly seq: number; readonly state: number }[]): void {
    this.ackedBelow = ackedBelow;
    const span = (slots.at(-1)?.seq ?? ackedBelow) - ackedBelow + 1;
    if (span > this.size) {
      this.slots = unsentSlots(2 ** Math.ceil(Math.log2(span)));
      this.isShared = true;
      this.mask = this.size - 1;
    }
    for (const { seq, state } of slots) this.set(seq, state);
  }

  /** From now on there are so many slots, if there were fewer; a power of two. */
  widen(size: number): void {
    if (size <= this.size) return;
    const { ackedBelow, slots, mask, isShared } = this;
    this.slots = unsentSlots(size);
    this.isShared = true;
    this.mask = size - 1;
    if (isShared) return;
    for (let seq = ackedBelow; seq < ackedBelow + slots.length; seq++) this.set(seq, slots[seq & mask] ?? Slot.unsent);
  }

  /** Whether the ring reaches to the message. */
  reaches(seq: number): boolean {
    return seq - this.ackedBelow < this.slots.length;
  }

  stateOf(seq: number): number {
    return this.exactStateOf(seq) & KINDS;
  }

  /** Tells how it was sent, too. */
  exactStateOf(seq: number): number {
    if (seq < this.ackedBelow || seq - this.ackedBelow >= this.slots.length) return Slot.unsent;
    return this.slots[seq & this.mask] ?? Slot.unsent;
  }

  /** For a message that the ring reaches to. */
  set(seq: number, state: number): void {
    if (this.isShared) this.slots = new Uint8Array(this.size);
    this.isShared = false;
    this.slots[seq & this.mask] = state;
  }

  /** The head is done: the next message is. */
  passHead(): void {
    this.slots[this.ackedBelow & this.mask] = Slot.unsent;
    this.ackedBelow += 1;
  }

  /** Everything up to `seq` is done, and none of it was ever sent. */
  jumpTo(seq: number): void {
    this.ackedBelow = seq;
  }

  /** A connection begins: everything that is not done is gone through again from the head. */
  rewind(): void {
    this.inFlight = this.inFlightBytes = 0;
    this.passedBelow = this.ackedBelow;
  }

  /** No connection is there. What it sent may all be done: then the slots are given back. */
  rest(): void {
    if (this.isShared || this.slots.some((state) => state !== Slot.unsent)) return;
    this.slots = unsentSlots(this.size);
    this.isShared = true;
  }

  /** The first message in flight: it, or PUBREL of it, was sent on this connection and has no answer; 0 if there is none. */
  get firstUnanswered(): number {
    if (this.inFlight === 0) return 0;
    for (let seq = this.ackedBelow; seq < this.passedBelow; seq++) {
      const state = this.stateOf(seq);
      if (state === Slot.sent || state === Slot.received) return seq;
    }
    return 0;
  }

  /** The first sequence number from the head on that `packetIndex` (the low part of a packet id) stands for. It may be far beyond the window. */
  seqOf(packetIndex: number, modulus: number): number {
    const base = this.ackedBelow - (this.ackedBelow % modulus) + packetIndex;
    return base < this.ackedBelow ? base + modulus : base;
  }

  /** Nothing is left below `nextSeq`, and nothing is known of what comes. */
  clear(nextSeq: number): void {
    this.ackedBelow = this.passedBelow = nextSeq;
    this.inFlight = this.inFlightBytes = 0;
    this.slots.fill(Slot.unsent);
  }
}

/** Slots that nothing is written to but `unsent`, by the binary logarithm of how many they are. */
const unsent: Uint8Array[] = [];

const unsentSlots = (size: number): Uint8Array => (unsent[Math.log2(size)] ??= new Uint8Array(size));
