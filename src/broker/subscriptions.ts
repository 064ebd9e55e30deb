import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import type { GroupNumber } from "../store/store.ts";
import { SubscriptionTree } from "../topic/subscription-tree.ts";

/** What takes routed messages: a client's session, or a bridge's topic lines before its session. */
export interface Receiver {
  /** Returns the group to wait for, 0 for none, below 0 if the message was dropped. */
  deliver(message: Message, qos: QoS, retain: boolean): GroupNumber;
}

/** One subscription as the router sees it. */
export interface Subscription {
  readonly receiver: Receiver;
  readonly qos: QoS;
  /** Bridges keep the RETAIN flag of live messages. */
  readonly retainAsPublished: boolean;
  /** Never send a message back to where it came from. */
  readonly noLocal: boolean;
}

/** What matches a topic, one entry a receiver with the highest QoS of its subscriptions. */
export type Route = readonly Subscription[];

/** All subscriptions. */
export class Subscriptions extends SubscriptionTree<Subscription> {
  /** One copy a receiver, however many of its subscriptions match. */
  routeOf(name: string): Route {
    const matches = this.match(name);
    if (matches.length < 2) return matches;
    const best = new Map<Receiver, Subscription>();
    for (const match of matches) {
      const known = best.get(match.receiver);
      if (!known || match.qos > known.qos) best.set(match.receiver, match);
    }
    return [...best.values()];
  }
}
