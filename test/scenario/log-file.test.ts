import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect, it } from "vitest";
import { DaemonProcess, freePort } from "./daemon.ts";
import { makeFolder, removeFolder } from "./process.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("a log file has the last line, and the process identifier's file is gone, when the daemon has stopped", async () => {
  const folder = makeFolder("log");
  cleanups.push(() => removeFolder(folder));
  const [log, pid] = [path.join(folder, "log"), path.join(folder, "pid")];
  const daemon = new DaemonProcess(`listener ${await freePort()} 127.0.0.1\nlog_dest file ${log}\npid_file ${pid}`);
  cleanups.push(() => daemon.cleanup());
  daemon.spawn();
  await expect.poll(() => existsSync(pid), { timeout: 10_000 }).toBe(true);
  expect(await daemon.kill()).toEqual({ code: 0, signal: null });
  expect(readFileSync(log, "utf8").trim().split("\n").at(-1)).toContain("CWNAN0047I");
  expect(existsSync(pid)).toBe(false);
});
