import { readRemainingLength } from "../mqtt/frame.ts";
import { Reason } from "../mqtt/reason.ts";
import { malformed, ProtocolViolation } from "../mqtt/violation.ts";
import { giveBack, takeInputBuffer } from "./buffers.ts";

const MAX_HEADER_BYTES = 5;
const PUBLISH = 3;
const QOS_BITS = 6;

/** What takes packets. */
export interface FrameSink {
  /** One whole packet: `bytes` from `frameStart` to `bodyEnd`, its variable header and payload from `bodyStart` on. False: stop reading. */
  onFrame(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): boolean;
  /** The head of a PUBLISH that is too large, up to its packet identifier; its rest is passed over. Without this such a packet is a violation. */
  readonly onOversized?: ((firstByte: number, head: Buffer, bodyStart: number, packetBytes: number) => void) | undefined;
}

/**
 * Cuts a byte stream into packets. Whole packets are handed on where they lie; a packet that is not all there yet is kept in `partial`,
 * whose size grows with what has come, never with what was announced.
 */
export class FrameReader {
  private partial: Buffer | undefined;
  private partialLength = 0;
  /** The packet of this read that had begun in an earlier one. */
  private whole: Buffer | undefined;
  /** The sink wants no more for now. */
  private stopped = false;
  /** What is still to come of a packet that is passed over. */
  private skipBytes = 0;

  constructor(
    private readonly sink: FrameSink,
    /** Largest packet in all, header included. */
    public maxPacketBytes: number,
  ) {}

  /** RAM that the packet takes which is not whole yet. */
  get partialBytes(): number {
    return this.partial?.length ?? 0;
  }

  /** The sink has done with all packets of the read: until then what it has been handed may be the beginning of a burst. */
  endRead(): void {
    if (this.whole) giveBack(this.whole);
    this.whole = undefined;
  }

  /**
   * Returns how many of the bytes up to `end` were taken: all of them, unless the sink has stopped the reading.
   * @throws ProtocolViolation when a length is malformed or too large.
   */
  read(bytes: Buffer, end = bytes.length): number {
    this.stopped = false;
    let at = this.partialLength > 0 ? this.completePartial(bytes, end) : 0;
    while (at < end && !this.stopped) {
      if (this.skipBytes > 0) {
        const skipped = Math.min(this.skipBytes, end - at);
        this.skipBytes -= skipped;
        at += skipped;
        continue;
      }
      const remaining = at + 1 < end ? (bytes[at + 1] as number) : 0x80;
      const next = at + 2 + remaining;
      if (remaining < 0x80 && next <= end && next - at <= this.maxPacketBytes) {
        // Most packets: their length is one byte, and they are all there.
        this.stopped = !this.sink.onFrame(bytes[at] as number, bytes, at, at + 2, next);
        at = next;
        continue;
      }
      const total = this.frameLength(bytes, at, end);
      if (total > this.maxPacketBytes) {
        const head = this.headLength(bytes, at, end, total);
        if (head > end - at) {
          this.keep(bytes, at, end);
          return end;
        }
        this.passOver(bytes.subarray(at, at + head), total);
        at += head;
        continue;
      }
      if (total < 0 || total > end - at) {
        this.keep(bytes, at, end);
        return end;
      }
      const first = bytes[at] ?? 0;
      this.stopped = !this.sink.onFrame(first, bytes, at, at + this.headerLength(bytes, at), at + total);
      at += total;
    }
    return at;
  }

  /** Length of the whole packet at `at`, -1 while its header is incomplete. */
  private frameLength(bytes: Buffer, at: number, end: number): number {
    if (end - at < 2) return -1;
    const second = bytes[at + 1] ?? 0;
    const remaining = second < 0x80 ? second : readRemainingLength(bytes, at + 1, end);
    if (remaining < 0) return -1;
    const total = remaining + this.headerLength(bytes, at);
    const mayPassOver = this.sink.onOversized !== undefined && (bytes[at] ?? 0) >> 4 === PUBLISH;
    if (total > this.maxPacketBytes && !mayPassOver) {
      throw new ProtocolViolation(Reason.PacketTooLarge, `packet of ${total} bytes, the limit is ${this.maxPacketBytes}`);
    }
    return total;
  }

  /**
   * Length of a PUBLISH up to its packet identifier; one more than there is while that can't be told.
   * @throws ProtocolViolation when the packet ends before.
   */
  private headLength(bytes: Buffer, at: number, end: number, packetBytes: number): number {
    const topicAt = at + this.headerLength(bytes, at);
    if (topicAt + 2 > end) return end - at + 1;
    const idBytes = ((bytes[at] ?? 0) & QOS_BITS) === 0 ? 0 : 2;
    const head = topicAt - at + 2 + bytes.readUInt16BE(topicAt) + idBytes;
    if (head > packetBytes) throw malformed("PUBLISH that ends within its topic or packet identifier");
    return head;
  }

  private passOver(head: Buffer, packetBytes: number): void {
    this.skipBytes = packetBytes - head.length;
    this.sink.onOversized?.(head[0] ?? 0, head, this.headerLength(head, 0), packetBytes);
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
    const { partial } = this;
    if (partial && partial.length >= length) return;
    this.partial = takeInputBuffer(Math.max(length, Math.min((partial?.length ?? 128) * 2, this.maxPacketBytes)));
    if (partial === undefined) return;
    partial.copy(this.partial, 0, 0, this.partialLength);
    giveBack(partial);
  }

  /** Adds to the partial packet. Returns the offset in `bytes` behind it: `end` if it is still not whole. */
  private completePartial(bytes: Buffer, end: number): number {
    let at = 0;
    for (;;) {
      const partial = this.partial ?? bytes;
      const packet = this.frameLength(partial, 0, this.partialLength);
      const isOversized = packet > this.maxPacketBytes;
      const total = isOversized ? this.headLength(partial, 0, this.partialLength, packet) : packet;
      const wanted = total < 0 ? 1 : total - this.partialLength;
      const taken = Math.min(wanted, end - at);
      this.keep(bytes, at, at + taken);
      at += taken;
      if (taken < wanted) return at;
      if (total < 0 && this.frameLength(this.partial ?? bytes, 0, this.partialLength) !== this.partialLength) continue;
      const whole = this.partial ?? bytes;
      const length = this.partialLength;
      if (isOversized && this.headLength(whole, 0, length, packet) > length) continue;
      this.partial = undefined;
      this.partialLength = 0;
      if (isOversized) {
        this.passOver(whole.subarray(0, length), packet);
        return at;
      }
      this.whole = whole;
      this.stopped = !this.sink.onFrame(whole[0] ?? 0, whole, 0, this.headerLength(whole, 0), length);
      return at;
    }
  }
}
