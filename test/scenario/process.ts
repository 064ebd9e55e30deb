import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

/** How a process ended. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** Below those that the system gives to outgoing connections, each of the test runner's workers has its own: a daemon that is restarted, or a remote that is away, keeps its port. */
const PORTS_FROM = 10_000;
const PORTS_OF_WORKER = 1_000;
const WORKERS = 20;
const firstPort = PORTS_FROM + (Number(process.env["VITEST_POOL_ID"] ?? 0) % WORKERS) * PORTS_OF_WORKER;
let portsGiven = Math.floor(Math.random() * PORTS_OF_WORKER);

/** Ports that were free on the loopback address a moment ago, all different; none is given again soon. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries === PORTS_OF_WORKER) throw new Error(`no free port from ${firstPort} on`);
    const port = firstPort + (portsGiven++ % PORTS_OF_WORKER);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = net.createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening"); // rejects with the error otherwise
  } catch {
    return false;
  }
  await once(server.close(), "close");
  return true;
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  if (port === undefined) throw new Error("no free port");
  return port;
}

/** Rejects with `what` when `promise` takes longer than `timeoutMs`. */
export async function within<T>(promise: Promise<T>, timeoutMs: number, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${timeoutMs} ms: ${what()}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function makeFolder(name: string): string {
  return mkdtempSync(path.join(tmpdir(), `amqtdd-${name}-`));
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/** A child process whose output is kept line by line. `lines` spans all its runs. */
export class LineProcess {
  /** Standard output and standard error, in the order they came. */
  readonly lines: string[] = [];
  #child: ChildProcess | undefined;
  #exit: Promise<Exit> | undefined;
  readonly #watchers = new Set<() => void>();

  constructor(
    readonly name: string,
    readonly command: string,
    readonly args: readonly string[],
    readonly cwd: string,
  ) {}

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  spawn(): void {
    const child = spawn(this.command, [...this.args], { cwd: this.cwd, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      // `close`, not `exit`: every line is here by then.
      child.once("close", (code, signal) => {
        if (this.#child === child) this.#child = undefined;
        resolve({ code, signal });
        this.#wake();
      });
      child.once("error", (error) => {
        this.lines.push(`${this.name}: ${error.message}`);
        if (this.#child === child) this.#child = undefined;
        resolve({ code: -1, signal: null });
        this.#wake();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream?.setEncoding("utf8").on("data", (text: string) => {
        const parts = (rest + text).split("\n");
        rest = parts.pop() ?? "";
        this.lines.push(...parts);
        this.#wake();
      });
      stream?.on("end", () => {
        if (rest !== "") this.lines.push(rest);
        this.#wake();
      });
    }
  }

  /** The `count`-th line from index `from` on that matches; rejects when the process ends before. */
  async waitForLine(pattern: RegExp, options: { from?: number; count?: number; timeoutMs?: number } = {}): Promise<string> {
    const { from = 0, count = 1, timeoutMs = 15_000 } = options;
    let watcher: (() => void) | undefined;
    const found = new Promise<string>((resolve, reject) => {
      watcher = () => {
        const line = this.lines.slice(from).filter((text) => pattern.test(text))[count - 1];
        if (line !== undefined) resolve(line);
        else if (this.#child === undefined) reject(new Error(`${this.name} ended without ${String(pattern)}\n${this.lines.join("\n")}`));
      };
      this.#watchers.add(watcher);
      watcher();
    });
    try {
      return await within(found, timeoutMs, () => `${this.name} did not print ${String(pattern)}\n${this.lines.slice(-60).join("\n")}`);
    } finally {
      if (watcher !== undefined) this.#watchers.delete(watcher);
    }
  }

  /** How the current run ended; waits for it. */
  async exited(timeoutMs = 15_000): Promise<Exit> {
    if (this.#exit === undefined) throw new Error(`${this.name} was never started`);
    return within(this.#exit, timeoutMs, () => `${this.name} did not end\n${this.lines.slice(-60).join("\n")}`);
  }

  /** Sends the signal and waits for the end. Nothing happens when the process has ended. */
  async kill(signal: NodeJS.Signals = "SIGTERM"): Promise<Exit | undefined> {
    if (this.#exit === undefined) return undefined;
    const child = this.#child;
    child?.kill(signal);
    try {
      return await this.exited();
    } catch (error) {
      child?.kill("SIGKILL");
      throw error;
    }
  }

  #wake(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}
