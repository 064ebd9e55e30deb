import { isUtf8 } from "node:buffer";
import { giveBack, takeBuffer } from "./buffers.ts";
import { lingering, LINGER_MS } from "./lingering.ts";
import type { Transport, TransportListener } from "./transport.ts";
import { CLOSE, FrameError, type FrameTaker, MAX_SERVER_HEADER_BYTES, OPCODE, WebSocketFrames, writeHeader } from "./websocket-frames.ts";

/** A pong is left out while more than this waits: the newest ping is the one to answer (RFC 6455, section 5.5.3). */
const MAX_UNSENT_BEFORE_PONG = 64 * 1024;

/** Where so many frames of a read have hardly more than their headers the link does not see what they cost: the others have theirs before there is another read. */
const MANY_FRAMES = 512;
const SMALL_FRAME_BYTES = 16;

/** Up to so many bytes a payload is copied behind its header: two writes would cost the system more. */
const MAX_COPIED_BYTES = 32 * 1024;

/** The server's side of a WebSocket as a transport, on another one: the data of its messages is one byte stream, wherever packets begin in it [MQTT-6.0.0-2]. */
export class WebSocketTransport implements Transport, TransportListener, FrameTaker {
  readonly headroomBytes = MAX_SERVER_HEADER_BYTES;
  private readonly frames: WebSocketFrames;
  private carrier!: Transport; // set before a byte can come
  /** Our close frame has been sent. */
  private isClosing = false;
  private isOver = false;
  private closeTimer: NodeJS.Timeout | undefined;
  /** Payload of the newest ping that has not been answered. */
  private ping: Buffer | undefined;
  private isPaused = false;
  private isResting = false;

  constructor(private readonly listener: TransportListener) {
    this.frames = new WebSocketFrames(this);
  }

  /** The opening handshake is over; what comes on the carrier now is frames. */
  open(carrier: Transport): void {
    this.carrier = carrier;
  }

  get remoteAddress(): string {
    return this.carrier.remoteAddress;
  }

  get unsentBytes(): number {
    return this.carrier.unsentBytes;
  }

  get progressMark(): number {
    return this.carrier.progressMark;
  }

  onBytes(bytes: Buffer, end = bytes.length): void {
    if (this.isOver) return;
    try {
      this.frames.read(bytes, end);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.sendClose(codeBytes(error.closeCode));
      this.finish(error);
    }
    if (this.ping) this.sendPong(this.ping);
    if (this.frames.begun >= MANY_FRAMES && end < this.frames.begun * SMALL_FRAME_BYTES) this.rest();
  }

  private rest(): void {
    if (this.isResting || this.isOver) return;
    this.isResting = true;
    this.carrier.pause();
    setImmediate(() => {
      this.isResting = false;
      if (!this.isPaused) this.carrier.resume();
    });
  }

  onData(bytes: Buffer, end: number): void {
    if (!this.isClosing) this.listener.onBytes(bytes, end);
  }

  onControl(opcode: number, payload: Buffer): boolean {
    if (opcode === OPCODE.ping) this.ping = Buffer.from(payload);
    if (opcode !== OPCODE.close) return true;
    checkClose(payload);
    this.sendClose(payload.subarray(0, 2));
    this.finish(undefined);
    return false;
  }

  private sendPong(payload: Buffer): void {
    this.ping = undefined;
    if (!this.isClosing && this.carrier.unsentBytes <= MAX_UNSENT_BEFORE_PONG) this.writeFrame(OPCODE.pong, payload, ignore);
  }

  onDrain(): void {
    this.listener.onDrain();
  }

  onClose(error: Error | undefined): void {
    this.isOver = true;
    this.endLingering();
    this.listener.onClose(error);
  }

  private endLingering(): void {
    clearTimeout(this.closeTimer);
    lingering.delete(this);
  }

  /** All of it or nothing: a frame that has been begun is ours to end. */
  writeNow(bytes: Buffer, start: number, end: number): number {
    const { carrier } = this;
    if (this.isClosing || !carrier.writeNow) return 0;
    const frameStart = writeHeader(bytes, start, OPCODE.binary, end - start);
    const taken = carrier.writeNow(bytes, frameStart, end);
    if (taken === 0) return 0;
    if (taken < end - frameStart) carrier.write(Buffer.from(bytes.subarray(frameStart + taken, end)), ignore);
    return end - start;
  }

  write(bytes: Buffer, done: () => void): void {
    if (this.isClosing) return done();
    this.writeFrame(OPCODE.binary, bytes, done);
  }

  private writeFrame(opcode: number, payload: Buffer, done: () => void): void {
    const isCopied = payload.length <= MAX_COPIED_BYTES;
    const length = MAX_SERVER_HEADER_BYTES + (isCopied ? payload.length : 0);
    const frame = takeBuffer(length);
    const start = writeHeader(frame, MAX_SERVER_HEADER_BYTES, opcode, payload.length);
    if (isCopied) payload.copy(frame, MAX_SERVER_HEADER_BYTES);
    this.carrier.write(frame.subarray(start, length), () => {
      giveBack(frame);
      if (isCopied) done();
    });
    if (!isCopied) this.carrier.write(payload, done);
  }

  pause(): void {
    if (this.isClosing) return;
    this.isPaused = true;
    this.carrier.pause();
  }

  resume(): void {
    this.isPaused = false;
    if (!this.isResting) this.carrier.resume();
  }

  /** Our close frame, and then the other side's, for which it has some time. */
  end(): void {
    if (this.isClosing) return;
    this.sendClose(codeBytes(CLOSE.normal));
    this.resume();
    lingering.add(this, () => this.carrier.destroy());
    this.closeTimer = setTimeout(() => this.finish(undefined), LINGER_MS).unref();
  }

  destroy(): void {
    this.isClosing = this.isOver = true;
    this.carrier.destroy();
  }

  private sendClose(payload: Buffer): void {
    if (this.isClosing) return;
    this.isClosing = true;
    this.writeFrame(OPCODE.close, payload, ignore);
  }

  private finish(error: Error | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    this.endLingering();
    this.carrier.end();
    this.listener.onClose(error);
  }
}

const ignore = (): void => undefined;

const codeBytes = (code: number): Buffer => Buffer.from([code >> 8, code & 0xff]);

/** @throws FrameError for what may not stand in a close frame (section 7.4). */
function checkClose(payload: Buffer): void {
  if (payload.length === 0) return;
  if (payload.length === 1) throw new FrameError(CLOSE.protocolError, "a close frame of one byte");
  const code = payload.readUInt16BE(0);
  const isDefined = (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);
  if (!isDefined) throw new FrameError(CLOSE.protocolError, `close code ${code}`);
  if (!isUtf8(payload.subarray(2))) throw new FrameError(CLOSE.invalidText, "a reason for closing that is not UTF-8");
}
