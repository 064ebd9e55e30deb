import type { Clock } from "../clock/clock.ts";
import { encodeAck } from "../mqtt/acks.ts";
import { copyBytes } from "../mqtt/copy.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import { encodePublishHead, publishSize } from "../mqtt/publish.ts";
import { encodePublish5Head, publish5Size } from "../mqtt/publish5.ts";
import type { PublishFields, PublishFrame } from "../mqtt/publish-fields.ts";
import type { AckGate } from "./ack-gate.ts";
import { giveBack, LARGE_BYTES, takeBuffer } from "./buffers.ts";
import type { Collector } from "./read-output.ts";
import { TopicAliases } from "./topic-aliases.ts";
import type { Transport } from "./transport.ts";

/** Whose packets are written; a link. */
export interface Author {
  readonly version: ProtocolVersion;
  /** Something has been handed to the transport: whether more is read may have changed. */
  regulateReading(): void;
  /** There may be room for more. */
  onDrain(): void;
  readonly isReadingPaused: boolean;
  /** Tells the trace of a packet, which is whole in `bytes`. */
  traceSent(bytes: Buffer): void;
}

/** Writes packets into one buffer; what is written in a turn leaves in one write, what one packet alone has caused with the read of that one. */
export class PacketWriter implements Collector {
  /** When packets were begun last, which left in that turn if the peer had taken what was before. */
  lastSentMs: number;
  private transport: Transport | undefined;
  private out: Buffer | undefined;
  /** Where the packets in `out` begin, behind the transport's headroom, and where they end. */
  private outStart = 0;
  private outEnd = 0;
  /** Buffers that are with the transport. */
  private writtenBytes = 0;
  private flushScheduled = false;
  private closed = false;
  /** The largest packet that is sent; before MQTT 5 a peer can't say. */
  private maxSentBytes = Infinity;
  private aliases: TopicAliases | undefined;

  constructor(
    private readonly author: Author,
    private readonly clock: Clock,
    private readonly gate: AckGate,
  ) {
    this.lastSentMs = clock.nowMs();
  }

  open(transport: Transport): void {
    this.transport = transport;
  }

  get unsentBytes(): number {
    return this.outEnd - this.outStart + (this.transport?.unsentBytes ?? 0);
  }

  /** What the peer takes, as its CONNECT or CONNACK said: the largest packet, and the highest topic alias. */
  takeLimits(maxPacketBytes: number, topicAliasMaximum: number): void {
    this.maxSentBytes = maxPacketBytes;
    this.aliases = topicAliasMaximum > 0 ? new TopicAliases(topicAliasMaximum) : undefined;
  }

  /** Room for `length` bytes at `outEnd`. */
  private reserve(length: number): Buffer {
    const out = this.out;
    if (out && out.length - this.outEnd >= length) return out;
    if (out && out.length < LARGE_BYTES && this.outEnd + length <= LARGE_BYTES) return this.enlarge(out);
    const wasFull = out !== undefined;
    this.flush();
    const headroom = this.transport?.headroomBytes ?? 0;
    const wanted = headroom + length;
    this.out = takeBuffer(wasFull && wanted < LARGE_BYTES ? LARGE_BYTES : wanted);
    this.outStart = this.outEnd = headroom;
    if (!this.flushScheduled) {
      this.flushScheduled = true;
      const nowMs = this.clock.nowMs();
      const isBusy = nowMs === this.lastSentMs; // so that a subscriber of many publishers gets one write for what they send in a turn
      this.lastSentMs = nowMs;
      if (isBusy || !this.gate.readOutput.takes(this)) this.sendAtEndOfTurn();
    }
    return this.out;
  }

  /** What a small buffer has goes on in a large one: a write of its own would cost more than the copy. */
  private enlarge(out: Buffer): Buffer {
    const large = takeBuffer(LARGE_BYTES);
    out.copy(large, this.outStart, this.outStart, this.outEnd);
    giveBack(out);
    this.out = large;
    return large;
  }

  /** While the peer has not taken what was written before, output is collected: many small writes would each cost a whole buffer. */
  sendNow(): void {
    this.flushScheduled = false;
    if (this.writtenBytes === 0) this.flush();
  }

  sendAtEndOfTurn(): void {
    this.clock.endOfTurn(this.endOfTurn);
  }

  private readonly endOfTurn = (): void => this.sendNow();

  private onWritten(bytes: Buffer): void {
    if (!this.closed) {
      this.writtenBytes -= bytes.length;
      this.gate.totals.unsentBytes -= bytes.length;
    }
    giveBack(bytes);
    if (this.outEnd > this.outStart && !this.flushScheduled) this.flush();
  }

  /** Hands to the transport what has been written. */
  flush(): void {
    const { out, outStart, outEnd } = this;
    if (!out) return;
    this.out = undefined;
    this.outStart = this.outEnd = 0;
    if (this.closed || !this.transport || outStart === outEnd) return giveBack(out);
    this.gate.traffic.sentBytes += outEnd - outStart;
    const taken = outStart + (this.transport.writeNow?.(out, outStart, outEnd) ?? 0);
    if (taken === outEnd) {
      giveBack(out);
      // So much may have been too much. The transport's own word comes when it has taken what was before.
      if (outEnd - outStart > LARGE_BYTES) this.clock.endOfTurn(() => this.author.onDrain());
      if (!this.author.isReadingPaused) return; // less is unsent than before
    } else {
      this.writtenBytes += out.length;
      this.gate.totals.unsentBytes += out.length;
      this.transport.write(out.subarray(taken, outEnd), () => this.onWritten(out));
    }
    this.author.regulateReading();
  }

  /** Appends a PUBLISH. False if it would be larger than the peer takes. */
  publish(flags: number, message: PublishFields, topicStart: number, packetId: number, expirySeconds: number): boolean {
    if (this.author.version === 5) return this.publish5(flags, message, topicStart, packetId, expirySeconds);
    const { topic, topicEnd, payload, payloadStart, payloadEnd } = message;
    const payloadLength = payloadEnd - payloadStart;
    const size = publishSize(topicEnd - topicStart, payloadLength, (flags >> 1) & 3);
    if (size > this.maxSentBytes) return false;
    this.gate.traffic.sentMessages += 1;
    const isLarge = payloadLength >= LARGE_BYTES && this.mayWriteThrough;
    const out = this.reserve(isLarge ? size - payloadLength : size);
    const start = this.outEnd;
    this.outEnd = encodePublishHead(out, start, flags, topic, topicStart, topicEnd, packetId, payloadLength);
    if (isLarge) this.writeThrough(payload, payloadStart, payloadEnd);
    else this.outEnd = copyBytes(out, this.outEnd, payload, payloadStart, payloadEnd);
    if (this.gate.trace) this.author.traceSent(out.subarray(start, this.outEnd));
    return true;
  }

  private publish5(flags: number, message: PublishFields, topicStart: number, packetId: number, expirySeconds: number): boolean {
    const { topic, topicEnd, subscriptionIds, properties, propertiesStart, propertiesEnd, payload, payloadStart, payloadEnd } = message;
    const payloadLength = payloadEnd - payloadStart;
    const size = publish5Size(topicEnd - topicStart, payloadLength, (flags >> 1) & 3, 0, expirySeconds, subscriptionIds, propertiesEnd - propertiesStart);
    if (size > this.maxSentBytes) return false;
    this.gate.traffic.sentMessages += 1;
    // A packet that hardly fits does without one.
    const alias = this.aliases && size + MAX_ALIAS_BYTES <= this.maxSentBytes ? this.aliases.aliasOf(topic, topicStart, topicEnd) : 0;
    // With QoS 2 the name stays beside it: MQTT.js forgets what an alias stands for between PUBLISH and PUBREL.
    const nameStart = alias > 0 && this.aliases?.knows(alias, topic, topicStart, topicEnd) && (flags & QOS_2) === 0 ? topicEnd : topicStart;
    const isLarge = payloadLength >= LARGE_BYTES && this.mayWriteThrough;
    const out = this.reserve((isLarge ? size - payloadLength : size) + MAX_ALIAS_BYTES);
    const start = this.outEnd;
    this.outEnd = encodePublish5Head(
      out, start, flags, topic, nameStart, topicEnd, packetId, alias, expirySeconds, subscriptionIds, properties, propertiesStart, propertiesEnd, payloadLength,
    );
    if (isLarge) this.writeThrough(payload, payloadStart, payloadEnd);
    else this.outEnd = copyBytes(out, this.outEnd, payload, payloadStart, payloadEnd);
    if (this.gate.trace) this.author.traceSent(out.subarray(start, this.outEnd));
    return true;
  }

  /** Appends QoS 0 PUBLISH packets as another peer sent them. False if this peer needs them otherwise. */
  forward(message: PublishFrame, packets: number): boolean {
    const { frame, frameStart, frameEnd } = message;
    const length = frameEnd - frameStart;
    if ((this.author.version === 5) !== message.frameIs5 || length > this.maxSentBytes || this.aliases || message.subscriptionIds.length > 0) return false;
    if (packets > 1 && this.gate.trace) return false;
    this.gate.traffic.sentMessages += packets;
    if (length >= LARGE_BYTES && frame[frameStart] === QOS_0_PUBLISH && this.mayWriteThrough) {
      this.writeThrough(frame, frameStart, frameEnd);
      return true;
    }
    const out = this.reserve(length);
    const start = this.outEnd;
    frame.copy(out, start, frameStart, frameEnd);
    out[start] = QOS_0_PUBLISH;
    this.outEnd = start + length;
    if (this.gate.trace) this.author.traceSent(out.subarray(start, this.outEnd));
    return true;
  }

  private get mayWriteThrough(): boolean {
    return this.transport?.writeNow !== undefined && !this.transport.headroomBytes && !this.gate.trace;
  }

  /** Appends many bytes: what the system takes of them at once need not be copied. */
  private writeThrough(bytes: Buffer, start: number, end: number): void {
    this.flush();
    const taken = this.transport?.writeNow?.(bytes, start, end) ?? 0;
    this.gate.traffic.sentBytes += taken;
    this.lastSentMs = this.clock.nowMs();
    if (start + taken === end) return;
    const out = this.reserve(end - start - taken);
    this.outEnd = copyBytes(out, this.outEnd, bytes, start + taken, end);
  }

  /** Appends an acknowledgement without a reason code. */
  acknowledge(firstByte: number, packetId: number): void {
    const out = this.reserve(4);
    const start = this.outEnd;
    this.outEnd = encodeAck(out, start, firstByte, packetId);
    if (this.gate.trace) this.author.traceSent(out.subarray(start, this.outEnd));
  }

  /** Appends a packet. Its bytes are copied. */
  send(packet: Buffer): void {
    const out = this.reserve(packet.length);
    packet.copy(out, this.outEnd);
    this.outEnd += packet.length;
    if (this.gate.trace) this.author.traceSent(packet);
  }

  /** The connection has ended: what has not left is lost. */
  close(): void {
    this.closed = true;
    this.gate.totals.unsentBytes -= this.writtenBytes;
    this.writtenBytes = 0;
    if (this.out) giveBack(this.out);
    this.out = undefined;
    this.outStart = this.outEnd = 0;
  }
}

/** What an alias adds to a packet: itself, and what two lengths may grow. */
const MAX_ALIAS_BYTES = 5;
const QOS_0_PUBLISH = 0x30;
const QOS_2 = 4;
