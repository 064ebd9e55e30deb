import type { Entry, RemotesRecord } from "../broker/entry.ts";
import { readRetained } from "../broker/retained.ts";
import type { Sessions } from "../broker/sessions.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import type { BridgeContext } from "./context.ts";
import type { Outgoing } from "./outgoing.ts";
import type { TopicMap } from "./topic-lines.ts";

const MAX_RETAINED_MARKS = 16;
/** Values that are looked at in one turn, and bytes that the remote has not read beyond which it gets no more of them. */
const TURN_STEPS = 256;
const MAX_UNSENT_BYTES = 256 * 1024;

/** Nothing is queued for the connection any more: what is retained when it is configured again goes to each address. */
export function endQueueing(sessions: Sessions, entry: Entry): void {
  if (entry.remotes.queued) sessions.setRemotes(entry, { ...entry.remotes, retainedSent: [], queued: undefined });
}

/**
 * Brings the remote the retained messages that the queue does not: those from before the queue took them along, once to each address for each
 * set of topic lines; and what goes with QoS 0 and came while nobody was there to take it, as fast as the remote reads.
 */
export class RetainedCopy {
  /** Of the messages that remotes have been sent the newest was received then, as far as is known: what was retained later is in the queue. */
  private newestSentMs: number;
  /** What the present remote is still to get by the queue: what was retained before that time. */
  private owed: { readonly mark: string; readonly queuedSinceMs: number } | undefined;
  /** And with QoS 0. */
  private missed: Iterator<undefined> | undefined;
  private isScheduled = false;

  constructor(
    private readonly entry: Entry,
    private readonly topics: TopicMap,
    private readonly outgoing: Outgoing,
    private readonly context: BridgeContext,
  ) {
    const nowMs = context.clock.nowMs();
    this.newestSentMs = nowMs;
    this.beginQueueing(nowMs);
  }

  private beginQueueing(nowMs: number): void {
    const { entry, topics } = this;
    const { remotes } = entry;
    const lines = topics.digest;
    if (remotes.missedSinceMs === undefined) this.remember({ missedSinceMs: nowMs });
    if (remotes.queued?.lines === lines) return;
    const retainedSent = remotes.queued ? [] : remotes.retainedSent;
    // What was retained in this very millisecond is not in the queue.
    this.remember({ retainedSent, queued: { lines, sinceMs: nowMs + 1 } });
  }

  private remember(changes: Partial<RemotesRecord>): void {
    const { entry, context } = this;
    context.broker.sessions.setRemotes(entry, { ...entry.remotes, ...changes });
  }

  connectionEnded(nowMs: number, newestSentMs: number): void {
    this.owed = this.missed = undefined;
    this.newestSentMs = Math.max(this.newestSentMs, newestSentMs);
    if (this.entry.remotes.missedSinceMs === undefined) this.remember({ missedSinceMs: nowMs });
  }

  send(address: string): void {
    const { entry, topics } = this;
    const mark = `${address} ${topics.digest}`;
    const { retainedSent, queued, missedSinceMs = 0 } = entry.remotes;
    const nowMs = this.context.clock.nowMs();
    const isNew = !retainedSent.includes(mark);
    if (isNew) {
      // Nothing has left the queue before it was connected for the first time.
      const queuedSinceMs = Math.max(queued?.sinceMs ?? 0, retainedSent.length === 0 ? 0 : this.newestSentMs + 1);
      this.owed = { mark, queuedSinceMs };
      this.remember({ missedSinceMs: 0 });
    }
    this.missed = this.sendMissed(isNew ? 0 : missedSinceMs, nowMs);
    this.goOn();
  }

  /** All in one group, with the mark; not to a full disk. */
  private queueOwed(): void {
    const { owed, entry, context } = this;
    if (!owed || !context.broker.admission.storeTakes) return;
    this.owed = undefined;
    this.remember({ retainedSent: [...entry.remotes.retainedSent, owed.mark].slice(-MAX_RETAINED_MARKS) });
    const steps = this.copy(({ receivedMs }, qos) => this.isQueued(qos) && receivedMs < owed.queuedSinceMs);
    while (steps.next().done !== true);
  }

  /** Whether what goes with this QoS waits for a remote that is away. */
  private isQueued(qos: QoS): boolean {
    return qos > 0 || this.entry.session.bounds.limits.queueQoS0;
  }

  /** What came since then with QoS 0 and before the remote was there. */
  private sendMissed(sinceMs: number, beforeMs: number): Iterator<undefined> {
    return this.copy(({ receivedMs }, qos) => !this.isQueued(qos) && receivedMs >= sinceMs && receivedMs <= beforeMs);
  }

  /** To be called now and then, and when the remote has read something. */
  goOn(): void {
    this.queueOwed();
    const { missed, entry, context } = this;
    const peer = entry.session.sender?.peer;
    if (!missed || !peer || this.isScheduled) return;
    for (let steps = 0; steps < TURN_STEPS; steps++) {
      if (peer.congested || peer.unsentBytes > MAX_UNSENT_BYTES) return;
      if (missed.next().done !== true) continue;
      this.missed = undefined;
      return this.remember({ missedSinceMs: undefined });
    }
    this.isScheduled = true;
    context.clock.endOfTurn(() => {
      this.isScheduled = false;
      this.goOn();
    });
  }

  /** Hands on what is retained and `isWanted` of it with the QoS it goes out with, a value a step; each once, however many lines match. */
  private *copy(isWanted: (retained: Message, qos: QoS) => boolean): Iterator<undefined> {
    const { topics, context, outgoing } = this;
    const { retained, access } = context.broker;
    const message = new Message();
    for (const { filter } of topics.subscriptions) {
      const values = retained.find(filter);
      for (let step = values.next(); step.done !== true; step = values.next()) {
        const { value } = step;
        const mapped = value && !retained.hasExpired(value) ? topics.map(value.name) : undefined;
        if (value && mapped?.filter === filter) {
          readRetained(message, value);
          const qos = message.qos < mapped.qos ? message.qos : mapped.qos;
          const mayGo = outgoing.mayRead(value.name) && (!value.author || access.mayStillWrite(value.author, value.name));
          if (mayGo && isWanted(message, qos)) {
            message.receivedMs = context.clock.nowMs(); // it waits from now on, however old the value is
            outgoing.deliver(message, qos, true);
          }
        }
        yield undefined;
      }
    }
  }
}
