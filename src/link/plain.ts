import { writeSync } from "node:fs";
import net from "node:net";
import { addressOf, TcpTransport } from "./tcp.ts";
import { explained } from "./tls-reason.ts";
import type { Transport, TransportListener } from "./transport.ts";

/**
 * Plain sockets all read into this buffer: Node would allocate and give back 64 KiB for each read. What lies in it is handed on before the next
 * read, and whoever keeps bytes of it copies them.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

/** What carries a socket; it has no public name. */
interface Handle {
  readonly fd: number;
}

interface Carried {
  _handle?: Handle | null;
}

/** The transport of a TCP socket that is connected and has nothing on it but MQTT. */
export function plainTransport(socket: net.Socket, listener: TransportListener): Transport {
  const carried: Carried = socket as unknown as Carried;
  const handle = carried._handle;
  // Only a new socket can have a buffer of ours, and only if nothing that the old one has read would stay behind.
  if (!handle || socket.readableFlowing !== null || socket.readableLength > 0) return new TcpTransport(socket, listener);
  carried._handle = null;
  const plain = new PlainSocket(handle, listener);
  // They wait for the connection's end. As they were given: a wrapper of `once` would keep the old socket.
  for (const gone of socket.listeners("close")) plain.on("close", gone as () => void);
  socket.removeAllListeners("close");
  const transport = new PlainTransport(plain, listener, addressOf(socket), handle.fd);
  socket.destroy(); // its server would count it for ever
  return transport;
}

/** A socket that reads into the buffer. It knows whom to tell, so that all sockets share their handlers: of closures each would need five. */
class PlainSocket extends net.Socket {
  failure: Error | undefined;

  constructor(
    handle: Handle,
    readonly listener: TransportListener,
  ) {
    const onread: net.OnReadOpts = {
      buffer: READ_BUFFER,
      callback: (length) => {
        listener.onBytes(READ_BUFFER, length);
        return true;
      },
    };
    super({ handle, onread, allowHalfOpen: true } as net.SocketConstructorOpts);
  }
}

function onDrain(this: PlainSocket): void {
  this.listener.onDrain();
}

function onError(this: PlainSocket, error: Error): void {
  this.failure = explained(error);
}

function onEnd(this: PlainSocket): void {
  this.end();
}

function onClose(this: PlainSocket): void {
  this.listener.onClose(this.failure);
}

/** A plain TCP socket: what it sends goes to the system without a detour while that takes it. */
class PlainTransport extends TcpTransport {
  private directBytes = 0;
  /** Something is left to the stream: that is rare, and else it need not be asked. */
  private isStreaming = false;
  /** The other side takes nothing more. What it had sent before is still to be read: a stream that met the failure would throw it away. */
  private isDeaf = false;

  constructor(
    protected override readonly socket: PlainSocket,
    listener: TransportListener,
    remoteAddress: string,
    /** The socket's descriptor; when the socket has been destroyed its number may be another file's. */
    private readonly fd: number,
  ) {
    super(socket, listener, remoteAddress);
  }

  override get unsentBytes(): number {
    return this.isStreaming ? super.unsentBytes : 0;
  }

  override write(bytes: Buffer, done: () => void): void {
    if (this.isDeaf) return done();
    this.isStreaming = true;
    super.write(bytes, () => {
      this.isStreaming = super.unsentBytes > 0;
      done();
    });
  }

  override get progressMark(): number {
    return super.progressMark + this.directBytes;
  }

  /** What is read comes through the buffer. */
  protected override listen(): void {
    this.socket.on("drain", onDrain).on("error", onError).on("end", onEnd).on("close", onClose);
  }

  /** A failure other than that the other side has gone is left to the stream, which meets it again. */
  writeNow(bytes: Buffer, start: number, end: number): number {
    if (this.isDeaf) return end - start;
    if (this.isOver || this.socket.writableLength > 0 || this.fd < 0) return 0;
    try {
      const written = writeSync(this.fd, bytes, start, end - start);
      this.directBytes += written;
      return written;
    } catch (error) {
      if (!hasGone(error)) return 0;
      this.isDeaf = true;
      this.socket.failure = explained(error as Error);
      return end - start;
    }
  }
}

const hasGone = (error: unknown): boolean => error instanceof Error && "code" in error && (error.code === "EPIPE" || error.code === "ECONNRESET");
