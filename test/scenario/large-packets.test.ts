import { once } from "node:events";
import net from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { memoryOf } from "./flood.ts";
import { connectPacket, publishPacket } from "./packets.ts";

const KIB = 1024;
const HANGING = 30;
const PUBLISHERS = 60;
const PAYLOAD_BYTES = 1_000 * KIB;
/** Idle it has about 52 MiB; what is not whole yet may have 32 beside what its buffers grow by, output 64; V8 collects some later. */
const MOST_KIB = 260 * KIB;

/** A client that has sent most of a PUBLISH of a MiB, and sends nothing more. */
async function hang(port: number, number: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  socket.write(connectPacket(`hangs-${number}`));
  await once(socket, "data");
  socket.write(publishPacket("hangs", Buffer.alloc(PAYLOAD_BYTES)).subarray(0, 900 * KIB));
}

it("takes large messages that many send at once, one after the other, beside peers that never end theirs", async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.startForTest(`listener ${port} 127.0.0.1`);
  await Promise.all(Array.from({ length: HANGING }, (_, number) => hang(port, number)));
  const subscriber = await connect311(port, { clientId: "subscriber", clean: false });
  await subscriber.subscribe("large/+", 1);
  let mostKiB = 0;
  const watch = setInterval(() => {
    mostKiB = Math.max(mostKiB, memoryOf(daemon.pid).residentKiB);
  }, 20);
  onTestFinished(() => void clearInterval(watch));
  const publishers = await Promise.all(Array.from({ length: PUBLISHERS }, (_, number) => connect311(port, { clientId: `publisher-${number}`, reconnectPeriod: 0 })));
  const beganMs = performance.now();
  // A connection that is closed rejects what it has published.
  await Promise.all(publishers.map((publisher, number) => publisher.client.publishAsync(`large/${number}`, Buffer.alloc(PAYLOAD_BYTES, number), { qos: 1 })));
  await subscriber.waitUntil(() => subscriber.messages.length >= PUBLISHERS, 20_000);
  const tookMs = performance.now() - beganMs;
  expect(subscriber.messages.map(({ topic }) => topic).sort()).toEqual(publishers.map((_, number) => `large/${number}`).sort());
  console.log(`${PUBLISHERS} messages of ${PAYLOAD_BYTES / KIB} KiB at once, ${HANGING} peers hanging: ${Math.round(tookMs)} ms, RSS ${Math.round(mostKiB / KIB)} MiB at most`);
  expect(mostKiB).toBeLessThan(MOST_KIB);
  await Promise.all([subscriber, ...publishers].map((client) => client.end()));
}, 60_000);

const MANY = 300;
const MANY_PAYLOAD_BYTES = 500 * KIB;
/** All of them together have 147 MiB, which LevelDB would have twice more. */
const MOST_FOR_MANY_KIB = 360 * KIB;

it("takes no more large messages at a time than the disk does", async () => {
  const port = await freePort();
  const daemon = await DaemonProcess.startForTest(`listener ${port} 127.0.0.1`);
  const subscriber = await connect311(port, { clientId: "subscriber", clean: false });
  await subscriber.subscribe("large/+", 1);
  await subscriber.end();
  let mostKiB = 0;
  const watch = setInterval(() => {
    mostKiB = Math.max(mostKiB, memoryOf(daemon.pid).residentKiB);
  }, 20);
  onTestFinished(() => void clearInterval(watch));
  const publishers = await Promise.all(Array.from({ length: MANY }, (_, number) => connect311(port, { clientId: `publisher-${number}`, reconnectPeriod: 0 })));
  const payload = Buffer.alloc(MANY_PAYLOAD_BYTES, 0x70);
  await Promise.all(publishers.map((publisher, number) => publisher.client.publishAsync(`large/${number}`, payload, { qos: 1 })));
  await Promise.all(publishers.map((publisher) => publisher.end()));
  console.log(`${MANY} messages of ${MANY_PAYLOAD_BYTES / KIB} KiB at once for a client that is away: RSS ${Math.round(mostKiB / KIB)} MiB at most`);
  expect(mostKiB).toBeLessThan(MOST_FOR_MANY_KIB);
  const again = await connect311(port, { clientId: "subscriber", clean: false });
  await again.waitUntil(() => again.messages.length >= MANY, 20_000);
  expect(again.messages.map(({ topic }) => topic).sort()).toEqual(publishers.map((_, number) => `large/${number}`).sort());
  await again.end();
}, 60_000);
