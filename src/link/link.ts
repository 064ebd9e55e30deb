import type { Clock } from "../clock/clock.ts";
import { encodeAck } from "../mqtt/acks.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import { encodePublish, publishSize } from "../mqtt/publish.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { AckGate } from "./ack-gate.ts";
import { giveBack, takeBuffer } from "./buffers.ts";
import { FrameReader } from "./frames.ts";
import type { Transport, TransportListener } from "./transport.ts";

/** What takes a link's packets: first the handshake, then the session's side. */
export interface PacketHandler {
  /** @throws ProtocolViolation, which closes the link. */
  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void;
  /** The other side has taken what was pending. */
  onDrain(): void;
  onClosed(reason: CloseReason): void;
}

export interface CloseReason {
  readonly kind: "peer" | "violation" | "local" | "error";
  readonly text: string;
}

export interface LinkLimits {
  readonly maxPacketSizeBytes: number;
  /** More than this waiting to be read by the peer: QoS 0 is dropped, queues wait, and nothing is read from the peer. */
  readonly maxUnsentBytes: number;
  /** More than this taken from the peer and not yet on disk: nothing is read from it until it is. */
  readonly maxUncommittedBytes: number;
}

/** One MQTT byte stream, dialled or accepted. What is written in a turn leaves in one write; acknowledgements wait here for their group. */
export class Link implements TransportListener {
  version: ProtocolVersion = 4;
  handler: PacketHandler;
  lastReceivedMs: number;
  lastSentMs: number;
  private transport: Transport | undefined;
  private readonly reader: FrameReader;
  private out: Buffer | undefined;
  private outLength = 0;
  private flushScheduled = false;
  private closed = false;
  private readingPaused = false;
  /** FIFO of held packets: groups[i] must be stored before packets[i] leaves; a number is a four-byte packet (byte 0 and packet id). */
  private groups: number[] = [];
  private packets: (number | Buffer)[] = [];
  private sizes: number[] = [];
  private firstHeld = 0;
  private heldBytes = 0;
  private releaseTask: (() => void) | undefined;

  constructor(
    handler: PacketHandler,
    private readonly limits: LinkLimits,
    private readonly clock: Clock,
    private readonly gate: AckGate,
  ) {
    this.handler = handler;
    this.lastReceivedMs = this.lastSentMs = clock.nowMs();
    this.reader = new FrameReader((first, bytes, start, bodyStart, bodyEnd) => {
      this.handler.onPacket(first, bytes, start, bodyStart, bodyEnd);
      return !this.closed;
    }, limits.maxPacketSizeBytes);
  }

  /** The transport is ready; bytes may come from now on. */
  open(transport: Transport): void {
    this.transport = transport;
  }

  get remoteAddress(): string {
    return this.transport?.remoteAddress ?? "?";
  }

  get isClosed(): boolean {
    return this.closed;
  }

  get congested(): boolean {
    return this.closed || this.outLength + (this.transport?.unsentBytes ?? 0) > this.limits.maxUnsentBytes;
  }

  set maxPacketBytes(bytes: number) {
    this.reader.maxPacketBytes = bytes;
  }

  onBytes(bytes: Buffer): void {
    if (this.closed) return;
    this.lastReceivedMs = this.clock.nowMs();
    try {
      this.reader.read(bytes);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error;
      this.close({ kind: "violation", text: error.message });
    }
    this.regulateReading();
  }

  onDrain(): void {
    this.regulateReading();
    if (!this.closed && !this.congested) this.handler.onDrain();
  }

  onClose(error: Error | undefined): void {
    this.finish(error ? { kind: "error", text: error.message } : { kind: "peer", text: "closed by the other side" });
  }

  private regulateReading(): void {
    const held = this.heldBytes > this.limits.maxUncommittedBytes || (this.heldBytes > 0 && this.gate.isFull);
    const pause = held || this.congested;
    if (pause === this.readingPaused || this.closed) return;
    this.readingPaused = pause;
    if (pause) this.transport?.pause();
    else this.transport?.resume();
  }

  /** Room for `length` bytes at `outLength`. */
  private reserve(length: number): Buffer {
    const out = this.out;
    if (out && out.length - this.outLength >= length) return out;
    const wasFull = out !== undefined;
    this.flush();
    this.out = takeBuffer(wasFull && length < LARGE_AFTER_FULL ? LARGE_AFTER_FULL : length);
    if (!this.flushScheduled) {
      this.flushScheduled = true;
      this.clock.endOfTurn(this.endOfTurn);
    }
    return this.out;
  }

  private readonly endOfTurn = (): void => {
    this.flushScheduled = false;
    this.flush();
  };

  private flush(): void {
    const out = this.out;
    if (!out) return;
    const length = this.outLength;
    this.out = undefined;
    this.outLength = 0;
    if (this.closed || !this.transport || length === 0) return giveBack(out);
    this.lastSentMs = this.clock.nowMs();
    this.transport.write(out.subarray(0, length), () => giveBack(out));
    this.regulateReading();
  }

  publish(
    flags: number, topic: Buffer, topicStart: number, topicEnd: number, packetId: number,
    payload: Buffer, payloadStart: number, payloadEnd: number,
  ): void {
    if (this.closed) return;
    const size = publishSize(topicEnd - topicStart, payloadEnd - payloadStart, (flags >> 1) & 3);
    const out = this.reserve(size);
    this.outLength = encodePublish(out, this.outLength, flags, topic, topicStart, topicEnd, packetId, payload, payloadStart, payloadEnd);
  }

  forward(frame: Buffer, frameStart: number, frameEnd: number): void {
    if (this.closed) return;
    const out = this.reserve(frameEnd - frameStart);
    frame.copy(out, this.outLength, frameStart, frameEnd);
    out[this.outLength] = QOS_0_PUBLISH;
    this.outLength += frameEnd - frameStart;
  }

  /** Appends a packet that waits for nothing. Bytes are copied. */
  send(packet: Buffer): void {
    if (this.closed) return;
    const out = this.reserve(packet.length);
    packet.copy(out, this.outLength);
    this.outLength += packet.length;
  }

  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number): void {
    if (this.closed) return;
    if (after <= this.gate.stored && this.firstHeld === this.groups.length) this.writeAck(firstByte, packetId);
    else this.hold(firstByte * 0x10000 + packetId, after, heldBytes);
  }

  /** Appends a packet when group `after` is stored, behind the acknowledgements that are held already. */
  sendAfter(packet: Buffer, after: number): void {
    if (this.closed) return;
    if (after <= this.gate.stored && this.firstHeld === this.groups.length) this.send(packet);
    else this.hold(packet, after, packet.length);
  }

  /** Calls `task` when everything that is held now has left: at once if nothing is. */
  whenReleased(task: () => void): void {
    if (this.firstHeld === this.groups.length) task();
    else this.releaseTask = task;
  }

  private hold(packet: number | Buffer, after: number, size: number): void {
    if (this.firstHeld === this.groups.length) this.gate.hold(this);
    this.groups.push(after);
    this.packets.push(packet);
    this.sizes.push(size);
    this.heldBytes += size;
    this.gate.heldBytes += size;
  }

  private writeAck(firstByte: number, packetId: number): void {
    const out = this.reserve(4);
    this.outLength = encodeAck(out, this.outLength, firstByte, packetId);
  }

  /** Group `upTo` is stored: sends what waited for it. Returns true when nothing is held any more. */
  releaseHeld(upTo: number): boolean {
    let index = this.firstHeld;
    const heldBefore = this.heldBytes;
    for (; index < this.groups.length && (this.groups[index] ?? 0) <= upTo; index++) {
      const packet = this.packets[index] ?? 0;
      this.heldBytes -= this.sizes[index] ?? 0;
      if (typeof packet === "number") this.writeAck(Math.floor(packet / 0x10000), packet & 0xffff);
      else this.send(packet);
    }
    this.gate.heldBytes -= heldBefore - this.heldBytes;
    this.firstHeld = index;
    const empty = index === this.groups.length;
    if (empty || index > 4096) {
      this.groups.splice(0, index);
      this.packets.splice(0, index);
      this.sizes.splice(0, index);
      this.firstHeld = 0;
    }
    this.regulateReading();
    const task = this.releaseTask;
    if (!task || !empty) return empty;
    this.releaseTask = undefined;
    task();
    return this.firstHeld === this.groups.length;
  }

  /** Sends what is pending and ends. The handler hears `reason`. */
  close(reason: CloseReason): void {
    if (this.closed) return;
    this.flush();
    this.transport?.end();
    this.finish(reason);
  }

  private finish(reason: CloseReason): void {
    if (this.closed) return;
    this.closed = true;
    this.gate.forget(this);
    this.gate.heldBytes -= this.heldBytes;
    this.groups = [];
    this.packets = [];
    this.sizes = [];
    this.firstHeld = this.heldBytes = 0;
    if (this.out) giveBack(this.out);
    this.out = undefined;
    this.outLength = 0;
    this.handler.onClosed(reason);
  }
}

const QOS_0_PUBLISH = 0x30;
const LARGE_AFTER_FULL = 64 * 1024;
