import { readdirSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, it } from "vitest";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { bridgeTo, memoryOf, memoryText, publishNumbered, storeMiB, Upstream } from "./flood.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const minutes = 10;
const messagesARound = 100_000;
const publishers = 4;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

it.skipIf(!isLong)(
  isLong ? `${minutes} minutes of clients that come and go and a remote that does: memory, open files and the store stay as they are` : `skipped: ${minutes} minutes of churn are for AMQTDD_LONG=1`,
  { timeout: (minutes + 5) * 60_000 },
  async () => {
    const [port = 0, upstreamPort = 0] = await freePorts(2);
    const daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
connection_messages false
${bridgeTo(upstreamPort)}`);
    cleanups.push(() => daemon.cleanup());
    const memories: number[] = [];
    const files: number[] = [];
    const endMs = Date.now() + minutes * 60_000;
    let rounds = 0;
    for (; Date.now() < endMs; rounds++) {
      // New connections each round; every other one finds no remote and leaves a backlog.
      const upstream = new Upstream();
      cleanups.push(() => upstream.close());
      if (rounds % 2 === 0) await upstream.listen(upstreamPort);
      await Promise.all(Array.from({ length: publishers }, (_, index) => publishNumbered(port, `flood${rounds}-${index}`, messagesARound / publishers, 300, () => `flood/${index}`)));
      if (rounds % 2 === 1) await upstream.listen(upstreamPort);
      await expect.poll(() => upstream.distinct, { timeout: 120_000, interval: 50 }).toBe(messagesARound);
      expect(upstream.outOfOrder).toEqual([]);
      upstream.close();
      memories.push(memoryOf(daemon.pid).residentKiB);
      files.push(openFiles(daemon.pid));
    }
    await expect.poll(() => storeMiB(daemon.storeFolder), { timeout: 60_000, interval: 1_000 }).toBeLessThan(16);
    await pause(5_000);
    // What it takes at the beginning, LevelDB's buffers and tables, is there after a fifth of the time.
    const fifth = Math.floor(rounds / 5);
    const [early, late] = [middle(memories.slice(fifth, 2 * fifth)), middle(memories.slice(-fifth))];
    const [filesEarly, filesLate] = [middle(files.slice(fifth, 2 * fifth)), middle(files.slice(-fifth))];
    console.log(
      `${rounds} rounds of ${messagesARound} messages: RSS ${Math.round(early / 1024)} MiB, at the end ${Math.round(late / 1024)} MiB, ${memoryText(memoryOf(daemon.pid))}; ` +
        `open files ${filesEarly}, ${filesLate}; store ${storeMiB(daemon.storeFolder)} MiB`,
    );
    expect(late).toBeLessThan(early * 1.1);
    expect(filesLate).toBeLessThan(filesEarly + 20);
  },
);
