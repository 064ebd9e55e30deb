import type net from "node:net";
import type { TLSSocket } from "node:tls";
import { handleOf, TcpTransport } from "./tcp.ts";
import { isTlsError, TlsFailure, tlsReason } from "./tls-reason.ts";
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

  protected override explain(error: Error): Error {
    return isTlsError(error) ? new TlsFailure(tlsReason(error)) : error;
  }

  /** What the system has taken of the encrypted bytes. */
  override get progressMark(): number {
    const { bytesWritten = 0, writeQueueSize = 0 } = handleOf(this.carrier) ?? {};
    return bytesWritten - writeQueueSize;
  }

  /** The bytes are ours again when the callback comes, never before: `writableLength` says nothing about what TLS still holds. */
  override write(bytes: Buffer, done: () => void): void {
    if (this.isOver) return done();
    this.socket.write(bytes, () => done());
  }
}
