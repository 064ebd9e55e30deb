import { readRemainingLength } from "../mqtt/frame.ts";
import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";

const MAX_HEADER_BYTES = 5;

/** Takes one whole packet: `bytes` from `frameStart` to `bodyEnd`, its variable header and payload from `bodyStart` on. False: stop reading. */
export type FrameSink = (firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number) => boolean;

/**
 * Cuts a byte stream into packets. Whole packets are handed on where they lie; a packet that is not all there yet is kept in `partial`,
 * whose size grows with what has come, never with what was announced.
 */
export class FrameReader {
  private partial: Buffer | undefined;
  private partialLength = 0;

  constructor(
    private readonly sink: FrameSink,
    /** Largest packet in all, header included. */
    public maxPacketBytes: number,
  ) {}

  get hasPartial(): boolean {
    return this.partialLength > 0;
  }

  /** @throws ProtocolViolation when a length is malformed or too large. */
  read(bytes: Buffer): void {
    let at = this.partialLength > 0 ? this.completePartial(bytes) : 0;
    if (at < 0) return;
    const end = bytes.length;
    while (at < end) {
      const total = this.frameLength(bytes, at, end);
      if (total < 0 || total > end - at) {
        this.keep(bytes, at, end);
        return;
      }
      const first = bytes[at] ?? 0;
      if (!this.sink(first, bytes, at, at + this.headerLength(bytes, at), at + total)) return;
      at += total;
    }
  }

  /** Length of the whole packet at `at`, -1 while its header is incomplete. */
  private frameLength(bytes: Buffer, at: number, end: number): number {
    if (end - at < 2) return -1;
    const second = bytes[at + 1] ?? 0;
    const remaining = second < 0x80 ? second : readRemainingLength(bytes, at + 1, end);
    if (remaining < 0) return -1;
    const total = remaining + this.headerLength(bytes, at);
    if (total > this.maxPacketBytes) {
      throw new ProtocolViolation(Reason.PacketTooLarge, `packet of ${total} bytes, the limit is ${this.maxPacketBytes}`);
    }
    return total;
  }

  private headerLength(bytes: Buffer, at: number): number {
    let length = 2;
    while (length < MAX_HEADER_BYTES && (bytes[at + length - 1] ?? 0) >= 0x80) length += 1;
    return length;
  }

  private keep(bytes: Buffer, from: number, to: number): void {
    const length = to - from;
    this.ensurePartial(this.partialLength + length);
    bytes.copy(this.partial ?? bytes, this.partialLength, from, to);
    this.partialLength += length;
  }

  private ensurePartial(length: number): void {
    if (this.partial && this.partial.length >= length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(length, Math.min((this.partial?.length ?? 128) * 2, this.maxPacketBytes)));
    this.partial?.copy(grown, 0, 0, this.partialLength);
    this.partial = grown;
  }

  /** Adds to the partial packet. Returns the offset in `bytes` behind it, -1 if it is still not whole. */
  private completePartial(bytes: Buffer): number {
    let at = 0;
    for (;;) {
      const partial = this.partial ?? bytes;
      const total = this.frameLength(partial, 0, this.partialLength);
      const wanted = total < 0 ? 1 : total - this.partialLength;
      const taken = Math.min(wanted, bytes.length - at);
      this.keep(bytes, at, at + taken);
      at += taken;
      if (taken < wanted) return -1;
      if (total < 0) {
        if (this.frameLength(this.partial ?? bytes, 0, this.partialLength) !== this.partialLength) continue;
      }
      const whole = this.partial ?? bytes;
      const length = this.partialLength;
      this.partial = undefined;
      this.partialLength = 0;
      const more = this.sink(whole[0] ?? 0, whole, 0, this.headerLength(whole, 0), length);
      return more ? at : -1;
    }
  }
}
