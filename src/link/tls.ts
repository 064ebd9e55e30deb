import type net from "node:net";
import type { TLSSocket } from "node:tls";
import { takenBytes, TcpTransport } from "./tcp.ts";
import type { TransportListener } from "./transport.ts";

/** A TLS socket as a transport. */
export class TlsTransport extends TcpTransport {
  constructor(
    socket: TLSSocket,
    /** What carries its bytes. */
    private readonly carrier: net.Socket,
    listener: TransportListener,
  ) {
    super(socket, listener);
  }

  override get progressMark(): number {
    return takenBytes(this.carrier);
  }

  /** The bytes are ours again when the callback comes, never before: `writableLength` says nothing about what TLS still holds. */
  override write(bytes: Buffer, done: () => void): void {
    if (this.isOver) return done();
    this.socket.write(bytes, () => done());
  }
}
