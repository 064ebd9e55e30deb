import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { mosquittoAvailable, mosquittoMissing } from "./mosquitto.ts";
import { LineProcess, within } from "./process.ts";

let daemon: DaemonProcess;
let port: number;
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  port = await freePort();
  daemon = await DaemonProcess.start(`listener ${port} 127.0.0.1`);
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  await daemon?.cleanup();
});

async function client(options: Parameters<typeof connect311>[1] = {}): Promise<TestClient> {
  const connected = await connect311(port, options);
  cleanups.push(() => connected.end());
  return connected;
}

describe("MQTT.js", () => {
  const levels = [0, 1, 2] as const;
  it.each(levels.flatMap((published) => levels.map((subscribed) => [published, subscribed] as const)))(
    "delivers QoS %i to a QoS %i subscription, in order",
    async (published, subscribed) => {
      const topic = `qos/${published}/${subscribed}`;
      const subscriber = await client();
      await subscriber.subscribe(topic, subscribed);
      const publisher = await client();
      await Promise.all(Array.from({ length: 200 }, (_, i) => publisher.publish(topic, String(i), { qos: published })));
      const messages = await subscriber.waitForMessages(200);
      expect(messages.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 200 }, (_, i) => i));
      expect(new Set(messages.map(({ qos }) => qos))).toEqual(new Set([Math.min(published, subscribed)]));
    },
  );

  it("speaks MQTT 3.1", async () => {
    const old = await client({ protocolId: "MQIsdp", protocolVersion: 3, clientId: "old" });
    await old.subscribe("old", 2);
    await old.publish("old", "1", { qos: 2 });
    expect((await old.waitFor("old", "1")).qos).toBe(2);
  });

  it("keeps a retained message for later subscribers, and clears it with an empty one", async () => {
    const publisher = await client();
    await publisher.publish("retained/a", "kept", { qos: 1, retain: true });
    const later = await client();
    await later.subscribe("retained/+", 1);
    expect((await later.waitFor("retained/a", "kept")).retain).toBe(true);
    await publisher.publish("retained/a", "live", { qos: 1, retain: true });
    expect((await later.waitFor("retained/a", "live")).retain).toBe(false);
    await publisher.publish("retained/a", "", { qos: 1, retain: true });
    const last = await client();
    await last.subscribe("retained/+", 1);
    await publisher.publish("retained/marker", "1", { qos: 1 });
    expect((await last.waitForMessages(1))[0]?.topic).toBe("retained/marker");
  });

  it("publishes the will of a client that vanishes, not of one that disconnects", async () => {
    const observer = await client();
    await observer.subscribe("will/+", 1);
    const polite = await client({ will: { topic: "will/polite", payload: Buffer.from("no"), qos: 1, retain: false } });
    await polite.end();
    const vanished = await client({ will: { topic: "will/vanished", payload: Buffer.from("gone"), qos: 1, retain: false } });
    vanished.drop();
    await observer.waitFor("will/vanished", "gone");
    expect(observer.messages.map(({ topic }) => topic)).toEqual(["will/vanished"]);
  });

  it("closes the old connection when its client identifier connects again [MQTT-3.1.4-2]", async () => {
    const first = await client({ clientId: "twin" });
    const closed = first.closed();
    const second = await client({ clientId: "twin" });
    await closed;
    await second.subscribe("twin");
    await second.publish("twin", "alive", { qos: 1 });
    await second.waitFor("twin", "alive");
  });

  it("keeps a persistent session over a reconnect, and a clean one not", async () => {
    const session = { clientId: "sleeper", clean: false };
    const before = await client(session);
    expect(before.sessionPresent).toBe(false);
    await before.subscribe("sleep/#", 2);
    await before.end();
    const publisher = await client();
    for (const qos of levels) await publisher.publish(`sleep/${qos}`, "missed", { qos });
    const after = await client(session);
    expect(after.sessionPresent).toBe(true);
    await after.waitFor("sleep/2", "missed");
    expect(after.messages.filter(({ qos }) => qos > 0).map(({ topic }) => topic)).toEqual(["sleep/1", "sleep/2"]);
    await after.end();
    const clean = await client({ clientId: "sleeper", clean: true });
    expect(clean.sessionPresent).toBe(false);
    await clean.end();
    const again = await client(session);
    expect(again.sessionPresent).toBe(false);
  });

  it("keeps sessions, their messages and retained messages over a kill", async () => {
    const session = { clientId: "survivor", clean: false };
    const before = await client(session);
    await before.subscribe("survive/#", 2);
    await before.end();
    const publisher = await client();
    await publisher.publish("survive/retained", "kept", { qos: 1, retain: true });
    for (let i = 0; i < 50; i++) await publisher.publish("survive/n", String(i), { qos: i % 2 === 0 ? 1 : 2 });
    await daemon.restart("SIGKILL");

    const after = await client(session);
    expect(after.sessionPresent).toBe(true);
    await after.waitForMessages(51);
    // A client hands a QoS 2 message on at PUBREL, so order holds for each QoS by itself.
    for (const qos of [1, 2]) {
      const numbers = after.messages.filter((message) => message.topic === "survive/n" && message.qos === qos).map(({ payload }) => Number(payload));
      expect(numbers).toEqual(Array.from({ length: 25 }, (_, i) => 2 * i + qos - 1));
    }
    const fresh = await client();
    await fresh.subscribe("survive/retained", 1);
    expect((await fresh.waitFor("survive/retained", "kept")).retain).toBe(true);
  });
});

describe.skipIf(!mosquittoAvailable())(mosquittoAvailable() ? "mosquitto_pub and mosquitto_sub" : mosquittoMissing, () => {
  async function pub(args: readonly string[], input = ""): Promise<void> {
    const child = spawn("mosquitto_pub", ["-h", "127.0.0.1", "-p", String(port), ...args], { stdio: ["pipe", "ignore", "pipe"] });
    let errors = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    const [code] = (await within(once(child, "close"), 10_000, () => `mosquitto_pub ${args.join(" ")}`)) as [number | null];
    expect(code, errors).toBe(0);
  }

  /** A mosquitto_sub whose subscription is acknowledged. */
  async function sub(args: readonly string[]): Promise<LineProcess> {
    const subscriber = new LineProcess("mosquitto_sub", "stdbuf", ["-oL", "mosquitto_sub", "-d", "-v", "-h", "127.0.0.1", "-p", String(port), ...args], daemon.folder);
    cleanups.push(() => subscriber.kill("SIGKILL"));
    subscriber.spawn();
    await subscriber.waitForLine(/^Subscribed /);
    return subscriber;
  }

  it.each(["0", "1", "2"])("-q %s", async (qos) => {
    const subscriber = await sub(["-t", `m/q${qos}`, "-q", qos]);
    await pub(["-t", `m/q${qos}`, "-q", qos, "-m", "text"]);
    await subscriber.waitForLine(new RegExp(`^m/q${qos} text$`));
    await subscriber.waitForLine(new RegExp(`received PUBLISH \\(d0, q${qos}, r0`));
  });

  it("-r keeps the message, -r -n clears it", async () => {
    await pub(["-t", "m/r", "-q", "1", "-r", "-m", "kept"]);
    const first = await sub(["-t", "m/r"]);
    await first.waitForLine(/^m\/r kept$/);
    await pub(["-t", "m/r", "-q", "1", "-r", "-n"]);
    const second = await sub(["-t", "m/r"]);
    await pub(["-t", "m/r", "-m", "live"]);
    await second.waitForLine(/^m\/r live$/);
    expect(second.lines.filter((line) => line.startsWith("m/r "))).toEqual(["m/r live"]);
  });

  it("-n sends an empty message", async () => {
    const subscriber = await sub(["-t", "m/n"]);
    await pub(["-t", "m/n", "-n"]);
    await subscriber.waitForLine(/^m\/n \(null\)$/);
  });

  it("-l sends a message a line", async () => {
    const subscriber = await sub(["-t", "m/l", "-q", "1"]);
    await pub(["-t", "m/l", "-q", "1", "-l"], "one\ntwo\nthree\n");
    await subscriber.waitForLine(/^m\/l three$/);
    expect(subscriber.lines.filter((line) => line.startsWith("m/l "))).toEqual(["m/l one", "m/l two", "m/l three"]);
  });

  it("-s sends standard input and -f a file, whole", async () => {
    const subscriber = await sub(["-t", "m/s", "-t", "m/f"]);
    await pub(["-t", "m/s", "-s"], "all of it");
    await subscriber.waitForLine(/^m\/s all of it$/);
    const file = path.join(daemon.folder, "payload");
    writeFileSync(file, "x".repeat(100_000));
    await pub(["-t", "m/f", "-f", file]);
    await subscriber.waitForLine(/^m\/f x{100000}$/);
  });

  it("-i, -I and -k name the client and its keep alive", async () => {
    const subscriber = await sub(["-t", "m/i", "-i", "the-subscriber", "-k", "5"]);
    await pub(["-t", "m/i", "-i", "the-publisher", "-m", "1"]);
    await pub(["-t", "m/i", "-I", "prefix-", "-k", "10", "-m", "2"]);
    await subscriber.waitForLine(/^m\/i 2$/);
    // mosquitto_sub pings by itself; keep alive 5 s is the least it takes.
    await subscriber.waitForLine(/received PINGRESP/);
  });

  it("-c keeps the session while the subscriber is away", async () => {
    const args = ["-t", "m/c", "-q", "1", "-i", "durable", "-c"];
    const first = await sub(args);
    await first.kill("SIGINT");
    await pub(["-t", "m/c", "-q", "1", "-m", "missed"]);
    const second = await sub(args);
    await second.waitForLine(/^m\/c missed$/);
  });

  it("--will-topic, --will-payload, --will-qos and --will-retain leave a will", async () => {
    const observer = await client();
    await observer.subscribe("m/will", 1);
    const doomed = spawn(
      "mosquitto_sub",
      ["-i", "doomed", "-h", "127.0.0.1", "-p", String(port), "-t", "m/other", "--will-topic", "m/will", "--will-payload", "gone", "--will-qos", "1", "--will-retain"],
      { stdio: "ignore" },
    );
    cleanups.push(async () => {
      doomed.kill("SIGKILL");
    });
    await daemon.waitForLine(/client doomed/);
    doomed.kill("SIGKILL");
    expect((await observer.waitFor("m/will", "gone")).qos).toBe(1);
    const later = await client();
    await later.subscribe("m/will", 1);
    expect((await later.waitFor("m/will", "gone")).retain).toBe(true);
    await later.publish("m/will", "", { qos: 1, retain: true });
  });
});
