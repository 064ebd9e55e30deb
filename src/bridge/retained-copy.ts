import type { Entry } from "../broker/entry.ts";
import type { Sessions } from "../broker/sessions.ts";
import type { BridgeContext } from "./context.ts";
import type { Outgoing } from "./outgoing.ts";
import type { TopicMap } from "./topic-lines.ts";

const MAX_RETAINED_MARKS = 16;

/** Nothing is queued for the connection any more: what is retained when it is configured again goes to each address. */
export function endQueueing(sessions: Sessions, entry: Entry): void {
  if (entry.remotes.queued) sessions.setRemotes(entry, { ...entry.remotes, retainedSent: [], queued: undefined });
}

/**
 * Brings the remote the retained messages that the queue does not: those from before the queue took them along, once to each address for each
 * set of topic lines; and what came with QoS 0 while nobody was there to take it.
 */
export class RetainedCopy {
  /** When the queue was empty last, as far as is known: what was retained before that may not be in it. */
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
    this.emptySinceMs = nowMs;
    this.beginQueueing(nowMs);
  }

  private beginQueueing(nowMs: number): void {
    const { entry, topics, context } = this;
    const { remotes } = entry;
    const lines = topics.digest;
    if (remotes.queued?.lines === lines) return;
    const retainedSent = remotes.queued ? [] : remotes.retainedSent;
    // What was retained in this very millisecond is not in the queue.
    context.broker.sessions.setRemotes(entry, { ...remotes, retainedSent, queued: { lines, sinceMs: nowMs + 1 } });
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
    const { retainedSent, queued } = entry.remotes;
    const isNew = !retainedSent.includes(mark);
    // Nothing has left the queue before it was connected for the first time.
    const queuedSinceMs = !isNew ? 0 : Math.max(queued?.sinceMs ?? 0, retainedSent.length === 0 ? 0 : this.emptySinceMs);
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
