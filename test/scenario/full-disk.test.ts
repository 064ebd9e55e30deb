import { mkdirSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { within } from "./process.ts";
import { noSmallDisk, SmallDisk } from "./small-disk.ts";

const problem = noSmallDisk();
const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Place {
  readonly disk: SmallDisk;
  readonly daemon: DaemonProcess;
  readonly port: number;
}

async function place(config = "", megabytes = 100): Promise<Place> {
  const disk = new SmallDisk(megabytes);
  cleanups.push(() => disk.remove());
  mkdirSync(disk.storeFolder);
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nmax_queued_messages 0\n${config}`, { storeFolder: disk.storeFolder });
  cleanups.push(() => daemon.cleanup());
  return { disk, daemon, port };
}

const PAYLOAD_BYTES = 10_000;

/** Random, so that the disk fills as fast as it is said to. */
function payloadOf(number: number): string {
  return `${number} ${Array.from({ length: PAYLOAD_BYTES }, () => String.fromCharCode(32 + Math.floor(Math.random() * 90))).join("")}`;
}

/** Publishes numbered messages, `window` at a time, until it is stopped. */
class Publisher {
  readonly acknowledged = new Set<number>();
  private next = 0;
  private stopped = false;
  private awaited = Infinity;
  private reached: () => void = () => undefined;
  private readonly lanes: Promise<void>[];

  constructor(
    readonly client: TestClient,
    qos: 1 | 2,
    window = 20,
  ) {
    const lane = async (): Promise<void> => {
      while (!this.stopped) {
        const number = this.next++;
        await client.publish("load", payloadOf(number), { qos });
        this.acknowledged.add(number);
        if (this.acknowledged.size >= this.awaited) this.reached();
      }
    };
    this.lanes = Array.from({ length: window }, lane);
  }

  get published(): number {
    return this.next;
  }

  /** Resolves when so many are acknowledged. */
  until(count: number): Promise<void> {
    const reached = new Promise<void>((resolve) => (this.reached = resolve));
    this.awaited = this.acknowledged.size >= count ? 0 : count;
    return this.awaited === 0 ? Promise.resolve() : within(reached, 60_000, () => `${this.acknowledged.size} of ${count} were acknowledged`);
  }

  /** Resolves when everything that was begun is acknowledged. */
  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.lanes);
  }
}

async function durableSubscriber(port: number): Promise<void> {
  const subscriber = await connect311(port, { clientId: "collector", clean: false });
  await subscriber.subscribe("load", 2);
  await subscriber.end();
}

async function collector(port: number): Promise<TestClient> {
  const client = await connect311(port, { clientId: "collector", clean: false, reconnectPeriod: 200, resubscribe: false });
  cleanups.push(() => client.end());
  return client;
}

const numbersOf = (client: TestClient): number[] => client.messages.filter(({ topic }) => topic === "load").map(({ payload }) => Number(payload.slice(0, payload.indexOf(" "))));

async function publisherOn(port: number, qos: 1 | 2): Promise<Publisher> {
  const client = await connect311(port, { clientId: "sensor", clean: false, reconnectPeriod: 200 });
  cleanups.push(() => client.end());
  return new Publisher(client, qos);
}

async function servesQoS0(port: number): Promise<void> {
  const live = await connect311(port, { clientId: `live${Math.random()}` });
  await live.subscribe("live");
  await live.publish("live", "now");
  await live.waitFor("live", "now");
  await live.publish("nobody", "needs the store for this", { qos: 1 });
  await live.end();
}

describe.skipIf(problem !== undefined)(problem === undefined ? "a small disk" : `skipped: no tmpfs can be mounted here (${problem})`, () => {
  it.each([1, 2] as const)("full of QoS %i messages: takes no more, is drained, takes more, by itself; nothing acknowledged is lost", { timeout: 180_000 }, async (qos) => {
    const { disk, daemon, port } = await place();
    await durableSubscriber(port);
    const publisher = await publisherOn(port, qos);
    await daemon.waitForLine(/CWNAN0306E/, { timeoutMs: 60_000 });
    await daemon.waitForLine(/CWNAN0340W/);
    const whenFull = publisher.acknowledged.size;
    expect(whenFull).toBeGreaterThan(1_000);
    // It comes back after ten seconds, and is refused again.
    await daemon.waitForLine(/CWNAN0340W/, { count: 2, timeoutMs: 30_000 });
    await servesQoS0(port);
    expect(publisher.acknowledged.size).toBeLessThan(whenFull + 50);
    expect(disk.freeBytes).toBeGreaterThan(40 * 1024 * 1024);

    const subscriber = await collector(port);
    await daemon.waitForLine(/CWNAN0307W/, { timeoutMs: 60_000 });
    await publisher.until(whenFull + 500);
    await publisher.stop();
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= publisher.published, 60_000);
    const numbers = numbersOf(subscriber);
    const first = [...new Set(numbers)];
    expect(first).toEqual([...first].sort((a, b) => a - b));
    if (qos === 2) expect(numbers.length).toBe(first.length);
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]|CWNAN0304/.test(line))).toEqual([]);
  });

  it("without a byte left: subscribers are sent what is stored, and with room again all that was acknowledged is there", { timeout: 180_000 }, async () => {
    const { disk, daemon, port } = await place("store_min_free 1000000");
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await publisher.until(2_000);
    disk.fill();
    await daemon.waitForLine(/CWNAN0304E/, { timeoutMs: 20_000 });
    disk.fill(); // the reserve's room too
    const whenFull = publisher.acknowledged.size;
    await servesQoS0(port);
    const subscriber = await collector(port);
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= whenFull, 60_000);
    disk.fill();

    disk.clear();
    await daemon.waitForLine(/CWNAN0305W/, { timeoutMs: 30_000 });
    await publisher.until(whenFull + 200);
    await publisher.stop();
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= publisher.published, 60_000);
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });
});
