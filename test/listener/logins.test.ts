import { beforeEach, expect, it } from "vitest";
import { Logins } from "../../src/listener/logins.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

let clock: VirtualClock;
let logins: Logins;

beforeEach(() => {
  clock = new VirtualClock();
  logins = new Logins(clock);
});

const fail = (times: number, user: string, address = "a"): number[] => Array.from({ length: times }, () => logins.failed(address, user));
/** Lets time pass. */
function pass(ms: number): void {
  clock.after(ms, () => undefined);
  clock.step();
}

it("hold nobody up before the fourth failure of an address, nor another address", () => {
  expect([fail(3, "x"), logins.holdMs("a", "x")]).toEqual([[0, 0, 0], 0]);
  fail(1, "x");
  expect([logins.holdMs("a", "x"), logins.holdMs("a", "y"), logins.holdMs("b", "x")]).toEqual([1_000, 1_000, 0]);
  pass(300_001);
  expect(logins.holdMs("a", "x")).toBe(0);
});

it("do not hold up a user who has logged in from the address, until seventeen passwords for that name were wrong", () => {
  logins.succeeded("a", "known");
  fail(100, "x");
  expect([logins.holdMs("a", "known"), logins.holdMs("a", "x"), logins.holdMs("b", "known")]).toEqual([0, 1_000, 0]);
  fail(16, "known");
  expect(logins.holdMs("a", "known")).toBe(0);
  fail(1, "known");
  expect(logins.holdMs("a", "known")).toBe(1_000);
  logins.succeeded("a", "known");
  expect(logins.holdMs("a", "known")).toBe(0);
});

it("hold eight of an address at a time; the oldest gives way, and a refusal that is over is not called", () => {
  const refused: number[] = [];
  const refusals = Array.from({ length: 10 }, (_, i) => () => void refused.push(i));
  for (const refuse of refusals.slice(0, 8)) expect(logins.hold("a", 10, refuse)).toBe(true);
  logins.hold("b", 10, () => void refused.push(-1));
  logins.release("a", refusals[0] ?? expect.fail());
  expect(logins.hold("a", 10, refusals[8] ?? expect.fail())).toBe(true);
  expect(refused).toEqual([]);
  expect(logins.hold("a", 10, refusals[9] ?? expect.fail())).toBe(true);
  expect(refused).toEqual([1]);
});

it("hold no more than 4 MiB of all addresses", () => {
  const refuse = (): void => undefined;
  for (let i = 0; i < 16; i++) expect(logins.hold(`a${i}`, 256 * 1024, refuse)).toBe(true);
  expect(logins.hold("a", 1, refuse)).toBe(false);
  logins.release("a0", refuse);
  logins.release("a0", refuse);
  expect(logins.hold("a", 256 * 1024, refuse)).toBe(true);
  expect(logins.hold("b", 1, refuse)).toBe(false);
});

it("have eight places for slow checks of an address with many failures, and drop what crowds them", () => {
  for (let i = 0; i < 20; i++) expect(logins.beginCheck("a", 10)).toBe(true);
  expect(logins.isCrowding("a")).toBe(false);
  fail(4, "x");
  expect([logins.isCrowding("a"), logins.beginCheck("a", 10), logins.beginCheck("b", 10)]).toEqual([true, false, true]);
  for (let i = 0; i < 12; i++) logins.endCheck("a", 10);
  expect([logins.isCrowding("a"), logins.beginCheck("a", 10)]).toEqual([false, false]);
  logins.endCheck("a", 10);
  expect(logins.beginCheck("a", 10)).toBe(true);
});

it("remember so many addresses and users, the latest", () => {
  logins.succeeded("first", "user");
  fail(4, "x", "first");
  expect(logins.holdMs("first", "x")).toBe(1_000);
  for (let i = 0; i < 10_000; i++) {
    fail(1, "x", `address ${i}`);
    logins.succeeded(`address ${i}`, "user");
  }
  expect(logins.holdMs("first", "x")).toBe(0); // its failures are forgotten
  fail(4, "x", "first");
  expect(logins.holdMs("first", "user")).toBe(1_000); // and who has logged in
});
