import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { within } from "./process.ts";
import { FailingDisk, noFailingDisk, noSmallDisk, SmallDisk } from "./small-disk.ts";

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
  cleanups.push(() => client.client.endAsync(true));
  return client;
}

const numbersOf = (client: TestClient): number[] => client.messages.filter(({ topic }) => topic === "load").map(({ payload }) => Number(payload.slice(0, payload.indexOf(" "))));

async function publisherOn(port: number, qos: 1 | 2): Promise<Publisher> {
  const client = await connect311(port, { clientId: "sensor", clean: false, reconnectPeriod: 200 });
  cleanups.push(() => client.client.endAsync(true));
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
  it("on a disk that is smaller than store_min_free messages are stored, until half of it is left", async () => {
    const { port, daemon, disk } = await place("", 40);
    const sleeper = await connect311(port, { clientId: "sleeper", clean: false });
    await sleeper.subscribe("load", 1);
    await sleeper.end();
    const publisher = new Publisher(await connect311(port), 1);
    cleanups.push(() => publisher.client.drop());
    await publisher.until(500);
    await daemon.waitForLine(/CWNAN0306/);
    expect(disk.freeBytes).toBeGreaterThan(0);
  });

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
    // A little more may have found room: what compacting gave back.
    expect(publisher.acknowledged.size).toBeLessThan(whenFull + 1_000);
    expect(disk.freeBytes).toBeGreaterThan(40 * 1024 * 1024);

    const subscriber = await collector(port);
    await daemon.waitForLine(/CWNAN0307W/, { timeoutMs: 60_000 });
    await publisher.until(publisher.acknowledged.size + 500);
    await publisher.stop();
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= publisher.published, 60_000);
    const numbers = numbersOf(subscriber);
    const first = [...new Set(numbers)];
    expect(first).toEqual([...first].sort((a, b) => a - b));
    if (qos === 2) expect(numbers.length).toBe(first.length);
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]|CWNAN0304/.test(line))).toEqual([]);
  });

  it("full up to a small store_min_free, which compaction needs as well: is drained and takes more, by itself", { timeout: 180_000 }, async () => {
    const { daemon, port } = await place("store_min_free 8388608", 60);
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 2);
    await daemon.waitForLine(/CWNAN0306E/, { timeoutMs: 60_000 });
    // Time for a compaction to find no room.
    await daemon.waitForLine(/CWNAN0340W/, { count: 2, timeoutMs: 30_000 });
    const whenFull = publisher.acknowledged.size;
    const subscriber = await collector(port);
    await publisher.until(whenFull + 500);
    await publisher.stop();
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= publisher.published, 60_000);
    expect(numbersOf(subscriber).length).toBe(new Set(numbersOf(subscriber)).size);
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });

  it("full to the last byte, and killed again and again: each start opens the store, and all that was acknowledged is there", { timeout: 180_000 }, async () => {
    const { daemon, port } = await place("store_min_free 0", 60);
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await daemon.waitForLine(/CWNAN0304E/, { timeoutMs: 60_000 });
    await daemon.kill("SIGKILL");
    await publisher.client.client.endAsync(true);
    for (let time = 0; time < 2; time++) {
      await daemon.start();
      await daemon.kill("SIGKILL");
    }
    await daemon.start();
    await receivesAll(port, publisher.acknowledged.size);
    expect(daemon.lines.filter((line) => /CWNAN0341|CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });

  it.each([16, 24])("of %i MB, too small for the reserve, full whatever store_min_free says, and killed: the start opens the store, which is drained and takes more", { timeout: 120_000 }, async (megabytes) => {
    const { daemon, port } = await place("store_min_free 0", megabytes);
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await daemon.waitForLine(/CWNAN030[46]E/, { timeoutMs: 60_000 });
    await publisher.until(500);
    await daemon.kill("SIGKILL");
    await publisher.client.client.endAsync(true);
    await daemon.start();
    await receivesAll(port, publisher.acknowledged.size);
    const { acknowledged } = await publisherOn(port, 1);
    await expect.poll(() => acknowledged.size, { timeout: 30_000 }).toBeGreaterThan(100);
    expect(daemon.lines.filter((line) => /CWNAN0341|CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });

  it("without a byte left: subscribers are sent what is stored, and with room again all that was acknowledged is there", { timeout: 180_000 }, async () => {
    const { disk, daemon, port } = await place("store_min_free 1000000");
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await publisher.until(2_000);
    // The reserve's room too, before the store can use it: it reads from the handle that it has.
    disk.fill();
    rmSync(path.join(disk.storeFolder, "amqtdd-store", "reserve"), { force: true });
    disk.fill();
    await daemon.waitForLine(/CWNAN0304E/, { timeoutMs: 20_000 });
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

  it("without a byte left: SIGTERM stops the daemon all the same, and the next start has all that was acknowledged", { timeout: 60_000 }, async () => {
    const { disk, daemon, port } = await place("store_min_free 1000000");
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await publisher.until(500);
    disk.fill();
    rmSync(path.join(disk.storeFolder, "amqtdd-store", "reserve"), { force: true });
    disk.fill();
    await daemon.waitForLine(/CWNAN0304E/, { timeoutMs: 20_000 });
    await publisher.client.client.endAsync(true);
    expect(await daemon.kill("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(daemon.lines.some((line) => /CWNAN0047I/.test(line))).toBe(true);
    disk.clear();
    await daemon.start();
    await receivesAll(port, publisher.acknowledged.size);
  });

  /** A store with messages for the absent collector; the daemon has been killed. */
  async function killedWithMessages(count: number): Promise<Place & { readonly acknowledged: number }> {
    const { disk, daemon, port } = await place("store_min_free 1000000");
    await durableSubscriber(port);
    const publisher = await publisherOn(port, 1);
    await publisher.until(count);
    await daemon.kill("SIGKILL");
    await publisher.client.client.endAsync(true); // otherwise it might wait for acknowledgements
    return { disk, daemon, port, acknowledged: publisher.acknowledged.size };
  }

  async function receivesAll(port: number, acknowledged: number): Promise<void> {
    const subscriber = await collector(port);
    expect(subscriber.sessionPresent).toBe(true);
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= acknowledged, 30_000);
    const numbers = new Set(numbersOf(subscriber));
    expect(Array.from({ length: acknowledged }, (_, number) => number).filter((number) => !numbers.has(number))).toEqual([]);
  }

  it("full at the start: opens the store in the room of the reserve", { timeout: 60_000 }, async () => {
    const { disk, daemon, port, acknowledged } = await killedWithMessages(500);
    disk.fill();
    await daemon.start();
    await servesQoS0(port);
    await receivesAll(port, acknowledged);
    expect(daemon.lines.filter((line) => /CWNAN0341|CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });

  it.each(["full, without a reserve", "read-only"])("%s at the start: starts without the store, leaves it as it is, and takes it up when it can", { timeout: 60_000 }, async (condition) => {
    const { disk, daemon, port, acknowledged } = await killedWithMessages(500);
    if (condition === "read-only") disk.remount("ro");
    else {
      rmSync(path.join(disk.storeFolder, "amqtdd-store", "reserve"));
      disk.fill();
    }
    const from = daemon.lines.length;
    await daemon.start();
    await daemon.waitForLine(/CWNAN0341E.*(ENOSPC|No space|EROFS|Read-only)/, { from });
    await servesQoS0(port);
    await expect(connect311(port, { clientId: "collector", clean: false })).rejects.toThrow(/Server unavailable/i);
    const live = await connect311(port, { clientId: "live" });
    cleanups.push(() => live.client.endAsync(true));
    await live.publish("value", "retained without the store", { retain: true });
    let isAcknowledged = false;
    const stored = live.publish("value/stored", "needs the store", { qos: 1, retain: true }).then(() => (isAcknowledged = true));
    stored.catch(() => undefined);
    await servesQoS0(port);
    expect(isAcknowledged).toBe(false);

    if (condition === "read-only") disk.remount("rw");
    else disk.clear();
    await daemon.waitForLine(/CWNAN0342W/, { from, timeoutMs: 15_000 });
    await live.closed();
    await daemon.waitForLine(/CWNAN0014I/, { from, count: 2 });
    await receivesAll(port, acknowledged);
    const late = await connect311(port, { clientId: "late" });
    await late.subscribe("value/#");
    await late.waitFor("value", "retained without the store");
    await late.end();
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });
});

const noFailing = noFailingDisk();

describe.skipIf(noFailing !== undefined)(noFailing === undefined ? "a disk that turns read-only" : `skipped: no ext4 can be mounted here (${noFailing})`, () => {
  it.each([1, 2] as const)("under a daemon that takes QoS %i messages: serves what it has, and goes on by itself when it can be written again; nothing acknowledged is lost", { timeout: 120_000 }, async (qos) => {
    const disk = new FailingDisk(128);
    cleanups.push(() => disk.remove());
    mkdirSync(disk.storeFolder);
    const port = await freePort();
    const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1\nmax_queued_messages 0\nstore_min_free 1000000`, { storeFolder: disk.storeFolder });
    cleanups.push(() => daemon.cleanup());
    await durableSubscriber(port);
    const publisher = await publisherOn(port, qos);
    await publisher.until(500);
    disk.fail();
    await daemon.waitForLine(/CWNAN0304E.*(Read-only|Input\/output error)/, { timeoutMs: 20_000 }); // the journal's end comes first to some calls
    const whenFailed = publisher.acknowledged.size;
    await servesQoS0(port);
    expect(publisher.acknowledged.size).toBe(whenFailed);

    disk.mend();
    await daemon.waitForLine(/CWNAN0305W/, { timeoutMs: 30_000 });
    await publisher.until(whenFailed + 500);
    await publisher.stop();
    // All of it is on the disk that has been mended.
    await daemon.kill("SIGKILL");
    await daemon.start();
    const subscriber = await collector(port);
    await subscriber.waitUntil(() => new Set(numbersOf(subscriber)).size >= publisher.published, 60_000);
    const numbers = numbersOf(subscriber);
    const first = [...new Set(numbers)];
    expect(first).toEqual([...first].sort((a, b) => a - b));
    if (qos === 2) expect(numbers.length).toBe(first.length);
    expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]/.test(line))).toEqual([]);
  });
});
