import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { onTestFinished } from "vitest";
import { LineProcess, makeFolder, removeFolder, type Exit } from "./process.ts";

export { freePort, freePorts } from "./process.ts";

const program = path.join(import.meta.dirname, "..", "..", "dist", "amqtdd.js");

/** The real daemon, from dist/, with a configuration file and a store of its own in a temporary folder. */
export class DaemonProcess {
  readonly folder: string;
  readonly configFile: string;
  readonly storeFolder: string;
  readonly #process: LineProcess;
  readonly #listeners: number;

  /** `config` is the file's text, without the store's place, which is put in front of it unless `storeFolder` is "as configured". */
  constructor(config: string, options: { storeFolder?: string } = {}) {
    if (!existsSync(program)) throw new Error(`${program} is missing: npm run build`);
    this.folder = makeFolder("daemon");
    this.configFile = path.join(this.folder, "amqtdd.cfg");
    this.storeFolder = options.storeFolder ?? path.join(this.folder, "store");
    if (options.storeFolder === undefined) mkdirSync(this.storeFolder);
    // One line more than `config`: line n of the text is line n + 1 of the file.
    writeFileSync(this.configFile, `persistence_location ${this.storeFolder}/\n${config.trim()}\n`);
    this.#listeners = Math.max(1, (config.match(/^\s*(listener|port)\s/gim) ?? []).length);
    this.#process = new LineProcess("amqtdd", process.execPath, [program, "-c", this.configFile], this.folder);
  }

  /** One that listens until the test that calls this is over. */
  static async startForTest(config: string): Promise<DaemonProcess> {
    const daemon = await DaemonProcess.start(config);
    onTestFinished(() => daemon.cleanup());
    return daemon;
  }

  /** Puts `to` where `from` stands in the configuration file and waits until the daemon has taken it up, or has given the `answer` that is expected. */
  async reload(from: string, to: string, answer = /CWNAN0322I/): Promise<void> {
    writeFileSync(this.configFile, readFileSync(this.configFile, "utf8").replace(from, to));
    const seen = this.lines.length;
    process.kill(this.pid, "SIGHUP");
    await this.waitForLine(answer, { from: seen });
  }

  /** A daemon that listens. */
  static async start(config: string, options: { storeFolder?: string } = {}): Promise<DaemonProcess> {
    const daemon = new DaemonProcess(config, options);
    try {
      await daemon.start();
    } catch (error) {
      await daemon.cleanup();
      throw error;
    }
    return daemon;
  }

  get lines(): readonly string[] {
    return this.#process.lines;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Starts the process without waiting for its listeners. */
  spawn(): void {
    this.#process.spawn();
  }

  /** Starts the process and waits until every listener of the configuration listens. */
  async start(): Promise<void> {
    const from = this.lines.length;
    this.spawn();
    await this.waitForLine(/CWNAN0014I/, { from, count: this.#listeners });
  }

  waitForLine(pattern: RegExp, options: { from?: number; count?: number; timeoutMs?: number } = {}): Promise<string> {
    return this.#process.waitForLine(pattern, options);
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit | undefined> {
    return this.#process.kill(signal);
  }

  exited(timeoutMs?: number): Promise<Exit> {
    return this.#process.exited(timeoutMs);
  }

  /** Ends it with the signal and starts it again: same configuration, same store. */
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
