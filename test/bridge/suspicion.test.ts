import { expect, it } from "vitest";
import { Suspicion } from "../../src/bridge/suspicion.ts";

const first = { lane: 0, seq: 7 };
const second = { lane: 0, seq: 8 };

/** Three connections that end without an answer to the first message. */
function strikes(suspicion: Suspicion): void {
  for (const care of ["all", "narrow", "narrow"]) {
    expect(suspicion.begin(true)).toBe(care);
    expect(suspicion.ended(first, true)).toBe(false);
  }
}

it("finds a message guilty that ends a connection on which another one has just been taken", () => {
  const suspicion = new Suspicion();
  strikes(suspicion);
  expect(suspicion.begin(true)).toBe("others");
  suspicion.othersGetThrough();
  expect(suspicion.care).toBe("suspect");
  expect(suspicion.ended(first, true)).toBe(true);
  expect(suspicion.begin(true)).toBe("all");
});

it("acquits a message that gets through after all", () => {
  const suspicion = new Suspicion();
  strikes(suspicion);
  suspicion.begin(true);
  suspicion.othersGetThrough();
  suspicion.acquit();
  expect([suspicion.care, suspicion.suspect]).toEqual(["all", undefined]);
  expect(suspicion.ended(second, true)).toBe(false);
});

it("does not blame a message when no other gets through either", () => {
  const suspicion = new Suspicion();
  strikes(suspicion);
  expect(suspicion.begin(true)).toBe("others");
  expect(suspicion.ended(first, true)).toBe(false);
  expect(suspicion.begin(true)).toBe("all");
});

it("does not hold back a message when there is no other", () => {
  const suspicion = new Suspicion();
  strikes(suspicion);
  expect(suspicion.begin(false)).toBe("narrow");
});

it("counts anew for another message, and not at all what we end ourselves", () => {
  const suspicion = new Suspicion();
  suspicion.begin(true);
  suspicion.ended(first, true);
  suspicion.begin(true);
  suspicion.ended(second, true);
  expect(suspicion.begin(true)).toBe("narrow");
  suspicion.ended(second, false);
  expect(suspicion.begin(true)).toBe("all");
});
