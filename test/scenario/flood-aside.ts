import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { buildSync } from "esbuild";
import { makeFolder, removeFolder } from "./process.ts";

/**
 * A flood from a process that gives way to all others: publishers have machines of their own, so what they compute is not to be in a latency that is
 * measured meanwhile. Rejects if the daemon has not acknowledged all.
 */
export async function floodFromAside(port: number, publishers: number, messages: number, payloadBytes: number): Promise<void> {
  const folder = makeFolder("flood");
  try {
    const script = path.join(folder, "flood.cjs");
    buildSync({ entryPoints: [path.join(import.meta.dirname, "flood-process.ts")], outfile: script, bundle: true, platform: "node", logLevel: "error" });
    const child = spawn("nice", ["-n", "19", process.execPath, script, ...[port, publishers, messages, payloadBytes].map(String)], { stdio: "inherit" });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`the process that floods ended with ${code}`);
  } finally {
    removeFolder(folder);
  }
}
