import { describe, expect, it } from "vitest";
import { Gathering } from "../../src/store/gathering.ts";

const SYNC_MS = 4;

/** A group that is written at `nowMs`, stored a sync later when `collected` have come meanwhile. */
function writeOne(gathering: Gathering, changes: number, collected: number, nowMs: number): number {
  expect(gathering.waitMs(changes, nowMs)).toBe(0);
  gathering.begin(collected, SYNC_MS, nowMs + SYNC_MS);
  return nowMs + SYNC_MS;
}

describe("a group", () => {
  it("waits until those have come that the last one let go", () => {
    const gathering = new Gathering();
    const nowMs = writeOne(gathering, 20, 20, 0);
    expect(gathering.waitMs(20, nowMs)).toBe(SYNC_MS);
    expect(gathering.waitMs(30, nowMs + 1)).toBe(SYNC_MS - 1);
    expect(gathering.waitMs(40, nowMs + 2)).toBe(0);
  });

  it("waits for nobody who is alone", () => {
    const gathering = new Gathering();
    const nowMs = writeOne(gathering, 1, 0, 0);
    expect(gathering.waitMs(1, nowMs + 1)).toBe(0);
  });

  it("waits no longer than the last one took, twice as long if that was large, and no longer than 20 ms", () => {
    const gathering = new Gathering();
    const nowMs = writeOne(gathering, 20, 20, 0);
    expect(gathering.waitMs(20, nowMs + SYNC_MS)).toBe(0);
    const large = new Gathering();
    writeOne(large, 40, 20, 0);
    expect(large.waitMs(20, nowMs + SYNC_MS)).toBe(SYNC_MS);
    expect(large.waitMs(20, nowMs + 2 * SYNC_MS)).toBe(0);
    const slow = new Gathering();
    slow.waitMs(40, 0);
    slow.begin(40, 500, 500);
    expect(slow.waitMs(40, 500)).toBe(20);
  });

  it("does not wait, for ever longer, where it is in vain", () => {
    const gathering = new Gathering();
    let nowMs = 0;
    let waited = 0;
    for (let group = 0; group < 10_000; group++) {
      if (gathering.waitMs(1, nowMs) > 0) {
        waited += 1;
        nowMs += SYNC_MS;
      }
      nowMs = writeOne(gathering, 1, 1, nowMs);
    }
    expect(waited).toBeGreaterThan(10);
    expect(waited).toBeLessThan(25);
  });

  it("waits each time behind a large one, though it is in vain", () => {
    const gathering = new Gathering();
    let nowMs = writeOne(gathering, 40, 40, 0);
    for (let group = 0; group < 100; group++) {
      expect(gathering.waitMs(40, nowMs)).toBe(2 * SYNC_MS);
      nowMs = writeOne(gathering, 40, 40, nowMs + 2 * SYNC_MS);
    }
  });

  it("waits each time where it is not", () => {
    const gathering = new Gathering();
    let nowMs = writeOne(gathering, 30, 0, 0);
    for (let group = 0; group < 100; group++) {
      expect(gathering.waitMs(15, nowMs)).toBe(SYNC_MS);
      nowMs = writeOne(gathering, 30, 0, nowMs + 1);
    }
  });
});
