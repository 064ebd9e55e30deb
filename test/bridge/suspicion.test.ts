import { expect, it } from "vitest";
import { Suspicion } from "../../src/bridge/suspicion.ts";

const first = { lane: 0, seq: 7, isNoted: false };
const second = { lane: 0, seq: 8, isNoted: false };

/** Connections one after the other; the suspect is sent as soon as it is due, and each lasts so long after that. */
class Connections {
  readonly suspicion = new Suspicion();
  nowMs = 1_000;
  /** How long the last suspect was held back. */
  heldMs = 0;

  end(message: typeof first | undefined, lastsMs = 5): boolean {
    const { suspicion } = this;
    const beganMs = this.nowMs;
    if (suspicion.begin(beganMs)) {
      while (!suspicion.isDue(this.nowMs)) this.nowMs += 100;
      suspicion.sent(this.nowMs);
    }
    this.heldMs = this.nowMs - beganMs;
    this.nowMs += lastsMs;
    return suspicion.ended(message ? [message] : [], true, this.nowMs);
  }

  /** How many connections it takes until one is found guilty; at most `limit`. */
  untilGuilty(message: typeof first, limit: number): number {
    for (let count = 1; count <= limit; count++) if (this.end(message)) return count;
    return Infinity;
  }
}

it("finds a message guilty on which three connections have ended that had stood without it, each longer than the one before", () => {
  const connections = new Connections();
  const held: number[] = [];
  const results = Array.from({ length: 6 }, () => {
    const isGuilty = connections.end(first);
    held.push(connections.heldMs);
    return isGuilty;
  });
  expect(results).toEqual([false, false, false, false, false, true]);
  expect(held).toEqual([0, 0, 0, 1_000, 2_000, 4_000]);
  expect(connections.suspicion.begin(connections.nowMs)).toBe(false);
});

it("counts no connection that lasts with the message for more than a small part of the time that it stood without it", () => {
  const connections = new Connections();
  for (let lastsMs = 100; lastsMs < 2_000; lastsMs *= 1.5) expect(connections.end(first, lastsMs)).toBe(false);
  expect(connections.heldMs).toBeGreaterThan(30_000);
});

it("does not hold back a message for long that a connection may outlast: the network is bad, or the remote slow", () => {
  const connections = new Connections();
  for (let count = 0; count < 20; count++) {
    expect(connections.end(first, 2_100)).toBe(false);
    expect(connections.heldMs).toBe(0);
  }
  expect(connections.untilGuilty(first, 10)).toBe(1 + 3);
});

it("clears a message when a connection ends without it", () => {
  const connections = new Connections();
  for (let count = 0; count < 5; count++) expect(connections.end(first)).toBe(false);
  connections.suspicion.begin(connections.nowMs);
  expect(connections.suspicion.ended([], true, connections.nowMs)).toBe(false);
  expect(connections.untilGuilty(first, 10)).toBe(6);
});

it("wants twice as much for each further one, as long as the remote takes nothing: it may be the remote", () => {
  const connections = new Connections();
  expect(connections.untilGuilty(first, 100)).toBe(3 + 3);
  expect(connections.untilGuilty(second, 100)).toBe(3 + 6);
  expect(connections.untilGuilty(first, 100)).toBe(3 + 12);
  connections.suspicion.taken();
  expect(connections.untilGuilty(second, 100)).toBe(3 + 3);
});

it("acquits a message that gets through, and counts anew for another", () => {
  const connections = new Connections();
  for (let count = 0; count < 5; count++) connections.end(first);
  connections.suspicion.acquit();
  expect(connections.suspicion.begin(connections.nowMs)).toBe(false);
  for (let count = 0; count < 5; count++) connections.end(first);
  expect([connections.end(second), connections.end(first)]).toEqual([false, false]);
});

it("begins anew when the remote has noted the message, and ends connections on PUBREL of it", () => {
  const connections = new Connections();
  for (let count = 0; count < 5; count++) expect(connections.end(first)).toBe(false);
  expect(connections.untilGuilty({ ...first, isNoted: true }, 10)).toBe(6);
});

it("does not count what we end ourselves", () => {
  const connections = new Connections();
  for (let count = 0; count < 5; count++) connections.end(first);
  connections.suspicion.begin(connections.nowMs);
  expect(connections.suspicion.ended([first], false, connections.nowMs)).toBe(false);
  expect(connections.suspicion.begin(connections.nowMs)).toBe(false);
});

it("suspects one message of each lane, one after the other", () => {
  const { suspicion } = new Connections();
  const other = { lane: 2, seq: 7, isNoted: false };
  suspicion.begin(0);
  expect(suspicion.ended([first, other], true, 5)).toBe(false);
  expect(suspicion.suspect).toEqual(first);
  suspicion.acquit();
  expect(suspicion.suspect).toEqual(other);
  suspicion.acquit();
  expect(suspicion.suspect).toBeUndefined();
});
