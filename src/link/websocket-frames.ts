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

/**
 * Takes a client's frames apart. Their data is unmasked where it lies and moved together, so that what one read brings is handed on in one piece.
 * Nothing is kept but the beginning of a header and a control frame's payload, whatever length is announced.
 */
export class WebSocketFrames {
  private readonly header = Buffer.allocUnsafeSlow(MAX_HEADER_BYTES);
  /** What has come of a header that is not whole yet. */
  private headerLength = 0;
  private inFrame = false;
  /** A message has begun whose last frame has not come. */
  private isFragmented = false;
  private opcode = 0;
  /** Payload of the frame that is still to come. */
  private left = 0;
  private readonly mask = Buffer.allocUnsafeSlow(MASK_BYTES);
  private maskAt = 0;
  private readonly control = Buffer.allocUnsafeSlow(MAX_CONTROL_BYTES);
  private controlLength = 0;
  /** End of the data that has been moved together in the bytes now read. */
  private movedTo = 0;

  constructor(
    private readonly onData: (bytes: Buffer) => void,
    /** The payload is valid until the call returns. False: nothing more is wanted. */
    private readonly onControl: (opcode: number, payload: Buffer) => boolean,
  ) {}

  /**
   * Reads on; the bytes are changed.
   * @throws FrameError when the data before the fault has been handed on.
   */
  read(bytes: Buffer): void {
    this.movedTo = 0;
    try {
      for (let at = 0, more = true; more && at < bytes.length; ) {
        if (!this.inFrame) at = this.readHeader(bytes, at);
        if (!this.inFrame) return;
        const part = Math.min(this.left, bytes.length - at);
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
    const length = this.movedTo;
    this.movedTo = 0;
    if (length > 0) this.onData(bytes.subarray(0, length));
  }

  private endControl(bytes: Buffer): boolean {
    if (this.opcode === OPCODE.close) this.handOn(bytes); // what came before it
    return this.onControl(this.opcode, this.control.subarray(0, this.controlLength));
  }

  /** Returns the offset behind what it took. */
  private readHeader(bytes: Buffer, start: number): number {
    const available = bytes.length - start;
    if (this.headerLength === 0 && available > 1) {
      const length = this.headerLengthOf(bytes[start] ?? 0, bytes[start + 1] ?? 0);
      if (length <= available) return this.begin(bytes, start, length);
    }
    for (let at = start; at < bytes.length; ) {
      this.header[this.headerLength++] = bytes[at++] ?? 0;
      if (this.headerLength < 2 || this.headerLength < this.headerLengthOf(this.header[0] ?? 0, this.header[1] ?? 0)) continue;
      this.begin(this.header, 0, this.headerLength);
      this.headerLength = 0;
      return at;
    }
    return bytes.length;
  }

  private begin(header: Buffer, start: number, length: number): number {
    const first = header[start] ?? 0;
    const short = (header[start + 1] ?? 0) & 0x7f;
    this.opcode = first & 0x0f;
    this.left = short < 126 ? short : short === 126 ? header.readUInt16BE(start + 2) : longLength(header, start + 2);
    header.copy(this.mask, 0, start + length - MASK_BYTES, start + length);
    this.maskAt = 0;
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
      this.unmask(bytes, at, length, this.control, this.controlLength);
      this.controlLength += length;
    }
    this.left -= length;
  }

  /** `to` is not behind `from` where both are in one buffer. */
  private unmask(bytes: Buffer, from: number, length: number, target: Buffer, to: number): void {
    const { mask, maskAt } = this;
    const [m0 = 0, m1 = 0, m2 = 0, m3 = 0] = [mask[maskAt], mask[(maskAt + 1) & 3], mask[(maskAt + 2) & 3], mask[(maskAt + 3) & 3]];
    const whole = length & ~3;
    let i = 0;
    for (; i < whole; i += 4) {
      target[to + i] = (bytes[from + i] ?? 0) ^ m0;
      target[to + i + 1] = (bytes[from + i + 1] ?? 0) ^ m1;
      target[to + i + 2] = (bytes[from + i + 2] ?? 0) ^ m2;
      target[to + i + 3] = (bytes[from + i + 3] ?? 0) ^ m3;
    }
    for (; i < length; i++) target[to + i] = (bytes[from + i] ?? 0) ^ (mask[(maskAt + i) & 3] ?? 0);
    this.maskAt = (maskAt + length) & 3;
  }
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
