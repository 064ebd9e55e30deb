import type net from "node:net";
import { linger } from "./lingering.ts";
import { explained } from "./tls-reason.ts";
import type { Transport, TransportListener } from "./transport.ts";

/** After so much silence the system asks whether the other side is still there: for clients without keep alive. */
export const PROBE_AFTER_MS = 60_000;

/** A TCP socket as a transport. */
export class TcpTransport implements Transport {
  constructor(
    protected readonly socket: net.Socket,
    listener: TransportListener,
    readonly remoteAddress = addressOf(socket),
  ) {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    this.listen(listener);
  }

  protected listen(listener: TransportListener): void {
    const { socket } = this;
    let failure: Error | undefined;
    socket.on("data", (bytes: Buffer) => listener.onBytes(bytes));
    socket.on("drain", () => listener.onDrain());
    socket.on("error", (error) => {
      failure = explained(error);
    });
    socket.on("end", () => socket.end());
    socket.on("close", () => listener.onClose(failure));
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  get progressMark(): number {
    return takenBytes(this.socket);
  }

  write(bytes: Buffer, done: () => void): void {
    if (this.isOver) return done();
    let called = false;
    const once = (): void => {
      if (called) return;
      called = true;
      done();
    };
    this.socket.write(bytes, once);
    if (this.socket.writableLength === 0) once(); // the system has taken all of it
  }

  protected get isOver(): boolean {
    return this.socket.destroyed || this.socket.writableEnded;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    linger(this.socket);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** For the log: address and port of a socket's other side. */
export const addressOf = ({ remoteAddress, remotePort }: net.Socket): string => `${remoteAddress ?? "?"}:${remotePort ?? 0}`;

/** How many bytes the system has taken. What libuv has not handed to it yet falls with each part; `writableLength`, where its name is not there, with whole writes. */
export function takenBytes(socket: net.Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { bytesWritten?: number; writeQueueSize?: number } | null };
  return (handle?.bytesWritten ?? socket.bytesWritten) - (handle?.writeQueueSize ?? socket.writableLength);
}
