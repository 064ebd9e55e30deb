import { afterEach, expect, it } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";
import { publishNumbered } from "./flood.ts";
import { PUBLISH, ScriptedUpstream } from "./scripted-upstream.ts";

const WINDOW = 100;
const ROUNDS = 100;

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("a remote that answers one by one, with many messages before it, is read once a millisecond", async () => {
  const upstream = await ScriptedUpstream.start("20020000");
  cleanups.push(() => upstream.close());
  upstream.answers = false;
  const port = await freePort();
  const daemon = await DaemonProcess.start(`max_inflight_messages ${WINDOW}\nlistener ${port} 127.0.0.1
connection remote\naddress 127.0.0.1:${upstream.port}\nbridge_protocol_version 3.1.1\nnotifications false\ntopic a out 1`);
  cleanups.push(() => daemon.cleanup());
  await publishNumbered(port, "publisher", WINDOW + ROUNDS, 20, () => "a");
  await upstream.wait(PUBLISH, WINDOW);
  const startMs = performance.now();
  for (let round = 1; round <= ROUNDS; round++) {
    const { frame } = upstream.of(PUBLISH)[round - 1] ?? expect.fail();
    upstream.send(`40 02 ${frame.toString("hex", 5, 7)}`);
    await upstream.wait(PUBLISH, WINDOW + round);
  }
  // A timer may come somewhat early.
  expect(performance.now() - startMs).toBeGreaterThan(0.7 * ROUNDS);
});
