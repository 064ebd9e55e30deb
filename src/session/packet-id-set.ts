/** Identifiers of one block, one bit each: what a publisher has open lies together. */
const BLOCK_BITS = 8;
const WORD_BITS = 5;
const WORDS = 1 << (BLOCK_BITS - WORD_BITS);

/** A set of packet identifiers. A `Map` that is filled and emptied with each message has its table made again and again. */
export class PacketIdSet {
  private readonly blocks = new Map<number, Uint32Array>();

  has(packetId: number): boolean {
    return (this.wordOf(packetId) & bitOf(packetId)) !== 0;
  }

  /** Returns whether it is new. */
  add(packetId: number): boolean {
    const word = this.wordOf(packetId);
    if ((word & bitOf(packetId)) !== 0) return false;
    const index = packetId >> BLOCK_BITS;
    let block = this.blocks.get(index);
    if (!block) this.blocks.set(index, (block = new Uint32Array(WORDS)));
    block[wordIn(packetId)] = word | bitOf(packetId);
    return true;
  }

  /** Returns whether it was there. */
  delete(packetId: number): boolean {
    const word = this.wordOf(packetId);
    const block = this.blocks.get(packetId >> BLOCK_BITS);
    if (!block || (word & bitOf(packetId)) === 0) return false;
    block[wordIn(packetId)] = word & ~bitOf(packetId);
    return true;
  }

  private wordOf(packetId: number): number {
    return this.blocks.get(packetId >> BLOCK_BITS)?.[wordIn(packetId)] ?? 0;
  }
}

const wordIn = (packetId: number): number => (packetId >> WORD_BITS) & (WORDS - 1);
const bitOf = (packetId: number): number => 1 << (packetId & 31);
