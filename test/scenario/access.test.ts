import { writeFileSync } from "node:fs";
import path from "node:path";
import type mqtt from "mqtt";
import { afterEach, expect, it } from "vitest";
import type { TestClient } from "./clients.ts";
import { connect311 } from "./clients.ts";
import { DaemonProcess, freePort, freePorts } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const passwords = "Fred:Fredpassword\nBarney:Barneypassword\n";
// The document's figure 44.
const acl = `topic home/public/#
topic read meters/#
user Fred
topic write meters/fred
topic home/fred/#
user Barney
topic write meters/barney
topic home/barney/#
`;

interface Files {
  readonly passwords: string;
  readonly acl: string;
}

async function start(config: (files: Files) => string, text = { passwords, acl }): Promise<{ daemon: DaemonProcess; files: Files }> {
  const folder = makeFolder("access");
  cleanups.push(() => removeFolder(folder));
  const files = { passwords: path.join(folder, "passwords.txt"), acl: path.join(folder, "acl.txt") };
  writeFileSync(files.passwords, text.passwords);
  writeFileSync(files.acl, text.acl);
  const daemon = await DaemonProcess.start(config(files));
  cleanups.push(() => daemon.cleanup());
  return { daemon, files };
}

const figure42 = (port: number) => (files: Files) =>
  `acl_file ${files.acl}\npassword_file ${files.passwords}\nallow_anonymous true\nlistener ${port} 127.0.0.1`;

async function login(port: number, user?: "Fred" | "Barney", options: mqtt.IClientOptions = {}): Promise<TestClient> {
  const client = await connect311(port, { ...(user ? { username: user, password: `${user}password` } : {}), ...options });
  cleanups.push(() => client.end());
  return client;
}

it("A1.22: figures 42 to 44: each reads and writes what the files say, through wildcards too", async () => {
  const port = await freePort();
  await start(figure42(port));
  const [anonymous, fred, barney] = await Promise.all([login(port), login(port, "Fred"), login(port, "Barney")]);
  for (const client of [anonymous, fred, barney]) await client.subscribe("#", 1);
  const publish: [TestClient, string][] = [
    [anonymous, "home/public/a"], [anonymous, "meters/fred"], [anonymous, "home/fred/a"],
    [fred, "meters/fred"], [fred, "meters/barney"], [fred, "home/fred/f"], [fred, "home/barney/f"],
    [barney, "meters/barney"], [barney, "meters/fred"], [barney, "home/barney/b"],
  ];
  // A denied PUBLISH is acknowledged all the same: 3.1.1 can't say no.
  for (const [client, topic] of publish) await client.publish(topic, client === fred ? "fred" : client === barney ? "barney" : "anonymous", { qos: 1 });
  await barney.publish("home/public/end", "end", { qos: 1 });
  for (const client of [anonymous, fred, barney]) await client.waitFor("home/public/end", "end");
  const seen = (client: TestClient): string[] => client.messages.map(({ topic, payload }) => `${topic} ${payload}`);
  expect(seen(anonymous)).toEqual(["home/public/a anonymous", "meters/fred fred", "meters/barney barney", "home/public/end end"]);
  expect(seen(fred)).toEqual(["home/public/a anonymous", "meters/fred fred", "home/fred/f fred", "meters/barney barney", "home/public/end end"]);
  expect(seen(barney)).toEqual(["home/public/a anonymous", "meters/fred fred", "meters/barney barney", "home/barney/b barney", "home/public/end end"]);
});

it("holds the rules for anonymous clients without a password file, as mosquitto does, and believes no user name", async () => {
  const port = await freePort();
  const rules = "topic readwrite open/#\nuser Fred\ntopic readwrite meters/#\n";
  await start(({ acl: file }) => `allow_anonymous true\nacl_file ${file}\nlistener ${port} 127.0.0.1`, { passwords: "", acl: rules });
  for (const client of [await login(port), await login(port, "Fred")]) {
    await expect(client.subscribe("meters/#", 1)).rejects.toThrow();
    await client.subscribe("open/#", 1);
    await client.publish("open/a", "x", { qos: 1 });
    await client.waitFor("open/a", "x");
  }
});

it("A1.22: refuses wrong passwords and a user name without one with code 4, anonymous clients with code 5, foreign identifiers with code 2", async () => {
  const [port, strict] = (await freePorts(2)) as [number, number];
  await start(figure42(port));
  await start((files) => `password_file ${files.passwords}\nclientid_prefixes sensor- meter-\nlistener ${strict} 127.0.0.1`);
  const refusal = (to: number, options: mqtt.IClientOptions): Promise<unknown> =>
    connect311(to, options).then((client) => client.end().then(() => "accepted"), (error: { code?: number }) => error.code);
  expect(await refusal(port, { username: "Fred", password: "Barneypassword" })).toBe(4);
  expect(await refusal(port, { username: "Fred" })).toBe(4);
  expect(await refusal(port, { username: "Wilma", password: "x" })).toBe(4);
  expect(await refusal(strict, { clientId: "sensor-1" })).toBe(5);
  expect(await refusal(strict, { clientId: "other", username: "Fred", password: "Fredpassword" })).toBe(2);
  expect(await refusal(strict, { clientId: "meter-1", username: "Fred", password: "Fredpassword" })).toBe("accepted");
});

it("refuses a subscription that can match nothing readable, and stores none", async () => {
  const port = await freePort();
  const { daemon } = await start(figure42(port));
  const fred = await login(port, "Fred");
  await expect(fred.subscribe("home/barney/#", 1)).rejects.toThrow();
  await daemon.waitForLine(/CWNAN0150A .*Fred.*home\/barney/);
  const barney = await login(port, "Barney");
  await barney.publish("home/barney/a", "secret", { qos: 1 });
  await barney.publish("home/public/a", "public", { qos: 1 });
  await fred.subscribe("home/public/#", 1);
  await barney.publish("home/public/end", "end", { qos: 1 });
  await fred.waitFor("home/public/end", "end");
  expect(fred.messages.map(({ topic }) => topic)).toEqual(["home/public/end"]);
});

it("gives what was queued for one user only to those who may read it, when another takes the session up", async () => {
  const port = await freePort();
  await start(figure42(port));
  const options = { clientId: "shared", clean: false };
  const fred = await login(port, "Fred", options);
  await fred.subscribe("#", 1);
  await fred.end();
  const writer = await login(port, "Fred");
  await writer.publish("home/fred/secret", "1", { qos: 1 });
  await writer.publish("home/public/a", "2", { qos: 1 });
  const anonymous = await login(port, undefined, options);
  await anonymous.waitFor("home/public/a", "2");
  await writer.publish("home/fred/secret", "3", { qos: 1 });
  await writer.publish("home/public/a", "4", { qos: 1 });
  await anonymous.waitFor("home/public/a", "4");
  expect(anonymous.messages.map(({ payload }) => payload)).toEqual(["2", "4"]);
});

it("goes by new rules from the next message on, for topics that were published and read before as well", async () => {
  const port = await freePort();
  const { daemon, files } = await start(figure42(port));
  const [fred, barney] = [await login(port, "Fred"), await login(port, "Barney")];
  await barney.subscribe("#", 1);
  await fred.publish("meters/fred", "1", { qos: 1 });
  await fred.publish("meters/fred", "2", { qos: 1 });
  await barney.waitFor("meters/fred", "2");
  writeFileSync(files.acl, acl.replace("topic write meters/fred\n", ""));
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0322I/);
  await fred.publish("meters/fred", "3", { qos: 1 });
  await fred.publish("home/public/a", "4", { qos: 1 });
  await barney.waitFor("home/public/a", "4");
  writeFileSync(files.acl, acl.replace("topic read meters/#\n", ""));
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0322I/, { count: 2 });
  await fred.publish("meters/fred", "5", { qos: 1 });
  await fred.publish("home/public/a", "6", { qos: 1 });
  await barney.waitFor("home/public/a", "6");
  expect(barney.messages.map(({ payload }) => payload)).toEqual(["1", "2", "4", "6"]);
});

it("drops a will that its client may not publish", async () => {
  const port = await freePort();
  const { daemon } = await start(figure42(port));
  const barney = await login(port, "Barney");
  await barney.subscribe("#", 1);
  const dying = await login(port, undefined, { will: { topic: "home/barney/will", payload: Buffer.from("x"), qos: 1, retain: false }, reconnectPeriod: 0 });
  dying.client.stream.destroy();
  await daemon.waitForLine(/CWNAN0149A .*home\/barney\/will/);
  await barney.publish("home/barney/end", "end", { qos: 1 });
  await barney.waitFor("home/barney/end", "end");
  expect(barney.messages.map(({ topic }) => topic)).toEqual(["home/barney/end"]);
});

it("keeps the author of a retained message across a restart, and withholds it when he has lost the right", async () => {
  const port = await freePort();
  const { daemon, files } = await start(figure42(port));
  const fred = await login(port, "Fred");
  await fred.publish("meters/fred", "42", { qos: 1, retain: true });
  await fred.publish("home/public/f", "43", { qos: 1, retain: true });
  await fred.end();
  await daemon.restart();
  const before = await login(port);
  await before.subscribe("#", 1);
  await before.waitFor("meters/fred", "42");
  await before.end();
  writeFileSync(files.acl, acl.replace("topic write meters/fred\n", ""));
  await daemon.restart();
  const after = await login(port);
  await after.subscribe("#", 1);
  await after.waitFor("home/public/f", "43");
  expect(after.messages.map(({ topic }) => topic)).toEqual(["home/public/f"]);
});

it("keeps the author of a retained message however long the name is and whatever is in it", async () => {
  const port = await freePort();
  const { daemon } = await start(figure42(port));
  const author = await login(port, undefined, { clientId: '"'.repeat(60_000) });
  for (const qos of [0, 1] as const) await author.publish(`home/public/${qos}`, "x", { qos, retain: true });
  await author.end();
  await new Promise((resolve) => setTimeout(resolve, 1_300)); // QoS 0 is written after a second
  await daemon.restart();
  const client = await login(port);
  await client.subscribe("#", 1);
  for (const qos of [0, 1]) await client.waitFor(`home/public/${qos}`, "x");
});

it("does not let in a user who is removed while his password is being checked", async () => {
  const port = await freePort();
  const slow = `Fred:$7$3000000$${Buffer.alloc(16, 1).toString("base64")}$${Buffer.alloc(64, 2).toString("base64")}\n`;
  const { daemon, files } = await start(figure42(port), { passwords: slow + passwords.split("\n")[1] + "\n", acl });
  const refused = connect311(port, { username: "Fred", password: "any" }).then(() => "accepted", (error: { code?: number }) => error.code);
  await new Promise((resolve) => setTimeout(resolve, 100));
  writeFileSync(files.passwords, "Barney:Barneypassword\n");
  writeFileSync(files.acl, "topic home/public/#\n");
  process.kill(daemon.pid, "SIGHUP");
  await daemon.waitForLine(/CWNAN0322I/);
  expect(await refused).toBe(4);
});

it("checks full names below a mount point", async () => {
  const [port, mounted] = (await freePorts(2)) as [number, number];
  await start((files) => `${figure42(port)(files)}\nlistener ${mounted} 127.0.0.1\nmount_point home/`);
  const [outside, inside] = [await login(port), await login(mounted)];
  await outside.subscribe("#", 1);
  await inside.publish("fred/x", "no", { qos: 1 });
  await inside.publish("public/x", "yes", { qos: 1 });
  await outside.waitFor("home/public/x", "yes");
  expect(outside.messages).toHaveLength(1);
});

it.each([
  ["a user that the password file lacks", { passwords, acl: "topic a\nuser Wilma\n" }, /acl\.txt:2:1: error: user Wilma/],
  ["a line that is no rule", { passwords, acl: "topic a\ntopix b\n" }, /acl\.txt:2:1: error/],
  ["a user without a password", { passwords: "Fred\n", acl }, /passwords\.txt:1:1: error/],
])("does not start with %s", async (_what, text, line) => {
  const port = await freePort();
  await expect(start(figure42(port), text)).rejects.toThrow(line);
});
