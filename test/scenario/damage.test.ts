import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connect311, type TestClient } from "./clients.ts";
import { DaemonProcess, freePort } from "./daemon.ts";
import { damages } from "./damages.ts";
import { makeFolder, removeFolder } from "./process.ts";

const MESSAGES = 3_000;
const RETAINED = 300;
const START_MS = 5_000;

/** Says of itself whether it is as it was made. Half random, so that LevelDB compresses some blocks and leaves others as they are. */
function payloadOf(number: number): string {
  const text = `${number} ${number % 2 === 0 ? "x".repeat(1_000) : createHash("sha512").update(String(number)).digest("hex").repeat(8)}`;
  return `${text} ${createHash("md5").update(text).digest("hex")}`;
}

const isIntact = (payload: string): boolean => payload === payloadOf(Number.parseInt(payload, 10));

let folder: string;
let port: number;
let template: string;

async function publishAll(client: TestClient, from: number, to: number): Promise<void> {
  for (let at = from; at < to; at += 100) {
    await Promise.all(Array.from({ length: Math.min(100, to - at) }, (_, index) => client.publish("load", payloadOf(at + index), { qos: 1 })));
  }
}

beforeAll(async () => {
  folder = makeFolder("damage");
  template = path.join(folder, "template");
  port = await freePort();
  const daemon = await DaemonProcess.start(config());
  const collector = await connect311(port, { clientId: "collector", clean: false });
  await collector.subscribe("load", 1);
  await collector.end();
  let publisher = await connect311(port, { clientId: "sensor", clean: false });
  for (let i = 0; i < RETAINED; i++) await publisher.publish(`retained/${i}`, payloadOf(i), { qos: 1, retain: true });
  await publishAll(publisher, 0, MESSAGES - 500);
  await publisher.end();
  // Once closed well, so that there are tables; then killed, so that there is a log.
  await daemon.restart("SIGTERM");
  publisher = await connect311(port, { clientId: "sensor", clean: false });
  await publishAll(publisher, MESSAGES - 500, MESSAGES);
  await publisher.end();
  // Who truncates the log later than that is told from a power cut.
  const store = path.join(daemon.storeFolder, "amqtdd-store");
  const isNoted = (): boolean => readdirSync(store).some((name) => readFileSync(path.join(store, "logged"), "latin1").trim() === `${name} ${statSync(path.join(store, name)).size}`);
  await vi.waitUntil(isNoted, { timeout: 20_000 });
  await daemon.kill("SIGKILL");
  cpSync(path.join(daemon.storeFolder, "amqtdd-store"), path.join(template, "amqtdd-store"), { recursive: true });
  await daemon.cleanup();
}, 120_000);

afterAll(() => removeFolder(folder));

const config = (): string => `listener ${port} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages 1000`;

interface Outcome {
  readonly startMs: number;
  readonly received: string[];
  readonly retained: string[];
  readonly sessionPresent: boolean;
  readonly lines: readonly string[];
  readonly isSetAside: boolean;
}

/** Starts on a copy of the store with one file damaged, and takes out of it what can be had. */
async function outcomeOf(name: string, damage: (bytes: Buffer) => Buffer): Promise<Outcome> {
  const storeFolder = path.join(folder, "store");
  cpSync(template, storeFolder, { recursive: true });
  const file = path.join(storeFolder, "amqtdd-store", name);
  writeFileSync(file, damage(readFileSync(file)));
  const daemon = new DaemonProcess(config(), { storeFolder });
  try {
    const beganMs = performance.now();
    await daemon.start();
    const startMs = performance.now() - beganMs;
    const collector = await connect311(port, { clientId: "collector", clean: false });
    const { sessionPresent } = collector;
    await collector.subscribe("load", 1);
    await collector.subscribe("retained/#", 1);
    // Behind everything that is queued.
    await collector.publish("load", "end", { qos: 1 });
    await collector.waitUntil(() => collector.messages.some(({ payload }) => payload === "end"), 20_000);
    // These come beside it. What is missing after that is lost.
    const allRetained = (): boolean => new Set(collector.messages.filter(({ topic }) => topic.startsWith("retained")).map(({ topic }) => topic)).size === RETAINED;
    await collector.waitUntil(allRetained, 2_000).catch(() => undefined);
    await collector.end();
    const of = (prefix: string): string[] => collector.messages.filter(({ topic, payload }) => topic.startsWith(prefix) && payload !== "end").map(({ payload }) => payload);
    await daemon.kill("SIGTERM");
    return { startMs, received: of("load"), retained: of("retained"), sessionPresent, lines: daemon.lines, isSetAside: readdirSync(storeFolder).some((entry) => entry.includes("corrupt")) };
  } finally {
    await daemon.cleanup();
    rmSync(storeFolder, { recursive: true, force: true });
  }
}

/** Of the one block that holds the records of all sessions. */
function flipInSession(bytes: Buffer): Buffer {
  const at = bytes.indexOf('"clientId":"collector"');
  if (at >= 0) bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

describe("a damaged file of the store", () => {
  it("that holds a session's record: the session, its subscription and all intact messages are there", { timeout: 60_000 }, async () => {
    const store = path.join(template, "amqtdd-store");
    const names = readdirSync(store).filter((name) => name.endsWith(".ldb") && readFileSync(path.join(store, name)).includes('"clientId":"collector"'));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const { sessionPresent, received, lines } = await outcomeOf(name, flipInSession);
      expect(sessionPresent).toBe(true);
      expect(new Set(received).size).toBeGreaterThan(MESSAGES - 100);
      expect(lines.some((line) => line.includes("CWNAN0302S") && line.includes("from their copy"))).toBe(true);
    }
  });

  it.each(Object.entries(damages))("%s, each in turn: the daemon starts, keeps what is intact, tells what is lost and delivers nothing that is damaged", { timeout: 300_000 }, async (kind, damage) => {
    const complaints: string[] = [];
    const figures: string[] = [];
    for (const name of readdirSync(path.join(template, "amqtdd-store")).sort()) {
      const outcome = await outcomeOf(name, damage).catch((error: unknown) => String(error));
      const complain = (text: string): number => complaints.push(`${name} ${kind}: ${text}`);
      if (typeof outcome === "string") {
        complain(outcome.slice(0, 600));
        continue;
      }
      const { startMs, received, retained, sessionPresent, lines, isSetAside } = outcome;
      const distinct = new Set(received);
      const lost = MESSAGES - distinct.size;
      figures.push(`${name} ${kind}: ${Math.round(startMs)} ms, ${lost} messages and ${RETAINED - new Set(retained).size} retained lost`);
      if (startMs > START_MS) complain(`the start took ${startMs} ms`);
      if (![...received, ...retained].every(isIntact)) complain("a damaged message was delivered");
      const told = lines.some((line) => /CWNAN(0302|0303|0308|0343)/.test(line));
      if ((lost > 0 || retained.length < RETAINED) && !told) complain(`${lost} messages, ${RETAINED - retained.length} retained lost without a word`);
      if (isSetAside) complain("the store was set aside");
      if (!sessionPresent && !told) complain("the session is gone");
      if (lost > MESSAGES / 2 && !/ldb$/.test(name)) complain(`${lost} messages lost`);
    }
    console.log(figures.join("\n"));
    expect(complaints).toEqual([]);
  });
});
