import { beforeEach, describe, expect, it } from "vitest";
import type { Publisher } from "../../src/broker/admission.ts";
import { acknowledgeDropped, receivePublish, receivePubrel } from "../../src/broker/inbound.ts";
import type { Broker } from "../../src/broker/broker.ts";
import type { Entry } from "../../src/broker/entry.ts";
import { plainOptions } from "../../src/broker/subscription-options.ts";
import type { ProtocolVersion, QoS } from "../../src/mqtt/protocol.ts";
import { type Message, messageOf } from "../../src/queue/message.ts";
import type { Peer } from "../../src/session/peer.ts";
import { BrokerRig } from "./rig.ts";

const BLOCK_TIMEOUT_MS = 30_000;

/** A connection that publishes, and takes what it gets without acknowledging it. */
class FakeLink implements Peer, Publisher {
  readonly unsentBytes = 0;
  readonly isOverShare = false;
  readonly congested = false;
  isClosed = false;
  version: ProtocolVersion = 4;
  isReading = true;
  received: string[] = [];
  unacknowledged: number[] = [];
  /** Packet identifiers that were acknowledged, in order. */
  acknowledged: number[] = [];
  refused: number[] = [];

  constructor(readonly peerName: string) {}

  publish(_flags: number, message: Message, topicStart: number, packetId: number): boolean {
    this.unacknowledged.push(packetId);
    this.received.push(message.topic.toString("utf8", topicStart, message.topicEnd));
    return true;
  }

  forward(): boolean {
    return false;
  }

  acknowledge(_firstByte: number, packetId: number, _after: number, _heldBytes: number, reasonCode = 0): void {
    if (reasonCode === 0x97) this.refused.push(packetId);
    else this.acknowledged.push(packetId);
  }

  stopReading(): void {
    this.isReading = false;
  }

  resumeReading(): void {
    this.isReading = true;
  }

  close(): void {
    this.isClosed = true;
  }
}

class Client {
  readonly link: FakeLink;
  readonly entry: Entry;
  isBridge = false;
  private lastId = 0;

  constructor(
    readonly broker: Broker,
    readonly name: string,
  ) {
    this.link = new FakeLink(name);
    const start = { cleanStart: false, expiryMs: Infinity };
    this.entry = broker.sessions.open({ kind: "client", id: name, user: undefined }, start, { takenOver: () => undefined }).entry;
  }

  attach(): void {
    this.entry.session.attach(this.link, 10);
  }

  subscribe(filter: string): void {
    this.broker.subscribe(this.entry, filter, plainOptions(2));
  }

  publish(topicName: string, qos: QoS = 1, id = qos === 0 ? 0 : ++this.lastId, payload = "x", properties?: Buffer): number {
    const { broker, entry } = this;
    const topic = broker.topics.intern(topicName);
    const from = { receiver: entry.session, identity: entry.identity, isBridge: this.isBridge };
    receivePublish(broker, entry.session, from, this.link, topic, messageOf(topic.bytes, Buffer.from(payload), { qos, retain: false, receivedMs: 0, properties }), id);
    return id;
  }

  /** What is queued for it. */
  get queued(): number {
    return this.entry.session.queuedMessages;
  }
}

let rig: BrokerRig;
let broker: Broker;
let timeouts: string[];

beforeEach(async () => {
  rig = await BrokerRig.start(new Map(), { limits: { maxQueuedMessages: 3, queueFull: "block" } });
  ({ broker, timeouts } = rig);
});

/** Lets time pass, and what is read from the disk arrive. */
const pass = (ms?: number): Promise<void> => rig.settle(ms);

function fullQueue(): { slow: Client; publisher: Client } {
  const slow = new Client(broker, "slow");
  slow.subscribe("t");
  const publisher = new Client(broker, "publisher");
  publisher.attach();
  for (let id = 1; id <= 3; id++) publisher.publish("t");
  expect(publisher.link.acknowledged).toEqual([1, 2, 3]);
  return { slow, publisher };
}

describe("queue_full block", () => {
  it("has the message wait, and the publisher's later ones behind it, in order, whoever they are for", async () => {
    const { slow, publisher } = fullQueue();
    const other = new Client(broker, "other");
    other.subscribe("#");
    publisher.publish("t");
    publisher.publish("elsewhere", 2);
    publisher.publish("t");
    expect({ slow: slow.queued, other: other.queued, acknowledged: publisher.link.acknowledged.length }).toEqual({ slow: 3, other: 0, acknowledged: 3 });
    slow.attach();
    await pass();
    expect({ slow: slow.queued, other: other.queued }).toEqual({ slow: 5, other: 3 });
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 4, 5, 6]);
    expect(broker.waitingRoom.isEmpty).toBe(true);
    expect(slow.entry.session.bounds.dropped).toBe(0);
  });

  it("appends nothing anywhere before there is room everywhere", async () => {
    const { slow, publisher } = fullQueue();
    const other = new Client(broker, "other");
    other.subscribe("t");
    publisher.publish("t");
    await pass(5_000);
    expect(other.queued).toBe(0);
    expect(publisher.link.acknowledged).toEqual([1, 2, 3]);
    slow.attach();
    await pass();
    expect([slow.queued, other.queued]).toEqual([4, 1]);
  });

  it("does not hold up other publishers, nor QoS 0", () => {
    const { publisher } = fullQueue();
    const other = new Client(broker, "other");
    other.subscribe("free");
    other.attach();
    publisher.publish("t");
    publisher.publish("free", 0);
    expect(other.link.received).toEqual(["free"]);
    const third = new Client(broker, "third");
    expect(third.publish("free")).toBe(1);
    expect(third.link.acknowledged).toEqual([1]);
  });

  it("reads on until a megabyte waits, and again when that has been taken", async () => {
    const { slow, publisher } = fullQueue();
    const publishLarge = (): number => publisher.publish("t", 1, undefined, "x".repeat(110_000));
    for (let count = 0; count < 9; count++) publishLarge();
    expect(publisher.link.isReading).toBe(true);
    publishLarge();
    expect(publisher.link.isReading).toBe(false);
    slow.attach();
    for (let id = 0; id < 40 && !publisher.link.isReading; id++) {
      for (let packetId = 2; packetId < 40; packetId++) slow.entry.session.sender?.onPuback(packetId);
      await pass();
    }
    expect(publisher.link.isReading).toBe(true);
    expect(publisher.link.acknowledged).toEqual(Array.from({ length: 13 }, (_, index) => index + 1));
    expect(slow.link.received.length).toBe(13);
  });

  it("reads what a client sends behind a thousand messages: its acknowledgements may make the room", () => {
    const { publisher } = fullQueue();
    for (let count = 0; count < 1_000; count++) publisher.publish("t");
    expect(publisher.link.isReading).toBe(true);
  });

  it("counts what each message that waits takes: small ones are not without bounds", () => {
    const { publisher } = fullQueue();
    for (let count = 0; count < 2_100; count++) publisher.publish("t");
    expect(publisher.link.isReading).toBe(false);
  });

  it("counts the properties of what waits", () => {
    const { publisher } = fullQueue();
    const properties = Buffer.alloc(110_000);
    for (let count = 0; count < 9; count++) publisher.publish("t", 1, undefined, "x", properties);
    expect(publisher.link.isReading).toBe(true);
    publisher.publish("t", 1, undefined, "x", properties);
    expect(publisher.link.isReading).toBe(false);
  });

  it("reads on for a moment before it disconnects a publisher from which it read no more, and takes no message of it", async () => {
    const { slow, publisher } = fullQueue();
    for (let count = 0; count < 2_100; count++) publisher.publish("t");
    await pass(BLOCK_TIMEOUT_MS - 5_000);
    expect({ reading: publisher.link.isReading, timeouts }).toEqual({ reading: false, timeouts: [] });
    for (let second = 0; second < 10 && !publisher.link.isReading; second++) await pass(1_000);
    expect({ reading: publisher.link.isReading, closed: publisher.link.isClosed }).toEqual({ reading: true, closed: false });
    slow.attach();
    publisher.publish("t");
    await pass(2_000);
    expect({ timeouts, closed: publisher.link.isClosed, isEmpty: broker.waitingRoom.isEmpty }).toEqual({ timeouts: ["publisher"], closed: true, isEmpty: true });
    expect({ slow: slow.queued, acknowledged: publisher.link.acknowledged }).toEqual({ slow: 3, acknowledged: [1, 2, 3] });
  });

  it("takes a message of QoS 2 once that comes again, and is released, while the copies wait", async () => {
    const { slow, publisher } = fullQueue();
    const id = publisher.publish("t", 2);
    publisher.publish("t", 2, id);
    slow.entry.session.attach(slow.link, 1);
    await pass();
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, id]);
    receivePubrel(broker, publisher.entry.session, publisher.link, id);
    for (let packetId = 2; packetId < 6; packetId++) {
      slow.entry.session.sender?.onPuback(packetId);
      slow.entry.session.sender?.onPubrec(packetId);
      slow.entry.session.sender?.onPubcomp(packetId);
      await pass();
    }
    expect(slow.link.received.length).toBe(4);
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, id, id, id]);
    expect(broker.waitingRoom.isEmpty).toBe(true);
    publisher.publish("t", 2, id);
    await pass();
    expect(slow.link.received.length).toBe(5);
  });

  it("acknowledges what is dropped behind it in its turn", async () => {
    const { slow, publisher } = fullQueue();
    publisher.publish("t");
    acknowledgeDropped(broker, publisher.link, 1, 77);
    expect(publisher.link.acknowledged).toEqual([1, 2, 3]);
    slow.attach();
    await pass();
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 4, 77]);
  });

  it("disconnects a publisher that has waited too long, and forgets what it sent: it will send that again", async () => {
    const { slow, publisher } = fullQueue();
    publisher.publish("t");
    await pass(BLOCK_TIMEOUT_MS - 2_000);
    expect({ timeouts, closed: publisher.link.isClosed }).toEqual({ timeouts: [], closed: false });
    await pass(4_000);
    expect({ timeouts, closed: publisher.link.isClosed }).toEqual({ timeouts: ["publisher"], closed: true });
    slow.attach();
    await pass(2_000);
    expect(slow.queued).toBe(3);
    expect(broker.waitingRoom.isEmpty).toBe(true);
  });

  it("tells a publisher of MQTT 5 what has waited too long, and goes on with it", async () => {
    const { slow, publisher } = fullQueue();
    publisher.link.version = 5;
    publisher.publish("t");
    publisher.publish("t", 2);
    await pass(BLOCK_TIMEOUT_MS - 10_000);
    for (let count = 0; count < 2_100; count++) publisher.publish("t");
    expect({ refused: publisher.link.refused, reading: publisher.link.isReading }).toEqual({ refused: [], reading: false });
    await pass(12_000);
    expect({ refused: publisher.link.refused, closed: publisher.link.isClosed, timeouts }).toEqual({ refused: [4, 5], closed: false, timeouts: [] });
    await pass(BLOCK_TIMEOUT_MS);
    expect({ refused: publisher.link.refused.length, reading: publisher.link.isReading }).toEqual({ refused: 2_102, reading: true });
    slow.attach();
    await pass();
    publisher.publish("t");
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 2_106]);
    expect(slow.link.received.length).toBe(4);
  });

  it("drops a message that is larger than a queue may ever hold: nobody waits for that", async () => {
    const { slow, publisher } = fullQueue();
    slow.entry.session.bounds.limits = { ...slow.entry.session.bounds.limits, maxQueuedMessages: 1_000, maxQueuedBytes: 20 };
    publisher.publish("t");
    await pass();
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 4]);
    expect({ queued: slow.queued, dropped: slow.entry.session.bounds.dropped }).toEqual({ queued: 3, dropped: 1 });
  });

  it("drops a message whose copies are more than all queues together may ever hold: nobody waits for that", async () => {
    rig = await BrokerRig.start(new Map(), { limits: { queueFull: "block", maxTotalQueuedMessages: 3 } });
    ({ broker, timeouts } = rig);
    const slow = ["a", "b", "c", "d"].map((name) => new Client(broker, name));
    for (const client of slow) client.subscribe("t");
    const publisher = new Client(broker, "publisher");
    publisher.publish("t");
    publisher.publish("elsewhere");
    await pass(BLOCK_TIMEOUT_MS + 2_000);
    expect({ acknowledged: publisher.link.acknowledged, timeouts }).toEqual({ acknowledged: [1, 2], timeouts: [] });
    expect(slow.map(({ queued }) => queued)).toEqual([1, 1, 1, 0]);
    expect(slow.map(({ entry }) => entry.session.bounds.dropped)).toEqual([0, 0, 0, 1]);
  });

  it("takes nothing from a connection that has ended meanwhile", async () => {
    const { slow, publisher } = fullQueue();
    publisher.publish("t");
    publisher.link.isClosed = true;
    slow.attach();
    await pass(2_000);
    expect(slow.queued).toBe(3);
    expect(publisher.link.acknowledged).toEqual([1, 2, 3]);
  });

  it("takes a repeated QoS 2 message for what it is, room or not", async () => {
    const { publisher, slow } = fullQueue();
    slow.attach();
    await pass();
    const topic = broker.topics.intern("t");
    const repeat = messageOf(topic.bytes, Buffer.from("x"), { qos: 2, retain: false, receivedMs: 0 });
    const from = { receiver: publisher.entry.session, identity: publisher.entry.identity, isBridge: false };
    const send = (): void => receivePublish(broker, publisher.entry.session, from, publisher.link, topic, repeat, 50);
    send();
    slow.entry.session.detach();
    send();
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 50, 50]);
    expect(broker.waitingRoom.isEmpty).toBe(true);
  });

  it("goes on when the queue ends", async () => {
    const { slow, publisher } = fullQueue();
    publisher.publish("t");
    broker.sessions.end(slow.entry);
    await pass(2_000);
    expect(publisher.link.acknowledged).toEqual([1, 2, 3, 4]);
  });

  it("takes one message of each publisher in turn", async () => {
    const { slow, publisher } = fullQueue();
    const second = new Client(broker, "second");
    for (let count = 0; count < 6; count++) {
      publisher.publish("t");
      second.publish("t");
    }
    slow.attach();
    await pass();
    expect([publisher.link.acknowledged.length - 3, second.link.acknowledged.length]).toEqual([5, 5]);
  });

  it("takes one of each in turn also when places come free one by one, however much the first has waiting", async () => {
    const { slow, publisher } = fullQueue();
    const others = ["second", "third"].map((name) => new Client(broker, name));
    slow.entry.session.attach(slow.link, 1);
    for (let count = 0; count < 30; count++) publisher.publish("t");
    for (const other of others) for (let count = 0; count < 3; count++) other.publish("t");
    for (let taken = 0; taken < 9; taken++) {
      await pass();
      for (const id of slow.link.unacknowledged.splice(0)) slow.entry.session.sender?.onPuback(id);
    }
    await pass();
    expect(others.map(({ link }) => link.acknowledged.length)).toEqual([3, 3]);
  });
});

describe("a store that is full", () => {
  const STORE_CLOSE_MS = 10_000;

  function publishToFullStore(isBridge: boolean): Client {
    new Client(broker, "keeper").subscribe("a");
    const publisher = new Client(broker, "publisher");
    publisher.link.version = 5;
    publisher.isBridge = isBridge;
    rig.store.isFull = true;
    publisher.publish("a", 1);
    publisher.publish("a", 2);
    return publisher;
  }

  it("has a client of MQTT 5 told so, which stays connected", async () => {
    const { link } = publishToFullStore(false);
    await rig.settle(STORE_CLOSE_MS + 1);
    expect([link.acknowledged, link.refused, link.isClosed]).toEqual([[], [1, 2], false]);
  });

  it("has a bridge of MQTT 5 come again, which would drop what is refused", async () => {
    const { link } = publishToFullStore(true);
    await rig.settle(STORE_CLOSE_MS + 1);
    expect([link.acknowledged, link.refused, link.isClosed]).toEqual([[], [], true]);
  });
});
