import { beforeEach, describe, expect, it } from "vitest";
import { digest, EchoGuard } from "../../src/bridge/echo-guard.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const ECHO_MS = 5_000;

let clock: VirtualClock;
let guard: EchoGuard;

beforeEach(() => {
  clock = new VirtualClock();
  guard = new EchoGuard(clock);
});

const keyOf = (topic: string, payload: string): string => digest(topic, Buffer.from(`#${payload}#`), 1, payload.length + 1);
const sends = (payload: string, { isKept = true, again = false } = {}): void => guard.noteSent(keyOf("a", payload), isKept, again);
const isEcho = (payload: string, topic = "a"): boolean => guard.swallows(keyOf(topic, payload));

function pass(ms: number): void {
  clock.after(ms, () => undefined);
  clock.step();
}

/** The connection ends, and its session goes on. */
function cut(awayMs: number): void {
  guard.pause();
  pass(awayMs);
  guard.resume();
}

describe("each copy that was sent pays for one that comes back", () => {
  it("within 5 s, and for no other message", () => {
    for (const payload of ["1", "1", "2"]) sends(payload);
    expect([isEcho("1", "b"), isEcho("3"), isEcho("1"), isEcho("1"), isEcho("1")]).toEqual([false, false, true, true, false]);
    pass(ECHO_MS);
    expect(isEcho("2")).toBe(true);
    sends("2");
    pass(ECHO_MS + 1);
    expect(isEcho("2")).toBe(false);
    expect(guard.swallowed).toBe(3);
  });

  it("the earlier ones first: those that are left have their own time", () => {
    sends("1");
    pass(3_000);
    sends("1");
    expect(isEcho("1")).toBe(true);
    pass(3_000);
    expect([isEcho("1"), isEcho("1")]).toEqual([true, false]);
  });

  it("also when thousands have been sent before", () => {
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 5_000; i++) sends(String(i));
      for (let i = 0; i < 5_000; i += 2) expect(isEcho(String(i))).toBe(true);
      pass(ECHO_MS + 1);
      expect([isEcho("0"), isEcho("1")]).toEqual([false, false]);
    }
  });
});

describe("after a cut, when the session goes on", () => {
  beforeEach(() => {
    sends("known to come back");
    expect(isEcho("known to come back")).toBe(true);
  });

  it("what had not come back may do so, however long that took, for 5 s", () => {
    for (const payload of ["1", "2", "3"]) sends(payload);
    expect(isEcho("1")).toBe(true);
    cut(60_000);
    expect([isEcho("1"), isEcho("2"), isEcho("2")]).toEqual([false, true, false]);
    pass(ECHO_MS + 1);
    expect(isEcho("3")).toBe(false);
  });

  it("what was sent more than 5 s before the cut may not", () => {
    sends("1");
    pass(ECHO_MS + 1);
    cut(0);
    expect(isEcho("1")).toBe(false);
  });

  it("once: after another cut it may not", () => {
    sends("1");
    cut(100);
    sends("2");
    cut(100);
    expect([isEcho("1"), isEcho("2")]).toEqual([false, true]);
  });

  it("a message that a cut loses, there or back, may not", () => {
    sends("1", { isKept: false });
    sends("1");
    cut(0);
    expect([isEcho("1"), isEcho("1")]).toEqual([true, false]);
  });

  it("a repetition of what has come back, or may, pays for nothing more; one of what is over does", () => {
    sends("1");
    sends("2");
    expect(isEcho("2")).toBe(true); // perhaps another's
    cut(60_000);
    for (const payload of ["1", "2", "3"]) sends(payload, { again: true });
    expect(["1", "1", "2", "3", "3"].map((payload) => isEcho(payload))).toEqual([true, false, false, true, false]);
  });

  it("nothing may if nothing has ever come back", () => {
    guard = new EchoGuard(clock);
    sends("1");
    cut(0);
    expect(isEcho("1")).toBe(false);
  });

  it("and when it does not go on, nothing may", () => {
    sends("1");
    guard.pause();
    guard.clear();
    expect(isEcho("1")).toBe(false);
  });
});
