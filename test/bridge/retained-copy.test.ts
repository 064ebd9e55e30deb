import { describe, expect, it } from "vitest";
import { EchoGuard } from "../../src/bridge/echo-guard.ts";
import { NO_LIMITS } from "../../src/bridge/handshake.ts";
import { Outgoing } from "../../src/bridge/outgoing.ts";
import { RemotePeer } from "../../src/bridge/remote-peer.ts";
import { endQueueing, RetainedCopy } from "../../src/bridge/retained-copy.ts";
import { TopicMap } from "../../src/bridge/topic-lines.ts";
import type { Entry } from "../../src/broker/entry.ts";
import type { TopicLine } from "../../src/config/config.ts";
import { AckGate } from "../../src/link/ack-gate.ts";
import type { Link } from "../../src/link/link.ts";
import type { QoS } from "../../src/mqtt/protocol.ts";
import { type Message, messageOf } from "../../src/queue/message.ts";
import { BrokerRig } from "../broker/rig.ts";
import { RecordingPeer } from "../session/rig.ts";

const MOST_A_TURN = 64;
const MOST_UNSTORED_BYTES = 1024 * 1024;
const NO_LIMIT = { maxQueuedMessages: Infinity };
const UP = "127.0.0.1:1883";
const OTHER = "127.0.0.1:1884";

class Remote extends RecordingPeer {
  readonly received: string[] = [];
  readonly unacknowledged: number[] = [];

  override publish(_flags: number, { topic, topicEnd, payload, payloadStart, payloadEnd }: Message, topicStart: number, packetId: number): boolean {
    this.received.push(`${topic.toString("utf8", topicStart, topicEnd)}=${payload.toString("utf8", payloadStart, payloadEnd).trimEnd()}`);
    if (packetId > 0) this.unacknowledged.push(packetId);
    return true;
  }
}

const line = (pattern: string, remotePrefix = ""): TopicLine => ({
  pattern, direction: "out", qos: 1, localPrefix: "", remotePrefix, priority: "normal", column: 1, line: 1,
} as TopicLine); // where the line stands does not matter

/** A connection as far as it queues: its topic lines, its session, what it is owed. */
class Bridge {
  readonly entry: Entry;
  private readonly copy: RetainedCopy;
  private readonly holder = { takenOver: (): void => undefined };

  constructor(readonly rig: BrokerRig, lines = [line("#")]) {
    const { broker, clock, store } = rig;
    const gate = new AckGate(Infinity);
    store.onStored((upTo) => gate.release(upTo));
    const topics = TopicMap.outgoing(lines);
    this.entry = broker.sessions.open({ kind: "bridge", id: "up", user: undefined }, { cleanStart: false, expiryMs: Infinity }, this.holder).entry;
    const outgoing = new Outgoing(this.entry.session, topics, { outgoingRetain: true, onUnsendable: () => undefined, onRepeats: () => undefined });
    this.copy = new RetainedCopy(this.entry, topics, outgoing, { broker, clock, gate });
    for (const { filter, qos } of topics.subscriptions) {
      broker.subscriptions.place(filter, outgoing, { receiver: outgoing, qos, retainAsPublished: true, noLocal: true });
    }
  }

  /** The remote takes `inflight` messages before it has to answer. */
  connect(address = UP, inflight = 0): Remote {
    const remote = new Remote();
    this.entry.session.attach(remote, inflight);
    this.copy.send(address);
    return remote;
  }

  /** `newestSentMs`: when the newest message that the remote was sent had been received. */
  lose(newestSentMs = 0): void {
    this.entry.session.detach();
    this.copy.connectionEnded(this.rig.clock.nowMs(), newestSentMs);
  }

  /** As the connection does it now and then. */
  tick(): void {
    this.copy.goOn();
  }

  get queued(): number {
    return this.entry.session.queuedMessages;
  }

  /** Everything that waits, which a remote takes now. */
  async drain(): Promise<string[]> {
    this.entry.session.detach();
    const remote = new Remote();
    this.entry.session.attach(remote, 100);
    for (let done = 0; done < 3; ) {
      await this.rig.settle(100);
      const ids = remote.unacknowledged.splice(0);
      for (const id of ids) this.entry.session.sender?.onPuback(id);
      done = ids.length === 0 ? done + 1 : 0;
    }
    return remote.received;
  }
}

/** Time passes only while the store is waited for: so they are large. */
const VALUE_BYTES = 10_000;
const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `r/${i}`);
const expected = (count: number): string[] => names(count).map((name) => `${name}=old`).sort();

async function retained(count: number, bytes = VALUE_BYTES): Promise<BrokerRig> {
  const rig = await BrokerRig.start(new Map(), { limits: NO_LIMIT });
  for (const name of names(count)) set(rig, name, "old".padEnd(bytes));
  await rig.settle(100);
  return rig;
}

function set({ broker, clock }: BrokerRig, name: string, payload: string, expiresAtMs = 0, qos: QoS = 1): void {
  const topic = broker.topics.intern(name);
  broker.publish(undefined, topic, messageOf(topic.bytes, Buffer.from(payload), { qos, retain: true, receivedMs: clock.nowMs(), expiresAtMs }));
}

/** Turn after turn, with what promises have to do between them. */
async function runUntil({ rig }: Bridge, isReached: () => boolean): Promise<void> {
  for (let turns = 0; !isReached(); turns++) {
    expect(turns).toBeLessThan(10_000);
    await new Promise((resolve) => setImmediate(resolve));
    rig.clock.step();
  }
}

/** The process is killed; a new one finds what is on the disk. */
async function kill({ rig }: Bridge, lines?: TopicLine[]): Promise<Bridge> {
  return new Bridge(await BrokerRig.start(rig.store.crash(), { clock: rig.clock, limits: NO_LIMIT }), lines);
}

describe("retained messages that a remote is owed", () => {
  it("are queued a few a turn", async () => {
    const bridge = new Bridge(await retained(3_000, 100));
    bridge.connect();
    for (let before = 0; before < 3_000; bridge.rig.clock.step()) {
      expect(bridge.queued - before).toBeLessThanOrEqual(MOST_A_TURN);
      before = bridge.queued;
    }
    expect((await bridge.drain()).sort()).toEqual(expected(3_000));
  });

  it("wait while a MiB of them is not stored", async () => {
    const bridge = new Bridge(await retained(100, 100_000));
    bridge.rig.store.failsWrites = true; // it does not tell before the first write has failed
    bridge.connect();
    const { clock } = bridge.rig;
    for (let turns = 0; turns < 3; turns++) clock.step();
    expect(bridge.queued).toBeGreaterThan(0);
    expect(bridge.entry.session.queuedBytes).toBeLessThan(MOST_UNSTORED_BYTES + 200_000);
    bridge.rig.store.failsWrites = false;
    await runUntil(bridge, () => bridge.queued === 100);
    expect((await bridge.drain()).sort()).toEqual(expected(100));
  });

  it("wait while the disk is full", async () => {
    const bridge = new Bridge(await retained(1_000));
    bridge.connect();
    await runUntil(bridge, () => bridge.queued > 0);
    bridge.rig.store.isFull = true;
    const { queued } = bridge;
    for (let ticks = 0; ticks < 5; ticks++) {
      await bridge.rig.settle(500);
      bridge.tick();
    }
    expect(bridge.queued).toBe(queued);
    bridge.rig.store.isFull = false;
    bridge.tick();
    expect((await bridge.drain()).sort()).toEqual(expected(1_000));
  });

  it.each([1, 200, 500, 900, 999])("are queued once each though the daemon is killed when %s are", async (many) => {
    const before = new Bridge(await retained(1_000));
    before.connect();
    await runUntil(before, () => before.queued >= many);
    const bridge = await kill(before);
    expect(bridge.queued).toBeLessThanOrEqual(before.queued);
    bridge.connect();
    await runUntil(bridge, () => bridge.queued >= 1_000);
    const again = await kill(bridge);
    again.connect();
    expect((await again.drain()).sort()).toEqual(expected(1_000));
  });

  it("are queued once each though the daemon is killed again and again", async () => {
    let bridge = new Bridge(await retained(2_000));
    const kept = new Set<number>();
    for (let kills = 0; kills < 30; kills++) {
      bridge.connect();
      const { queued } = bridge;
      await runUntil(bridge, () => bridge.queued >= Math.min(queued + 1, 2_000));
      await bridge.rig.settle((kills * 17) % 90);
      bridge = await kill(bridge);
      kept.add(bridge.queued);
    }
    expect(kept.size).toBeGreaterThan(5); // it was killed in the midst
    bridge.connect();
    expect((await bridge.drain()).sort()).toEqual(expected(2_000));
  });

  it("are queued once each though the connection breaks again and again, and go on where they were", async () => {
    const bridge = new Bridge(await retained(1_000));
    for (let queued = 0; queued < 1_000; queued = bridge.queued) {
      bridge.connect();
      await runUntil(bridge, () => bridge.queued > queued);
      bridge.lose();
      const left = bridge.queued;
      await bridge.rig.settle(100);
      expect(bridge.queued).toBe(left);
    }
    bridge.connect();
    expect((await bridge.drain()).sort()).toEqual(expected(1_000));
  });

  it.each([false, true])("that change, vanish or expire in the midst go as what they are then, once (killed: %s)", async (isKilled) => {
    const rig = await retained(1_000);
    const endsMs = rig.clock.nowMs() + 1_000;
    const late = names(1_000).sort().slice(700);
    for (const name of late.slice(200, 210)) set(rig, name, "old".padEnd(VALUE_BYTES), endsMs);
    let bridge = new Bridge(rig);
    await rig.settle(10);
    bridge.connect();
    await runUntil(bridge, () => bridge.queued >= 200);
    const early = names(1_000).sort().slice(0, 10);
    for (const name of [...early, ...late.slice(0, 100)]) set(rig, name, "new");
    for (const name of late.slice(100, 200)) set(rig, name, "");
    await rig.settle(0);
    bridge.lose(rig.clock.nowMs());
    await rig.settle(1_500);
    if (isKilled) bridge = await kill(bridge);
    bridge.connect();
    const received = await bridge.drain();
    const unchanged = names(1_000).sort().slice(0, 700).concat(late.slice(210)).map((name) => `${name}=old`);
    const changed = [...early, ...late.slice(0, 100)].map((name) => `${name}=new`);
    const cleared = late.slice(100, 200).map((name) => `${name}=`);
    expect(received.sort()).toEqual([...unchanged, ...changed, ...cleared].sort());
    expect(bridge.entry.session.bounds.expired).toBe(0);
  });

  it("go once, by the line that takes them, where several match", async () => {
    const bridge = new Bridge(await retained(1_000), [line("#"), line("r/+", "x/"), line("r/#")]);
    bridge.connect();
    expect((await bridge.drain()).sort()).toEqual(names(1_000).map((name) => `x/${name}=old`).sort());
  });

  it("go anew, all of them, over other topic lines that come in the midst", async () => {
    const before = new Bridge(await retained(1_000));
    before.connect();
    await runUntil(before, () => before.queued >= 500);
    const { queued } = before;
    before.lose();
    await before.rig.settle(100);
    const bridge = await kill(before, [line("r/#", "x/")]);
    await bridge.rig.settle(10);
    set(bridge.rig, "r/7", "new");
    await bridge.rig.settle(10);
    bridge.lose(bridge.rig.clock.nowMs());
    bridge.connect();
    const received = await bridge.drain();
    expect(received.filter((text) => text.startsWith("x/")).sort()).toEqual(names(1_000).map((name) => `x/${name}=${name === "r/7" ? "new" : "old"}`).sort());
    expect(received).toHaveLength(queued + 1_000);
  });

  it("go anew, all of them, when the connection has been taken out of the configuration in the midst", async () => {
    const before = new Bridge(await retained(1_000));
    before.connect();
    await runUntil(before, () => before.queued >= 500);
    const { queued } = before;
    before.lose();
    endQueueing(before.rig.broker.sessions, before.entry);
    await before.rig.settle(100);
    expect(before.queued).toBe(queued);
    const bridge = await kill(before);
    bridge.connect();
    expect(await bridge.drain()).toHaveLength(queued + 1_000);
  });

  it("go to each address once, also if another one is connected in the midst, with what it has taken meanwhile", async () => {
    const bridge = new Bridge(await retained(1_000));
    const [later = "", last = ""] = names(1_000).sort().slice(-2);
    bridge.connect(UP);
    await runUntil(bridge, () => bridge.queued >= 500);
    await bridge.rig.settle(0);
    set(bridge.rig, later, "new");
    bridge.lose(bridge.rig.clock.nowMs());
    const first = await bridge.drain();
    expect(first).toContain(`${later}=new`);
    await bridge.rig.settle(10);
    bridge.connect(OTHER);
    expect((await bridge.drain()).sort()).toEqual(expected(1_000).map((text) => (text === `${later}=old` ? `${later}=new` : text)).sort());
    set(bridge.rig, last, "new");
    expect(await bridge.drain()).toEqual([`${last}=new`]);
    bridge.lose(bridge.rig.clock.nowMs());
    await bridge.rig.settle(10);
    bridge.connect(UP);
    const rest = (await bridge.drain()).filter((text) => !first.includes(text));
    expect([...first, ...rest].sort()).toEqual(expected(1_000).map((text) => (text.startsWith(`${later}=`) || text.startsWith(`${last}=`) ? text.replace("old", "new") : text)).sort());
  });

  it.each([false, true])("go to an address that failed before it had them, when it is back, though the next one has taken them from the queue (restarted: %s)", async (isRestarted) => {
    let bridge = new Bridge(await retained(500));
    bridge.connect(UP);
    await runUntil(bridge, () => bridge.queued === 500);
    bridge.lose();
    if (isRestarted) bridge = new Bridge(await bridge.rig.restart());
    bridge.connect(OTHER);
    expect(new Set(await bridge.drain())).toEqual(new Set(expected(500)));
    bridge.lose(bridge.rig.clock.nowMs());
    await bridge.rig.settle(10);
    if (isRestarted) bridge = new Bridge(await bridge.rig.restart());
    bridge.connect(UP);
    expect((await bridge.drain()).sort()).toEqual(expected(500));
  });

  it.each([false, true])("that another address has taken go to the one that was used before, when it is back, and no others (restarted: %s)", async (isRestarted) => {
    let bridge = new Bridge(await retained(500));
    for (const address of [UP, OTHER]) {
      bridge.connect(address);
      expect(await bridge.drain()).toHaveLength(500);
      await bridge.rig.settle(10);
      bridge.lose(bridge.rig.clock.nowMs());
    }
    for (const [index, address] of [UP, OTHER, UP, OTHER].entries()) {
      if (isRestarted) bridge = new Bridge(await bridge.rig.restart());
      bridge.connect(address);
      const missed = index === 0 ? [] : [`r/${index - 1}=new ${index - 1}`, ...(index > 1 ? [`r/${index - 2}=new ${index - 2}`] : [])];
      expect((await bridge.drain()).sort()).toEqual(missed.slice(0, 1));
      set(bridge.rig, `r/${index}`, `new ${index}`);
      expect(await bridge.drain()).toEqual([`r/${index}=new ${index}`]);
      await bridge.rig.settle(10);
      bridge.lose(bridge.rig.clock.nowMs());
    }
  });

  it("that changed with QoS 0 while another address was used go to the one that was used before", async () => {
    const bridge = new Bridge(await retained(10));
    for (const address of [UP, OTHER]) {
      const remote = bridge.connect(address);
      await bridge.rig.settle(10);
      await bridge.drain();
      expect(remote.received).toEqual([]);
      if (address === OTHER) set(bridge.rig, "r/3", "new", 0, 0);
      await bridge.rig.settle(10);
      bridge.lose(bridge.rig.clock.nowMs());
    }
    const remote = bridge.connect(UP);
    await bridge.rig.settle(100);
    expect(remote.received).toEqual(["r/3=new"]);
  });

  it("do not pile up while two addresses take turns and take none", async () => {
    const bridge = new Bridge(await retained(300));
    for (let turns = 0; turns < 10; turns++) {
      bridge.connect(turns % 2 === 0 ? UP : OTHER);
      await bridge.rig.settle(2_000);
      expect(bridge.queued).toBe(300);
      bridge.lose();
      await bridge.rig.settle(10);
    }
  });

  it.each(["its delay ends", "the store has room"])("do not include a will that is published when %s, and is in the queue then", async (when) => {
    const rig = await retained(1_000);
    const client = rig.connect("c", { expiryMs: 60_000 });
    const will = messageOf(Buffer.from("will"), Buffer.from("gone"), { qos: 1, retain: true, receivedMs: rig.clock.nowMs() });
    client.leave();
    if (when === "its delay ends") {
      rig.broker.delayWill(client.entry, will, 5_000);
    } else {
      rig.store.isFull = true;
      rig.broker.publishWill(client.source, rig.broker.topics.intern("will"), will);
    }
    await rig.settle(4_900);
    const bridge = new Bridge(rig);
    await rig.settle(200);
    rig.store.isFull = false;
    await rig.settle(100);
    bridge.connect();
    expect((await bridge.drain()).sort()).toEqual([...expected(1_000), "will=gone"].sort());
  });

  it.each(["drop_oldest", "drop_newest", "block"] as const)("wait for the room that a limit of messages or bytes leaves, and leave half of it to others (%s)", async (queueFull) => {
    const bridge = new Bridge(await retained(300, 100));
    const { session } = bridge.entry;
    for (const limits of [{ maxQueuedMessages: 40 }, { maxQueuedBytes: 5_000 }]) {
      session.bounds.limits = { ...session.bounds.limits, queueFull, maxQueuedMessages: Infinity, maxQueuedBytes: Infinity, ...limits };
      const live = Array.from({ length: 10 }, (_, i) => `live/${i}`);
      for (const name of live) bridge.rig.publish(name, 1);
      await bridge.rig.settle(10);
      const remote = bridge.connect("maxQueuedBytes" in limits ? OTHER : UP, 10);
      for (let idle = 0; idle < 3; ) {
        await bridge.rig.settle(10);
        expect(session.queuedMessages).toBeLessThanOrEqual(31);
        const ids = remote.unacknowledged.splice(0);
        for (const id of ids) session.sender?.onPuback(id);
        idle = ids.length === 0 ? idle + 1 : 0;
      }
      expect(remote.received.sort()).toEqual([...live.map((name) => `${name}=${name}`), ...expected(300)].sort());
      expect(session.bounds.dropped).toBe(0);
      bridge.lose(bridge.rig.clock.nowMs());
    }
  });

  it.each(["drop_oldest", "drop_newest", "block"] as const)("wait until there is room for their size, too (%s)", async (queueFull) => {
    const rig = await retained(0);
    set(rig, "r/0", "old".padEnd(3_000));
    set(rig, "r/1", "old".padEnd(7_000));
    set(rig, "r/2", "old".padEnd(9_500));
    await rig.settle(100);
    const bridge = new Bridge(rig);
    const { session } = bridge.entry;
    session.bounds.limits = { ...session.bounds.limits, queueFull, maxQueuedBytes: 9_900 };
    rig.publish("live", 1);
    bridge.connect();
    await rig.settle(100);
    expect({ queued: bridge.queued, dropped: session.bounds.dropped }).toEqual({ queued: 2, dropped: 0 });
    const writtenIn = bridge.entry.createdIn;
    bridge.tick();
    await rig.settle(100);
    expect(bridge.entry.createdIn).toBe(writtenIn); // a look in vain writes nothing
    expect((await bridge.drain()).sort()).toEqual(["live=live", ...expected(3)]);
    expect(session.bounds.dropped).toBe(0);
  });

  it.each([0, 1] as const)("do not include what came in over the connection itself, with QoS %s", async (qos) => {
    const rig = await retained(10);
    const { broker, clock } = rig;
    const { source } = rig.connect("c");
    const came = (name: string, id: string): void => {
      const topic = broker.topics.intern(name);
      const message = messageOf(topic.bytes, Buffer.from("came"), { qos, retain: true, receivedMs: clock.nowMs() });
      broker.publish({ ...source, identity: { kind: "bridge", id, user: undefined }, isBridge: true }, topic, message);
    };
    came("theirs", "up");
    came("others", "down");
    await rig.settle(10);
    const bridge = new Bridge(rig);
    const remote = bridge.connect();
    await rig.settle(100);
    const received = [...remote.received, ...(await bridge.drain())];
    expect(received.sort()).toEqual(["others=came", ...expected(10)].sort());
  });

  it("go to the next address, too, where the queue takes QoS 0 and one has had its value by that", async () => {
    const rig = await retained(0);
    const bridge = new Bridge(rig);
    const { session } = bridge.entry;
    session.bounds.limits = { ...session.bounds.limits, queueQoS0: true };
    bridge.connect(UP);
    const link = { publish: () => true, congested: false, unsentBytes: 0 } as unknown as Link; // as far as a peer sends
    const peer = new RemotePeer(link, { limits: NO_LIMITS, echoes: new EchoGuard(rig.clock), mayEcho: false, trail: undefined, queuesQoS0: true, onTooLarge: () => undefined });
    session.attach(peer, 10);
    await rig.settle(100);
    set(rig, "r/0", "new", 0, 0);
    await rig.settle(100);
    bridge.lose(peer.newestSentMs);
    expect(await bridge.drain()).toEqual([]);
    const other = bridge.connect(OTHER);
    await rig.settle(100);
    expect(other.received).toEqual(["r/0=new"]);
  });
});
