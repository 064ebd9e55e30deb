import { writeSync } from "node:fs";
import net from "node:net";
import { TcpTransport } from "./tcp.ts";
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
  const onread: net.OnReadOpts = {
    buffer: READ_BUFFER,
    callback: (length) => {
      listener.onBytes(length === READ_BUFFER.length ? READ_BUFFER : READ_BUFFER.subarray(0, length));
      return true;
    },
  };
  const plain = new net.Socket({ handle, onread, allowHalfOpen: true } as net.SocketConstructorOpts);
  for (const gone of socket.rawListeners("close")) plain.on("close", gone as () => void); // they wait for the connection's end
  socket.removeAllListeners("close");
  socket.destroy(); // its server would count it for ever
  return new PlainTransport(plain, listener);
}

/** A plain TCP socket: what it sends goes to the system without a detour while that takes it. */
class PlainTransport extends TcpTransport {
  private directBytes = 0;

  override get progressMark(): number {
    return super.progressMark + this.directBytes;
  }

  /** What is read comes through the buffer. */
  protected override listen(): void {}

  /** A failure is left to the stream, which meets it again. */
  writeNow(bytes: Buffer, length: number): number {
    if (this.isOver || this.socket.writableLength > 0) return 0;
    // The handle is asked each time: the number of a descriptor that has been closed may be another file's by now.
    const fd = (this.socket as unknown as Carried)._handle?.fd ?? -1;
    if (fd < 0) return 0;
    try {
      const written = writeSync(fd, bytes, 0, length);
      this.directBytes += written;
      return written;
    } catch {
      return 0;
    }
  }
}
