import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ISubackPacket, IUnsubackPacket } from "mqtt-packet";
import { connect311 } from "./clients.ts";
import { Client5, destroyClients5 } from "./clients5.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;
let mountedPort: number;

beforeAll(async () => {
  [port = 0, mountedPort = 0] = await freePorts(2);
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nlistener ${mountedPort} 127.0.0.1\nmount_point m/\nmax_qos 1`);
});

afterEach(destroyClients5);

afterAll(() => daemon?.cleanup());

async function connect(clientId: string, fields: Record<string, unknown> = {}, at = port): Promise<Client5> {
  return (await Client5.connect(at, clientId, fields)).client;
}

const kept = { clean: false, properties: { sessionExpiryInterval: 600 } };

async function granted(client: Client5, ...subscriptions: Record<string, unknown>[]): Promise<readonly unknown[]> {
  client.send({ cmd: "subscribe", messageId: 9, subscriptions: subscriptions.map((one) => ({ qos: 0, ...one })) });
  return ((await client.next("suback")) as ISubackPacket).granted;
}

describe("SUBACK and UNSUBACK", () => {
  it("have a reason code for each filter", async () => {
    const client = await connect("codes");
    expect(await granted(client, { topic: "a", qos: 2 }, { topic: "a/#/b" }, { topic: "$share/g" }, { topic: "$share//a" }, { topic: "$share/g+/a" }, { topic: "b", qos: 1 }))
      .toEqual([2, 0x8f, 0x8f, 0x8f, 0x8f, 1]);
    expect(await granted(await connect("codes-1", {}, mountedPort), { topic: "a", qos: 2 })).toEqual([1]);
    client.send({ cmd: "unsubscribe", messageId: 10, unsubscriptions: ["a", "never", "b", "x/#/y"] });
    expect(((await client.next("unsuback")) as IUnsubackPacket).granted).toEqual([0, 0x11, 0, 0x8f]);
  });
});

describe("subscription options", () => {
  it("no-local: a client does not get what it publishes itself [MQTT-3.8.3-3]", async () => {
    const [client, other] = [await connect("nl"), await connect("nl-other")];
    await client.subscribe("nl", { nl: true });
    await other.subscribe("nl");
    client.publish("nl", "own");
    expect((await other.message()).payload.toString()).toBe("own");
    other.publish("nl", "other");
    expect((await client.message()).payload.toString()).toBe("other");
  });

  it("retain-as-published keeps the RETAIN flag of live messages [MQTT-3.3.1-13], without it they lose it [MQTT-3.3.1-12]", async () => {
    const [keeps, clears] = [await connect("rap"), await connect("no-rap")];
    await keeps.subscribe("rap", { rap: true });
    await clears.subscribe("rap");
    (await connect("rap-pub")).publish("rap", "x", { retain: true });
    expect([(await keeps.message()).retain, (await clears.message()).retain]).toEqual([true, false]);
  });

  it("retain handling: 0 always, 1 for a new subscription, 2 never [MQTT-3.3.1-9] to [MQTT-3.3.1-11]", async () => {
    const publisher = await connect("rh-pub");
    publisher.publish("rh/a", "x", { retain: true, qos: 1, messageId: 1 });
    await publisher.next("puback");
    const client = await connect("rh");
    const isSent = async (rh: number): Promise<boolean> => {
      await client.subscribe("rh/+", { rh });
      client.send({ cmd: "pingreq" });
      const isMessage = (await client.nextOfAny())?.cmd === "publish";
      if (isMessage) await client.next("pingresp");
      return isMessage;
    };
    expect([await isSent(2), await isSent(1), await isSent(0), await isSent(0)]).toEqual([false, false, true, true]);
    client.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: ["rh/+"] });
    await client.next("unsuback");
    expect(await isSent(1)).toBe(true);
  });
});

describe("subscription identifiers", () => {
  it("of all subscriptions that match are in one copy, live, queued, retained and over a restart [MQTT-3.3.4-3]", async () => {
    const subscriber = await connect("ids", kept);
    for (const [filter, subscriptionIdentifier] of [["i/#", 1], ["i/+", 268_435_455], ["i/x", undefined]] as const) {
      await subscriber.subscribe(filter, { qos: 1, rh: 2 }, subscriptionIdentifier === undefined ? {} : { subscriptionIdentifier });
    }
    const publisher = await connect("ids-pub");
    const identifiers = async (client: Client5): Promise<unknown> => {
      const { messageId, properties, qos } = await client.message();
      if (qos > 0) client.send({ cmd: "puback", messageId, reasonCode: 0 });
      const found = properties?.subscriptionIdentifier as unknown as number | number[];
      return [found].flat().sort();
    };
    publisher.publish("i/x", "live");
    expect(await identifiers(subscriber)).toEqual([1, 268_435_455]);
    subscriber.destroy();
    publisher.publish("i/x", "queued", { qos: 1, messageId: 1, retain: true });
    await publisher.next("puback");
    await daemon.restart("SIGKILL");
    const again = await connect("ids", kept);
    expect(await identifiers(again)).toEqual([1, 268_435_455]);
    await again.nothing();
    await again.subscribe("i/x", { rh: 0 }, { subscriptionIdentifier: 7 });
    expect(await identifiers(again)).toEqual([7]);
  });
});

describe("shared subscriptions", () => {
  const names = (count: number): string[] => Array.from({ length: count }, (_, i) => `sh/${i + 1}`);

  async function collect(client: Client5, count: number): Promise<string[]> {
    const topics: string[] = [];
    for (let i = 0; i < count; i++) {
      const { topic, qos, messageId } = await client.message();
      if (qos === 1) client.send({ cmd: "puback", messageId, reasonCode: 0 });
      topics.push(topic);
    }
    return topics;
  }

  it("are balanced between members of any version, and get no retained messages", async () => {
    const members = [await connect("sh1"), await connect("sh2")];
    const old = await connect311(port, { clientId: "sh3" });
    try {
      (await connect("sh-retained")).publish("sh/0", "x", { retain: true });
      for (const member of members) await member.subscribe("$share/g/sh/#", { qos: 1 });
      await old.subscribe("$share/g/sh/#", 1);
      for (const member of members) await member.nothing();
      const publisher = await connect("sh-pub");
      names(30).forEach((topic, i) => publisher.publish(topic, "x", { qos: 1, messageId: i + 1 }));
      await old.waitForMessages(10);
      const got = [await collect(members[0]!, 10), await collect(members[1]!, 10), old.messages.map(({ topic }) => topic)]; // two members
      expect(got.flat().sort()).toEqual(names(30).sort());
    } finally {
      await old.end();
    }
  });

  it("give a message that a member left unacknowledged to another when it goes", async () => {
    const stays = await connect("stays");
    const goes = await connect("goes");
    for (const member of [stays, goes]) await member.subscribe("$share/h/go/#", { qos: 1 });
    const publisher = await connect("go-pub");
    for (let messageId = 1; messageId <= 4; messageId++) publisher.publish(`go/${messageId}`, "x", { qos: 1, messageId });
    const left = [(await goes.message()).topic, (await goes.message()).topic];
    const own = await collect(stays, 2);
    goes.destroy();
    expect([...own, ...left].sort()).toEqual(["go/1", "go/2", "go/3", "go/4"]);
    expect((await collect(stays, 2)).sort()).toEqual(left.sort());
    await stays.nothing();
  });

  it("keep messages for persistent members that are all away, over a restart", async () => {
    for (const clientId of ["away1", "away2"]) {
      const member = await connect(clientId, kept);
      await member.subscribe("$share/k/keep/#", { qos: 1 });
      member.destroy();
    }
    const publisher = await connect("keep-pub");
    for (let messageId = 1; messageId <= 10; messageId++) {
      publisher.publish(`keep/${messageId}`, "x", { qos: 1, messageId });
      await publisher.next("puback");
    }
    await daemon.restart("SIGKILL");
    const member = await connect("away2", kept);
    expect(await collect(member, 10)).toEqual(Array.from({ length: 10 }, (_, i) => `keep/${i + 1}`));
    await member.nothing();
  });

  it("stand below a mount point for its topics", async () => {
    const [inside, outside] = [await connect("sh-in", {}, mountedPort), await connect("sh-out")];
    await inside.subscribe("$share/m/t/#", { qos: 1 });
    await outside.subscribe("$share/m/m/t/#", { qos: 1 });
    const publisher = await connect("sh-m-pub");
    for (let messageId = 1; messageId <= 2; messageId++) publisher.publish("m/t/x", "x", { qos: 1, messageId });
    expect([await collect(inside, 1), await collect(outside, 1)]).toEqual([["t/x"], ["m/t/x"]]);
  });
});
