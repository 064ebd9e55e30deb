import { describe, expect, it } from "vitest";
import { StoreClock } from "../../src/store/store-clock.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A machine whose wall clock can be set, and whose other clock begins anew with the wall clock at each start. */
class Machine {
  wallOffsetMs = 0;
  private inner = new VirtualClock();
  private startOffsetMs = 0;
  private disk: Disk = new Map();
  private store!: SimulatedStore; // by start
  clock!: StoreClock;

  async start(): Promise<void> {
    const { inner } = this;
    this.startOffsetMs = this.wallOffsetMs;
    this.store = new SimulatedStore(inner, seededRng(1), this.disk);
    const machineClock = {
      nowMs: () => inner.nowMs() + this.startOffsetMs,
      exactMs: () => inner.exactMs() + this.startOffsetMs,
      wallMs: () => inner.wallMs() + this.wallOffsetMs,
      after: inner.after.bind(inner),
      endOfTurn: inner.endOfTurn.bind(inner),
    };
    this.clock = new StoreClock(machineClock, this.store);
    await this.clock.recover();
  }

  /** Writes something, lets `ms` pass. */
  async run(ms: number): Promise<void> {
    this.store.touch({ writeTo: () => undefined }, "synced");
    await this.settle();
    this.inner.after(ms, () => undefined);
    await this.settle();
    this.store.touch({ writeTo: () => undefined }, "synced");
    await this.settle();
  }

  /** Lets `ms` pass. */
  async wait(ms: number): Promise<void> {
    let isOver = false;
    this.inner.after(ms, () => void (isOver = true));
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      this.inner.step();
    }
  }

  private async settle(): Promise<void> {
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.inner.step());
  }

  async stop(): Promise<void> {
    this.clock.note();
    await this.settle();
    this.kill();
  }

  kill(): void {
    this.disk = new Map(this.store.written);
  }

  get nowMs(): number {
    return this.clock.nowMs();
  }
}

async function running(): Promise<Machine> {
  const machine = new Machine();
  await machine.start();
  await machine.run(HOUR_MS);
  return machine;
}

/** But for the moments that the disk takes. */
const near = (ms: number): unknown => expect.toSatisfy((value: number) => Math.abs(value - ms) < 1_000, `about ${ms}`);

describe("store time", () => {
  it("is not moved by a wall clock that is set while the daemon runs", async () => {
    const machine = await running();
    const before = machine.nowMs;
    for (const jumpMs of [30 * DAY_MS, -300 * DAY_MS]) {
      machine.wallOffsetMs += jumpMs;
      expect(machine.nowMs).toBe(before);
    }
  });

  it("counts the time in which the daemon did not run", async () => {
    const machine = await running();
    await machine.stop();
    const before = machine.nowMs;
    machine.wallOffsetMs += 2 * DAY_MS;
    await machine.start();
    expect(machine.nowMs).toEqual(near(before + 2 * DAY_MS));
  });

  it("goes on from where it was when the wall clock is behind, as on a device that has none", async () => {
    const machine = await running();
    await machine.stop();
    const before = machine.nowMs;
    machine.wallOffsetMs -= 10 * DAY_MS;
    await machine.start();
    expect(machine.nowMs).toEqual(near(before));
    machine.wallOffsetMs += 12 * DAY_MS; // the time comes over the network
    expect(machine.nowMs).toEqual(near(before));
    await machine.run(HOUR_MS);
    await machine.stop();
    const later = machine.nowMs;
    await machine.start();
    expect(machine.nowMs).toEqual(near(later));
  });

  it("does not count what passed since a wall clock that had never been set", async () => {
    const machine = new Machine();
    machine.wallOffsetMs = -55 * 365 * DAY_MS;
    await machine.start();
    await machine.run(HOUR_MS);
    await machine.stop();
    const before = machine.nowMs;
    machine.wallOffsetMs = 0;
    await machine.start();
    expect(machine.nowMs).toEqual(near(before));
  });

  it("does not count over a kill what a wall clock has jumped while nothing was written", async () => {
    const machine = await running();
    const before = machine.nowMs;
    machine.clock.watchWallClock();
    machine.wallOffsetMs += 30 * DAY_MS;
    await machine.wait(3_000);
    machine.clock.stop();
    machine.kill();
    await machine.start();
    expect(machine.nowMs).toEqual(near(before + 3_000));
  });

  it("runs back by no more than a minute after a kill, even without a wall clock", async () => {
    const machine = await running();
    for (let minutes = 0; minutes < 30; minutes++) await machine.run(20_000);
    const before = machine.nowMs;
    machine.kill();
    machine.wallOffsetMs -= 10 * DAY_MS;
    await machine.start();
    expect(machine.nowMs).toBeGreaterThan(before - 90_000);
    expect(machine.nowMs).toBeLessThanOrEqual(before);
  });
});
