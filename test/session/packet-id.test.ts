import fc from "fast-check";
import { expect, it } from "vitest";
import { FIRST_REQUEST_ID, IDS_PER_LANE, indexOf, laneOf, LANES, packetIdOf } from "../../src/session/packet-id.ts";

it("a packet identifier tells its lane and the low part of its sequence number, and leaves room for SUBSCRIBE", () => {
  fc.assert(
    fc.property(fc.nat(LANES - 1), fc.nat(2 ** 48), (lane, seq) => {
      const id = packetIdOf(lane, seq);
      expect(id).toBeGreaterThan(0);
      expect(id).toBeLessThan(FIRST_REQUEST_ID);
      expect([laneOf(id), indexOf(id)]).toEqual([lane, seq % IDS_PER_LANE]);
    }),
  );
  expect([FIRST_REQUEST_ID, packetIdOf(0, 0), packetIdOf(2, IDS_PER_LANE - 1)]).toEqual([49153, 1, 49152]);
});
