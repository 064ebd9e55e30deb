import { beforeEach, describe, expect, it } from "vitest";
import { Access, OPEN_TO_ALL } from "../../src/access/access.ts";
import { Broker } from "../../src/broker/broker.ts";
import type { Entry, Holder } from "../../src/broker/entry.ts";
import { plainOptions } from "../../src/broker/subscription-options.ts";
import type { QoS } from "../../src/mqtt/protocol.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { type Message, messageOf } from "../../src/queue/message.ts";
import type { Peer } from "../../src/session/peer.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { NO_LIMITS } from "../session/rig.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const MAX_IN_FLIGHT = 10;
const MAX_QUEUED = 5;
const MOST_A_TURN = 256;
const MOST_WAITING = 32;

/** Takes everything, and acknowledges when it is told to. */
class FakePeer implements Peer {
  congested = false;
  unsentBytes = 0;
  readonly received: { topic: string; payload: string; retain: boolean; id: number }[] = [];

  publish(flags: number, { topic, topicEnd, payload, payloadStart, payloadEnd }: Message, topicStart: number, id: number): boolean {
    const retain = (flags & 1) === 1;
    this.received.push({ topic: topic.toString("utf8", topicStart, topicEnd), payload: payload.toString("utf8", payloadStart, payloadEnd), retain, id });
    return true;
  }

  forward(): boolean {
    throw new Error("no packet came that could be forwarded");
  }

  acknowledge(): void {}
}

let clock: VirtualClock;
let broker: Broker;
let holder: Holder;

beforeEach(() => {
  clock = new VirtualClock();
  holder = { takenOver: () => undefined };
  broker = new Broker({
    store: new MemoryStore(),
    clock,
    budget: new MemoryBudget(Infinity),
    limits: { ...NO_LIMITS, blockTimeoutMs: 30_000, maxInflightMessages: MAX_IN_FLIGHT, maxQueuedMessages: MAX_QUEUED },
    maxUncommittedBytes: Infinity,
    autosaveIntervalMs: Infinity,
    access: new Access(OPEN_TO_ALL, () => Promise.resolve(false)),
    events: { onDropped: () => undefined, onLevel: () => undefined, onBlockTimeout: () => undefined, onLost: () => undefined, onDamaged: () => undefined, onRefused: () => undefined },
  });
});

function publish(name: string, payload: string, qos: QoS, retain = true): void {
  const topic = broker.topics.intern(name);
  broker.publish(undefined, topic, messageOf(topic.bytes, Buffer.from(payload), { qos, retain, receivedMs: clock.nowMs() }));
}

function retain(count: number, qos: QoS): void {
  for (let i = 0; i < count; i++) publish(`r/${i}`, "first", qos);
}

const open = (clean: boolean): Entry => broker.sessions.open({ kind: "client", id: "c", user: undefined }, { cleanStart: clean, expiryMs: clean ? 0 : Infinity }, holder).entry;

function subscribe(entry: Entry, filter: string, qos: QoS): void {
  broker.subscribe(entry, filter, plainOptions(qos));
  broker.sendRetained(entry, filter);
}

function runTurns(): void {
  while (clock.step());
}

/** Acknowledges what has come until nothing more comes. */
function acknowledgeAll(entry: Entry, peer: FakePeer): void {
  for (let next = 0; next < peer.received.length; ) {
    for (; next < peer.received.length; next++) entry.session.sender?.onPuback(peer.received[next]?.id ?? 0);
    runTurns();
  }
}

const topicsOf = (peer: FakePeer): number => new Set(peer.received.map(({ topic }) => topic)).size;

describe("retained messages for a new subscription", () => {
  it("go out at once when they are few, and over several turns when they are many", () => {
    retain(1_000, 0);
    const entry = open(true);
    const peer = new FakePeer();
    entry.session.attach(peer, MAX_IN_FLIGHT);
    subscribe(entry, "r/1", 0);
    expect(peer.received).toMatchObject([{ topic: "r/1", payload: "first", retain: true }]);
    subscribe(entry, "#", 0);
    for (let before = 0; peer.received.length > before; clock.step()) {
      expect(peer.received.length - before).toBeLessThanOrEqual(MOST_A_TURN + 1);
      before = peer.received.length;
    }
    expect(peer.received.length).toBe(1_001);
  });

  it("share a turn among all sessions", () => {
    retain(1_000, 0);
    const peers = Array.from({ length: 10 }, (_, i) => {
      const { entry } = broker.sessions.open({ kind: "client", id: `c${i}`, user: undefined }, { cleanStart: true, expiryMs: 0 }, holder);
      const peer = new FakePeer();
      entry.session.attach(peer, MAX_IN_FLIGHT);
      subscribe(entry, "#", 0);
      return peer;
    });
    const received = (): number => peers.reduce((sum, peer) => sum + peer.received.length, 0);
    for (let before = 0; received() > before; clock.step()) {
      expect(received() - before).toBeLessThanOrEqual(MOST_A_TURN);
      before = received();
    }
    expect(peers.map(topicsOf)).toEqual(peers.map(() => 1_000));
  });

  it("wait while the peer is not there or does not read, and are then what is current", () => {
    retain(20, 0);
    const entry = open(true);
    const peer = new FakePeer();
    subscribe(entry, "r/+", 0);
    runTurns();
    peer.congested = true;
    entry.session.attach(peer, MAX_IN_FLIGHT);
    runTurns();
    expect(peer.received).toEqual([]);
    publish("r/3", "second", 0);
    publish("r/4", "", 0);
    peer.congested = false;
    peer.received.length = 0;
    entry.session.pump();
    runTurns();
    const values = new Map(peer.received.map(({ topic, payload }) => [topic, payload]));
    expect(values.size).toBe(19);
    expect(values.get("r/3")).toBe("second");
    expect(values.has("r/4")).toBe(false);
  });

  it("of QoS 1 for a clean session are queued a few at a time, all of them in the end", () => {
    retain(500, 1);
    const entry = open(true);
    const peer = new FakePeer();
    entry.session.attach(peer, MAX_IN_FLIGHT);
    subscribe(entry, "r/+", 1);
    runTurns();
    expect(peer.received.length).toBe(MAX_IN_FLIGHT);
    expect(entry.session.queuedMessages).toBeLessThanOrEqual(MAX_IN_FLIGHT + MOST_WAITING);
    acknowledgeAll(entry, peer);
    expect(topicsOf(peer)).toBe(500);
    expect(entry.session.bounds.dropped).toBe(0);
  });

  it("of QoS 1 for a durable session are queued though its client has left, beside the live ones that the limit allows", () => {
    retain(500, 1);
    publish("zero", "0", 0);
    const entry = open(false);
    subscribe(entry, "#", 1);
    broker.sessions.release(entry, holder);
    runTurns();
    expect(entry.session.queuedMessages).toBe(500);
    for (let i = 0; i < 2 * MAX_QUEUED; i++) publish("live", String(i), 1, false);
    expect(entry.session.queuedMessages).toBe(500 + MAX_QUEUED);

    const again = open(false);
    const peer = new FakePeer();
    again.session.attach(peer, MAX_IN_FLIGHT);
    acknowledgeAll(again, peer);
    expect(topicsOf(peer)).toBe(501);
    expect(again.session.queuedMessages).toBe(0);
    for (let i = 0; i < 2 * MAX_QUEUED + MAX_IN_FLIGHT; i++) publish("live", String(i), 1, false);
    expect(again.session.queuedMessages).toBe(MAX_QUEUED + MAX_IN_FLIGHT);
  });

  it("are over with UNSUBSCRIBE", () => {
    retain(500, 1);
    const entry = open(true);
    const peer = new FakePeer();
    entry.session.attach(peer, MAX_IN_FLIGHT);
    subscribe(entry, "r/+", 1);
    runTurns();
    broker.sessions.unsubscribe(entry, "r/+");
    acknowledgeAll(entry, peer);
    expect(peer.received.length).toBeLessThanOrEqual(MAX_IN_FLIGHT + MOST_WAITING);
    subscribe(entry, "r/1", 1);
    expect(peer.received.at(-1)).toMatchObject({ topic: "r/1" });
  });

  it("are over with a clean session", () => {
    retain(100, 1);
    const entry = open(true);
    subscribe(entry, "r/+", 1);
    broker.sessions.release(entry, holder);
    runTurns();
    expect(entry.session.replay).toBeUndefined();
    expect(entry.session.queuedMessages).toBe(0);
  });

  it("are those that its reader may read and that the client sees without $ in front", () => {
    for (const name of ["plant/a", "plant/secret", "plant/$own/x", "plant/b/$own"]) publish(name, "1", 1);
    const entry = open(true);
    const peer = new FakePeer();
    entry.session.strippedPrefix = Buffer.from("plant/");
    entry.session.rights = { mayRead: (name) => name !== "plant/secret" };
    entry.session.attach(peer, MAX_IN_FLIGHT);
    subscribe(entry, "plant/#", 1);
    expect(peer.received.map(({ topic }) => topic).sort()).toEqual(["a", "b/$own"]);
  });
});

it("a session that comes back below a mount point gets no live topic that it sees with $ in front [MQTT-4.7.2-1]", () => {
  const entry = open(false);
  const peer = new FakePeer();
  entry.session.attach(peer, MAX_IN_FLIGHT);
  subscribe(entry, "plant/#", 1);
  publish("plant/$own/x", "1", 1, false);
  entry.session.strippedPrefix = Buffer.from("plant/");
  for (const name of ["plant/$own/x", "plant/shown"]) publish(name, "1", 1, false);
  expect(peer.received.map(({ topic }) => topic)).toEqual(["plant/$own/x", "shown"]);
});
