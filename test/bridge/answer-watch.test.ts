import { beforeEach, expect, it } from "vitest";
import { AnswerWatch } from "../../src/bridge/answer-watch.ts";

let awaited: [number, number, number];
let pings: number;
let nowMs: number;
let watch: AnswerWatch;

beforeEach(() => {
  awaited = [0, 0, 0];
  pings = nowMs = 0;
  watch = new AnswerWatch((lane) => awaited[lane] ?? 0, () => (pings += 1));
  watch.begin(nowMs);
});

/** Looks twice a second; the remote answers PINGREQ at once, if it does. Returns whether the watch gave up before `ms` had passed. */
function wait(ms: number, { answersPings = true } = {}): boolean {
  for (const endMs = nowMs + ms; nowMs < endMs; nowMs += 500) {
    const before = pings;
    if (watch.isOverdue(nowMs)) return true;
    if (answersPings && pings > before) watch.answeredPing(nowMs);
  }
  return false;
}

it("gives up 30 s after a message that the remote has read and does not answer", () => {
  awaited[0] = 5;
  expect(wait(29_500)).toBe(false);
  expect(wait(1_500)).toBe(true);
  expect(pings).toBe(1);
});

it("waits while PINGREQ is not answered: the link may be slow, and keep alive has its own limit", () => {
  awaited[0] = 5;
  expect(wait(300_000, { answersPings: false })).toBe(false);
  expect(pings).toBe(1);
});

it("does not end a connection on which answers come, however late each is", () => {
  for (let message = 1; message < 50; message++) {
    awaited[0] = message;
    expect(wait(14_000)).toBe(false);
  }
});

it("finds the one message that is not answered in one lane while others flow in another", () => {
  awaited[1] = 7;
  let gaveUp = false;
  for (let message = 1; message < 70 && !gaveUp; message++) {
    awaited[0] = message;
    gaveUp = wait(500);
  }
  expect(gaveUp).toBe(true);
});

it("has twice the patience each time with a remote that does not answer, and little again once it has", () => {
  awaited[0] = 5;
  const waits: number[] = [];
  for (let time = 0; time < 8; time++) {
    const fromMs = nowMs;
    watch.begin(nowMs);
    expect(wait(2_000_000)).toBe(true);
    waits.push(Math.round((nowMs - fromMs) / 1000));
  }
  expect(waits).toEqual([30, 60, 120, 240, 480, 960, 960, 960]);
  awaited[0] = 9;
  watch.begin(nowMs);
  expect(wait(29_500)).toBe(false);
  expect(wait(1_500)).toBe(true);
});
