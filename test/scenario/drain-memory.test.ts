import { afterEach, expect, it } from "vitest";
import { DaemonProcess, freePorts } from "./daemon.ts";
import { bridgeTo, type Memory, memoryOf, memoryText, publishNumbered, storeMiB, Upstream } from "./flood.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const messages = 1_000_000;
const payloadBytes = 300;
const sampleMs = 100;
/** What LevelDB maps, 64 tables of 2 MiB at most, counts as resident: it grows until so many have been read. */
const maxMappedKiB = 64 * 2.5 * 1024;

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const middle = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;
const inMiB = (sizes: readonly number[]): string => sizes.map((KiB) => Math.round(KiB / 1024)).join(" ");
const highest = (memories: readonly Memory[]): Memory => memories.reduce((a, b) => (b.residentKiB > a.residentKiB ? b : a));

it.skipIf(!isLong).each(["", "drain_rate 20000"])(
  isLong ? "memory stays as it is while a million messages drain, %s" : "skipped: the drain of a million messages is for AMQTDD_LONG=1, %s",
  { timeout: 900_000 },
  async (rate) => {
    const [port = 0, upstreamPort = 0] = await freePorts(2);
    const daemon = await DaemonProcess.start(`
listener ${port} 127.0.0.1
${bridgeTo(upstreamPort)}${rate}
`);
    cleanups.push(() => daemon.cleanup());
    await publishNumbered(port, "flood", messages, payloadBytes, () => "flood/0");
    await daemon.restart("SIGKILL"); // what storing took is not the drain's
    const idle = memoryOf(daemon.pid);
    const upstream = new Upstream();
    cleanups.push(() => upstream.close());
    await upstream.listen(upstreamPort);
    await expect.poll(() => upstream.received, { timeout: 30_000, interval: 10 }).toBeGreaterThan(0);
    const startMs = performance.now();
    /** By how much had been drained then: a tenth each. */
    const tenths: Memory[][] = Array.from({ length: 10 }, () => []);
    while (upstream.distinct < messages) {
      tenths[Math.floor((upstream.distinct * 10) / messages)]?.push(memoryOf(daemon.pid));
      await new Promise((resolve) => setTimeout(resolve, sampleMs));
      if (performance.now() - startMs > 600_000) throw new Error(`${upstream.distinct} messages in 10 minutes`);
    }
    const seconds = (upstream.lastMs - startMs) / 1000;
    const resident = tenths.map((samples) => middle(samples.map(({ residentKiB }) => residentKiB)));
    const own = tenths.map((samples) => middle(samples.map(({ anonymousKiB }) => anonymousKiB)));
    console.log(
      `${messages} messages of ${payloadBytes} bytes drained at ${Math.round(messages / seconds)}/s; ${memoryText(idle)} before; ` +
        `RSS by tenths ${inMiB(resident)} MiB, RssAnon ${inMiB(own)} MiB; most ${memoryText(highest(tenths.flat()))}; store then ${storeMiB(daemon.storeFolder)} MiB`,
    );
    expect(upstream.outOfOrder).toEqual([]);
    expect(Math.max(...own.slice(5))).toBeLessThan(Math.max(...own.slice(0, 5)) * 1.15);
    expect(Math.max(...resident) - idle.residentKiB).toBeLessThan(maxMappedKiB + 32 * 1024);
    if (rate !== "") expect(messages / seconds).toBeLessThan(20_000 * 1.05);
  },
);
