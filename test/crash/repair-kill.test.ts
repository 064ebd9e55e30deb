import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect311 } from "../scenario/clients.ts";
import { DaemonProcess, freePort } from "../scenario/daemon.ts";
import { LineProcess, makeFolder, removeFolder } from "../scenario/process.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");
const IN_TABLES = 1_000;
const IN_LOG = 200;
/** A block of LevelDB's log. */
const BLOCK_BYTES = 32 * 1024;
/** A kill at each of these system calls, one after the other: what is written counts when it is synced or has its name. */
const STEPS = ["rename", "link", "unlink", "fsync", "fdatasync"];

/** Why no process can be killed at a system call here; undefined if one can. */
function noInjection(): string | undefined {
  const { status, error, stderr } = spawnSync("strace", ["-f", "-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL:when=1", "true"], { encoding: "utf8" });
  return status === 0 ? undefined : (error?.message ?? stderr.trim());
}

const problem = noInjection();

const flip = (file: string, at: number): void => {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
  writeFileSync(file, bytes);
};

/** By name: what happens to the store's files while the daemon is not running. */
const damages: Readonly<Record<string, (file: { table: string; log: string }) => void>> = {
  "the first block of the log": ({ log }) => flip(log, 100),
  "a page in a table and the first block of the log": ({ table, log }) => {
    flip(table, Math.floor(statSync(table).size / 2));
    flip(log, 100);
  },
};

describe.skipIf(problem !== undefined)(problem === undefined ? "a kill while a damaged store is opened" : `skipped: strace can't kill at a system call here (${problem})`, () => {
  let folder: string;
  let port: number;
  let template: string;

  const config = (): string => `listener ${port} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages 1000`;

  beforeAll(async () => {
    folder = makeFolder("repair-kill");
    template = path.join(folder, "template");
    port = await freePort();
    const daemon = await DaemonProcess.start(config());
    const collector = await connect311(port, { clientId: "collector", clean: false });
    await collector.subscribe("load", 1);
    await collector.end();
    const publish = async (from: number, to: number, atATime: number): Promise<void> => {
      const publisher = await connect311(port, { clientId: "sensor", clean: true });
      for (let number = from; number < to; number += atATime) {
        await Promise.all(Array.from({ length: atATime }, (_, index) => publisher.publish("load", `${number + index} ${randomBytes(500).toString("base64")}`, { qos: 1 })));
      }
      await publisher.end();
    };
    await publish(0, IN_TABLES, 50);
    await daemon.restart("SIGTERM"); // what was in the log is in a table now
    await publish(IN_TABLES, IN_TABLES + IN_LOG, 1);
    await daemon.kill("SIGKILL");
    cpSync(path.join(daemon.storeFolder, "amqtdd-store"), path.join(template, "amqtdd-store"), { recursive: true });
    await daemon.cleanup();
  }, 120_000);

  afterAll(() => removeFolder(folder));

  /** A copy of the store, damaged. */
  function damagedCopy(damage: (file: { table: string; log: string }) => void): string {
    const storeFolder = path.join(folder, "store");
    rmSync(storeFolder, { recursive: true, force: true });
    cpSync(template, storeFolder, { recursive: true });
    const names = readdirSync(path.join(storeFolder, "amqtdd-store"));
    const file = (end: string): string => path.join(storeFolder, "amqtdd-store", names.filter((name) => name.endsWith(end)).sort().at(-1) ?? expect.fail(`no ${end}`));
    const [table, log] = [file(".ldb"), file(".log")];
    expect(statSync(log).size).toBeGreaterThan(3 * BLOCK_BYTES);
    damage({ table, log });
    return storeFolder;
  }

  /** Starts the daemon and kills it at the `number`-th of such a system call by one of its threads; false if it has started before. */
  async function killAt(step: string, number: number, storeFolder: string): Promise<boolean> {
    const configFile = path.join(folder, "amqtdd.cfg");
    writeFileSync(configFile, `persistence_location ${storeFolder}/\n${config()}\n`);
    const daemon = new LineProcess("killed", "strace", [
      "-f", "-E", "UV_THREADPOOL_SIZE=1", "-o", path.join(folder, "trace"), "-e", `trace=${step}`, "-e", `inject=${step}:signal=SIGKILL:when=${number}`, process.execPath, program, "-c", configFile,
    ], folder);
    daemon.spawn();
    const hasStarted = await daemon.waitForLine(/CWNAN0014I/).then(() => true, () => false);
    if (hasStarted) for (const pid of readFileSync(`/proc/${daemon.pid}/task/${daemon.pid}/children`, "utf8").trim().split(" ")) process.kill(Number(pid), "SIGTERM");
    await daemon.exited();
    return !hasStarted;
  }

  /** The numbers of the messages that are delivered. */
  async function delivered(storeFolder: string): Promise<Set<number>> {
    const daemon = await DaemonProcess.start(config(), { storeFolder });
    try {
      const collector = await connect311(port, { clientId: "collector", clean: false });
      await collector.subscribe("load", 1);
      await collector.publish("load", "end", { qos: 1 });
      await collector.waitUntil(() => collector.messages.some(({ payload }) => payload === "end"), 20_000);
      await collector.client.endAsync(true);
      return new Set(collector.messages.filter(({ payload }) => payload !== "end").map(({ payload }) => Number.parseInt(payload, 10)));
    } finally {
      await daemon.cleanup();
    }
  }

  it.each(Object.entries(damages))("loses no more than the damage of %s has, whenever it comes", { timeout: 600_000 }, async (_, damage) => {
    const intact = [...(await delivered(damagedCopy(damage)))];
    expect(intact.length).toBeGreaterThan(IN_TABLES + IN_LOG / 2); // what lies behind the end of records, too
    expect(intact.length).toBeLessThan(IN_TABLES + IN_LOG);
    const complaints: string[] = [];
    let kills = 0;
    for (const step of STEPS) {
      for (let number = 1; ; number++) {
        const storeFolder = damagedCopy(damage);
        if (!(await killAt(step, number, storeFolder))) break;
        kills++;
        const found = await delivered(storeFolder);
        const lost = intact.filter((message) => !found.has(message));
        if (lost.length > 0) complaints.push(`${step} ${number}: ${lost.length} of ${intact.length} lost, ${lost[0]} to ${lost.at(-1)}`);
      }
    }
    console.log(`${kills} kills, ${intact.length} messages`);
    expect(complaints).toEqual([]);
    expect(kills).toBeGreaterThan(8);
  });
});
