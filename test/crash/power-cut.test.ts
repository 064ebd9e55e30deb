import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { IClientOptions } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311, type TestClient } from "../scenario/clients.ts";
import { DaemonProcess, freePort } from "../scenario/daemon.ts";
import { LineProcess, makeFolder, removeFolder } from "../scenario/process.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const rounds = process.env["AMQTDD_LONG"] === "1" ? 50 : 4;
const STATES_A_ROUND = 4;
/** In this state of each round sectors are missing, in the others the end. */
const HOLES = 1;
const SECTOR_BYTES = 4096;

/** MQTT 3.1.1, 5 and 3.1, with a session that is kept where the client asks for one. */
const VERSIONS: readonly IClientOptions[] = [
  { protocolVersion: 4 }, { protocolVersion: 5, properties: { sessionExpiryInterval: 0xffff_ffff } }, { protocolVersion: 3, protocolId: "MQIsdp" },
];

/*
 * A power cut leaves of each file what an fsync has covered and any part of what was written behind it: less of it, or sectors of it, with zeroes between. Names are taken for committed (the store
 * fsyncs its directory; a deleted file that comes back is one that LevelDB's manifest does not name any more).
 */

/** Why system calls can't be recorded here; undefined if they can. */
function noTrace(): string | undefined {
  const { status, error, stderr } = spawnSync("strace", ["-f", "-y", "-e", "trace=fsync", "true"], { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

/**
 * How much of each file that was written an fsync has covered, from strace's record. LevelDB's files only grow. What is written while a sync is under way does
 * not count as covered by it.
 */
function syncedLengths(trace: string): Map<string, number> {
  const written = new Map<string, number>();
  const synced = new Map<string, number>();
  const underWay = new Map<string, { file: string; length: number }>();
  const writing = new Map<string, string>();
  const grow = (file: string, bytes: number): void => {
    written.set(file, (written.get(file) ?? 0) + bytes);
    if (!synced.has(file)) synced.set(file, 0);
  };
  for (const line of trace.split("\n")) {
    const [, thread = "", call = ""] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
    const file = /^(?:write|fsync|fdatasync)\(\d+<([^>]+)>/.exec(call)?.[1];
    const result = Number(/= (\d+)$/.exec(call)?.[1] ?? Number.NaN);
    const isWrite = call.startsWith("write(");
    if (file !== undefined && call.includes("<unfinished")) {
      if (isWrite) writing.set(thread, file);
      else underWay.set(thread, { file, length: written.get(file) ?? 0 });
    } else if (file !== undefined && isWrite) {
      if (result > 0) grow(file, result);
    } else if (file !== undefined) {
      if (result === 0) synced.set(file, written.get(file) ?? 0);
    } else if (call.startsWith("<... write resumed")) {
      if (result > 0) grow(writing.get(thread) ?? "", result);
    } else if (/^<\.\.\. f(data)?sync resumed/.test(call)) {
      const ended = underWay.get(thread);
      if (ended && result === 0) synced.set(ended.file, ended.length);
    }
  }
  return synced;
}

/** Zeroes half of the sectors behind what an fsync has covered; returns how many bytes. */
function punchHoles(file: string, from: number, to: number): number {
  const bytes = readFileSync(file);
  let zeroed = 0;
  for (let at = from; at < to; ) {
    const next = Math.min(to, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    if (Math.random() < 0.5) {
      bytes.fill(0, at, next);
      zeroed += next - at;
    }
    at = next;
  }
  if (zeroed > 0) writeFileSync(file, bytes);
  return zeroed;
}

const problem = noTrace();

describe.skipIf(problem !== undefined)(problem === undefined ? "a power cut" : `skipped: strace can't record system calls here (${problem})`, () => {
  let folder: string;
  let port: number;
  let traceFile: string;
  let location: string;
  let traced: LineProcess;

  beforeAll(async () => {
    folder = makeFolder("power");
    port = await freePort();
    traceFile = path.join(folder, "trace");
    location = path.join(folder, "store");
    mkdirSync(location);
    const configFile = path.join(folder, "amqtdd.cfg");
    writeFileSync(configFile, `persistence_location ${location}/\n${config()}\n`);
    traced = new LineProcess("traced", "strace", [
      "-f", "-y", "-s", "0", "--seccomp-bpf", "-e", "trace=write,fsync,fdatasync", "-o", traceFile, process.execPath, program, "-c", configFile,
    ], folder);
  });

  afterAll(async () => {
    await traced.kill("SIGKILL");
    removeFolder(folder);
  });

  const config = (): string => `listener ${port} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages 100`;

  /** Kills the daemon, not strace, which would let it go on. */
  function cut(): void {
    const children = existsSync(`/proc/${traced.pid}`) ? readFileSync(`/proc/${traced.pid}/task/${traced.pid}/children`, "utf8").trim() : "";
    for (const pid of children.split(" ").filter((text) => text !== "")) process.kill(Number(pid), "SIGKILL");
  }

  async function publishUntilCut(client: TestClient, name: string, qos: 1 | 2, acknowledged: Set<string>): Promise<void> {
    const lane = async (start: number): Promise<void> => {
      for (let number = start; ; number += 10) {
        const payload = `${name} ${number} ${"x".repeat((number * 37) % 2_000)}`;
        await client.publish("load", payload, { qos });
        acknowledged.add(payload);
      }
    };
    await Promise.allSettled(Array.from({ length: 10 }, (_, start) => lane(start)));
  }

  it(`loses nothing that was acknowledged, in ${rounds} rounds of ${STATES_A_ROUND} states that it may leave`, { timeout: 1_200_000 }, async () => {
    let cuts = 0;
    let bytesCut = 0;
    const acknowledged = new Set<string>();
    for (let round = 0; round < rounds; round++) {
      const from = traced.lines.length;
      traced.spawn();
      await traced.waitForLine(/CWNAN0014I/, { from });
      if (round === 0) {
        const collector = await connect311(port, { clientId: "collector", clean: false });
        await collector.subscribe("load", 2);
        await collector.end();
      }
      const clients = await Promise.all([1, 2].map((qos) => connect311(port, { clientId: `sensor${qos}`, clean: true, ...VERSIONS[(round + qos) % 3] })));
      const publishing = clients.map((client, at) => publishUntilCut(client, `${round}/${at}`, at === 0 ? 1 : 2, acknowledged));
      await new Promise((resolve) => setTimeout(resolve, 200 + Math.random() * 1_000));
      cut();
      await traced.exited();
      for (const client of clients) await client.client.endAsync(true);
      await Promise.all(publishing);

      const synced = syncedLengths(readFileSync(traceFile, "utf8"));
      for (let state = 0; state < STATES_A_ROUND; state++) {
        const copy = path.join(folder, "copy");
        mkdirSync(copy);
        cpSync(path.join(location, "amqtdd-store"), path.join(copy, "amqtdd-store"), { recursive: true });
        for (const name of readdirSync(path.join(copy, "amqtdd-store"))) {
          if (!/^(MANIFEST-\d+|\d+\.(log|ldb))$/.test(name)) continue;
          const file = path.join(copy, "amqtdd-store", name);
          const { size } = statSync(file);
          // What was not written in this run stays as it is.
          const least = synced.get(path.join(location, "amqtdd-store", name)) ?? size;
          if (state === HOLES) {
            bytesCut += punchHoles(file, least, size);
            continue;
          }
          const kept = state === 0 ? least : least + Math.floor(Math.random() * (size - least + 1));
          bytesCut += size - kept;
          truncateSync(file, kept);
        }
        const daemon = await DaemonProcess.start(config(), { storeFolder: copy });
        try {
          // Of 3.1.1 or 5: CONNACK of 3.1 does not tell of the session.
          const collector = await connect311(port, { clientId: "collector", clean: false, ...VERSIONS[(round + state) % 2] });
          expect(collector.sessionPresent).toBe(true);
          // Behind all others, those of QoS 2 too: the client hands them on when they are released.
          await collector.publish("load", "end", { qos: 2 });
          await collector.waitUntil(() => collector.messages.some(({ payload }) => payload === "end"), 60_000);
          const received = new Set(collector.messages.map(({ payload }) => payload));
          expect([...acknowledged].filter((payload) => !received.has(payload)).map((payload) => payload.slice(0, 30)), `round ${round}, state ${state}`).toEqual([]);
          await collector.client.endAsync(true);
          // Holes are damage to LevelDB; what was acknowledged is not in them.
          if (state !== HOLES) expect(daemon.lines.filter((line) => /CWNAN\d{4}[SF]|CWNAN0302/.test(line))).toEqual([]);
          expect(daemon.lines.filter((line) => /CWNAN(0303|0308)/.test(line))).toEqual([]);
          cuts++;
        } finally {
          await daemon.cleanup();
          rmSync(copy, { recursive: true, force: true });
        }
      }
    }
    console.log(`${acknowledged.size} messages acknowledged, ${cuts} states rebuilt, ${bytesCut} bytes cut off`);
    expect(acknowledged.size).toBeGreaterThan(100);
  });
});
