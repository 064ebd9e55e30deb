import { ByteTable, hashBytes, type Entry } from "./byte-table.ts";
import { Topic } from "./topic.ts";
import { isValidTopicName } from "../mqtt/topic-name.ts";
import { isTooDeep } from "./validity.ts";

/** Bound on what a table keeps: long names would otherwise make 65536 of them cost gigabytes. */
const MAX_TABLE_BYTES = 32 * 1024 * 1024;
const MAX_MOUNTED_NAMES = 4096;
const MAX_MOUNTED_BYTES = 2 * 1024 * 1024;

/** All topic names seen lately, so that a name is checked, decoded and routed once and not with each message. */
export class TopicTable {
  readonly #table: ByteTable<Topic>;

  constructor(maxTopics = 65_536, maxBytes = MAX_TABLE_BYTES) {
    this.#table = new ByteTable(maxTopics, maxBytes);
  }

  /** Number of topics kept; at most `maxTopics`. */
  get size(): number {
    return this.#table.size;
  }

  /** The topic named by `bytes[start, end)`. A name that is not valid, or has too many levels, gives a topic with `valid` false. Nothing of `bytes` is kept. */
  lookup(bytes: Uint8Array, start: number, end: number): Topic {
    const hash = hashBytes(bytes, start, end);
    const known = this.#table.find(bytes, start, end, hash);
    if (known !== undefined) return known;
    const topic = new Topic(copyOf(bytes, start, end), hash, isValidTopicName(bytes, start, end) && !isTooDeep(bytes, start, end));
    if (topic.valid) this.#table.add(topic);
    return topic;
  }

  intern(name: string): Topic {
    const bytes = Buffer.from(name);
    return this.lookup(bytes, 0, bytes.length);
  }
}

/** A remote spelling and the local topic it stands for. */
class MountedName implements Entry<MountedName> {
  readonly bytes: Buffer;
  readonly hash: number;
  readonly topic: Topic;
  next: MountedName | undefined = undefined;

  constructor(bytes: Buffer, hash: number, topic: Topic) {
    this.bytes = bytes;
    this.hash = hash;
    this.topic = topic;
  }
}

/**
 * Topics as clients below a mount point spell them: without the prefix. The topics found have their full local name.
 * A topic kept here may have left the main table, which does no harm: its route is found as ever.
 */
export class MountedTopics {
  readonly #topics: TopicTable;
  readonly #prefix: Buffer;
  readonly #names: ByteTable<MountedName> = new ByteTable(MAX_MOUNTED_NAMES, MAX_MOUNTED_BYTES);

  constructor(table: TopicTable, prefix: string) {
    this.#topics = table;
    this.#prefix = Buffer.from(prefix);
  }

  /** The local topic for the remote spelling `bytes[start, end)`; `valid` is false if either spelling is not valid. */
  lookup(bytes: Uint8Array, start: number, end: number): Topic {
    if (this.#prefix.length === 0) return this.#topics.lookup(bytes, start, end);
    const hash = hashBytes(bytes, start, end);
    const known = this.#names.find(bytes, start, end, hash);
    if (known !== undefined) return known.topic;

    const remote = copyOf(bytes, start, end);
    const local = Buffer.concat([this.#prefix, remote]);
    // The prefix would hide an empty remote name, which is not valid [MQTT-4.7.3-1].
    if (!isValidTopicName(remote, 0, remote.length)) return new Topic(local, hash, false);
    const topic = this.#topics.lookup(local, 0, local.length);
    if (topic.valid) this.#names.add(new MountedName(remote, hash, topic));
    return topic;
  }
}

/** A copy outside Node's buffer pool: one topic that stays would otherwise keep a whole slab of 8 KiB alive. */
function copyOf(bytes: Uint8Array, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(end - start);
  for (let i = start; i < end; i++) copy[i - start] = bytes[i] as number;
  return copy;
}
