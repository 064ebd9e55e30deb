import { createWriteStream } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { lineOf } from "./console.ts";

/** Where console lines go. */
type Destination = { readonly kind: "stdout" | "stderr" | "none" } | { readonly kind: "file"; readonly path: string };

/** Lines that wait for a reader, or for a disk; beyond it they are dropped and counted. */
const MAX_WAITING_BYTES = 256 * 1024;
/** The last lines have so long to leave. */
const FLUSH_MS = 500;

/** Writes lines to all destinations. A file that can't be written is said once on stderr; the daemon goes on. */
export class LineWriter {
  private readonly outlets: readonly Outlet[];

  constructor(destinations: readonly Destination[]) {
    this.outlets = destinations.flatMap((destination) => {
      if (destination.kind === "none") return [];
      if (destination.kind !== "file") return [new Outlet(neverBlocking(process[destination.kind]))];
      const file = createWriteStream(destination.path, { flags: "a", mode: 0o640 });
      file.on("error", (error) => process.stderr.write(`log_dest file ${destination.path}: ${error.message}\n`));
      return [new Outlet(file)];
    });
  }

  write(line: string): void {
    for (const outlet of this.outlets) outlet.write(line);
  }

  /** Resolves when everything has left, or has had time to. */
  async flush(): Promise<void> {
    await Promise.all(this.outlets.map((outlet) => outlet.flush()));
  }
}

/** One destination. A line never waits for its reader: what he does not take is dropped and counted. */
class Outlet {
  private dropped = 0;

  constructor(private readonly stream: NodeJS.WriteStream | ReturnType<typeof createWriteStream>) {
    stream.on("drain", () => this.tellDropped());
  }

  write(line: string): void {
    if (this.stream.writableLength > MAX_WAITING_BYTES) {
      this.dropped += 1;
      return;
    }
    this.tellDropped();
    this.stream.write(`${line}\n`);
  }

  private tellDropped(): void {
    const lines = this.dropped;
    if (lines === 0) return;
    this.dropped = 0;
    this.stream.write(`${lineOf("linesDropped", { lines }, Date.now())}\n`);
  }

  /** `drain` would not do: it comes only after more than the stream's limit had waited. */
  async flush(): Promise<void> {
    if (this.stream.writableLength === 0 || this.stream.destroyed) return;
    const isWritten = new Promise<void>((resolve) => this.stream.write("", () => resolve()));
    await Promise.race([isWritten, setTimeout(FLUSH_MS)]);
  }
}

/** Node waits for the reader of a pipe or a terminal, and the whole process with it, unless it is told not to (no public name for that). */
function neverBlocking(stream: NodeJS.WriteStream): NodeJS.WriteStream {
  const { _handle: handle } = stream as unknown as { _handle?: { setBlocking?(isBlocking: boolean): void } };
  handle?.setBlocking?.(false);
  return stream;
}
