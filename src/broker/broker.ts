import type { Access } from "../access/access.ts";
import type { Clock } from "../clock/clock.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { MemoryBudget } from "../queue/memory-budget.ts";
import type { Message } from "../queue/message.ts";
import type { Session, SessionContext, SessionLimits } from "../session/session.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import type { Topic } from "../topic/topic.ts";
import { TopicTable } from "../topic/topic-table.ts";
import { Retained } from "./retained.ts";
import { RetainedReplays } from "./retained-replay.ts";
import { Sessions, type Entry } from "./sessions.ts";
import { Subscriptions, type Route, type Source } from "./subscriptions.ts";

export interface BrokerEvents {
  onDropped(session: Session): void;
  onLost(session: Session, messages: number): void;
}

export interface BrokerContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly budget: MemoryBudget;
  readonly limits: SessionLimits;
  readonly autosaveIntervalMs: number;
  readonly access: Access;
  readonly events: BrokerEvents;
}

/** Where messages meet subscriptions. */
export class Broker {
  readonly topics = new TopicTable<Route>();
  readonly subscriptions = new Subscriptions();
  readonly retained: Retained;
  readonly sessions: Sessions;
  private readonly replays: RetainedReplays;
  receivedMessages = 0;
  /** Bytes that were handed to the store, one copy for each durable receiver. */
  appendedBytes = 0;
  private currentAccess: Access;
  private readonly awaitingStore = new Set<Session>();

  constructor(context: BrokerContext) {
    const sessionContext: SessionContext = {
      store: context.store,
      clock: context.clock,
      budget: context.budget,
      limits: context.limits,
      onAppended: (session) => this.awaitingStore.add(session),
      onDropped: (session) => context.events.onDropped(session),
      onLost: (session, messages) => context.events.onLost(session, messages),
      onRemounted: (session) => {
        if (this.subscriptions.hasSome(session)) this.subscriptions.invalidate();
      },
    };
    this.currentAccess = context.access;
    this.retained = new Retained(context.store, context.clock, context.autosaveIntervalMs);
    this.replays = new RetainedReplays(this.retained, context.clock, (author, topicName) => this.currentAccess.mayStillWrite(author, topicName));
    this.sessions = new Sessions(context.store, this.subscriptions, sessionContext, (identity) => this.currentAccess.rightsOf(identity));
    context.store.onStored((upTo) => this.onStored(upTo));
  }

  /** Who may connect and do what. */
  get access(): Access {
    return this.currentAccess;
  }

  /** New rules: what every session may read is worked out again. Whoever holds a connection checks for itself whether it may stay. */
  set access(access: Access) {
    this.currentAccess = access;
    this.sessions.bindRights();
    this.subscriptions.invalidate();
  }

  /** Restores retained messages, sessions and queues. No listener may be open yet. */
  async recover(): Promise<void> {
    await this.retained.recover();
    await this.sessions.recover();
  }

  private onStored(upTo: GroupNumber): void {
    for (const session of this.awaitingStore) {
      if (session.onStored(upTo)) this.awaitingStore.delete(session);
    }
    this.replays.onStored(upTo);
  }

  /**
   * Routes one message; `from` is undefined for the daemon's own. Returns the group its acknowledgement waits for, 0 if none.
   * Every durable receiver's append, and a retained value of QoS 1 or 2, is in that group or an earlier one.
   */
  publish(from: Source | undefined, topic: Topic<Route>, message: Message): GroupNumber {
    this.receivedMessages += 1;
    let after: GroupNumber = 0;
    if (message.retain) after = this.retained.set(topic.name, message, from?.identity);
    let route = topic.route;
    if (route === undefined || topic.routeGeneration !== this.subscriptions.generation) {
      route = this.subscriptions.routeOf(topic.name);
      topic.route = route;
      topic.routeGeneration = this.subscriptions.generation;
    }
    const { qos, retain } = message;
    let copies = after > 0 ? 1 : 0;
    const sender = from?.receiver;
    for (let index = 0; index < route.length; index++) {
      const subscription = route[index];
      if (subscription === undefined || (subscription.noLocal && subscription.receiver === sender)) continue;
      const effective = qos < subscription.qos ? qos : subscription.qos;
      const group = subscription.receiver.deliver(message, effective, retain && subscription.retainAsPublished);
      if (group > 0) copies += 1;
      if (group > after) after = group;
    }
    if (copies > 0) this.appendedBytes += copies * (message.payloadLength + message.topicEnd - message.topicStart);
    return after;
  }

  /** Subscribes a client's session. Returns the group the SUBACK waits for, or the limit that forbids it, in words. */
  subscribe(entry: Entry, filter: string, qos: QoS): GroupNumber | string {
    const limit = entry.filters.has(filter) ? undefined : this.subscriptions.limitFor(entry.session, filter);
    return limit ?? this.sessions.subscribe(entry, filter, qos);
  }

  /** Retained messages for a new subscription [MQTT-3.3.1-6]; few at once, many over the turns that follow. */
  sendRetained(entry: Entry, filter: string): void {
    this.replays.start(entry, filter);
  }
}
