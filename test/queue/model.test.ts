import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Slot } from "../../src/queue/window.ts";
import { decodeProgress } from "../../src/queue/progress.ts";
import { RECORD_HEADER_BYTES } from "../../src/queue/record.ts";
import { queueKey } from "../../src/store/keys.ts";
import type { GroupWriter } from "../../src/store/store.ts";
import type { Disk } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";
import { message } from "./messages.ts";
import { LANE, Rig, type Sent, SESSION } from "./rig.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const OPTIONS = { windowSlots: 16, maxInflight: 4 };

interface Entry {
  readonly seq: number;
  readonly number: number;
  readonly payloadBytes: number;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  state: (typeof Slot)[keyof typeof Slot];
  dropped?: true;
}

const sizeOf = ({ number, payloadBytes }: Entry): number => RECORD_HEADER_BYTES + `t/${number}`.length + payloadBytes;

/** The queue as a plain array. It lies in the store beside the queue, in the same groups: a power cut leaves both or none of a group. */
class Model {
  entries: Entry[] = [];
  nextSeq = 1;
  /** Seq of the next entry to send on this connection. */
  cursor = 1;
  inFlight = new Set<Entry>();

  static recover(disk: Disk): Model {
    const model = new Model();
    const record = disk.get("model");
    if (!record) return model;
    Object.assign(model, JSON.parse(record.toString()));
    for (const entry of model.entries) if (entry.state === Slot.sent) entry.state = Slot.unsent;
    model.rewind();
    return model;
  }

  writeTo(group: GroupWriter): void {
    group.put(Buffer.from("model"), Buffer.from(JSON.stringify({ entries: this.entries, nextSeq: this.nextSeq })));
  }

  get ackedBelow(): number {
    return this.entries[0]?.seq ?? this.nextSeq;
  }

  get owed(): Entry[] {
    return this.entries.filter(({ state }) => state !== Slot.acknowledged);
  }

  get bytes(): number {
    return this.owed.reduce((sum, entry) => sum + sizeOf(entry), 0);
  }

  get next(): Entry | undefined {
    return this.entries.find((entry) => entry.seq >= this.cursor && entry.state !== Slot.acknowledged);
  }

  rewind(): void {
    this.cursor = this.ackedBelow;
    this.inFlight.clear();
  }

  acknowledge(entry: Entry): void {
    entry.state = Slot.acknowledged;
    this.inFlight.delete(entry);
    while (this.entries[0]?.state === Slot.acknowledged) this.entries.shift();
    this.cursor = Math.max(this.cursor, this.ackedBelow);
  }
}

type Step =
  | { readonly do: "append"; readonly payloadBytes: number; readonly qos: 1 | 2; readonly retain: boolean }
  | { readonly do: "send" | "pass"; readonly count: number }
  | { readonly do: "answer"; readonly which: number }
  | { readonly do: "evict" | "attach" | "detach" | "settle" | "drop" | "forget" | "power cut" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      payloadBytes: fc.oneof({ weight: 5, arbitrary: fc.nat(300) }, fc.constantFrom(2_000, 30_000, 70_000)),
      qos: fc.constantFrom(1 as const, 2 as const),
      retain: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("send" as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("pass" as const), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("answer" as const), which: fc.nat(10) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("evict" as const, "attach" as const, "detach" as const, "settle" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("drop" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("forget" as const, "power cut" as const) }) },
);

/** Queue and model side by side. What differs fails at once. */
class Run {
  private model = new Model();
  private rig: Rig;
  private isAttached = true;
  /** Numbers of what was sent on whatever connection, before a start, too. */
  private readonly sent = new Set<number>();
  private appendedBeforeStart = 0;
  /** From here on the record that the queue started with says that nothing has been sent. */
  private droppableFrom = 0;
  private keepsHead = false;
  private appended = 0;
  private readonly rng: () => number;
  private readonly clock = new VirtualClock();
  /** By number: the group whose storing promises to keep it; the group that holds the end of it. */
  private readonly appendedIn = new Map<number, number>();
  private readonly endedIn = new Map<number, number>();
  /** The last stored group that somebody waited for: what changed up to it is on disk for good. */
  private lastWaitedFor: number[] = [];

  constructor(seed: number) {
    this.rng = seededRng(seed);
    this.rig = this.start(new Map());
  }

  private start(disk: Disk): Rig {
    return new Rig(disk, OPTIONS, this.clock, this.rng, { writeTo: (group) => this.model.writeTo(group) });
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "append": this.append(step); break;
      case "send": for (let i = 0; i < step.count && this.isAttached; i++) this.sendNext(); break;
      case "pass": await this.rig.pass(step.count); break;
      case "settle": await this.rig.settle(); break;
      case "answer": this.answer(step.which); break;
      case "evict": this.evict(); break;
      case "detach": this.detach(); break;
      case "attach": this.attach(); break;
      case "drop": this.drop(); break;
      case "forget": this.forget(); break;
      case "power cut": this.cutPower(); break;
    }
    if (!this.isAttached) this.evict();
    this.compare();
  }

  private append({ payloadBytes, qos, retain }: { payloadBytes: number; qos: 1 | 2; retain: boolean }): void {
    const number = ++this.appended;
    this.model.entries.push({ seq: this.model.nextSeq++, number, payloadBytes, qos, retain, state: Slot.unsent });
    const group = this.rig.queue.append(message(number, payloadBytes, { retain }), qos);
    expect(group).toBeGreaterThan(this.rig.store.stored);
    this.appendedIn.set(number, group);
    this.lastWaitedFor.push(group);
  }

  /** What the queue gives out is what stands next in the model. Returns false if it gives nothing. */
  private sendNext(): boolean {
    const { model } = this;
    const given = this.rig.sendNext();
    if (!given) return false;
    const expected = model.next;
    if (!expected) throw new Error(`sent though nothing is owed: ${JSON.stringify(given)}`);
    const { seq, number, payloadBytes, qos, retain } = expected;
    const { payload, ...fields } = given;
    expect(fields).toEqual({ seq, qos, retain, topic: `t/${number}`, receivedMs: 1000 + number, again: this.again(expected, given) });
    expect(payload.equals(Buffer.alloc(payloadBytes, number & 0xff))).toBe(true);
    if (expected.state === Slot.unsent) expected.state = Slot.sent;
    this.sent.add(number);
    model.inFlight.add(expected);
    model.cursor = seq + 1;
    return true;
  }

  /** DUP is set on all that was ever sent, and not on what came after the start; in between it may be, as power was cut on a connection. */
  private again({ number }: Entry, { again }: Sent): boolean {
    return this.sent.has(number) || (number <= this.appendedBeforeStart && again);
  }

  /** The receiver answers one of the messages in flight: PUBACK; PUBREC and later PUBCOMP. */
  private answer(which: number): void {
    const { model, rig } = this;
    const entry = [...model.inFlight][which % Math.max(1, model.inFlight.size)];
    if (!entry) return;
    if (entry.qos === 2 && entry.state === Slot.sent) {
      for (const answer of [Slot.sent, Slot.received]) expect(rig.queue.acknowledge(entry.seq, answer)).toBe(false);
      expect(rig.queue.receive(entry.seq)).toBe(true);
      entry.state = Slot.received;
      expect(rig.queue.receive(entry.seq)).toBe(false);
      expect(rig.queue.receivedNoted).toBeGreaterThan(rig.store.stored);
      this.lastWaitedFor.push(rig.queue.receivedNoted);
      return;
    }
    expect(entry.state === Slot.sent ? rig.end(entry) : rig.queue.acknowledge(entry.seq, entry.state)).toBe(true);
    model.acknowledge(entry);
    this.endedIn.set(entry.number, rig.store.touch({ writeTo: () => undefined }, "soon"));
  }

  /** The first message that was surely never sent goes, if it is in RAM. */
  private drop(): void {
    const { model } = this;
    const first = model.owed.find(({ seq, number }) => seq >= this.droppableFrom && !this.sent.has(number));
    const dropping = this.rig.queue.dropFirst();
    this.keepsHead = true;
    if (!first) return expect(["none", "unread"]).toContain(dropping);
    if (dropping !== "dropped") return expect(dropping).toBe("unread");
    first.dropped = true;
    model.acknowledge(first);
    this.endedIn.set(first.number, this.rig.store.touch({ writeTo: () => undefined }, "soon"));
  }

  private evict(): void {
    this.rig.queue.evict(this.isAttached ? "cursor" : this.keepsHead ? "head" : "nothing");
  }

  private detach(): void {
    this.isAttached = false;
    this.model.rewind();
    this.rig.detach();
  }

  private attach(): void {
    this.isAttached = true;
    this.model.rewind();
    this.rig.attach();
  }

  /** The peer comes back without its session: nothing has been sent to that one. */
  private forget(): void {
    this.detach();
    for (const entry of this.model.entries) if (entry.state !== Slot.acknowledged) entry.state = Slot.unsent;
    this.sent.clear();
    this.droppableFrom = 0;
    this.lastWaitedFor.push(this.rig.queue.forgetPeer());
    this.attach();
  }

  private cutPower(): void {
    const { stored } = this.rig.store;
    const surelyOnDisk = Math.max(0, ...this.lastWaitedFor.filter((group) => group <= stored));
    const disk = this.rig.store.crash();
    const record = disk.get(queueKey(SESSION, LANE).toString("latin1"));
    const { sentLimit = 0, nextSeq = 0 } = record ? decodeProgress(record) : {};
    this.droppableFrom = Math.min(sentLimit, nextSeq);
    this.keepsHead = false;
    this.model = Model.recover(disk);
    this.rig = this.start(disk);
    const owed = new Set(this.model.owed.map(({ number }) => number));
    for (const [number, group] of this.appendedIn) {
      if (group <= stored && !this.endedIn.has(number)) expect(owed).toContain(number);
    }
    for (const [number, group] of this.endedIn) {
      if (group <= surelyOnDisk) expect(owed).not.toContain(number);
      if (!owed.has(number)) this.endedIn.set(number, 0);
    }
    // Group numbers begin anew: what is there is there for good, what is not never was.
    for (const number of this.appendedIn.keys()) {
      if (owed.has(number)) this.appendedIn.set(number, 0);
      else this.appendedIn.delete(number);
    }
    for (const number of owed) this.endedIn.delete(number);
    this.lastWaitedFor = [];
    this.appendedBeforeStart = this.appended;
    this.attach();
  }

  private compare(): void {
    const { model, rig: { queue } } = this;
    const { nextSeq, ackedBelow, messages, bytes, inFlight, waiting } = queue;
    const owed = model.owed;
    expect({ nextSeq, ackedBelow, messages, bytes, lost: queue.lost + this.rig.lost }).toEqual({
      nextSeq: model.nextSeq, ackedBelow: model.ackedBelow, messages: owed.length, bytes: model.bytes, lost: 0,
    });
    const oldestMs = owed[0] ? 1000 + owed[0].number : 0;
    if (this.rig.holdsAll) expect(queue.oldestMs).toBe(oldestMs);
    else expect(queue.oldestMs).toSatisfy((ms: number) => ms <= oldestMs && (ms > 1000 || oldestMs === 0));
    for (const { seq, state, dropped } of model.entries.slice(0, OPTIONS.windowSlots)) expect(queue.window.stateOf(seq)).toBe(dropped ? Slot.unsent : state);
    if (!this.isAttached) return;
    expect({ inFlight, waiting }).toEqual({ inFlight: model.inFlight.size, waiting: owed.length - model.inFlight.size });
    if (model.inFlight.size >= OPTIONS.maxInflight) expect(queue.windowOpen(OPTIONS.maxInflight)).toBe(false);
    if ((model.next?.seq ?? 0) - model.ackedBelow >= OPTIONS.windowSlots) expect(this.rig.sendNext()).toBeUndefined();
  }

  /** Everything reaches the receiver, and nothing is left in RAM or on disk. */
  async finish(): Promise<void> {
    this.attach();
    for (let idle = 0; this.model.owed.length > 0; idle++) {
      if (idle > 50) expect.fail(`stuck before ${JSON.stringify(this.model.next)}`);
      await this.rig.pass(3);
      while (this.sendNext()) idle = 0;
      while (this.model.inFlight.size > 0) this.answer(0);
      this.compare();
    }
    await this.rig.settle();
    expect(this.rig.budget.usedBytes).toBe(0);
    expect([...this.rig.store.written.keys()].filter((key) => key.startsWith("z"))).toEqual([]);
  }
}

describe("Queue", () => {
  it("behaves as an array does, through evictions, reconnects and power cuts", { timeout: isLong ? 1_800_000 : 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 100, size: "max" }), fc.nat(), async (steps, seed) => {
        const run = new Run(seed);
        for (const step of steps) await run.take(step);
        await run.finish();
      }),
      // The same runs each time, so that what a normal run says of a change is due to the change; the long one looks for new ground.
      isLong ? { numRuns: 20_000 } : { numRuns: 200, seed: 1 },
    );
  });

  it("gives back what lies behind a gap that the head has passed, and goes on from there", async () => {
    const append = (payloadBytes: number): Step => ({ do: "append", payloadBytes, qos: 1, retain: false });
    const steps: Step[] = [
      append(0), append(2_000), append(2_000), { do: "send", count: 3 }, { do: "answer", which: 1 }, { do: "answer", which: 1 }, { do: "detach" }, { do: "pass", count: 1 },
      append(19), { do: "drop" }, { do: "pass", count: 1 },
    ];
    const run = new Run(0);
    for (const step of steps) await run.take(step);
    await run.finish();
  });
});
