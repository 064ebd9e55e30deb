import { expect, it } from "vitest";
import { Suspicion } from "../../src/bridge/suspicion.ts";

const first = { lane: 0, seq: 7 };
const second = { lane: 0, seq: 8 };

/** A connection on which the remote answers PINGREQ and then ends without an answer to the message. */
const strike = (suspicion: Suspicion, message = first): boolean => {
  suspicion.begin();
  suspicion.answeredPing();
  return suspicion.ended(message, true);
};

it("finds a message guilty on which three connections have ended that were alive", () => {
  const suspicion = new Suspicion();
  expect(suspicion.begin()).toBe(false);
  expect(suspicion.ended(first, true)).toBe(false);
  expect(suspicion.begin()).toBe(true);
  expect([strike(suspicion), strike(suspicion), strike(suspicion)]).toEqual([false, false, true]);
  expect(suspicion.begin()).toBe(false);
});

it("counts no connection that breaks before the remote has shown that it is alive", () => {
  const suspicion = new Suspicion();
  for (let round = 0; round < 10; round++) {
    suspicion.begin();
    expect(suspicion.ended(first, true)).toBe(false);
  }
  expect(suspicion.begin()).toBe(true);
});

it("finds no second one guilty before the remote has taken something: it is the remote, then", () => {
  const suspicion = new Suspicion();
  const results = (message: typeof first): boolean[] => Array.from({ length: 8 }, () => strike(suspicion, message));
  expect(results(first).filter(Boolean)).toHaveLength(1);
  expect(results(second).filter(Boolean)).toHaveLength(0);
  suspicion.taken();
  expect(strike(suspicion, second)).toBe(true);
});

it("acquits a message that gets through, and counts anew for another", () => {
  const suspicion = new Suspicion();
  for (let round = 0; round < 3; round++) strike(suspicion);
  suspicion.acquit();
  expect(suspicion.begin()).toBe(false);
  strike(suspicion);
  strike(suspicion);
  expect([strike(suspicion, second), strike(suspicion, first)]).toEqual([false, false]);
});

it("does not count what we end ourselves", () => {
  const suspicion = new Suspicion();
  strike(suspicion);
  suspicion.begin();
  expect(suspicion.ended(first, false)).toBe(false);
  expect(suspicion.begin()).toBe(false);
});
