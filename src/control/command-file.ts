import { renameSync } from "node:fs";
import { readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import type { Clock, Timer } from "../clock/clock.ts";
import type { Log } from "../log/console.ts";
import type { Administration } from "./administration.ts";
import { outcomeText, runCommands, type Outcome } from "./commands.ts";

/** The name that the original reads, and those that its documents print. */
const NAMES = ["amqtdd.upd", "amqtd.d.upd", "amqtdc.upd", "broker.upd"] as const;
const [NAME] = NAMES;
const POLL_MS = 1_000;

/**
 * The update-command file: `amqtdd.upd` beside the store. It is taken when it has not changed for a second, so that a writer can finish;
 * its commands run in order, what they did is in `amqtdd.upd.result`, and it is gone.
 */
export class CommandFile {
  private timer: Timer | undefined;
  private readonly seen = new Map<string, string>();
  private stopped = false;

  constructor(
    /** What stands before the file's name: `persistence_location`. */
    private readonly prefix: string,
    private readonly administration: Administration,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** Says what a daemon that ended in the middle has left, and keeps it under another name. */
  reportInterrupted(): void {
    for (const name of NAMES) {
      const running = `${this.prefix}${name}.running`;
      const kept = `${this.prefix}${name}.interrupted`;
      try {
        renameSync(running, kept);
      } catch {
        continue; // there is none
      }
      this.log.write("commandFileFailed", { file: this.prefix + name, reason: `the daemon ended while it worked on it; it is kept as ${kept}` });
    }
  }

  start(): void {
    this.timer = this.clock.after(POLL_MS, () => {
      this.poll()
        .catch((error: unknown) => this.log.write("commandFileFailed", { file: this.prefix + NAME, reason: String(error) }))
        .finally(() => {
          if (!this.stopped) this.start();
        });
    });
  }

  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
  }

  private async poll(): Promise<void> {
    for (const name of NAMES) {
      const file = this.prefix + name;
      const found = await stat(file).catch(() => undefined);
      if (!found?.isFile()) {
        this.seen.delete(name);
        continue;
      }
      const mark = `${found.size} ${found.mtimeMs} ${found.ino}`;
      if (this.seen.get(name) !== mark) {
        this.seen.set(name, mark);
        continue;
      }
      this.seen.delete(name);
      await this.run(file, name);
    }
  }

  private async run(file: string, name: string): Promise<void> {
    const { log } = this;
    const running = `${file}.running`;
    await rename(file, running);
    log.write("commandFile", { file });
    if (name !== NAME) log.write("commandFileName", { file, name: NAME });
    const outcomes: Outcome[] = [];
    // A slow writer still writes to the file that we have renamed.
    for (let done = ""; ; ) {
      const text = await readFile(running, "utf8");
      if (text.length <= done.length) break;
      outcomes.push(...(await runCommands(text.slice(done.length), this.administration, done.split("\n").length)));
      done = text;
    }
    for (const { line, command, ok, text } of outcomes) if (!ok) log.write("commandFailed", { place: `${file}:${line}`, command, reason: text });
    const result = `${this.prefix}${NAME}.result`;
    await rm(`${result}.tmp`, { force: true }); // not through a link that somebody has put there
    await writeFile(`${result}.tmp`, outcomeText(outcomes), { flag: "wx" });
    await rename(`${result}.tmp`, result);
    await rm(running, { force: true });
  }
}
