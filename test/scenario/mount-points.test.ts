import { afterAll, beforeAll, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePorts } from "./daemon.ts";

// The example of the documents, with free ports in place of 1883, 1884 and 1885.
let daemon: DaemonProcess;
let ports: [number, number, number];
const clients: TestClient[] = [];

async function client(port: number): Promise<TestClient> {
  const connected = await connect311(port);
  clients.push(connected);
  return connected;
}

beforeAll(async () => {
  ports = (await freePorts(3)) as [number, number, number];
  daemon = await DaemonProcess.start(`
listener ${ports[0]} 127.0.0.1
mount_point 1883/
listener ${ports[1]} 127.0.0.1
mount_point 1884/
listener ${ports[2]} 127.0.0.1
`);
});

afterAll(async () => {
  for (const one of clients) await one.end();
  await daemon?.cleanup();
});

it("A1.5: isolates the clients of a mount point, and lets those without one name any topic", async () => {
  const subscriber = await client(ports[0]);
  await subscriber.subscribe("MyTopic", 1);
  const observer = await client(ports[2]);
  await observer.subscribe("#", 1);

  const first = await client(ports[0]);
  await first.publish("MyTopic", "from 1883", { qos: 1 });
  await subscriber.waitFor("MyTopic", "from 1883");

  const second = await client(ports[1]);
  await second.publish("MyTopic", "from 1884", { qos: 1 });

  const third = await client(ports[2]);
  await third.publish("1883/MyTopic", "from 1885", { qos: 1 });
  await subscriber.waitFor("MyTopic", "from 1885");

  await observer.waitForMessages(3);
  expect(observer.messages.map(({ topic, payload }) => [topic, payload])).toEqual([
    ["1883/MyTopic", "from 1883"],
    ["1884/MyTopic", "from 1884"],
    ["1883/MyTopic", "from 1885"],
  ]);
  expect(subscriber.messages.map(({ payload }) => payload)).toEqual(["from 1883", "from 1885"]);
});

it("hides topics that begin with $ below the mount point from # and + in front, retained and live [MQTT-4.7.2-1]", async () => {
  const outside = await client(ports[2]);
  await outside.publish("1884/$own/x", "retained", { qos: 1, retain: true });
  await outside.publish("1884/shown/x", "retained", { qos: 1, retain: true });
  const inside = await client(ports[1]);
  for (const filter of ["#", "+/x", "+/#"]) await inside.subscribe(filter, 1);
  const knowing = await client(ports[1]);
  await knowing.subscribe("$own/+", 1);
  await outside.publish("1884/$own/x", "live", { qos: 1 });
  await outside.publish("1884/marker", "end", { qos: 1 });
  await inside.waitFor("marker", "end");
  expect(new Set(inside.messages.map(({ topic }) => topic))).toEqual(new Set(["shown/x", "marker"]));
  await knowing.waitFor("$own/x", "live");
  expect(knowing.messages.map(({ payload }) => payload)).toEqual(["retained", "live"]);
});

it("hides them from a session that waits for its client, also after a restart", async () => {
  const session = { clientId: "away", clean: false };
  const away = await connect311(ports[1], session);
  await away.subscribe("#", 1);
  await away.end();
  await daemon.restart("SIGKILL");
  const outside = await client(ports[2]);
  await outside.publish("1884/$own/y", "hidden", { qos: 1 });
  await outside.publish("1884/shown/y", "shown", { qos: 1 });
  const back = await connect311(ports[1], session);
  clients.push(back);
  await back.waitFor("shown/y", "shown");
  expect(back.messages.filter(({ topic }) => topic.startsWith("$"))).toEqual([]);
});
