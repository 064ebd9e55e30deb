import { createHash } from "node:crypto";
import { incomingKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../store/store.ts";
import type { Message } from "../queue/message.ts";
import { PacketIdSet } from "./packet-id-set.ts";

const DIGEST_BYTES = 8;
const ENTRY_BYTES = 2 + DIGEST_BYTES;
/** Identifiers in one record: what a change writes stays small however many there are. */
const BLOCK_BITS = 8;

/** Identifiers of all sessions together, beyond which nobody gets more than a share. With its digest one takes about 95 bytes of RAM. */
const MAX_OF_ALL = 500_000;
const SHARE = 1_024;

type Block = Map<number, bigint>;

/** What all sessions have of them. */
export interface IncomingTotal {
  count: number;
}

/**
 * Packet identifiers of QoS 2 messages that came in and whose PUBREL has not: a second PUBLISH with one of them is the same message
 * [MQTT-4.3.3-2]. Kept on disk only for a session that outlives its connection. There each carries a digest of its message: a device that
 * restarts its identifiers at 1 sends another message under a known identifier, and that one is new.
 */
export class IncomingIds implements Keeper {
  /** Digests by identifier, in blocks by the identifier's upper bits; a block that was ever written stays, so that its record is removed. */
  private blocks = NO_BLOCKS;
  private changed = NO_CHANGES;
  /** All that there is to know while the session ends with its connection; made for the first one. */
  private unkept = NO_IDS;
  private count = 0;
  /** The group that holds every change so far. */
  private changedIn: GroupNumber = 0;

  constructor(
    private readonly session: SessionNumber,
    private readonly store: Store,
    private readonly durable: boolean,
    private readonly total: IncomingTotal,
  ) {}

  /** Whether one more may be noted. */
  get hasRoom(): boolean {
    return this.count < SHARE || this.total.count < MAX_OF_ALL;
  }

  get size(): number {
    return this.count;
  }

  private blockOf(packetId: number): Block {
    const index = packetId >> BLOCK_BITS;
    let block = this.blocks.get(index);
    if (!block) {
      block = new Map();
      if (this.blocks === NO_BLOCKS) {
        this.blocks = new Map();
        this.changed = new Set();
      }
      this.blocks.set(index, block);
    }
    return block;
  }

  recover(record: Buffer): void {
    for (let at = 0; at + ENTRY_BYTES <= record.length; at += ENTRY_BYTES) {
      const packetId = record.readUInt16BE(at);
      this.blockOf(packetId).set(packetId, record.readBigUInt64BE(at + 2));
      this.countUp(1);
    }
  }

  has(packetId: number): boolean {
    return this.durable ? (this.blocks.get(packetId >> BLOCK_BITS)?.has(packetId) ?? false) : this.unkept.has(packetId);
  }

  /** Whether the PUBLISH repeats a message that is known by its identifier. */
  isRepeat(packetId: number, message: Message): boolean {
    if (!this.durable) return this.unkept.has(packetId);
    const known = this.blocks.get(packetId >> BLOCK_BITS)?.get(packetId);
    return known !== undefined && known === digest(message);
  }

  /** Notes the identifier; returns the group that holds the note. */
  add(packetId: number, message: Message): GroupNumber {
    if (!this.durable) return this.addUnkept(packetId);
    const block = this.blockOf(packetId);
    if (!block.has(packetId)) this.countUp(1);
    block.set(packetId, digest(message));
    return this.change(packetId >> BLOCK_BITS);
  }

  private addUnkept(packetId: number): GroupNumber {
    if (this.unkept === NO_IDS) this.unkept = new PacketIdSet();
    if (this.unkept.add(packetId)) this.countUp(1);
    return 0;
  }

  /** PUBREL came; returns the group that holds the removal, which an earlier PUBREL may have made. */
  remove(packetId: number): GroupNumber {
    if (!this.durable) {
      if (this.unkept.delete(packetId)) this.countUp(-1);
      return 0;
    }
    const index = packetId >> BLOCK_BITS;
    if (!this.blocks.get(index)?.delete(packetId)) return this.changedIn;
    this.countUp(-1);
    return this.change(index);
  }

  private change(block: number): GroupNumber {
    this.changed.add(block);
    return this.touch();
  }

  clear(): GroupNumber {
    if (this.count === 0) return 0;
    this.empty();
    return this.touch();
  }

  private countUp(change: number): void {
    this.count += change;
    this.total.count += change;
  }

  private empty(): void {
    if (this.count > 0) this.countUp(-this.count);
    this.unkept = NO_IDS;
    for (const [index, block] of this.blocks) {
      block.clear();
      this.changed.add(index);
    }
  }

  /** The session has ended: its records are removed, in the group that removes the session. */
  end(): void {
    this.empty();
    if (this.durable && this.changed.size > 0) this.store.touch(this, "synced");
  }

  /** What changed last, for a repeat that has to wait for the first one's group. */
  touch(): GroupNumber {
    if (this.durable) this.changedIn = this.store.touch(this, "synced");
    return this.changedIn;
  }

  writeTo(group: GroupWriter): void {
    for (const index of this.changed) {
      const key = incomingKey(this.session, index);
      const block = this.blocks.get(index);
      if (block && block.size > 0) group.put(key, encodeBlock(block));
      else group.delete(key);
    }
    this.changed.clear();
  }
}

function encodeBlock(block: Block): Buffer {
  const record = Buffer.allocUnsafe(block.size * ENTRY_BYTES);
  let at = 0;
  for (const [packetId, value] of block) {
    record.writeUInt16BE(packetId, at);
    record.writeBigUInt64BE(value, at + 2);
    at += ENTRY_BYTES;
  }
  return record;
}

/** What a session has until the first message of QoS 2 comes in, as it never does to most: nothing is ever added. */
const NO_IDS = new PacketIdSet();
const NO_BLOCKS = new Map<number, Block>();
const NO_CHANGES = new Set<number>();

function digest(message: Message): bigint {
  return createHash("sha256")
    .update(message.topic.subarray(message.topicStart, message.topicEnd))
    .update("\0")
    .update(message.payload.subarray(message.payloadStart, message.payloadEnd))
    .digest()
    .readBigUInt64BE();
}
