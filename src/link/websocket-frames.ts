import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";

/** Frame types of RFC 6455, section 5.2. */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Close codes of section 7.4.1. */
export const CLOSE = { normal: 1000, protocolError: 1002, unsupportedData: 1003, invalidText: 1007, tooLarge: 1009 } as const;

export const FINAL = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const FIRST_CONTROL = 8;
const MASK_BYTES = 4;
const MAX_HEADER_BYTES = 14;
const MAX_CONTROL_BYTES = 125;
/** Above it a frame's length is no safe integer. */
const MAX_HIGH_WORD = 0x1f_ffff;

/** A client broke RFC 6455, or sent what MQTT forbids in it. */
export class FrameError extends ProtocolViolation {
  constructor(
    readonly closeCode: number,
    message: string,
  ) {
    super(Reason.ProtocolError, `WebSocket: ${message}`);
  }
}

/** What takes the content of frames. */
export interface FrameTaker {
  /** Data of messages: the bytes up to `end`. They are valid until the call returns. */
  onData(bytes: Buffer, end: number): void;
  /** A control frame, its payload valid until the call returns. False: nothing more is wanted. */
  onControl(opcode: number, payload: Buffer): boolean;
}

/**
 * Takes a client's frames apart. Their data is unmasked where it lies and moved together, so that what one read brings is handed on in one piece.
 * Nothing is kept but the beginning of a header and a control frame's payload, whatever length is announced.
 */
export class WebSocketFrames {
  /** What has come of a header that is not whole yet. */
  private header: Buffer | undefined;
  private headerLength = 0;
  private inFrame = false;
  /** A message has begun whose last frame has not come. */
  private isFragmented = false;
  private opcode = 0;
  /** Payload of the frame that is still to come. */
  private left = 0;
  /** The frame's mask, that of the next byte lowest. */
  private mask = 0;
  private control: Buffer | undefined;
  private controlLength = 0;
  /** End of the data that has been moved together in the bytes now read. */
  private movedTo = 0;
  /** How many frames have begun in the last read. */
  begun = 0;

  constructor(private readonly taker: FrameTaker) {}

  /**
   * Reads on, up to `end`; the bytes are changed.
   * @throws FrameError when the data before the fault has been handed on.
   */
  read(bytes: Buffer, end = bytes.length): void {
    this.movedTo = 0;
    this.begun = 0;
    try {
      for (let at = 0, more = true; more && at < end; ) {
        if (!this.inFrame) at = this.readHeader(bytes, at, end);
        if (!this.inFrame) return;
        const part = Math.min(this.left, end - at);
        this.takePayload(bytes, at, part);
        at += part;
        if (this.left > 0) return;
        this.inFrame = false;
        if (this.opcode >= FIRST_CONTROL) more = this.endControl(bytes);
      }
    } finally {
      this.handOn(bytes);
    }
  }

  private handOn(bytes: Buffer): void {
    const end = this.movedTo;
    this.movedTo = 0;
    if (end > 0) this.taker.onData(bytes, end);
  }

  private endControl(bytes: Buffer): boolean {
    if (this.opcode === OPCODE.close) this.handOn(bytes); // what came before it
    return this.taker.onControl(this.opcode, (this.control ?? NOTHING).subarray(0, this.controlLength));
  }

  /** Returns the offset behind what it took. */
  private readHeader(bytes: Buffer, start: number, end: number): number {
    const available = end - start;
    if (this.headerLength === 0 && available > 1) {
      const length = this.headerLengthOf(bytes[start] ?? 0, bytes[start + 1] ?? 0);
      if (length <= available) return this.begin(bytes, start, length);
    }
    const header = (this.header ??= Buffer.allocUnsafeSlow(MAX_HEADER_BYTES));
    for (let at = start; at < end; ) {
      header[this.headerLength++] = bytes[at++] ?? 0;
      if (this.headerLength < 2 || this.headerLength < this.headerLengthOf(header[0] ?? 0, header[1] ?? 0)) continue;
      this.begin(header, 0, this.headerLength);
      this.headerLength = 0;
      return at;
    }
    return end;
  }

  private begin(header: Buffer, start: number, length: number): number {
    const first = header[start] ?? 0;
    const short = (header[start + 1] ?? 0) & 0x7f;
    this.begun += 1;
    this.opcode = first & 0x0f;
    this.left = short < 126 ? short : short === 126 ? header.readUInt16BE(start + 2) : longLength(header, start + 2);
    this.mask = header.readInt32LE(start + length - MASK_BYTES);
    this.controlLength = 0;
    if (this.opcode < FIRST_CONTROL) this.isFragmented = (first & FINAL) === 0;
    this.inFrame = true;
    return start + length;
  }

  /** Length of a header by its first two bytes, in which all that can be wrong about a frame but a length beyond any has been seen. */
  private headerLengthOf(first: number, second: number): number {
    const opcode = first & 0x0f;
    const short = second & 0x7f;
    if ((first & RESERVED) !== 0) throw new FrameError(CLOSE.protocolError, "a reserved bit is set");
    if (opcode >= FIRST_CONTROL) {
      if (opcode > OPCODE.pong) throw new FrameError(CLOSE.protocolError, `opcode ${opcode}`);
      if ((first & FINAL) === 0) throw new FrameError(CLOSE.protocolError, "a control frame in fragments");
      if (short > MAX_CONTROL_BYTES) throw new FrameError(CLOSE.protocolError, "a control frame that is too long");
    } else if (opcode === OPCODE.text && !this.isFragmented) {
      throw new FrameError(CLOSE.unsupportedData, "a text frame"); // [MQTT-6.0.0-1]
    } else if (opcode !== (this.isFragmented ? OPCODE.continuation : OPCODE.binary)) {
      throw new FrameError(CLOSE.protocolError, `opcode ${opcode} ${this.isFragmented ? "within a message" : "at the beginning of a message"}`);
    }
    if ((second & MASKED) === 0) throw new FrameError(CLOSE.protocolError, "a frame that is not masked");
    return 2 + (short < 126 ? 0 : short === 126 ? 2 : 8) + MASK_BYTES;
  }

  private takePayload(bytes: Buffer, at: number, length: number): void {
    if (this.opcode < FIRST_CONTROL) {
      this.unmask(bytes, at, length, bytes, this.movedTo);
      this.movedTo += length;
    } else {
      this.control ??= Buffer.allocUnsafeSlow(MAX_CONTROL_BYTES);
      this.unmask(bytes, at, length, this.control, this.controlLength);
      this.controlLength += length;
    }
    this.left -= length;
  }

  /** `to` is not behind `from` where both are in one buffer. */
  private unmask(bytes: Buffer, from: number, length: number, target: Buffer, to: number): void {
    let { mask } = this;
    let i = 0;
    if (target === bytes && length >= MASK_BYTES) {
      // Four bytes at a time, wherever they lie: 2.5 times as quick.
      const view = viewOf(bytes.buffer);
      const source = bytes.byteOffset + from;
      const place = bytes.byteOffset + to;
      for (const whole = length & ~3; i < whole; i += MASK_BYTES) view.setInt32(place + i, view.getInt32(source + i, true) ^ mask, true);
    }
    for (; i < length; i++) {
      target[to + i] = (bytes[from + i] ?? 0) ^ (mask & 0xff);
      mask = (mask >>> 8) | (mask << 24);
    }
    this.mask = mask;
  }
}

const NOTHING = Buffer.alloc(0);

let view: DataView = new DataView(new ArrayBuffer(0));

/** Plain sockets all read into one buffer. */
function viewOf(buffer: ArrayBufferLike): DataView {
  if (view.buffer !== buffer) view = new DataView(buffer);
  return view;
}

function longLength(header: Buffer, at: number): number {
  const high = header.readUInt32BE(at);
  if (high > MAX_HIGH_WORD) throw new FrameError(CLOSE.tooLarge, "a frame longer than 2^53 bytes");
  return high * 2 ** 32 + header.readUInt32BE(at + 4);
}

/** Length of a server's header: at most MAX_SERVER_HEADER_BYTES. */
export const serverHeaderBytes = (payloadBytes: number): number => (payloadBytes < 126 ? 2 : payloadBytes < 65_536 ? 4 : 10);

/** Writes a server's header so that it ends at `end`; returns where it begins. */
export function writeHeader(target: Buffer, end: number, opcode: number, payloadBytes: number): number {
  const length = serverHeaderBytes(payloadBytes);
  const start = end - length;
  target[start] = FINAL | opcode;
  if (length === 2) {
    target[start + 1] = payloadBytes;
  } else if (length === 4) {
    target[start + 1] = 126;
    target.writeUInt16BE(payloadBytes, start + 2);
  } else {
    target[start + 1] = 127;
    target.writeBigUInt64BE(BigInt(payloadBytes), start + 2);
  }
  return start;
}

export const MAX_SERVER_HEADER_BYTES = 10;
