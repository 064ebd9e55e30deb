import { lookup, type LookupAddress, type LookupOptions } from "node:dns";
import net from "node:net";
import type { Transport, TransportListener } from "./transport.ts";

/** How long a socket that we ended may take to close before it is destroyed. */
const LINGER_MS = 5_000;
/** After so much silence the system asks whether the other side is still there: for clients without keep alive. */
const PROBE_AFTER_MS = 60_000;

/** A TCP socket as a transport. */
export class TcpTransport implements Transport {
  readonly remoteAddress: string;

  constructor(
    private readonly socket: net.Socket,
    listener: TransportListener,
  ) {
    this.remoteAddress = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    let failure: Error | undefined;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    socket.on("data", (bytes: Buffer) => listener.onBytes(bytes));
    socket.on("drain", () => listener.onDrain());
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("end", () => socket.end());
    socket.on("close", () => listener.onClose(failure));
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  write(bytes: Buffer, done: () => void): void {
    if (this.socket.destroyed || this.socket.writableEnded) return done();
    let called = false;
    const once = (): void => {
      if (called) return;
      called = true;
      done();
    };
    this.socket.write(bytes, once);
    if (this.socket.writableLength === 0) once(); // the system has taken all of it
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.socket.end();
    const timer = setTimeout(() => this.socket.destroy(), LINGER_MS);
    timer.unref();
    this.socket.once("close", () => clearTimeout(timer));
    this.socket.resume();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** A port that accepts TCP connections. */
export class TcpServer {
  private readonly server: net.Server;

  constructor(private readonly accept: (open: (listener: TransportListener) => Transport) => void) {
    this.server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.accept((listener) => new TcpTransport(socket, listener));
    });
  }

  /** Resolves when the port is open; rejects with the system's error. */
  listen(options: { port: number; host?: string }): Promise<void> {
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

type LookupCallback = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void;

let lookups: Promise<void> = Promise.resolve();

/** A look-up occupies one of the few threads that the store needs too, for seconds if no name server answers: one at a time. */
function lookUpInTurn(host: string, options: LookupOptions, callback: LookupCallback): void {
  const turn = (): Promise<void> =>
    new Promise((done) => {
      lookup(host, options, (error, address, family) => {
        done();
        callback(error, address, family);
      });
    });
  lookups = lookups.then(turn);
}

/** Dials; the transport is handed to the listener's link when TCP is up. */
export function dialTcp(
  address: { host: string; port: number },
  onConnected: (open: (listener: TransportListener) => Transport) => void,
  onFailed: (error: Error) => void,
): { cancel(): void } {
  const socket = net.connect({ host: address.host, port: address.port, allowHalfOpen: true, lookup: lookUpInTurn });
  socket.once("error", onFailed);
  socket.once("connect", () => {
    socket.removeListener("error", onFailed);
    onConnected((listener) => new TcpTransport(socket, listener));
  });
  return { cancel: () => socket.destroy() };
}
