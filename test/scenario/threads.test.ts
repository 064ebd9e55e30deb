import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Niceness by thread (proc(5), the 19th field; the second, in parentheses, may hold blanks). */
function threadsOf(pid: number): Map<number, number> {
  const folder = `/proc/${pid}/task`;
  return new Map(
    readdirSync(folder).map((thread) => {
      const stat = readFileSync(`${folder}/${thread}/stat`, "utf8");
      return [Number(thread), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16])];
    }),
  );
}

describe.skipIf(process.platform !== "linux")("the daemon's threads", () => {
  it("all give way to the one that serves clients", async () => {
    const port = await freePort();
    const daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`, {});
    cleanups.push(() => daemon.cleanup());
    const client = await connect311(port, { clientId: "kept", clean: false });
    await client.subscribe("kept", 1);
    await client.publish("kept", "x", { qos: 1 });
    await client.end();
    const threads = threadsOf(daemon.pid);
    const served = threads.get(daemon.pid) ?? expect.fail("no main thread");
    threads.delete(daemon.pid);
    expect(threads.size).toBeGreaterThan(4);
    expect(new Set(threads.values())).toEqual(new Set([Math.min(19, served + 5)]));
  });
});
