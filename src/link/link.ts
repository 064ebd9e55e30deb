import type { Clock } from "../clock/clock.ts";
import { checkShortestHeader } from "../mqtt/frame.ts";
import { PacketType, type ProtocolVersion } from "../mqtt/protocol.ts";
import type { PublishFields, PublishFrame } from "../mqtt/publish-fields.ts";
import { Reason } from "../mqtt/reason.ts";
import type { AckGate } from "./ack-gate.ts";
import { Answers } from "./answers.ts";
import { giveBack, takeInputBuffer } from "./buffers.ts";
import { type CloseReason, reasonOfEnd, reasonOfException } from "./close-reason.ts";
import { FrameReader, type FrameSink } from "./frames.ts";
import type { PacketHandler } from "./packet-handler.ts";
import { type Author, PacketWriter } from "./packet-writer.ts";
import { clientIdOf, describePacket, describeWhole } from "./trace.ts";
import type { Transport, TransportListener } from "./transport.ts";
import type { Resting } from "./turn.ts";
import type { Receiver } from "./unfinished.ts";

export interface LinkLimits {
  readonly maxPacketSizeBytes: number;
  /** More than this waiting to be read by the peer: QoS 0 is dropped, queues wait, and nothing is read from the peer. */
  readonly maxUnsentBytes: number;
  /** More than this taken from the peer and not yet on disk: nothing is read from it until it is. */
  readonly maxUncommittedBytes: number;
}

/** What came while nothing was handed on, up to `end`. */
interface Unread {
  readonly bytes: Buffer;
  readonly end: number;
}

let linksMade = 0;

/** One MQTT byte stream, dialled or accepted. Reads packets for its handler; a writer and what holds its answers belong to it. */
export class Link implements TransportListener, FrameSink, Author, Resting, Receiver {
  /** Counts links from 1: where the original shows its socket's number. */
  private readonly number = ++linksMade;
  /** For traces: the client identifier, or the connection's. */
  peerName = "";
  version: ProtocolVersion = 4;
  lastReceivedMs: number;
  readonly answers: Answers;
  readonly onOversized: FrameSink["onOversized"];
  /** While the peer is not logged in its unfinished packets have a small share of memory. */
  isHandshake = true;
  /** When a whole packet had come last, or a good part of a large one. */
  private lastHeardMs: number;
  /** Packets are being handed to the handler; `onReadEnd` follows. */
  isHandingOn = false;
  private packetsRead = 0;
  /** When the present read came. */
  private packetsBefore = 0;
  private trickledBytes = 0;
  private unfinishedBytes = 0;
  private progressMark = 0;
  private transport: Transport | undefined;
  private readonly reader: FrameReader;
  private readonly writer: PacketWriter;
  private closed = false;
  private isClosing = false;
  /** Nothing more comes: what is there is taken without a rest. */
  private isEnding = false;
  isReadingPaused = false;
  /** Why no packet is handed on: STOPPED, RESTING, GATHERING, WAITING; 0 if they are. */
  private halts = 0;
  /** The last turn in which it had a large read, or one of many packets. */
  private busyIn = 0;
  /** What had come already when reading was stopped. */
  private unread = NONE;
  private isTakingUnread = false;
  /** It has ended while no packet is handed on: that is told behind what is unread. */
  private endReason: CloseReason | undefined;

  constructor(
    public handler: PacketHandler,
    private readonly limits: LinkLimits,
    private readonly clock: Clock,
    private readonly gate: AckGate,
    /** The largest packet that is taken until `endHandshake`. */
    maxFirstPacketBytes = limits.maxPacketSizeBytes,
  ) {
    this.lastReceivedMs = this.lastHeardMs = clock.nowMs();
    this.onOversized = handler.onOversized?.bind(handler);
    this.reader = new FrameReader(this, maxFirstPacketBytes);
    this.writer = new PacketWriter(this, clock, gate);
    this.answers = new Answers(this.writer, gate, this);
  }

  /** The transport is ready; bytes may come from now on. */
  open(transport: Transport): void {
    this.transport = transport;
    this.writer.open(transport);
  }

  get lastSentMs(): number {
    return this.writer.lastSentMs;
  }

  get remoteAddress(): string {
    return this.transport?.remoteAddress ?? "?";
  }

  get isClosed(): boolean {
    return this.closed;
  }

  get congested(): boolean {
    return this.closed || this.writer.unsentBytes > this.unsentLimit;
  }

  private get unsentLimit(): number {
    return this.gate.totals.unsentExceeded ? SHARE_WHEN_EXCEEDED_BYTES : this.limits.maxUnsentBytes;
  }

  get unsentBytes(): number {
    return this.writer.unsentBytes;
  }

  /** How long the peer has given no sign of life [MQTT-3.1.2-24]. While we do not read, what it takes is one. */
  silentMs(nowMs: number): number {
    if (this.isReadingPaused) {
      const mark = this.transport?.progressMark ?? 0;
      if (this.isHolding || this.halts !== 0 || mark !== this.progressMark) this.lastHeardMs = nowMs;
      this.progressMark = mark;
    }
    return nowMs - this.lastHeardMs;
  }

  onBytes(bytes: Buffer, end = bytes.length): void {
    if (this.closed) return;
    if (this.halts !== 0) return this.putAside(bytes, 0, end);
    const nowMs = this.clock.nowMs();
    if (end >= LARGE_READ_BYTES) {
      this.busyIn = this.gate.turn.begin(this.clock);
      if (this.restInRead(OVER_MS)) {
        this.putAside(bytes, 0, end);
        return this.regulateReading();
      }
    }
    this.lastReceivedMs = nowMs;
    const { packetsRead } = this;
    this.packetsBefore = packetsRead;
    if (packetsRead === 0 && this.reader.partialBytes === 0 && this.handler.mayBegin?.(bytes[0] ?? 0) === false) return;
    this.gate.readOutput.begin();
    try {
      this.takeFrames(bytes, end);
    } catch (error) {
      this.close(reasonOfException(error));
    } finally {
      this.gate.readOutput.end(this.packetsRead - packetsRead);
    }
    this.trickledBytes += end;
    if (this.packetsRead !== packetsRead || this.trickledBytes >= TRICKLE_BYTES) {
      this.lastHeardMs = nowMs;
      this.trickledBytes = 0;
    }
    if (this.reader.partialBytes !== this.unfinishedBytes) this.countUnfinished();
    this.restIf(LONG_MS);
    this.regulateReading();
  }

  /** For a handler to ask after what takes long. */
  restIfLong(): void {
    this.restInRead(LONG_MS);
  }

  /** What has been read is put aside then. */
  private restInRead(longMs: number): boolean {
    return this.gate.turn.hasRoom && this.restIf(longMs);
  }

  /** Rests if it has had such a read in this turn, and those have taken so long. */
  private restIf(longMs: number): boolean {
    const { turn } = this.gate;
    if (this.busyIn !== turn.number || this.isEnding || (this.halts & RESTING) !== 0 || !turn.hasTaken(longMs, this.clock)) return false;
    this.halts |= RESTING;
    turn.rest(this);
    return true;
  }

  /** Its packets are many, however few bytes they have: each may go to a thousand receivers. */
  private look(): void {
    this.busyIn = this.gate.turn.begin(this.clock);
    this.restInRead(OVER_MS);
  }

  goOn(): void {
    this.busyIn = this.gate.turn.number;
    this.unhalt(RESTING);
  }

  readOn(): void {
    this.unhalt(WAITING);
  }

  private unhalt(reasons: number): void {
    this.halts &= ~reasons;
    if (this.halts !== 0 || this.isTakingUnread) return;
    this.isTakingUnread = true;
    while (this.halts === 0 && this.unread.length > 0) {
      const { bytes, end } = this.takeUnread();
      this.onBytes(bytes, end);
      giveBack(bytes);
    }
    this.isTakingUnread = false;
    if (this.endReason && this.unread.length === 0) this.finish(this.endReason);
    else this.regulateReading();
  }

  private takeFrames(bytes: Buffer, end: number): void {
    this.isHandingOn = true;
    try {
      const taken = this.reader.read(bytes, end);
      this.gate.traffic.receive(taken);
      if (taken < end && !this.closed) this.putAside(bytes, taken, end);
    } finally {
      this.isHandingOn = false;
      this.handler.onReadEnd?.();
      this.reader.endRead();
    }
  }

  private putAside(bytes: Buffer, from: number, to: number): void {
    const end = to - from;
    const aside = takeInputBuffer(end);
    bytes.copy(aside, 0, from, to);
    if (this.unread.length === 0) this.unread = [];
    // What is left of the first one stays the first one.
    if (this.isTakingUnread) this.unread.unshift({ bytes: aside, end });
    else this.unread.push({ bytes: aside, end });
    this.gate.turn.asideBytes += end;
  }

  /** The first, which there is. */
  private takeUnread(): Unread {
    const first = this.unread.shift() as Unread;
    this.gate.turn.asideBytes -= first.end;
    return first;
  }

  onFrame(first: number, bytes: Buffer, start: number, bodyStart: number, bodyEnd: number): boolean {
    this.packetsRead += 1;
    if (this.version === 5) checkShortestHeader(start, bodyStart, bodyEnd);
    if (this.gate.trace) {
      if (first >> 4 === PacketType.CONNECT) this.peerName = clientIdOf(bytes, bodyStart, bodyEnd);
      this.traceLine("<-", describePacket(this.version, first, bytes, bodyStart, bodyEnd));
    }
    this.handler.onPacket(first, bytes, start, bodyStart, bodyEnd);
    if ((this.packetsRead - this.packetsBefore) % PACKETS_BETWEEN_LOOKS === 0) this.look();
    return !this.closed && this.halts === 0;
  }

  private countUnfinished(): void {
    const { totals, unfinished } = this.gate;
    const bytes = this.closed ? 0 : this.reader.partialBytes;
    const grown = bytes - this.unfinishedBytes;
    this.unfinishedBytes = bytes;
    if (this.isHandshake) {
      totals.handshakeBytes += grown;
      if (grown > 0 && bytes > FREE_HANDSHAKE_BYTES && totals.handshakesExceeded) this.giveUp();
      return;
    }
    const verdict = unfinished.note(this, grown, bytes, this.clock);
    if (verdict === "wait" && !this.isEnding) this.halts |= WAITING;
    else if (verdict === "close") this.giveUp();
  }

  giveUp(): void {
    this.close({ kind: "violation", text: "too many large packets of all connections are not whole yet", code: Reason.QuotaExceeded });
  }

  private traceLine(direction: "<-" | "->", packet: string): void {
    this.gate.trace?.(`${this.number} ${this.peerName || this.remoteAddress} ${direction} ${packet}`);
  }

  traceSent(bytes: Buffer): void {
    this.traceLine("->", describeWhole(this.version, bytes));
  }

  /** CONNECT has been accepted. */
  endHandshake(maxPacketBytes: number): void {
    const { totals, unfinished } = this.gate;
    totals.handshakeBytes -= this.unfinishedBytes;
    unfinished.bytes += this.unfinishedBytes;
    this.isHandshake = false;
    this.reader.maxPacketBytes = maxPacketBytes;
  }

  onDrain(): void {
    this.regulateReading();
    if (!this.closed && !this.congested) this.handler.onDrain();
  }

  /** A WebSocket tells of its end in the read that has brought what came before: that is taken now, though the link rests, or when the handler wants more. */
  onClose(error: Error | undefined): void {
    if (this.isEnding) return;
    this.isEnding = true;
    this.endReason = reasonOfEnd(error);
    this.unhalt(RESTING | GATHERING | WAITING);
    if (this.unread.length === 0) this.finish(this.endReason);
  }

  /** No packet is handed on until `resumeReading`. */
  stopReading(): void {
    this.halts |= STOPPED;
    this.regulateReading();
  }

  resumeReading(): void {
    this.unhalt(STOPPED);
  }

  /** Lets what the peer sends come together for a moment: it sends packets one by one, and each would cost a turn of its own. */
  gatherInput(): void {
    if ((this.halts & GATHERING) !== 0 || this.isEnding || this.closed) return;
    this.halts |= GATHERING;
    this.clock.after(GATHERING_MS, () => this.unhalt(GATHERING));
  }

  regulateReading(): void {
    // A slow subscriber's PINGREQ is still read: only answers are added then, and they have their own bound.
    const pause = this.isHolding || this.halts !== 0 || this.unsentBytes > this.unsentLimit + MAX_ANSWERS_BYTES;
    if (pause === this.isReadingPaused || this.closed) return;
    this.isReadingPaused = pause;
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
    return this.answers.heldBytes > 0 && this.gate.pauses && (this.isOverShare || this.gate.isFull);
  }

  get isOverShare(): boolean {
    return this.answers.heldBytes > this.limits.maxUncommittedBytes;
  }

  /** What the peer takes, as its CONNECT or CONNACK said: the largest packet, and the highest topic alias. */
  takeLimits(maxPacketBytes: number, topicAliasMaximum: number): void {
    this.writer.takeLimits(maxPacketBytes, topicAliasMaximum);
  }

  publish(flags: number, message: PublishFields, topicStart: number, packetId: number, expirySeconds: number): boolean {
    return this.closed || this.writer.publish(flags, message, topicStart, packetId, expirySeconds);
  }

  forward(message: PublishFrame, packets: number): boolean {
    return this.closed || this.writer.forward(message, packets);
  }

  /** Appends a packet that waits for nothing. Bytes are copied. */
  send(packet: Buffer): void {
    if (!this.closed) this.writer.send(packet);
  }

  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number, reasonCode = 0): void {
    if (!this.closed) this.answers.acknowledge(firstByte, packetId, after, heldBytes, reasonCode);
  }

  /** Appends a packet when group `after` is stored, behind the acknowledgements that are held already. */
  sendAfter(packet: Buffer, after: number): void {
    if (!this.closed) this.answers.sendAfter(packet, after);
  }

  /** Calls `task` when nothing is held any more: at once if nothing is, at the latest when the link ends. */
  whenReleased(task: () => void): void {
    this.answers.whenReleased(task);
  }

  /** Sends what is pending and ends. The handler hears `reason`. */
  close(reason: CloseReason): void {
    if (this.closed || this.isClosing) return;
    this.isClosing = true;
    this.handler.onClosing?.(reason);
    this.writer.flush();
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
    this.writer.close();
    this.countUnfinished();
    while (this.unread.length > 0) giveBack(this.takeUnread().bytes);
    this.answers.close();
    this.handler.onClosed(reason);
  }
}

/** Most links never have any. */
const NONE: Unread[] = [];
/** A socket that gives so much may give more in the same turn. */
const LARGE_READ_BYTES = 16 * 1024;
/** When such reads of a turn, and those of many packets, have taken so long, their links rest: at the end of a read, or anywhere, which costs a copy of what is left. */
const LONG_MS = 0.8;
const OVER_MS = 1.2;
const PACKETS_BETWEEN_LOOKS = 32;
const STOPPED = 1;
const RESTING = 2;
const GATHERING = 4;
const WAITING = 8;
const GATHERING_MS = 1;
/** So many bytes of a packet that is not whole yet are a sign of life. */
const TRICKLE_BYTES = 1024;
/** A CONNECT of this size is never too much. */
const FREE_HANDSHAKE_BYTES = 4 * 1024;
/** What may wait for one peer when too much waits for all of them. */
const SHARE_WHEN_EXCEEDED_BYTES = 64 * 1024;
/** Answers that may be added to output that is too much already. */
const MAX_ANSWERS_BYTES = 256 * 1024;
