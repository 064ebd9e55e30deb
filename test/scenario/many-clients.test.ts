import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { afterEach, expect, it, type TestContext } from "vitest";
import { FrameSplitter } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { ackPacket, connectPacket, PUBACK, publishPacket, readId, readPublish, subscribePacket } from "./packets.ts";
import { within } from "./process.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
/** CONNECTs that may wait for their CONNACK at one time. */
const connectingAtOnce = 200;
/** Descriptors for the store, standard streams and the like, beside one a client. */
const spareDescriptors = 200;
/** Bounds on the daemon's RSS. Measured with Node 20: 56 MB idle, 11 to 17 KB more a subscribed client, 16 to 24 KB after its messages. */
const maxIdleResidentKiB = 100 * 1024;
const maxResidentKiBEach = 24;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
}

/** Soft limit on open files of a process. */
function openFilesLimit(pid: number | "self"): number {
  const limit = /^Max open files\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, "latin1"))?.[1];
  return limit === "unlimited" ? Infinity : Number(limit);
}

/** A client on a bare socket: thousands of them fit into the test's process. It acknowledges what it gets. */
class Client {
  readonly payloads: string[] = [];
  isAcknowledged = false;
  closedBy: string | undefined;
  readonly #splitter = new FrameSplitter();
  #onConnack: (() => void) | undefined;
  #onSubscribed: (() => void) | undefined;

  private constructor(
    readonly socket: net.Socket,
    private readonly progress: () => void,
  ) {
    socket.on("data", (bytes) => {
      for (const frame of this.#splitter.push(bytes)) this.#receive(frame);
    });
    socket.on("error", (error) => (this.closedBy = error.message));
    socket.on("close", () => (this.closedBy ??= "the daemon"));
  }

  static async connect(port: number, clientId: string, progress: () => void): Promise<Client> {
    const socket = net.connect(port, "127.0.0.1");
    await once(socket, "connect");
    const client = new Client(socket, progress);
    const connected = new Promise<void>((resolve) => (client.#onConnack = resolve));
    socket.write(connectPacket(clientId, { keepAliveSeconds: 60 }));
    await within(connected, 20_000, () => `${clientId} got no CONNACK`);
    return client;
  }

  subscribe(filters: readonly string[]): Promise<void> {
    const subscribed = new Promise<void>((resolve) => {
      let missing = filters.length;
      this.#onSubscribed = () => {
        if (--missing === 0) resolve();
      };
    });
    this.socket.write(Buffer.concat(filters.map((filter, index) => subscribePacket(index + 1, filter, 1))));
    return subscribed;
  }

  #receive(frame: Buffer): void {
    switch ((frame[0] ?? 0) >> 4) {
      case 2:
        if (frame.equals(Buffer.from([0x20, 2, 0, 0]))) this.#onConnack?.();
        return;
      case 9:
        if (frame.at(-1) === 1) this.#onSubscribed?.();
        return;
      case 4:
        this.isAcknowledged ||= readId(frame) === 7;
        return this.progress();
      case 3: {
        const { payload, id } = readPublish(frame);
        this.payloads.push(payload);
        this.socket.write(ackPacket(PUBACK, id));
        this.progress();
      }
    }
  }
}

async function serve(count: number, { skip }: TestContext): Promise<void> {
  const port = await freePort();
  const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
  cleanups.push(() => daemon.cleanup());
  const limit = Math.min(openFilesLimit("self"), openFilesLimit(daemon.pid));
  const needed = count + spareDescriptors;
  if (limit < needed) skip(`skipped: ${count} clients need ${needed} open files, the limit (ulimit -n) is ${limit}`);
  const idleKiB = residentKiB(daemon.pid);

  let check = (): void => undefined;
  const clients: Client[] = [];
  cleanups.push(() => clients.forEach(({ socket }) => socket.destroy()));
  const all = async (what: string, condition: (client: Client) => boolean): Promise<void> => {
    const met = new Promise<void>((resolve) => {
      check = () => {
        if (clients.every(condition)) resolve();
      };
      check();
    });
    await within(met, 60_000, () => `${what}: missing for ${clients.filter((client) => !condition(client)).length} of ${clients.length} clients`);
  };
  // Every client calls this for each packet: looking at all of them each time would be quadratic.
  let isScheduled = false;
  const progress = (): void => {
    if (isScheduled) return;
    isScheduled = true;
    setTimeout(() => {
      isScheduled = false;
      check();
    }, 10);
  };

  const connectMs = performance.now();
  let next = 0;
  const dial = async (): Promise<void> => {
    while (next < count) clients.push(await Client.connect(port, `client${next++}`, progress));
  };
  await Promise.all(Array.from({ length: connectingAtOnce }, dial));
  const connectRate = Math.round((count / (performance.now() - connectMs)) * 1000);
  await within(Promise.all(clients.map((client, i) => client.subscribe([`one/${i}`, "all"]))), 60_000, () => "SUBACK is missing");
  const subscribedKiB = residentKiB(daemon.pid);

  const publishMs = performance.now();
  clients.forEach(({ socket }, i) => socket.write(publishPacket(`one/${(i + 1) % count}`, `for ${(i + 1) % count}`, { qos: 1, id: 7 })));
  await all("PUBACK", ({ isAcknowledged }) => isAcknowledged);
  await all("the message", ({ payloads }) => payloads.length > 0);
  const exchangedMs = performance.now() - publishMs;
  clients[0]?.socket.write(publishPacket("all", "for all", { qos: 1, id: 8 }));
  await all("the message for all", ({ payloads }) => payloads.includes("for all"));
  const loadedKiB = residentKiB(daemon.pid);
  console.log(
    `${count} clients: connected at ${connectRate}/s; ${count} messages of QoS 1 there and acknowledged in ${Math.round(exchangedMs)} ms; ` +
      `RSS ${idleKiB} KiB idle, ${subscribedKiB} KiB connected and subscribed, ${loadedKiB} KiB after the messages`,
  );
  expect(clients.filter(({ closedBy }) => closedBy !== undefined).length).toBe(0);
  expect(clients.filter(({ payloads }, i) => payloads.join() !== `for ${i},for all`).length).toBe(0);
  expect(loadedKiB).toBeLessThan(maxIdleResidentKiB + count * maxResidentKiBEach);
}

it("serves 1,000 clients at once, each with its own messages", (context) => serve(1_000, context));

it.skipIf(!isLong)(
  isLong ? "serves 10,000 clients at once, each with its own messages" : "skipped: 10,000 clients at once are for AMQTDD_LONG=1",
  { timeout: 180_000 },
  (context) => serve(10_000, context),
);
