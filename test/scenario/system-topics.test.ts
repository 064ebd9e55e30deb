import { appendFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { systemTopics } from "../../src/control/system-topics.ts";
import { connect311, type TestClient } from "./clients.ts";
import { Client5 } from "./clients5.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(config: string): Promise<{ daemon: DaemonProcess; port: number; observer: TestClient }> {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\n${config}`);
  cleanups.push(() => daemon.cleanup());
  const observer = await connect311(port, { clientId: "observer" });
  cleanups.push(() => observer.client.endAsync(true));
  await observer.subscribe("$SYS/#");
  return { daemon, port, observer };
}

const lastOf = (observer: TestClient, name: string): string | undefined => observer.messages.filter(({ topic }) => topic === `$SYS/broker/${name}`).at(-1)?.payload;

it("tells what the daemon does: every topic at first, then what changes, each sys_interval", async () => {
  const { port, observer } = await start("sys_interval 1");
  await observer.waitUntil(() => observer.messages.length >= systemTopics.length);
  expect(observer.messages.map(({ topic }) => topic)).toEqual(expect.arrayContaining(systemTopics.map(({ name }) => `$SYS/broker/${name}`)));
  expect(lastOf(observer, "store/state")).toBe("healthy");

  const sleeper = await connect311(port, { clientId: "sleeper", clean: false });
  await sleeper.subscribe("kept", 1);
  await sleeper.end();
  const payload = "x".repeat(1000);
  for (let i = 0; i < 5; i++) await observer.publish("kept", payload, { qos: 1 });
  await observer.publish("value", "1", { qos: 1, retain: true });
  await observer.waitUntil(() => lastOf(observer, "messages/received") === "6" && lastOf(observer, "store/messages/count") === "6");
  expect(lastOf(observer, "clients/disconnected")).toBe("1");
  expect(lastOf(observer, "client count/connected")).toBe("1");
  expect(lastOf(observer, "subscriptions/count")).toBe("2");
  expect(lastOf(observer, "retained messages/count")).toBe("1");
  expect(Number(lastOf(observer, "store/bytes/stored"))).toBeGreaterThan(5_000);
  expect(Number(lastOf(observer, "store/bytes/stored"))).toBeLessThan(6_000);
  expect(Number(lastOf(observer, "store/bytes/logged"))).toBeGreaterThan(Number(lastOf(observer, "store/bytes/stored")));
  // A session, its subscription, six messages: each was waited for.
  expect(Number(lastOf(observer, "store/syncs"))).toBeGreaterThanOrEqual(8);
  expect(Number(lastOf(observer, "store/groups"))).toBeGreaterThanOrEqual(Number(lastOf(observer, "store/syncs")));
});

it("a reload takes up another sys_interval", async () => {
  const { daemon, observer } = await start("sys_interval 0");
  await observer.waitUntil(() => lastOf(observer, "uptime") !== undefined);
  appendFileSync(daemon.configFile, "sys_interval 1\n");
  const before = lastOf(observer, "uptime");
  process.kill(daemon.pid, "SIGHUP");
  await observer.waitUntil(() => lastOf(observer, "uptime") !== before, 20_000);
});

it("without persistence the store is off", async () => {
  const { observer } = await start("persistence false");
  await observer.waitUntil(() => lastOf(observer, "store/state") !== undefined);
  expect(lastOf(observer, "store/state")).toBe("off");
});

it("what a receiver has acknowledged before its group closes is never written", async () => {
  const intervalMs = 400;
  const { port, observer } = await start(`sys_interval 1\ncommit_interval_ms ${intervalMs}`);
  const receiver = await connect311(port, { clientId: "receiver", clean: false });
  cleanups.push(() => receiver.client.endAsync(true));
  await receiver.subscribe("live", 1);
  const startMs = performance.now();
  await Promise.all(Array.from({ length: 10 }, (_, number) => observer.publish("live", `${number} ${"x".repeat(1000)}`, { qos: 1 })));
  expect(performance.now() - startMs).toBeGreaterThan(intervalMs * 0.9);
  expect(receiver.messages.length).toBe(10);
  await observer.waitUntil(() => lastOf(observer, "messages/received") === "10");
  expect(lastOf(observer, "store/bytes/stored")).toBe("0");
});

it("counts what receivers of MQTT 5 have not got, also of sessions that have ended", async () => {
  const { port, observer } = await start("sys_interval 1");
  const connect = async (clientId: string, properties: object): Promise<Client5> => {
    const { client } = await Client5.connect(port, clientId, { clean: false, properties });
    cleanups.push(() => client.destroy());
    return client;
  };
  const small = await connect("small", { maximumPacketSize: 50 });
  await small.subscribe("losses", { qos: 1 });
  const away = await connect("away", { sessionExpiryInterval: 60 });
  await away.subscribe("losses", { qos: 1 });
  away.destroy();
  const publisher = await connect("publisher", {});
  publisher.publish("losses", "x", { qos: 1, messageId: 1, properties: { messageExpiryInterval: 1 } });
  const { messageId } = await small.message();
  small.send({ cmd: "puback", messageId, reasonCode: 0x83 });
  publisher.publish("losses", "x".repeat(60), { qos: 1, messageId: 2 });
  await small.nothing();
  small.destroy();
  await new Promise((resolve) => setTimeout(resolve, 1_100)); // that is what expiry is about
  await (await connect("away", { sessionExpiryInterval: 60 })).message();
  await observer.waitUntil(() => ["expired", "oversized", "refused"].every((what) => lastOf(observer, `publish/messages/${what}`) === "1"));
});
