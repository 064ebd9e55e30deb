import type { Entry } from "../broker/entry.ts";
import type { BridgeContext } from "./context.ts";
import type { Outgoing } from "./outgoing.ts";
import type { TopicMap } from "./topic-lines.ts";

const MAX_RETAINED_MARKS = 16;

/**
 * Brings the remote the retained messages that the queue does not: those from before the queue took them along, once to each address for each
 * set of topic lines; and what came with QoS 0 while nobody was there to take it.
 */
export class RetainedCopy {
  /** When the queue was empty last: what was retained before that is not in it. */
  private emptySinceMs: number;
  /** Since when QoS 0 is missed. */
  private leftMs: number;

  constructor(
    private readonly entry: Entry,
    private readonly topics: TopicMap,
    private readonly outgoing: Outgoing,
    private readonly context: BridgeContext,
  ) {
    const nowMs = context.clock.nowMs();
    this.leftMs = nowMs;
    this.emptySinceMs = entry.session.queuedMessages === 0 ? nowMs : entry.sinceMs;
  }

  /** To be called now and then while a connection is there. */
  noteQueue(nowMs: number): void {
    if (this.entry.session.queuedMessages === 0) this.emptySinceMs = nowMs;
  }

  connectionEnded(nowMs: number): void {
    this.leftMs = nowMs;
  }

  send(address: string): void {
    const { entry, topics, context, leftMs } = this;
    const mark = `${address} ${topics.digest}`;
    const { retainedSent } = entry.remotes;
    const isNew = !retainedSent.includes(mark);
    const queuedSinceMs = !isNew ? 0 : retainedSent.length === 0 ? entry.sinceMs : this.emptySinceMs;
    if (isNew) context.broker.sessions.setRemotes(entry, { ...entry.remotes, retainedSent: [...retainedSent, mark].slice(-MAX_RETAINED_MARKS) });
    for (const { filter, qos } of topics.subscriptions) {
      context.broker.retained.match(filter, (retained, topicName, author) => {
        const wasMissed = retained.qos === 0 && retained.receivedMs >= leftMs && !entry.session.bounds.limits.queueQoS0;
        if (!wasMissed && retained.receivedMs >= queuedSinceMs) return;
        if (!this.outgoing.mayRead(topicName) || (author && !context.broker.access.mayStillWrite(author, topicName))) return;
        retained.receivedMs = context.clock.nowMs(); // it waits from now on, however old the value is
        this.outgoing.deliver(retained, retained.qos < qos ? retained.qos : qos, true);
      });
    }
  }
}
