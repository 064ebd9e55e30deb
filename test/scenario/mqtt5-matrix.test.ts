import { afterAll, beforeAll, describe, it } from "vitest";
import { endPeers, expectAll, Peer, publishAll, QOS, VERSIONS } from "./any-version.ts";
import { DaemonProcess, freePort } from "./daemon.ts";

let daemon: DaemonProcess;
let port: number;

beforeAll(async () => {
  port = await freePort();
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
});

afterAll(async () => {
  endPeers();
  await daemon?.cleanup();
});

describe.each(VERSIONS)("a subscriber of version %i gets from publishers of 3, 4 and 5 each QoS, with the properties that its version has,", (version) => {
  it("live", async () => {
    const path = `live${version}`;
    const subscriber = await Peer.connect(port, version, path);
    await subscriber.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await expectAll(subscriber, path, await publishAll(port, path, QOS), QOS);
  });

  it.each([false, true])("queued, over a restart: %s", async (restarts) => {
    const path = `queued${version}${restarts}`;
    const first = await Peer.connect(port, version, path, true);
    await first.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await first.client.endAsync(true);
    const topics = await publishAll(port, path, [1, 2]);
    if (restarts) await daemon.restart("SIGKILL");
    await expectAll(await Peer.connect(port, version, path, true), path, topics, [1, 2]);
  });

  it.each([false, true])("retained, over a restart: %s", async (restarts) => {
    const path = `retained${version}${restarts}`;
    const topics = await publishAll(port, path, [1, 2], true);
    if (restarts) await daemon.restart("SIGKILL");
    const subscriber = await Peer.connect(port, version, path);
    await subscriber.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await expectAll(subscriber, path, topics, [1, 2], { retain: true });
  });

  it("live, queued for a session that returns with another version", async () => {
    const path = `switch${version}`;
    const first = await Peer.connect(port, version, path, true);
    await first.client.subscribeAsync(`${path}/#`, { qos: 2 });
    await first.client.endAsync(true);
    const topics = await publishAll(port, path, [1, 2]);
    const other = version === 5 ? 4 : 5;
    await expectAll(await Peer.connect(port, other, path, true), path, topics, [1, 2]);
  });
});
