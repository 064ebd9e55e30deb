import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { endPeers, expectAll, Peer, publishAll, QOS, VERSIONS } from "./any-version.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

/** The edge has a connection to the centre, by the version of the test. */
let edge: DaemonProcess;
let centre: DaemonProcess;
let edgePort: number;
let centrePort: number;

beforeEach(async () => {
  [edgePort = 0, centrePort = 0] = await freePorts(2);
});

afterEach(async () => {
  endPeers();
  await edge?.cleanup();
  await centre?.cleanup();
});

async function start(version: string, ...lines: string[]): Promise<void> {
  centre = await DaemonProcess.start(`listener ${centrePort} 127.0.0.1`);
  const connection = `connection up\naddress 127.0.0.1:${centrePort}\nreconnect_interval 1 1\nbridge_protocol_version ${version}\nclientid edge.up`;
  edge = await DaemonProcess.start([`listener ${edgePort} 127.0.0.1`, "max_inflight_messages 5", connection, ...lines].join("\n"));
  await edge.waitForLine(/CWNAN0133I/);
}

describe.each([["mqttv311", 4], ["mqttv50", 5]] as const)("over a bridge of %s subscribers of 3, 4 and 5 get what publishers of 3, 4 and 5 publish, with each QoS,", (name, hopVersion) => {
  it.each(["there", "here"])("live, %s", async (side) => {
    await start(name, "topic # both 2");
    const [from, to] = side === "there" ? [edgePort, centrePort] : [centrePort, edgePort];
    const subscribers = await Promise.all(VERSIONS.map((version) => Peer.connect(to, version, `live${version}`)));
    for (const { client } of subscribers) await client.subscribeAsync("live/#", { qos: 2 });
    const topics = await publishAll(from, "live", QOS);
    for (const subscriber of subscribers) await expectAll(subscriber, "live", topics, QOS, { hopVersion });
  });

  it("out of the queue of a link that was down, over a restart of both", async () => {
    await start(name, "topic queued/# out 2");
    for (const version of VERSIONS) {
      const subscriber = await Peer.connect(centrePort, version, `queued${version}`, true);
      await subscriber.client.subscribeAsync("queued/#", { qos: 2 });
      await subscriber.client.endAsync();
    }
    await centre.kill("SIGKILL");
    const topics = await publishAll(edgePort, "queued", [1, 2]);
    await edge.restart("SIGKILL");
    await centre.start();
    for (const version of VERSIONS) await expectAll(await Peer.connect(centrePort, version, `queued${version}`, true), "queued", topics, [1, 2], { hopVersion });
  });

  it("retained", async () => {
    await start(name, "topic retained/# out 2");
    const watcher = await Peer.connect(centrePort, 4, "watcher");
    await watcher.client.subscribeAsync("retained/#", { qos: 2 });
    const topics = await publishAll(edgePort, "retained", QOS, true);
    await watcher.has(topics);
    for (const version of VERSIONS) {
      const subscriber = await Peer.connect(centrePort, version, `retained${version}`);
      await subscriber.client.subscribeAsync("retained/#", { qos: 2 });
      await expectAll(subscriber, "retained", topics, QOS, { retain: true, hopVersion });
    }
  });

  it("and the centre is told that the connection is up", async () => {
    await start(name, "topic # out 2");
    const watcher = await Peer.connect(centrePort, 5, "watcher");
    await watcher.client.subscribeAsync("$SYS/broker/connection/#");
    await watcher.has(["$SYS/broker/connection/edge.up/state"]);
    expect(watcher.received[0]?.payload.toString()).toBe("1");
    await edge.kill("SIGKILL");
    await expect.poll(() => watcher.received.map(({ payload }) => payload.toString())).toEqual(["1", "0"]);
  });
});
