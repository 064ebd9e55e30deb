import { expect } from "vitest";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { Message } from "../../src/queue/message.ts";
import { Queue } from "../../src/queue/queue.ts";
import { Slot } from "../../src/queue/window.ts";
import { queueKey } from "../../src/store/keys.ts";
import type { Keeper, Store } from "../../src/store/store.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";
import { payloadOf, topicOf } from "./messages.ts";

export const SESSION = 7;
export const LANE = 1;

export interface Sent {
  readonly seq: number;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: number;
  readonly retain: boolean;
  readonly receivedMs: number;
  readonly again: boolean;
}

/** A queue on a simulated disk, and what a session does with it: sends in order, skips what is done, waits for the disk as it is told to. */
export class Rig {
  readonly budget = new MemoryBudget(1 << 20);
  readonly totals = { messages: 0, bytes: 0 };
  readonly store: SimulatedStore;
  readonly queue: Queue;
  lost = 0;
  loads = 0;
  private readonly record = new Message();

  /** `companion` is asked for records in every group that asks the queue. */
  constructor(
    readonly disk: Disk = new Map(),
    readonly options: { readonly windowSlots: number; readonly maxInflight: number } = { windowSlots: 16, maxInflight: 4 },
    readonly clock = new VirtualClock(),
    rng: () => number = seededRng(1),
    companion?: Keeper,
  ) {
    this.store = new SimulatedStore(clock, rng, disk);
    const store: Store = companion ? accompanied(this.store, companion) : this.store;
    const context = { store, budget: this.budget, totals: this.totals };
    const owner = { onLoaded: () => void this.loads++, onLost: (messages: number) => void (this.lost += messages) };
    this.queue = new Queue(SESSION, LANE, true, options.windowSlots, context, owner);
    this.store.onStored((upTo) => this.queue.onStored(upTo));
    const progress = disk.get(queueKey(SESSION, LANE).toString("latin1"));
    if (progress) {
      this.queue.recover(progress);
      void this.queue.removeLeftovers();
    }
    this.queue.attach();
  }

  /** The record that stands next, acknowledged ones passed over; undefined if the window is closed, or it is not in RAM or not yet allowed out. */
  sendNext(): Sent | undefined {
    const { queue, record } = this;
    while (queue.windowOpen(this.options.maxInflight) && queue.peek(record)) {
      const seq = queue.cursorSeq;
      if (queue.window.stateOf(seq) === Slot.acknowledged || seq < queue.ackedBelow) {
        queue.stepCursor();
        continue;
      }
      if (!queue.maySend(seq, record.qos)) return undefined;
      const { qos, retain, receivedMs } = record;
      const [topic, payload] = [topicOf(record), Buffer.from(payloadOf(record))];
      const slot = queue.window.stateOf(seq) === Slot.received ? Slot.received : qos === 2 ? Slot.sentQoS2 : Slot.sent;
      return { seq, topic, payload, qos, retain, receivedMs, again: queue.advanceSent(slot) };
    }
    return undefined;
  }

  send(count = Infinity): Sent[] {
    const sent: Sent[] = [];
    for (let next; sent.length < count && (next = this.sendNext()); ) sent.push(next);
    return sent;
  }

  /** Whether nothing of the queue is on disk alone. */
  get holdsAll(): boolean {
    return !this.queue.hasGap;
  }

  /** Lets `turns` turns of the clock pass, and what was read from the disk arrive. */
  async pass(turns: number): Promise<void> {
    await arrivals();
    for (let turn = 0; turn < turns && this.clock.step(); turn++) await arrivals();
  }

  /** Until all is on disk. */
  async settle(): Promise<void> {
    await arrivals();
    while (this.clock.step()) await arrivals();
  }

  /** The connection ends: what is on disk leaves RAM. */
  detach(): void {
    this.queue.detach();
    this.queue.evict("nothing");
  }

  attach(): void {
    this.queue.attach();
  }

  /** The receiver takes the message, or refuses it, before PUBREC. */
  end({ seq, qos }: { readonly seq: number; readonly qos: number }): boolean {
    return this.queue.acknowledge(seq, qos === 2 ? Slot.sentQoS2 : Slot.sent);
  }

  /** Sends and acknowledges in order until nothing comes any more; returns the topics. */
  async drain(): Promise<string[]> {
    const topics: string[] = [];
    for (let idle = 0; idle < 20; idle++) {
      await this.pass(5);
      for (let next; (next = this.sendNext()); idle = 0) {
        topics.push(next.topic);
        expect(this.end(next)).toBe(true);
      }
    }
    return topics;
  }

  /** The daemon stops in good order and starts again. */
  async restart(options = this.options): Promise<Rig> {
    this.detach();
    await this.store.close();
    return new Rig(this.store.crash(), options, this.clock);
  }
}

const arrivals = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function accompanied(store: SimulatedStore, companion: Keeper): Store {
  return {
    durable: true,
    writesFail: false,
    figures: store.figures,
    get state() { return store.state; },
    get stored() { return store.stored; },
    touch: (keeper, need) => Math.max(store.touch(companion, need), store.touch(keeper, need)),
    onStored: (listener) => store.onStored(listener),
    onState: (listener) => store.onState(listener),
    read: (from, to, maxBytes) => store.read(from, to, maxBytes),
    close: () => store.close(),
  };
}
