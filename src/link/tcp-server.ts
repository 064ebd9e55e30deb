import net from "node:net";
import type { Door } from "./door.ts";
import { plainTransport } from "./plain.ts";
import type { Accepted, Secure } from "./secure.ts";

/** A port that accepts TCP connections, or a Unix socket. */
export class TcpServer {
  private readonly server: net.Server;

  constructor(
    private readonly accept: (accepted: Accepted) => void,
    private readonly door: Door,
    /** Without it the sockets are spoken on as they are. */
    private readonly secure?: Secure,
  ) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => this.onSocket(socket));
  }

  private onSocket(socket: net.Socket): void {
    if (!this.door.enter(socket)) return;
    if (this.secure) this.secure.begin(socket, this.accept);
    else this.accept({ socket, user: undefined, transport: (listener) => plainTransport(socket, listener) });
  }

  /** Resolves when the port is open; rejects with the system's error. */
  listen(options: { port: number; host?: string } | { path: string }): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen({ ...options, backlog: 511 }, () => {
        this.server.removeListener("error", reject);
        this.server.on("error", () => undefined); // an accept that fails (EMFILE) costs that connection only
        resolve();
      });
    });
  }

  get port(): number {
    const address = this.server.address();
    return address !== null && typeof address === "object" ? address.port : 0;
  }

  close(): void {
    this.server.close();
  }
}
