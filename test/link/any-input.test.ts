import { beforeEach, expect, it } from "vitest";
import { AckGate } from "../../src/link/ack-gate.ts";
import { Link } from "../../src/link/link.ts";
import type { PacketHandler } from "../../src/link/packet-handler.ts";
import type { Transport } from "../../src/link/transport.ts";
import { PUBACK_BYTE } from "../../src/mqtt/acks.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const LIMITS = { maxPacketSizeBytes: 16 * MIB, maxUnsentBytes: 5_000, maxUncommittedBytes: 1_000 };
const SEEDS = 30;
const LINKS = 8;
const OPERATIONS = 200;

/** Time passes while packets are handled. */
class WorkClock extends VirtualClock {
  workedMs = 0;

  override exactMs(): number {
    return super.exactMs() + this.workedMs;
  }
}

/** Takes all that is written. */
class Sink implements Transport {
  readonly remoteAddress = "sink:1";
  readonly unsentBytes = 0;
  readonly progressMark = 0;
  isPaused = false;

  write(_bytes: Buffer, done: () => void): void {
    done();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  end(): void {}

  destroy(): void {}
}

let clock: WorkClock;
let gate: AckGate;
let random: () => number;
const below = (n: number): number => Math.floor(random() * n);
const oneIn = (n: number): boolean => below(n) === 0;

/** A PUBLISH of QoS 0 whose payload is its number, again and again. */
function packetOf(number: number, payloadBytes: number): Buffer {
  const length: number[] = [];
  for (let rest = payloadBytes + 3; rest > 0; rest >>= 7) length.push((rest & 127) | (rest > 127 ? 128 : 0));
  const payload = Buffer.alloc(payloadBytes, Buffer.from([number >> 16, number >> 8, number]));
  return Buffer.concat([Buffer.from([0x30, ...length, 0, 1, 0x74]), payload]);
}

/** A peer that sends packets of all sizes, and the link that takes them. */
class Peer implements PacketHandler {
  readonly transport = new Sink();
  readonly link: Link;
  hasEnded = false;
  closed = 0;
  /** What it has taken, and what the peer has sent whole. */
  taken = 0;
  sent = 0;
  private bytes = Buffer.alloc(0);

  constructor() {
    this.link = new Link(this, LIMITS, clock, gate);
    this.link.open(this.transport);
    this.link.endHandshake(LIMITS.maxPacketSizeBytes);
  }

  onPacket(firstByte: number, bytes: Buffer, _start: number, bodyStart: number, bodyEnd: number): void {
    expect(this.closed).toBe(0);
    const expected = packetOf(++this.taken, bodyEnd - bodyStart - 3);
    expect([firstByte, bytes.compare(expected, expected.length - (bodyEnd - bodyStart), expected.length, bodyStart, bodyEnd)]).toEqual([0x30, 0]);
    clock.workedMs += below(4) / 8;
    if (oneIn(30)) this.link.restIfLong();
    if (oneIn(40)) this.link.gatherInput();
    if (oneIn(60)) this.link.stopReading();
    if (oneIn(60)) this.link.resumeReading();
  }

  onDrain(): void {}

  onClosed(): void {
    this.closed += 1;
  }

  private fill(): void {
    const packets: Buffer[] = [];
    for (let count = oneIn(4) ? 200 : 3; count > 0; count--) packets.push(packetOf(++this.sent, 4 + (oneIn(40) ? below(7 * MIB) : oneIn(4) ? below(100 * KIB) : below(300))));
    this.bytes = Buffer.concat([this.bytes, ...packets]);
  }

  /** One read, of which the link keeps nothing. */
  send(mostBytes: number): void {
    if (this.bytes.length === 0) this.fill();
    const read = Buffer.from(this.bytes.subarray(0, mostBytes));
    this.bytes = this.bytes.subarray(read.length);
    this.link.onBytes(read);
    read.fill(0xff);
  }

  /** All that it has begun. */
  sendRest(): void {
    while (this.bytes.length > 0 && !this.transport.isPaused) this.send(64 * KIB);
  }

  get isDone(): boolean {
    return this.bytes.length === 0 && this.taken === this.sent;
  }

  /** Ends behind a whole packet. What handles the packets may still stop them, and goes on later. */
  end(): void {
    while (this.bytes.length > 0) this.send(1 * MIB);
    this.hasEnded = true;
    this.link.onClose(undefined);
    for (let stops = 0; this.closed === 0 && stops <= this.sent; stops++) {
      expect(this.taken).toBeLessThan(this.sent);
      this.link.resumeReading();
    }
    expect([this.taken, this.closed]).toEqual([this.sent, 1]);
  }
}

beforeEach(() => {
  clock = new WorkClock();
  gate = new AckGate(10_000);
});

it.each(Array.from({ length: SEEDS }, (_, seed) => seed))("is handed on packet by packet, once and in order, whatever stops it (%i)", (seed) => {
  random = seededRng(seed);
  const holder = new Peer();
  const peers = Array.from({ length: LINKS }, () => new Peer());
  let group = 0;
  for (let operation = 0; operation < OPERATIONS; operation++) {
    const peer = peers[below(LINKS)] as Peer;
    if (peer.hasEnded) continue;
    const kind = below(12);
    if (kind < 7) {
      if (!peer.transport.isPaused || oneIn(10)) peer.send(oneIn(3) ? 1 + below(2_000) : oneIn(4) ? MIB : 64 * KIB);
    } else if (kind < 9) clock.step();
    else if (kind === 9) holder.link.acknowledge(PUBACK_BYTE, 1, ++group, 6_000);
    else if (kind === 10) gate.release(group);
    else if (oneIn(2)) peer.link.resumeReading();
    else if (oneIn(10)) peer.end();
    else if (oneIn(10)) gate.onStoreState(oneIn(2));
  }
  gate.onStoreState(true);
  gate.release(group);
  const left = peers.filter(({ hasEnded }) => !hasEnded);
  for (let turns = 0; !left.every(({ isDone }) => isDone) && turns < 20_000; turns++) {
    for (const { link } of left) link.resumeReading();
    for (const peer of left) peer.sendRest();
    clock.step();
  }
  for (const { taken, sent } of left) expect(taken).toBe(sent);
  for (const peer of left) peer.end();
  expect([gate.unfinished.bytes, gate.turn.asideBytes, gate.heldBytes, gate.totals.unsentBytes]).toEqual([0, 0, 0, 0]);
});
