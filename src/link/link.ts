import type { Clock } from "../clock/clock.ts";
import { encodeAck, encodeReasonAck, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import { checkShortestHeader } from "../mqtt/frame.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import { encodePublish, publishSize } from "../mqtt/publish.ts";
import { encodePublish5, publish5Size } from "../mqtt/publish5.ts";
import type { PublishFields, PublishFrame } from "../mqtt/publish-fields.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { AckGate } from "./ack-gate.ts";
import { giveBack, takeBuffer } from "./buffers.ts";
import { FrameReader } from "./frames.ts";
import { TopicAliases } from "./topic-aliases.ts";
import { TlsFailure } from "./tls-reason.ts";
import { clientIdOf, describePacket, describeWhole } from "./trace.ts";
import type { Transport, TransportListener } from "./transport.ts";

/** What takes a link's packets: first the handshake, then the session's side. */
export interface PacketHandler {
  /** @throws ProtocolViolation, which closes the link. */
  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void;
  /** A PUBLISH that is larger than is taken: its head, up to its packet identifier. Without this it is a violation. */
  onOversized?(firstByte: number, head: Buffer, bodyStart: number, packetBytes: number): void;
  /** What was read is over, and its bytes with it. */
  onReadEnd?(): void;
  /** Whether a connection may begin so, asked with its first byte; if not, it has been closed. */
  mayBegin?(firstByte: number): boolean;
  /** The other side has taken what was pending. */
  onDrain(): void;
  /** The link is about to end while something may still be sent: for a last word. */
  onClosing?(reason: CloseReason): void;
  onClosed(reason: CloseReason): void;
}

/** `internal`: our own fault, an exception. `insecure`: TLS has failed. */
export interface CloseReason {
  readonly kind: "peer" | "violation" | "local" | "error" | "insecure" | "internal";
  readonly text: string;
  /** What MQTT 5 has for it; absent if there is nothing to say to the peer. */
  readonly code?: ReasonCode;
}

export interface LinkLimits {
  readonly maxPacketSizeBytes: number;
  /** More than this waiting to be read by the peer: QoS 0 is dropped, queues wait, and nothing is read from the peer. */
  readonly maxUnsentBytes: number;
  /** More than this taken from the peer and not yet on disk: nothing is read from it until it is. */
  readonly maxUncommittedBytes: number;
}

let linksMade = 0;

/** One MQTT byte stream, dialled or accepted. What is written in a turn leaves in one write; acknowledgements wait here for their group. */
export class Link implements TransportListener {
  version: ProtocolVersion = 4;
  /** Counts links from 1: where the original shows its socket's number. */
  private readonly number = ++linksMade;
  /** For traces: the client identifier, or the connection's. */
  peerName = "";
  handler: PacketHandler;
  lastReceivedMs: number;
  lastSentMs: number;
  /** PUBLISH packets of QoS 1 and 2 that the peer has sent and that are not answered for good; counted by who takes them. */
  unacknowledged = 0;
  /** While the peer is not logged in its unfinished packets have a small share of memory. */
  isHandshake = true;
  /** When a whole packet had come last, or a good part of a large one. */
  private lastHeardMs: number;
  private packetsRead = 0;
  private trickledBytes = 0;
  private unfinishedBytes = 0;
  private progressMark = 0;
  private transport: Transport | undefined;
  private readonly reader: FrameReader;
  private out: Buffer | undefined;
  private outLength = 0;
  /** Buffers that are with the transport. */
  private writtenBytes = 0;
  private flushScheduled = false;
  private closed = false;
  private isClosing = false;
  private readingPaused = false;
  /** Why no packet is handed on: STOPPED, RESTING; 0 if they are. */
  private halts = 0;
  /** When the first large read of this turn came; more may follow. 0: none has. */
  private burstBegunMs = 0;
  /** What had come already when reading was stopped. */
  private unread: Buffer[] = [];
  /** FIFO of held packets: groups[i] must be stored before packets[i] leaves; a number is an acknowledgement (reason code, byte 0, packet id). */
  private groups: number[] = [];
  private packets: (number | Buffer)[] = [];
  private sizes: number[] = [];
  private firstHeld = 0;
  private heldBytes = 0;
  private releaseTasks: (() => void)[] = [];
  /** The largest packet that is sent; before MQTT 5 a peer can't say. */
  private maxSentBytes = Infinity;
  private aliases: TopicAliases | undefined;

  constructor(
    handler: PacketHandler,
    private readonly limits: LinkLimits,
    private readonly clock: Clock,
    private readonly gate: AckGate,
  ) {
    this.handler = handler;
    this.lastReceivedMs = this.lastSentMs = this.lastHeardMs = clock.nowMs();
    this.reader = new FrameReader((first, bytes, start, bodyStart, bodyEnd) => {
      this.packetsRead += 1;
      if (this.version === 5) checkShortestHeader(start, bodyStart, bodyEnd);
      if (this.gate.trace) {
        if (first >> 4 === CONNECT) this.peerName = clientIdOf(bytes, bodyStart, bodyEnd);
        this.traceLine("<-", describePacket(this.version, first, bytes, bodyStart, bodyEnd));
      }
      this.handler.onPacket(first, bytes, start, bodyStart, bodyEnd);
      return !this.closed && this.halts === 0;
    }, limits.maxPacketSizeBytes, handler.onOversized?.bind(handler));
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
    return this.closed || this.unsentBytes > this.unsentLimit;
  }

  private get unsentLimit(): number {
    return this.gate.totals.unsentExceeded ? SHARE_WHEN_EXCEEDED_BYTES : this.limits.maxUnsentBytes;
  }

  get unsentBytes(): number {
    return this.outLength + (this.transport?.unsentBytes ?? 0);
  }

  /** How long the peer has given no sign of life [MQTT-3.1.2-24]. While we do not read, what it takes is one. */
  silentMs(nowMs: number): number {
    if (this.readingPaused) {
      const mark = this.transport?.progressMark ?? 0;
      if (this.isHolding || this.halts !== 0 || mark !== this.progressMark) this.lastHeardMs = nowMs;
      this.progressMark = mark;
    }
    return nowMs - this.lastHeardMs;
  }

  onBytes(bytes: Buffer): void {
    if (this.closed) return;
    if (this.halts !== 0) return void this.unread.push(Buffer.from(bytes));
    const nowMs = this.clock.nowMs();
    if (bytes.length >= LARGE_READ_BYTES && this.burstBegunMs === 0) this.beginBurst(nowMs);
    this.lastReceivedMs = nowMs;
    const { packetsRead } = this;
    if (packetsRead === 0 && this.reader.partialBytes === 0 && this.handler.mayBegin?.(bytes[0] ?? 0) === false) return;
    try {
      this.takeFrames(bytes);
    } catch (error) {
      this.close(reasonOf(error));
    }
    this.trickledBytes += bytes.length;
    if (this.packetsRead !== packetsRead || this.trickledBytes >= TRICKLE_BYTES) {
      this.lastHeardMs = nowMs;
      this.trickledBytes = 0;
    }
    if (this.reader.partialBytes !== this.unfinishedBytes) this.countUnfinished();
    this.restIfLong();
    this.regulateReading();
  }

  private beginBurst(nowMs: number): void {
    this.burstBegunMs = nowMs;
    this.clock.endOfTurn(this.endBurst);
  }

  /**
   * The system may hand over megabytes in one turn, a hundred thousand packets: the others are to have theirs before more of them are taken. Asked
   * after each read; a handler asks itself after what takes long.
   */
  restIfLong(): void {
    if (this.burstBegunMs > 0 && this.clock.nowMs() - this.burstBegunMs > MAX_TURN_MS) this.halts |= RESTING;
  }

  private readonly endBurst = (): void => {
    this.burstBegunMs = 0;
    if ((this.halts & RESTING) === 0) return;
    this.beginBurst(this.clock.nowMs());
    this.unhalt(RESTING);
  };

  private unhalt(reason: number): void {
    this.halts &= ~reason;
    if (this.halts !== 0) return;
    const { unread } = this;
    this.unread = [];
    for (const bytes of unread) this.onBytes(bytes);
    this.regulateReading();
  }

  private takeFrames(bytes: Buffer): void {
    try {
      const taken = this.reader.read(bytes);
      this.gate.traffic.receivedBytes += taken;
      if (taken < bytes.length && !this.closed) this.unread.push(Buffer.from(bytes.subarray(taken)));
    } finally {
      this.handler.onReadEnd?.();
    }
  }

  private countUnfinished(): void {
    const { totals } = this.gate;
    const bytes = this.closed ? 0 : this.reader.partialBytes;
    const grown = bytes - this.unfinishedBytes;
    this.unfinishedBytes = bytes;
    if (this.isHandshake) totals.handshakeBytes += grown;
    else totals.unfinishedBytes += grown;
    if (grown <= 0 || bytes <= FREE_UNFINISHED_BYTES) return;
    if (this.isHandshake ? totals.handshakesExceeded : totals.unfinishedExceeded) {
      this.close({ kind: "violation", text: "too many large packets of all connections are not whole yet", code: Reason.QuotaExceeded });
    }
  }

  private traceLine(direction: "<-" | "->", packet: string): void {
    this.gate.trace?.(`${this.number} ${this.peerName || this.remoteAddress} ${direction} ${packet}`);
  }

  /** CONNECT has been accepted. */
  endHandshake(maxPacketBytes: number): void {
    const { totals } = this.gate;
    totals.handshakeBytes -= this.unfinishedBytes;
    totals.unfinishedBytes += this.unfinishedBytes;
    this.isHandshake = false;
    this.reader.maxPacketBytes = maxPacketBytes;
  }

  onDrain(): void {
    this.regulateReading();
    if (!this.closed && !this.congested) this.handler.onDrain();
  }

  onClose(error: Error | undefined): void {
    const kind = error instanceof ProtocolViolation ? "violation" : error instanceof TlsFailure ? "insecure" : "error";
    this.finish(error ? { kind, text: error.message } : { kind: "peer", text: "closed by the other side" });
  }

  /** No packet is handed on until `resumeReading`. */
  stopReading(): void {
    this.halts |= STOPPED;
    this.regulateReading();
  }

  resumeReading(): void {
    this.unhalt(STOPPED);
  }

  regulateReading(): void {
    // A slow subscriber's PINGREQ is still read: only answers are added then, and they have their own bound.
    const pause = this.isHolding || this.halts !== 0 || this.unsentBytes > this.unsentLimit + MAX_ANSWERS_BYTES;
    if (pause === this.readingPaused || this.closed) return;
    this.readingPaused = pause;
    if (pause) {
      this.progressMark = this.transport?.progressMark ?? 0;
      this.transport?.pause();
    } else {
      this.lastHeardMs = this.clock.nowMs(); // what it sent meanwhile is still to be read
      this.transport?.resume();
    }
  }

  /** What the peer has published is not on disk yet, so much of it that nothing more is taken. */
  private get isHolding(): boolean {
    return this.gate.pauses && (this.isOverShare || (this.heldBytes > 0 && this.gate.isFull));
  }

  get isOverShare(): boolean {
    return this.heldBytes > this.limits.maxUncommittedBytes;
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

  /** While the peer has not taken what was written before, output is collected: many small writes would each cost a whole buffer. */
  private readonly endOfTurn = (): void => {
    this.flushScheduled = false;
    if (this.writtenBytes === 0) this.flush();
  };

  private onWritten(bytes: Buffer): void {
    if (!this.closed) {
      this.writtenBytes -= bytes.length;
      this.gate.totals.unsentBytes -= bytes.length;
    }
    giveBack(bytes);
    if (this.outLength > 0 && !this.flushScheduled) this.flush();
  }

  private flush(): void {
    const out = this.out;
    if (!out) return;
    const length = this.outLength;
    this.out = undefined;
    this.outLength = 0;
    if (this.closed || !this.transport || length === 0) return giveBack(out);
    this.lastSentMs = this.clock.nowMs();
    this.gate.traffic.sentBytes += length;
    const taken = this.transport.writeNow?.(out, length) ?? 0;
    if (taken === length) {
      giveBack(out);
    } else {
      this.writtenBytes += out.length;
      this.gate.totals.unsentBytes += out.length;
      this.transport.write(out.subarray(taken, length), () => this.onWritten(out));
    }
    this.regulateReading();
  }

  /** What the peer takes, as its CONNECT or CONNACK said: the largest packet, and the highest topic alias. */
  takeLimits(maxPacketBytes: number, topicAliasMaximum: number): void {
    this.maxSentBytes = maxPacketBytes;
    this.aliases = topicAliasMaximum > 0 ? new TopicAliases(topicAliasMaximum) : undefined;
  }

  publish(flags: number, message: PublishFields, topicStart: number, packetId: number, expirySeconds: number): boolean {
    if (this.closed) return true;
    if (this.version === 5) return this.publish5(flags, message, topicStart, packetId, expirySeconds);
    const { topic, topicEnd, payload, payloadStart, payloadEnd } = message;
    const size = publishSize(topicEnd - topicStart, payloadEnd - payloadStart, (flags >> 1) & 3);
    if (size > this.maxSentBytes) return false;
    this.gate.traffic.sentMessages += 1;
    const out = this.reserve(size);
    const start = this.outLength;
    this.outLength = encodePublish(out, start, flags, topic, topicStart, topicEnd, packetId, payload, payloadStart, payloadEnd);
    if (this.gate.trace) this.traceLine("->", describeWhole(this.version, out.subarray(start, this.outLength)));
    return true;
  }

  private publish5(flags: number, message: PublishFields, topicStart: number, packetId: number, expirySeconds: number): boolean {
    const { topic, topicEnd, subscriptionIds, properties, propertiesStart, propertiesEnd, payload, payloadStart, payloadEnd } = message;
    const size = publish5Size(
      topicEnd - topicStart, payloadEnd - payloadStart, (flags >> 1) & 3, 0, expirySeconds, subscriptionIds, propertiesEnd - propertiesStart,
    );
    if (size > this.maxSentBytes) return false;
    this.gate.traffic.sentMessages += 1;
    // A packet that hardly fits does without one.
    const alias = this.aliases && size + MAX_ALIAS_BYTES <= this.maxSentBytes ? this.aliases.aliasOf(topic, topicStart, topicEnd) : 0;
    // With QoS 2 the name stays beside it: MQTT.js forgets what an alias stands for between PUBLISH and PUBREL.
    const nameStart = alias > 0 && this.aliases?.knows(alias, topic, topicStart, topicEnd) && (flags & QOS_2) === 0 ? topicEnd : topicStart;
    const out = this.reserve(size + MAX_ALIAS_BYTES);
    const start = this.outLength;
    this.outLength = encodePublish5(
      out, start, flags, topic, nameStart, topicEnd, packetId, alias, expirySeconds, subscriptionIds,
      properties, propertiesStart, propertiesEnd, payload, payloadStart, payloadEnd,
    );
    if (this.gate.trace) this.traceLine("->", describeWhole(this.version, out.subarray(start, this.outLength)));
    return true;
  }

  forward(message: PublishFrame, packets: number): boolean {
    if (this.closed) return true;
    const { frame, frameStart, frameEnd } = message;
    const length = frameEnd - frameStart;
    if ((this.version === 5) !== message.frameIs5 || length > this.maxSentBytes || this.aliases || message.subscriptionIds.length > 0) return false;
    if (packets > 1 && this.gate.trace) return false;
    this.gate.traffic.sentMessages += packets;
    const out = this.reserve(length);
    frame.copy(out, this.outLength, frameStart, frameEnd);
    out[this.outLength] = QOS_0_PUBLISH;
    if (this.gate.trace) this.traceLine("->", describeWhole(this.version, out.subarray(this.outLength, this.outLength + length)));
    this.outLength += length;
    return true;
  }

  /** Appends a packet that waits for nothing. Bytes are copied. */
  send(packet: Buffer): void {
    if (this.closed) return;
    const out = this.reserve(packet.length);
    packet.copy(out, this.outLength);
    this.outLength += packet.length;
    if (this.gate.trace) this.traceLine("->", describeWhole(this.version, packet));
  }

  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number, reasonCode = 0): void {
    if (this.closed) return;
    const packet = (firstByte | (reasonCode << 8)) * 0x10000 + packetId;
    if (after <= this.gate.stored && this.firstHeld === this.groups.length) this.writeAck(packet);
    else this.hold(packet, after, heldBytes);
  }

  /** Appends a packet when group `after` is stored, behind the acknowledgements that are held already. */
  sendAfter(packet: Buffer, after: number): void {
    if (this.closed) return;
    if (after <= this.gate.stored && this.firstHeld === this.groups.length) this.send(packet);
    else this.hold(packet, after, packet.length);
  }

  /** Calls `task` when nothing is held any more: at once if nothing is, at the latest when the link ends. */
  whenReleased(task: () => void): void {
    if (this.firstHeld === this.groups.length) task();
    else this.releaseTasks.push(task);
  }

  private runReleaseTasks(): void {
    const tasks = this.releaseTasks;
    this.releaseTasks = [];
    for (const task of tasks) task();
  }

  private hold(packet: number | Buffer, after: number, size: number): void {
    if (this.firstHeld === this.groups.length) this.gate.hold(this);
    this.groups.push(after);
    this.packets.push(packet);
    this.sizes.push(size);
    this.heldBytes += size;
    this.gate.heldBytes += size;
  }

  private writeAck(packet: number): void {
    const upper = Math.floor(packet / 0x10000);
    const firstByte = upper & 0xff;
    if (firstByte === PUBACK_BYTE || firstByte === PUBCOMP_BYTE) this.answered();
    if (upper > 0xff) return this.writeReasonAck(firstByte, packet & 0xffff, upper >> 8);
    const out = this.reserve(4);
    const start = this.outLength;
    this.outLength = encodeAck(out, start, firstByte, packet & 0xffff);
    if (this.gate.trace) this.traceLine("->", describeWhole(this.version, out.subarray(start, this.outLength)));
  }

  /** An exchange is over; it may have begun on an earlier connection. */
  private answered(): void {
    if (this.unacknowledged > 0) this.unacknowledged -= 1;
  }

  /** A reason code is of MQTT 5. One that refuses a QoS 2 message with PUBREC ends the exchange, too. */
  private writeReasonAck(firstByte: number, packetId: number, reasonCode: number): void {
    if (firstByte === PUBREC_BYTE && reasonCode >= FIRST_ERROR) this.answered();
    this.send(encodeReasonAck(firstByte, packetId, this.version === 5 ? reasonCode : 0));
  }

  /** Group `upTo` is stored: sends what waited for it. Returns true when nothing is held any more. */
  releaseHeld(upTo: number): boolean {
    let index = this.firstHeld;
    const heldBefore = this.heldBytes;
    for (; index < this.groups.length && (this.groups[index] ?? 0) <= upTo; index++) {
      const packet = this.packets[index] ?? 0;
      this.heldBytes -= this.sizes[index] ?? 0;
      if (typeof packet === "number") this.writeAck(packet);
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
    if (this.releaseTasks.length === 0 || !empty) return empty;
    this.runReleaseTasks();
    return this.firstHeld === this.groups.length;
  }

  /** Sends what is pending and ends. The handler hears `reason`. */
  close(reason: CloseReason): void {
    if (this.closed || this.isClosing) return;
    this.isClosing = true;
    this.handler.onClosing?.(reason);
    this.flush();
    this.transport?.end();
    this.finish(reason);
  }

  /** Ends at once. The handler hears `reason`. */
  drop(reason: CloseReason): void {
    if (this.closed) return;
    this.transport?.destroy();
    this.finish(reason);
  }

  private finish(reason: CloseReason): void {
    if (this.closed) return;
    this.closed = true;
    this.gate.forget(this);
    this.gate.heldBytes -= this.heldBytes;
    this.gate.totals.unsentBytes -= this.writtenBytes;
    this.writtenBytes = 0;
    this.countUnfinished();
    this.unread = [];
    this.groups = [];
    this.packets = [];
    this.sizes = [];
    this.firstHeld = this.heldBytes = 0;
    if (this.out) giveBack(this.out);
    this.out = undefined;
    this.outLength = 0;
    this.runReleaseTasks();
    this.handler.onClosed(reason);
  }
}

/** An exception that is no violation is our own fault: it costs this connection, not the others. */
function reasonOf(error: unknown): CloseReason {
  if (error instanceof ProtocolViolation) return { kind: "violation", text: error.message, code: error.reason };
  return { kind: "internal", code: Reason.UnspecifiedError, text: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** A socket that gives so much may give more in the same turn. */
const LARGE_READ_BYTES = 16 * 1024;
/** What one peer's packets may take of a turn. */
const MAX_TURN_MS = 5;
const STOPPED = 1;
const RESTING = 2;
/** So many bytes of a packet that is not whole yet are a sign of life. */
const TRICKLE_BYTES = 1024;
/** A packet of this size is never too much. */
const FREE_UNFINISHED_BYTES = 4 * 1024;
/** What may wait for one peer when too much waits for all of them. */
const SHARE_WHEN_EXCEEDED_BYTES = 64 * 1024;
/** Answers that may be added to output that is too much already. */
const MAX_ANSWERS_BYTES = 256 * 1024;
/** What an alias adds to a packet: itself, and what two lengths may grow. */
const MAX_ALIAS_BYTES = 5;
const CONNECT = 1;
const QOS_0_PUBLISH = 0x30;
const QOS_2 = 4;
const LARGE_AFTER_FULL = 64 * 1024;
