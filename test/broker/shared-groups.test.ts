import { describe, expect, it } from "vitest";
import { messageOf } from "../../src/queue/message.ts";
import type { QueueLimits } from "../../src/session/bounds.ts";
import { accessOf, BrokerRig } from "./rig.ts";

const SHARED = "$share/g/a/#";
const names = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, i) => `a/${from + i}`);
const publishAll = (rig: BrokerRig, topics: readonly string[], qos: 0 | 1 | 2): void => topics.forEach((topic) => rig.publish(topic, qos));
const number = (topic: string): number => Number(topic.slice(2));
const sorted = (topics: string[]): string[] => topics.sort((a, b) => number(a) - number(b));

describe("a shared subscription", () => {
  it("gives each message to one member, in turn, and to other groups and plain subscriptions as well", async () => {
    const rig = await BrokerRig.start();
    const members = ["x", "y", "z"].map((id) => rig.connect(id));
    for (const member of members) member.subscribe(SHARED, { qos: 1 });
    const [other, plain] = [rig.connect("other"), rig.connect("plain")];
    other.subscribe("$share/h/a/#", { qos: 1 });
    plain.subscribe("a/#", { qos: 0 });
    publishAll(rig, names(1, 9), 1);
    const got = members.map((member) => member.take());
    expect(got.map((topics) => topics.length)).toEqual([3, 3, 3]);
    expect(sorted(got.flat())).toEqual(names(1, 9));
    expect([other.take(), plain.take()]).toEqual([names(1, 9), names(1, 9)]);
  });

  it("has each member's own QoS and identifier", async () => {
    const rig = await BrokerRig.start();
    const [x, y] = [rig.connect("x"), rig.connect("y")];
    x.subscribe(SHARED, { qos: 0, identifier: 1 });
    y.subscribe(SHARED, { qos: 1, identifier: 2 });
    publishAll(rig, names(1, 2), 1);
    expect([...x.take(), ...y.take()].map((line) => line.slice(4)).sort()).toEqual(["1", "2"]);
    expect([x, y].map(({ peer }) => peer.unacknowledged.length)).toEqual([0, 1]);
  });

  it("passes members by whose window is full, and gives the rest when there is room", async () => {
    const rig = await BrokerRig.start(new Map(), { inflight: 2 });
    const [x, y] = [rig.connect("x"), rig.connect("y")];
    for (const member of [x, y]) member.subscribe(SHARED, { qos: 1 });
    publishAll(rig, names(1, 10), 1);
    expect([x.take().length, y.take().length]).toEqual([2, 2]);
    const rest: string[] = [];
    for (let i = 0; i < 10; i++) {
      y.acknowledge(1);
      rest.push(...y.take());
    }
    expect(rest).toEqual(names(5, 10));
    expect(x.take()).toEqual([]);
  });

  it("loses nothing of what waits for it to the limits of the member that takes it over", async () => {
    const rig = await BrokerRig.start(new Map(), { inflight: 20, limits: { maxQueuedMessages: 6, maxTotalQueuedMessages: 18 } });
    const x = rig.connect("x", { expiryMs: Infinity });
    for (const group of ["g", "h", "i"]) x.subscribe(`$share/${group}/${group}/#`, { qos: 2 });
    x.leave();
    const topics = ["g", "h", "i"].flatMap((group) => names(1, 6).map((name) => `${group}/${name}`));
    publishAll(rig, topics, 2);
    await rig.settle();
    const again = rig.connect("x", { expiryMs: Infinity });
    await rig.settle();
    expect(again.take().sort()).toEqual(topics);
    expect(rig.broker.droppedMessages).toBe(0);
  });

  it.each(["drop_newest", "block"] as const)("drops nothing that a member's window has room for, though all queues together are full: %s", async (queueFull) => {
    const rig = await BrokerRig.start(new Map(), { limits: { maxTotalQueuedMessages: 3, queueFull } });
    const away = rig.connect("away", { expiryMs: Infinity });
    away.subscribe("away", { qos: 1 });
    away.leave();
    publishAll(rig, ["away", "away", "away"], 1);
    const x = rig.connect("x", { expiryMs: Infinity });
    x.subscribe(SHARED, { qos: 2 });
    publishAll(rig, names(1, 3), 2);
    await rig.settle();
    expect(x.take()).toEqual(names(1, 3));
    expect(rig.broker.droppedMessages).toBe(0);
  });

  it.each([1, 2] as const)("gives once what waited in RAM when a persistent member comes, QoS %s", async (qos) => {
    const rig = await BrokerRig.start(new Map(), { inflight: 2 });
    const x = rig.connect("x");
    x.subscribe(SHARED, { qos });
    publishAll(rig, names(1, 8), qos);
    expect(x.take()).toEqual(names(1, 2));
    const y = rig.connect("y", { expiryMs: Infinity });
    y.subscribe(SHARED, { qos });
    await rig.settle();
    const got = y.take();
    while (y.peer.unacknowledged.length > 0) {
      for (const id of y.peer.unacknowledged.splice(0)) {
        y.entry.session.sender?.onPuback(id);
        y.entry.session.sender?.onPubrec(id);
        await rig.settle();
        y.entry.session.sender?.onPubcomp(id);
      }
      await rig.settle();
      got.push(...y.take());
    }
    expect(got).toEqual(names(3, 8));
  });

  it("keeps what was taken back beyond its limit when a persistent member comes", async () => {
    const rig = await BrokerRig.start(new Map(), { inflight: 3, limits: { maxQueuedMessages: 2 } });
    const [x, y, w] = [rig.connect("x"), rig.connect("y"), rig.connect("w")];
    for (const member of [x, y, w]) member.subscribe(SHARED, { qos: 1 });
    publishAll(rig, names(1, 11), 1);
    y.leave();
    w.leave();
    const z = rig.connect("z", { expiryMs: Infinity });
    z.subscribe(SHARED, { qos: 1 });
    await rig.settle();
    const got = [...x.take(), ...z.take()];
    while (z.peer.unacknowledged.length > 0) {
      z.acknowledge();
      await rig.settle();
      got.push(...z.take());
    }
    expect(sorted(got)).toEqual(names(1, 11));
  });

  it.each([1, 2] as const)("goes on after the one member that may read a message had no room for a moment, QoS %s", async (qos) => {
    const rig = await BrokerRig.start(new Map(), { inflight: 3, access: accessOf("pattern readwrite %c/#\n") });
    const [x, y] = [rig.connect("x"), rig.connect("y")];
    for (const member of [x, y]) member.subscribe("$share/g/#", { qos });
    const topics = Array.from({ length: 12 }, (_, i) => `y/${i}`);
    for (const topic of topics) rig.publish(topic, qos);
    const got = y.take();
    while (y.peer.unacknowledged.length > 0 || y.entry.session.queuedMessages > 0) {
      for (const id of y.peer.unacknowledged.splice(0)) {
        if (qos === 1) y.entry.session.sender?.onPuback(id);
        else {
          y.entry.session.sender?.onPubrec(id);
          y.entry.session.sender?.onPubcomp(id);
        }
      }
      got.push(...y.take());
    }
    expect(got).toEqual(topics);
    for (const topic of ["x/1", "x/2", "y/12"]) rig.publish(topic, qos);
    expect([x.take(), y.take()]).toEqual([["x/1", "x/2"], ["y/12"]]);
  });

  describe("of which one member has room and may not read, and the other may and is away", () => {
    const LIMIT = 5;
    const topics = Array.from({ length: 12 }, (_, i) => `y/${i}`);

    async function start(queueFull: QueueLimits["queueFull"]): Promise<BrokerRig> {
      const rig = await BrokerRig.start(new Map(), { inflight: 3, access: accessOf("pattern readwrite %c/#\n"), limits: { maxQueuedMessages: LIMIT, queueFull } });
      for (const id of ["x", "y"]) rig.connect(id, { expiryMs: Infinity }).subscribe("$share/g/#", { qos: 1 });
      rig.connect("y", { expiryMs: Infinity }).leave();
      return rig;
    }

    async function whatComes(rig: BrokerRig): Promise<string[]> {
      const y = rig.connect("y", { expiryMs: Infinity });
      const got: string[] = [];
      do {
        y.acknowledge();
        await rig.settle();
        got.push(...y.take());
      } while (y.peer.unacknowledged.length > 0);
      return got;
    }

    it.each([["drop_newest", topics.slice(0, LIMIT)], ["drop_oldest", topics.slice(-LIMIT)]] as const)("keeps to the limits of that one's queue: %s", async (queueFull, kept) => {
      const rig = await start(queueFull);
      for (const topic of topics) rig.publish(topic, 1);
      await rig.settle();
      expect(rig.broker.droppedMessages).toBe(topics.length - LIMIT);
      expect(await whatComes(rig)).toEqual(kept);
    });

    it("has its publishers wait for room there, and for no other: block", async () => {
      const rig = await start("block");
      const { source } = rig.connect("publisher");
      const isBlocked = (name: string): boolean => rig.broker.isBlocked(source, rig.broker.topics.intern(name), messageOf(Buffer.from(name), Buffer.from(name), { qos: 1, retain: false, receivedMs: rig.clock.nowMs() }));
      const taken = topics.filter((topic) => {
        if (isBlocked(topic)) return false;
        rig.publish(topic, 1);
        return true;
      });
      expect(taken).toEqual(topics.slice(0, LIMIT));
      expect(isBlocked("x/1")).toBe(false);
      expect(await whatComes(rig)).toEqual(taken);
      expect(isBlocked("y/1")).toBe(false);
    });

    it.each(["drop_newest", "drop_oldest", "block"] as const)("gives it to one whose queue has room, not to one that has none: %s", async (queueFull) => {
      const rig = await BrokerRig.start(new Map(), { inflight: 2, access: accessOf("topic readwrite both/#\npattern readwrite %c/#\n"), limits: { maxQueuedMessages: LIMIT, queueFull } });
      const [full, fast] = [rig.connect("full", { expiryMs: Infinity }), rig.connect("fast", { expiryMs: Infinity })];
      full.subscribe("full/#", { qos: 1 });
      for (let i = 0; i < LIMIT + 2; i++) rig.publish(`full/${i}`, 1);
      for (const member of [full, fast, rig.connect("x")]) member.subscribe("$share/g/both/#", { qos: 1 });
      const { source } = rig.connect("publisher");
      const published = Array.from({ length: LIMIT + 2 }, (_, i) => `both/${i}`);
      // x has room, and may read this as well: it has none once its window is full of others.
      rig.broker.access = accessOf("user x\ntopic readwrite x/#\n\npattern readwrite %c/#\ntopic readwrite both/#\n");
      for (const topic of published) {
        expect(rig.broker.isBlocked(source, rig.broker.topics.intern(topic), messageOf(Buffer.from(topic), Buffer.from("x"), { qos: 1, retain: false, receivedMs: rig.clock.nowMs() }))).toBe(false);
        rig.publish(topic, 1);
      }
      await rig.settle();
      expect(rig.broker.droppedMessages).toBe(0);
    });

    it.each(["drop_newest", "drop_oldest", "block"] as const)("keeps to them also with what has waited for both: %s", async (queueFull) => {
      const rig = await start(queueFull);
      const x = rig.connect("x", { expiryMs: Infinity });
      for (let round = 0; round < 4; round++) {
        for (const name of ["x/1", "x/2", "x/3"]) rig.publish(name, 1); // its window is full
        for (const topic of topics.slice(0, LIMIT - 1)) rig.publish(topic, 1);
        await rig.settle();
        while (x.peer.unacknowledged.length > 0) {
          x.acknowledge();
          await rig.settle();
        }
      }
      const got = await whatComes(rig);
      // What has been acknowledged to a publisher that had to wait is not dropped.
      if (queueFull === "block") expect(got).toHaveLength(4 * (LIMIT - 1));
      else expect(got).toHaveLength(LIMIT);
    });
  });

  it("ends with its last member", async () => {
    const rig = await BrokerRig.start();
    const x = rig.connect("x");
    x.subscribe(SHARED, { qos: 1 });
    x.unsubscribe(SHARED);
    rig.publish("a/1", 1);
    expect(x.take()).toEqual([]);
    expect([...rig.broker.sessions.all()].map(({ kind }) => kind)).toEqual(["client"]);
  });
});

describe("when a member goes", () => {
  it("its unacknowledged QoS 1 messages go to another; one of QoS 2 that it may know does not [MQTT-4.8.2-5]", async () => {
    const rig = await BrokerRig.start();
    const gone = rig.connect("gone");
    gone.subscribe(SHARED, { qos: 2 });
    const stays = rig.connect("stays");
    publishAll(rig, names(1, 3), 1);
    rig.publish("a/4", 2);
    expect(gone.take()).toHaveLength(4);
    stays.subscribe(SHARED, { qos: 2, identifier: 5 });
    gone.leave();
    expect(stays.take()).toEqual(names(1, 3).map((topic) => `${topic} 5`));
    expect(stays.peer.received.every(({ dup }) => !dup)).toBe(true);
  });

  it("what it leaves is taken back by a group whose queue is full", async () => {
    const rig = await BrokerRig.start(new Map(), { inflight: 3, limits: { maxQueuedMessages: 5 } });
    const stays = rig.connect("stays", { expiryMs: Infinity });
    stays.subscribe(SHARED, { qos: 1 });
    stays.leave();
    const gone = rig.connect("gone");
    gone.subscribe(SHARED, { qos: 1 });
    publishAll(rig, names(1, 8), 1);
    expect(gone.take()).toEqual(names(1, 3));
    gone.leave();
    const again = rig.connect("stays", { expiryMs: Infinity });
    const got: string[] = [];
    for (let round = 0; round < 8; round++) {
      await rig.settle();
      got.push(...again.take());
      again.acknowledge();
    }
    expect(sorted(got)).toEqual(names(1, 8));
  });

  it.each([1, 2] as const)("what waits for persistent members is kept over a restart, once each, QoS %i", async (qos) => {
    const before = await BrokerRig.start();
    const x = before.connect("x", { expiryMs: Infinity });
    x.subscribe(SHARED, { qos });
    x.leave();
    publishAll(before, names(1, 30), qos);
    const rig = await before.restart();
    const again = rig.connect("x", { expiryMs: Infinity });
    const got: string[] = [];
    for (let round = 0; round < 40; round++) {
      await rig.settle();
      got.push(...again.take());
      for (const id of again.peer.unacknowledged.splice(0)) {
        if (qos === 1) again.entry.session.sender?.onPuback(id);
        else {
          again.entry.session.sender?.onPubrec(id);
          again.entry.session.sender?.onPubcomp(id);
        }
      }
    }
    expect(got).toEqual(names(1, 30));
  });

  it("what a persistent one had and did not acknowledge goes to another when its session ends, also from the disk and over a restart", async () => {
    const before = await BrokerRig.start();
    const gone = before.connect("gone", { expiryMs: 10_000 });
    gone.subscribe(SHARED, { qos: 2, identifier: 9 });
    publishAll(before, names(1, 3), 1);
    await before.settle();
    before.publish("a/4", 2);
    await before.settle();
    expect(gone.take()).toHaveLength(4);
    const stays = before.connect("stays", { expiryMs: Infinity });
    stays.subscribe(SHARED, { qos: 2 });
    gone.leave();
    const rig = await before.restart();
    const again = rig.connect("stays", { expiryMs: Infinity });
    expect(again.take()).toEqual([]);
    await rig.settle(70_000);
    expect(rig.broker.sessions.get("client", "gone")).toBe(undefined);
    expect(again.take()).toEqual(names(1, 3));
    again.acknowledge();
    const after = await rig.restart();
    const last = after.connect("stays", { expiryMs: Infinity });
    await after.settle(10_000);
    expect(last.take()).toEqual([]);
  });

  it("so it does if the member had unsubscribed before the restart, with a message in flight", async () => {
    const before = await BrokerRig.start();
    const gone = before.connect("gone", { expiryMs: 10_000 });
    gone.subscribe(SHARED, { qos: 1 });
    publishAll(before, names(1, 3), 1);
    const stays = before.connect("stays", { expiryMs: Infinity });
    stays.subscribe(SHARED, { qos: 1 });
    gone.unsubscribe(SHARED);
    gone.leave();
    const rig = await before.restart();
    const again = rig.connect("stays", { expiryMs: Infinity });
    await rig.settle(70_000);
    expect(rig.broker.sessions.get("client", "gone")).toBe(undefined);
    expect(again.take()).toEqual(names(1, 3));
  });
});

it("a group has at most 1,000 members", async () => {
  const rig = await BrokerRig.start();
  for (let i = 0; i < 1_000; i++) expect(typeof rig.connect(`c${i}`).subscribe(SHARED, { qos: 0 })).toBe("number");
  expect(rig.connect("more").subscribe(SHARED, { qos: 0 })).toBe("a shared subscription may have 1000 members");
  expect(rig.connect("c5").subscribe(SHARED, { qos: 0 })).toBe(0);
});
