import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { readConfig } from "../src/config/read-config.ts";
import { createDaemon, type Daemon } from "../src/daemon.ts";
import { freePorts } from "./scenario/daemon.ts";
import { makeFolder, removeFolder } from "./scenario/process.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A daemon on `ports` that has not been started, and what changes them in its configuration file. */
function daemonOn(...ports: readonly number[]): { daemon: Daemon; lines: string[]; configure(...ports: readonly number[]): void } {
  const folder = makeFolder("reload");
  const file = path.join(folder, "amqtdd.cfg");
  const configure = (...wanted: readonly number[]): void => writeFileSync(file, [`persistence_location ${folder}/`, ...wanted.map((port) => `listener ${port} localhost`), ""].join("\n"));
  configure(...ports);
  const { config } = readConfig(file);
  if (!config) throw new Error("the configuration is not usable");
  const lines: string[] = [];
  const daemon = createDaemon(config, { writeLine: (line) => lines.push(line) });
  cleanups.push(() => removeFolder(folder), () => daemon.stop());
  return { daemon, lines, configure };
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "localhost");
    socket.once("error", () => resolve(false)).once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** A reload begins with the end of its turn. */
async function begun(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
}

describe("reloads", () => {
  it("that come together open a new listener, once, and none of them fails", async () => {
    const [first = 0, second = 0] = await freePorts(2);
    const { daemon, lines, configure } = daemonOn(first);
    await daemon.start();
    configure(first, second);
    const early = daemon.reload();
    await begun();
    await Promise.all([early, daemon.reload(), daemon.reload()]);
    expect([daemon.ports, await isOpen(second)]).toEqual([[first, second], true]);
    expect(lines.filter((line) => /CWNAN00(15|16)|CWNAN0323/.test(line))).toEqual([]);
    expect(lines.filter((line) => /CWNAN0322/.test(line)).length).toBe(2); // what the second found is enough for the third
  });

  it("wait for the start", async () => {
    const ports = await freePorts(3);
    const { daemon, lines } = daemonOn(...ports);
    const started = daemon.start();
    let isStarted = false;
    void started.then(() => (isStarted = true));
    const reloads: Promise<unknown>[] = [];
    while (!isStarted) {
      reloads.push(daemon.reload().catch(() => undefined)); // before there is anything to reload
      await new Promise(setImmediate);
    }
    await started;
    await Promise.all(reloads);
    expect(daemon.ports).toEqual(ports);
    expect(lines.filter((line) => /CWNAN0015|CWNAN0323/.test(line))).toEqual([]);
  });

  it("leave no port open when the daemon is stopped meanwhile", async () => {
    const [first = 0, second = 0] = await freePorts(2);
    const { daemon, configure } = daemonOn(first);
    await daemon.start();
    configure(first, second);
    const reload = daemon.reload().catch(() => undefined);
    await begun();
    await daemon.stop();
    await reload;
    expect([await isOpen(first), await isOpen(second)]).toEqual([false, false]);
  });
});
