import { createHash } from "node:crypto";
import { incomingKey, type SessionNumber } from "../store/keys.ts";
import type { GroupNumber, GroupWriter, Keeper, Store } from "../store/store.ts";
import type { Message } from "../queue/message.ts";

const DIGEST_BYTES = 8;
const ENTRY_BYTES = 2 + DIGEST_BYTES;

/**
 * Packet identifiers of QoS 2 messages that came in and whose PUBREL has not: a second PUBLISH with one of them is the same message
 * [MQTT-4.3.3-2]. Kept on disk only for a session that outlives its connection. There each carries a digest of its message: a device that
 * restarts its identifiers at 1 sends another message under a known identifier, and that one is new.
 */
export class IncomingIds implements Keeper {
  private readonly digests = new Map<number, Buffer>();
  /** The group that holds every change so far. */
  private changedIn: GroupNumber = 0;

  constructor(
    private readonly session: SessionNumber,
    private readonly store: Store,
    private durable: boolean,
  ) {}

  get size(): number {
    return this.digests.size;
  }

  recover(record: Buffer): void {
    for (let at = 0; at + ENTRY_BYTES <= record.length; at += ENTRY_BYTES) {
      this.digests.set(record.readUInt16BE(at), Buffer.from(record.subarray(at + 2, at + ENTRY_BYTES)));
    }
  }

  /** Whether the PUBLISH repeats a message that is known by its identifier. */
  isRepeat(packetId: number, message: Message): boolean {
    const known = this.digests.get(packetId);
    return known !== undefined && (!this.durable || known.equals(digest(message)));
  }

  /** Notes the identifier; returns the group that holds the note. */
  add(packetId: number, message: Message): GroupNumber {
    this.digests.set(packetId, this.durable ? digest(message) : NO_DIGEST);
    return this.touch();
  }

  /** PUBREL came; returns the group that holds the removal, which an earlier PUBREL may have made. */
  remove(packetId: number): GroupNumber {
    return this.digests.delete(packetId) ? this.touch() : this.changedIn;
  }

  clear(): GroupNumber {
    if (this.digests.size === 0) return 0;
    this.digests.clear();
    return this.touch();
  }

  /** What changed last, for a repeat that has to wait for the first one's group. */
  touch(): GroupNumber {
    if (this.durable) this.changedIn = this.store.touch(this, "synced");
    return this.changedIn;
  }

  writeTo(group: GroupWriter): void {
    const key = incomingKey(this.session);
    if (this.digests.size === 0) return group.delete(key);
    const record = Buffer.allocUnsafe(this.digests.size * ENTRY_BYTES);
    let at = 0;
    for (const [packetId, value] of this.digests) {
      record.writeUInt16BE(packetId, at);
      value.copy(record, at + 2);
      at += ENTRY_BYTES;
    }
    group.put(key, record);
  }
}

const NO_DIGEST = Buffer.alloc(DIGEST_BYTES);

function digest(message: Message): Buffer {
  return createHash("sha256")
    .update(message.topic.subarray(message.topicStart, message.topicEnd))
    .update("\0")
    .update(message.payload.subarray(message.payloadStart, message.payloadEnd))
    .digest()
    .subarray(0, DIGEST_BYTES);
}
