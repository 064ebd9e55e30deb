import { once } from "node:events";
import { chmodSync } from "node:fs";
import net from "node:net";
import type { Administration } from "./administration.ts";
import { outcomeText, runCommands } from "./commands.ts";
import { freeSocketPath } from "./socket-path.ts";

const MAX_TEXT_BYTES = 1024 * 1024;
const IDLE_MS = 10_000;

/** Where a daemon listens for `amqtdd ctl`, given its `persistence_location`. */
export const controlSocketPath = (prefix: string): string => `${prefix}amqtdd.ctl`;

/** Takes commands from `amqtdd ctl`: a text, the end of the client's side, and the outcomes in return. Only the daemon's own user may. */
export class ControlSocket {
  private readonly server: net.Server;

  constructor(
    private readonly path: string,
    private readonly administration: Administration,
  ) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => this.serve(socket));
  }

  /** Rejects with the system's error. */
  async open(): Promise<void> {
    await freeSocketPath(this.path);
    this.server.listen(this.path);
    await once(this.server, "listening");
    chmodSync(this.path, 0o600);
  }

  /** Removes the socket too. */
  close(): void {
    this.server.close();
  }

  private serve(socket: net.Socket): void {
    const parts: Buffer[] = [];
    let bytes = 0;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on("error", () => undefined);
    socket.on("data", (part) => {
      parts.push(part);
      bytes += part.length;
      if (bytes > MAX_TEXT_BYTES) socket.destroy();
    });
    socket.on("end", () => {
      runCommands(Buffer.concat(parts).toString(), this.administration).then(
        (outcomes) => socket.end(outcomeText(outcomes)),
        (error: unknown) => socket.end(`0: ERROR: ${String(error)}\n`),
      );
    });
  }
}
