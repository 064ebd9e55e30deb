import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const root = path.join(import.meta.dirname, "..", "..");
let folder: string;

/** Checks the example with the command in `folder`, and prints before whether V8 has taken the cache. */
function run(): { taken: boolean; status: number | null; output: string } {
  const runner = path.join(folder, "run.cjs");
  writeFileSync(runner, `console.log(String(require("./amqtdd.js").cachedDataRejected));`);
  const env = { ...process.env, NODE_PATH: path.join(root, "node_modules") };
  const { stdout, stderr, status } = spawnSync(process.execPath, [runner, "check", path.join(root, "amqtdd.cfg.example")], { encoding: "utf8", env });
  const [rejected, ...lines] = stdout.split("\n");
  return { taken: rejected === "false", status, output: lines.join("\n") + stderr };
}

beforeEach(() => {
  folder = makeFolder("dist");
  for (const name of ["amqtdd.js", "main.script", "main.cache", "package.json"]) copyFileSync(path.join(root, "dist", name), path.join(folder, name));
});

afterEach(() => removeFolder(folder));

describe("the command", () => {
  it("loads later what few need: here, what looks up names", async () => {
    const daemon = await DaemonProcess.start(`listener ${await freePort()} localhost`);
    await daemon.cleanup();
  });

  it("starts without the modules of Node that it need not have at once", async () => {
    const port = await freePort();
    const config = path.join(folder, "amqtdd.cfg");
    const runner = path.join(folder, "run.cjs");
    writeFileSync(config, `listener ${port} 127.0.0.1\nlog_type none\npersistence_location ${folder}/store/\n`);
    writeFileSync(
      runner,
      `require("./amqtdd.js");
       (function again() {
         require("node:net").connect(${port}, "127.0.0.1", () => {
           console.log(JSON.stringify(["crypto", "fs/promises", "tls", "http", "worker_threads"].filter((name) => process.moduleLoadList.includes("NativeModule " + name))));
           process.kill(process.pid, "SIGTERM");
         }).on("error", () => setImmediate(again));
       })();`,
    );
    const env = { ...process.env, NODE_PATH: path.join(root, "node_modules") };
    const start = (): string => spawnSync(process.execPath, [runner, "-c", config], { encoding: "utf8", env, timeout: 30_000 }).stdout;
    start(); // makes the store, and for that needs more
    expect(start()).toBe("[]\n");
  });

  it("runs with the code that was compiled when it was built", () => {
    expect(run()).toMatchObject({ taken: true, status: 0, output: expect.stringContaining("no problems") as string });
  });

  it.each([
    ["is cut off", () => truncateSync(path.join(folder, "main.cache"), 1000)],
    ["is of another program", () => writeFileSync(path.join(folder, "main.cache"), "not this one's")],
    ["is not there", () => removeFolder(path.join(folder, "main.cache"))],
  ])("runs as well when that %s", (_what, spoil) => {
    expect(existsSync(path.join(folder, "main.cache"))).toBe(true);
    spoil();
    expect(run()).toMatchObject({ taken: false, status: 0, output: expect.stringContaining("no problems") as string });
  });
});
