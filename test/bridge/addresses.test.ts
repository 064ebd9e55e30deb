import { expect, it } from "vitest";
import { Addresses } from "../../src/bridge/addresses.ts";
import type { ConnectionConfig } from "../../src/config/config.ts";

const FIRST = "127.0.0.1:1883";
const SECOND = "127.0.0.1:1884";

const config = {
  cleanSession: false, roundRobin: true, tryPrivate: true, version: 4,
  addresses: [1883, 1884].map((port) => ({ scheme: "mqtt", host: "127.0.0.1", port, path: "" })),
} as unknown as ConnectionConfig; // as far as addresses go

/** At the first one, which has our session; what is done there has been told. */
function backAtFirst(apart: string[] = []): Addresses {
  const addresses = new Addresses(config, { inStep: [FIRST, SECOND], stale: [], apart, last: FIRST, retainedSent: [] }, () => undefined);
  addresses.accepted(true);
  return addresses;
}

it("does not take the session of another address for that of one which failed when it was asked again", () => {
  const addresses = backAtFirst([FIRST, SECOND]);
  addresses.left(true);
  addresses.accepted(true); // and left, to be asked in a fuller way
  addresses.toNext();
  expect(addresses.text).toBe(SECOND);
  expect(addresses.accepted(true)).toBe(false);
  addresses.left(false);
  addresses.toNext();
  expect(addresses.mustPurge).toBe(true);
});

it("does not end a session that may be shared when the address where it was used last fails as it is asked again", () => {
  const addresses = new Addresses(config, { inStep: [FIRST], stale: [], last: FIRST, retainedSent: [] }, () => undefined);
  addresses.accepted(true);
  addresses.left(true);
  addresses.accepted(true);
  addresses.toNext();
  expect(addresses.mustPurge).toBe(false);
});

it("takes an address where nothing was left open for done with", () => {
  const addresses = backAtFirst([FIRST, SECOND]);
  addresses.left(true);
  addresses.accepted(true);
  addresses.left(false);
  addresses.toNext();
  expect(addresses.accepted(true)).toBe(true);
});

it("learns that an address which came to the configuration later keeps a session of its own", () => {
  const addresses = new Addresses(config, { inStep: [FIRST], stale: [], last: FIRST, retainedSent: [] }, () => undefined);
  addresses.accepted(true);
  addresses.left(false);
  addresses.toNext();
  expect(addresses.mustPurge).toBe(false);
  expect(addresses.isOfThePast(false)).toBe(false);
  addresses.accepted(false);
  addresses.left(false);
  addresses.toNext();
  addresses.accepted(true);
  addresses.left(true);
  addresses.toNext();
  expect(addresses.accepted(true)).toBe(false);
});

it("ends a session that is found at an address which came to the configuration later", () => {
  const addresses = new Addresses(config, { inStep: [FIRST], stale: [], last: FIRST, retainedSent: [] }, () => undefined);
  addresses.accepted(true);
  addresses.left(false);
  addresses.toNext();
  expect(addresses.isOfThePast(true)).toBe(true);
  expect(addresses.mustPurge).toBe(true);
  addresses.purged();
  expect(addresses.mustPurge).toBe(false);
  expect(addresses.isOfThePast(true)).toBe(false);
});
