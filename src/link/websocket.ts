import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import { LINGER_MS, PROBE_AFTER_MS, unsentMark } from "./tcp.ts";
import type { Transport, TransportListener } from "./transport.ts";

const NORMAL = 1000;
const UNSUPPORTED_DATA = 1003;
/** What keeping a part of a message costs beside its bytes. */
const PART_BYTES = 256;

/** A WebSocket as a transport, accepted or dialled: its messages are pieces of one byte stream, wherever packets begin in them [MQTT-6.0.0-2]. */
export class WebSocketTransport implements Transport {
  readonly remoteAddress: string;
  /** RAM for a message that is not whole yet. */
  private pendingBytes = 0;
  /** What the messages took that the bytes now read have completed. */
  private completedBytes = 0;

  constructor(
    private readonly webSocket: WebSocket,
    /** What carries the WebSocket. */
    private readonly socket: Socket,
    listener: TransportListener,
  ) {
    this.remoteAddress = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    let failure: Error | undefined;
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    webSocket.on("message", (bytes: Buffer, isBinary: boolean) => {
      this.completedBytes += frameBytes(bytes.length);
      if (isBinary) return listener.onBytes(bytes);
      // [MQTT-6.0.0-1]
      failure = new ProtocolViolation(Reason.ProtocolError, "a WebSocket text frame");
      this.close(UNSUPPORTED_DATA);
      listener.onClose(failure);
    });
    const onControl = (bytes: Buffer): void => {
      this.completedBytes += frameBytes(bytes.length);
    };
    webSocket.on("ping", onControl);
    webSocket.on("pong", onControl);
    webSocket.on("error", (error: Error & { code?: string }) => {
      failure = error.code?.startsWith("WS_ERR_") ? new ProtocolViolation(Reason.ProtocolError, error.message) : error;
      this.endSoon();
    });
    webSocket.on("close", () => listener.onClose(failure));
    // Behind the library's own listener: what these bytes have completed has been handed on.
    socket.on("data", (bytes: Buffer) => {
      this.countPending(bytes.length);
      listener.onPending?.(this.pendingBytes);
    });
    socket.on("drain", () => listener.onDrain());
  }

  /** The library keeps a message until it is whole and does not say how much it keeps. */
  private countPending(readBytes: number): void {
    const cost = readBytes + PART_BYTES;
    const left = this.pendingBytes + cost - this.completedBytes;
    // What is left when a message has become whole began in these bytes.
    this.pendingBytes = this.completedBytes === 0 ? left : Math.max(0, Math.min(left, cost) - PART_BYTES);
    this.completedBytes = 0;
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  get progressMark(): number {
    return unsentMark(this.socket);
  }

  write(bytes: Buffer, done: () => void): void {
    if (this.webSocket.readyState !== this.webSocket.OPEN) return done();
    let called = false;
    const once = (): void => {
      if (called) return;
      called = true;
      done();
    };
    this.webSocket.send(bytes, once);
    if (this.socket.writableLength === 0) once(); // the system has taken all of it
  }

  pause(): void {
    this.webSocket.pause();
  }

  resume(): void {
    this.webSocket.resume();
  }

  end(): void {
    this.close(NORMAL);
  }

  private close(code: number): void {
    this.webSocket.resume(); // the other side's close frame is still to be read
    this.webSocket.close(code);
    this.endSoon();
  }

  /** The other side may never answer our close frame. */
  private endSoon(): void {
    const timer = setTimeout(() => this.destroy(), LINGER_MS);
    timer.unref();
    this.socket.once("close", () => clearTimeout(timer));
  }

  destroy(): void {
    this.webSocket.terminate();
  }
}

/** A masked frame with its header; more than it was if the peer's header is longer than it must be. */
function frameBytes(payloadBytes: number): number {
  return payloadBytes + (payloadBytes < 126 ? 6 : payloadBytes < 65_536 ? 8 : 14);
}
