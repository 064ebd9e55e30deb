import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { freePort, LineProcess, makeFolder, removeFolder, type Exit } from "./process.ts";

function findProgram(name: string): string | undefined {
  return [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/bin"].map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

/** False where mosquitto or its clients are not installed: tests then skip with `mosquittoMissing` as the reason. */
export function mosquittoAvailable(): boolean {
  const program = findProgram("mosquitto");
  return program !== undefined && findProgram("mosquitto_pub") !== undefined && spawnSync(program, ["-h"]).error === undefined;
}

export const mosquittoMissing = "skipped: mosquitto or mosquitto-clients is not installed";

/** A real mosquitto on a free loopback port, restartable on the same port and database. */
export class MosquittoProcess {
  readonly folder: string;
  readonly #process: LineProcess;

  private constructor(
    readonly port: number,
    options: { persistence: boolean; extra: string },
  ) {
    this.folder = makeFolder("mosquitto");
    const database = path.join(this.folder, "db");
    mkdirSync(database);
    const configFile = path.join(this.folder, "mosquitto.conf");
    const config = [
      `listener ${port} 127.0.0.1`,
      "allow_anonymous true",
      "log_dest stderr",
      "log_type all",
      "max_queued_messages 0",
      // Without it a mosquitto started by root would lose the right to its own folder.
      ...(process.getuid?.() === 0 ? ["user root"] : []),
      `persistence ${String(options.persistence)}`,
      ...(options.persistence ? [`persistence_location ${database}/`] : []),
      options.extra,
    ];
    writeFileSync(configFile, `${config.join("\n")}\n`);
    this.#process = new LineProcess("mosquitto", findProgram("mosquitto") ?? "mosquitto", ["-c", configFile], this.folder);
  }

  static async start(options: { port?: number; persistence?: boolean; extra?: string } = {}): Promise<MosquittoProcess> {
    const { port = await freePort(), persistence = false, extra = "" } = options;
    const mosquitto = new MosquittoProcess(port, { persistence, extra });
    try {
      await mosquitto.start();
    } catch (error) {
      await mosquitto.cleanup();
      throw error;
    }
    return mosquitto;
  }

  get lines(): readonly string[] {
    return this.#process.lines;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async start(): Promise<void> {
    const from = this.lines.length;
    this.#process.spawn();
    await this.waitForLine(/mosquitto version .* running/, { from });
  }

  waitForLine(pattern: RegExp, options: { from?: number; count?: number; timeoutMs?: number } = {}): Promise<string> {
    return this.#process.waitForLine(pattern, options);
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit | undefined> {
    return this.#process.kill(signal);
  }

  async restart(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.kill(signal);
    await this.start();
  }

  async cleanup(): Promise<void> {
    try {
      await this.kill("SIGKILL");
    } finally {
      removeFolder(this.folder);
    }
  }
}
