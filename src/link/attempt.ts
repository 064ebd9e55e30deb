import type net from "node:net";
import type { Transport, TransportListener } from "./transport.ts";

/** A connection that is up; `transport` is the MQTT byte stream that is spoken on the socket itself. */
export interface Dialled {
  readonly socket: net.Socket;
  /** The TCP socket that carries it all. */
  readonly carrier: net.Socket;
  transport(listener: TransportListener): Transport;
}

/** The steps of one attempt: it ends once, whichever of them ends it. */
export class Attempt {
  private isOver = false;
  private readonly sockets: net.Socket[] = [];

  constructor(private readonly onFailed: (error: Error) => void) {}

  get hasEnded(): boolean {
    return this.isOver;
  }

  run(steps: () => Promise<void>): void {
    steps().catch((error: unknown) => this.fail(error instanceof Error ? error : new Error(String(error))));
  }

  /** A socket that goes with the attempt if it fails. */
  own<S extends net.Socket>(socket: S): S {
    if (this.isOver) socket.destroy();
    else this.sockets.push(socket);
    return socket;
  }

  succeed(task: () => void): void {
    if (this.isOver) return;
    this.isOver = true;
    task();
  }

  cancel(): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const socket of this.sockets) socket.destroy();
  }

  private fail(error: Error): void {
    if (this.isOver) return;
    this.cancel();
    this.onFailed(error);
  }
}
