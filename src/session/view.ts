import type { Message } from "../queue/message.ts";

export interface ReadRights {
  mayRead(topicName: string): boolean;
}

const NO_PREFIX = Buffer.alloc(0);

/** What of the topic names the present connection of a session sees: those below its mount point that its user may read. */
export class View {
  /** Taken off topics before they are sent (a listener's mount point). */
  prefix: Buffer = NO_PREFIX;
  prefixText = "";
  /** What the user may read; undefined: everything. */
  rights: ReadRights | undefined;

  /** Returns whether the prefix is another one than before. */
  mount(prefix: Buffer): boolean {
    if (prefix.equals(this.prefix)) return false;
    this.prefix = prefix;
    this.prefixText = prefix.toString();
    return true;
  }

  /** A topic outside the mount point, or equal to it, can't be spelt to this peer [MQTT-4.7.3-1]. */
  reaches(message: Message): boolean {
    const { prefix } = this;
    if (prefix.length === 0) return true;
    const end = message.topicStart + prefix.length;
    return end < message.topicEnd && prefix.compare(message.topic, message.topicStart, end) === 0;
  }

  mayRead(topicName: string): boolean {
    return this.rights === undefined || this.rights.mayRead(topicName);
  }

  /** Whether a message that was queued for an earlier user, under earlier rules or below another mount point may still be sent. */
  shows(message: Message): boolean {
    if (!this.reaches(message)) return false;
    return this.rights === undefined || this.rights.mayRead(message.topic.toString("utf8", message.topicStart, message.topicEnd));
  }
}
