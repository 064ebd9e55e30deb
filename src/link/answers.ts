import { encodeReasonAck, PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import type { AckGate, Holding } from "./ack-gate.ts";
import type { Author, PacketWriter } from "./packet-writer.ts";

/** After so many that have left, their places are given up. */
const MAX_LEFT = 4_096;

/** Packets that are held: `packets[i]` leaves when group `groups[i]` is stored; a number is an acknowledgement (reason code, first byte, packet identifier). */
class Held {
  readonly groups: number[] = [];
  readonly packets: (number | Buffer)[] = [];
  readonly sizes: number[] = [];
  first = 0;
}

/** A connection's acknowledgements, and what else waits until what it says is on disk: they leave in the order in which they are given. */
export class Answers implements Holding {
  /** PUBLISH packets of QoS 1 and 2 that the peer has sent and that are not answered for good; counted by who takes them. */
  unacknowledged = 0;
  /** What the peer sent for what is held. */
  heldBytes = 0;
  /** Made when something has to wait: on many connections nothing ever does. */
  private held: Held | undefined;
  private releaseTasks: (() => void)[] | undefined;

  constructor(
    private readonly writer: PacketWriter,
    private readonly gate: AckGate,
    private readonly link: Pick<Author, "version" | "regulateReading">,
  ) {}

  /** `heldBytes`: what the peer sent for it. */
  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number, reasonCode: number): void {
    const packet = (firstByte | (reasonCode << 8)) * 0x10000 + packetId;
    if (this.mayLeave(after)) this.leave(packet);
    else this.hold(packet, after, heldBytes);
  }

  /** A packet that leaves when group `after` is stored, behind what is held already. */
  sendAfter(packet: Buffer, after: number): void {
    if (this.mayLeave(after)) this.writer.send(packet);
    else this.hold(packet, after, packet.length);
  }

  private mayLeave(after: number): boolean {
    return after <= this.gate.stored && this.isEmpty;
  }

  private get isEmpty(): boolean {
    return this.held === undefined || this.held.first === this.held.groups.length;
  }

  /** Calls `task` when nothing is held any more: at once if nothing is, at the latest when the connection ends. */
  whenReleased(task: () => void): void {
    if (this.isEmpty) task();
    else (this.releaseTasks ??= []).push(task);
  }

  private runReleaseTasks(): void {
    const tasks = this.releaseTasks;
    this.releaseTasks = undefined;
    if (tasks) for (const task of tasks) task();
  }

  private hold(packet: number | Buffer, after: number, size: number): void {
    if (this.isEmpty) this.gate.hold(this);
    const held = (this.held ??= new Held());
    held.groups.push(after);
    held.packets.push(packet);
    held.sizes.push(size);
    this.heldBytes += size;
    this.gate.heldBytes += size;
  }

  private leave(packet: number | Buffer): void {
    if (typeof packet !== "number") return this.writer.send(packet);
    const upper = Math.floor(packet / 0x10000);
    const firstByte = upper & 0xff;
    const reasonCode = upper >> 8;
    if (isLast(firstByte, reasonCode) && this.unacknowledged > 0) this.unacknowledged -= 1; // the exchange may have begun on an earlier connection
    if (reasonCode === 0) this.writer.acknowledge(firstByte, packet & 0xffff);
    else this.writer.send(encodeReasonAck(firstByte, packet & 0xffff, this.link.version === 5 ? reasonCode : 0));
  }

  /** Group `upTo` is stored: what waited for it leaves. Returns true when nothing is held any more. */
  releaseHeld(upTo: number): boolean {
    const { held } = this;
    if (!held) return true;
    const { groups, packets, sizes } = held;
    const heldBefore = this.heldBytes;
    let index = held.first;
    for (; index < groups.length && (groups[index] ?? 0) <= upTo; index++) {
      this.heldBytes -= sizes[index] ?? 0;
      this.leave(packets[index] ?? 0);
    }
    this.gate.heldBytes -= heldBefore - this.heldBytes;
    held.first = index;
    if (this.isEmpty || index > MAX_LEFT) {
      for (const list of [groups, packets, sizes]) list.splice(0, index);
      held.first = 0;
    }
    this.regulateReading();
    if (this.isEmpty) this.runReleaseTasks();
    return this.isEmpty;
  }

  regulateReading(): void {
    this.link.regulateReading();
  }

  /** The connection has ended: what is held dies with it. */
  close(): void {
    this.gate.forget(this);
    this.gate.heldBytes -= this.heldBytes;
    this.heldBytes = 0;
    this.held = undefined;
    this.runReleaseTasks();
  }
}

/** Whether an acknowledgement ends its exchange: one that refuses a QoS 2 message with PUBREC does, too. */
function isLast(firstByte: number, reasonCode: number): boolean {
  return firstByte === PUBACK_BYTE || firstByte === PUBCOMP_BYTE || (firstByte === PUBREC_BYTE && reasonCode >= FIRST_ERROR);
}
