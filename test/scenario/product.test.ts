import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing, MosquittoProcess } from "./mosquitto.ts";
import { RecordingProxy } from "./proxy.ts";

const publishers = 4;
const messagesEach = 2_500;
const windowEach = 50;

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Publishes its numbers in order, half QoS 1, half QoS 2, with `windowEach` unacknowledged at most. */
async function publishAll(client: TestClient, publisher: number, acked: Set<string>, onAck: () => void): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < messagesEach) {
      const number = next++;
      const qos = number % 2 === 0 ? 1 : 2;
      const key = `q${qos}/p${publisher}/${number}`;
      await client.publish(`q${qos}/p${publisher}`, key, { qos });
      acked.add(key);
      onAck();
    }
  };
  await Promise.all(Array.from({ length: windowEach }, lane));
}

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "the product" : mosquittoMissing, () => {
  it("A1.21: delivers 10,000 acknowledged messages over an upstream outage and a kill", { timeout: 180_000 }, async () => {
    const mosquitto = await MosquittoProcess.start({ persistence: true });
    cleanups.push(() => mosquitto.cleanup());
    const proxy = await RecordingProxy.start(mosquitto.port);
    cleanups.push(() => proxy.close());
    const port = await freePort();
    const daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
mount_point plant/
connection upstream
address 127.0.0.1:${proxy.port}
topic # out plant/ site/
`);
    cleanups.push(() => daemon.cleanup());

    const subscriber = await connect311(mosquitto.port, { clientId: "collector", clean: false, reconnectPeriod: 200, resubscribe: false });
    cleanups.push(() => subscriber.end());
    await subscriber.subscribe("site/#", 2);

    const acked = new Set<string>();
    const waiting: { count: number; resolve: () => void }[] = [];
    const ackedReaches = (count: number): Promise<void> =>
      new Promise((resolve) => {
        if (acked.size >= count) resolve();
        else waiting.push({ count, resolve });
      });
    const onAck = (): void => {
      for (const one of waiting) if (acked.size >= one.count) one.resolve();
    };

    const total = publishers * messagesEach;
    const clients = await Promise.all(
      Array.from({ length: publishers }, (_, i) => connect311(port, { clientId: `sensor${i}`, clean: false, reconnectPeriod: 200 })),
    );
    for (const client of clients) cleanups.push(() => client.end());
    const published = Promise.all(clients.map((client, i) => publishAll(client, i, acked, onAck)));
    // Awaited below; an earlier failed step must not turn it into an unhandled rejection.
    published.catch(() => undefined);

    await ackedReaches(total * 0.3);
    await mosquitto.kill("SIGTERM");
    await ackedReaches(total * 0.6);
    await daemon.kill("SIGKILL");
    const ackedBeforeKill = new Set(acked);
    expect(ackedBeforeKill.size).toBeLessThan(total);
    await daemon.start();
    await mosquitto.start();
    await published;
    expect(acked.size).toBe(total);

    const received = new Map<string, number>();
    let counted = 0;
    const countNew = (): boolean => {
      for (; counted < subscriber.messages.length; counted++) {
        const payload = subscriber.messages[counted]?.payload ?? "";
        received.set(payload, (received.get(payload) ?? 0) + 1);
      }
      return received.size >= total;
    };
    await subscriber.waitUntil(countNew, 90_000).catch(() => undefined);
    countNew();

    expect([...acked].filter((key) => !proxy.taken.has(key)).slice(0, 10), "acknowledged, never taken by the upstream").toEqual([]);
    expect([...ackedBeforeKill].filter((key) => !received.has(key)).slice(0, 10), "acknowledged before the kill, never delivered").toEqual([]);
    expect([...acked].filter((key) => !received.has(key)).slice(0, 10), "acknowledged, never delivered").toEqual([]);
    expect(subscriber.messages.every(({ topic, payload }) => topic === `site/${payload.slice(0, payload.lastIndexOf("/"))}`)).toBe(true);
    expect(proxy.completed).toBeGreaterThan(0);
    expect(proxy.violations).toEqual([]);
  });
});
