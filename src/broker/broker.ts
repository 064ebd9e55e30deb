import type { Clock } from "../clock/clock.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { MemoryBudget } from "../queue/memory-budget.ts";
import type { Message } from "../queue/message.ts";
import type { Session, SessionContext, SessionLimits } from "../session/session.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import type { Topic } from "../topic/topic.ts";
import { TopicTable } from "../topic/topic-table.ts";
import { Retained } from "./retained.ts";
import { Sessions, type Entry } from "./sessions.ts";
import { Subscriptions, type Receiver, type Route } from "./subscriptions.ts";

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
  readonly events: BrokerEvents;
}

/** Where messages meet subscriptions. */
export class Broker {
  readonly topics = new TopicTable<Route>();
  readonly subscriptions = new Subscriptions();
  readonly retained: Retained;
  readonly sessions: Sessions;
  receivedMessages = 0;
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
    };
    this.retained = new Retained(context.store, context.clock, context.autosaveIntervalMs);
    this.sessions = new Sessions(context.store, this.subscriptions, sessionContext);
    context.store.onStored((upTo) => this.onStored(upTo));
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
  }

  /**
   * Routes one message. Returns the group its acknowledgement waits for, 0 if none.
   * Every durable receiver's append, and a retained value of QoS 1 or 2, is in that group or an earlier one.
   */
  publish(from: Receiver | undefined, topic: Topic<Route>, message: Message): GroupNumber {
    this.receivedMessages += 1;
    let after: GroupNumber = 0;
    if (message.retain) after = this.retained.set(topic.name, message);
    let route = topic.route;
    if (route === undefined || topic.routeGeneration !== this.subscriptions.generation) {
      route = this.subscriptions.routeOf(topic.name);
      topic.route = route;
      topic.routeGeneration = this.subscriptions.generation;
    }
    const { qos, retain } = message;
    for (let index = 0; index < route.length; index++) {
      const subscription = route[index];
      if (subscription === undefined || (subscription.noLocal && subscription.receiver === from)) continue;
      const effective = qos < subscription.qos ? qos : subscription.qos;
      const group = subscription.receiver.deliver(message, effective, retain && subscription.retainAsPublished);
      if (group > after) after = group;
    }
    return after;
  }

  /** Subscribes a client's session and sends it the retained messages that match. Returns the group the SUBACK waits for. */
  subscribe(entry: Entry, filter: string, qos: QoS): GroupNumber {
    return this.sessions.subscribe(entry, filter, qos);
  }

  /** Retained messages for a new subscription [MQTT-3.3.1-6]. */
  sendRetained(entry: Entry, filter: string, qos: QoS): void {
    this.retained.match(filter, (message) => {
      entry.session.deliver(message, message.qos < qos ? message.qos : qos, true);
    });
  }
}
