import type { Identity } from "../access/identity.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { type Message, NO_SUBSCRIPTION_IDS } from "../queue/message.ts";
import type { GroupNumber } from "../store/store.ts";
import { isHiddenBelow } from "../topic/matching.ts";
import { SubscriptionTree } from "../topic/subscription-tree.ts";

/** What takes routed messages: a client's session, or a bridge's topic lines before its session. */
export interface Receiver {
  /** Whether messages of QoS 1 and 2 for it are stored. */
  readonly durable: boolean;
  /** Returns the group to wait for, 0 for none, below 0 if the message was dropped. */
  deliver(message: Message, qos: QoS, retain: boolean): GroupNumber;
  /**
   * Sends QoS 0 packets that lie behind one another in the message's frame as they are; false if nothing was sent: they are to be delivered one
   * by one. Who never can goes without.
   */
  forward?(message: Message, packets: number): boolean;
  /**
   * Whether its queue has no room for a message of QoS 1 or 2 and has the publisher wait; true: it tells when there is. `copies`: how many
   * receivers may get one.
   */
  blocks(message: Message, copies: number): boolean;
  /** Whether it may get messages of this topic at all; when that changes, `Subscriptions.invalidate` is called. */
  mayRead(topicName: string): boolean;
  /** The mount point that its peer is below; when that changes, `Subscriptions.invalidate` is called. */
  readonly mountPrefix?: string;
}

/** Where a message comes from: the receiver that must not get it back, and who answers for it. */
export interface Source {
  readonly receiver: Receiver;
  readonly identity: Identity;
  /** What is refused is lost: a bridge drops it. What can't be taken now is not answered, and comes again over its next connection. */
  readonly isBridge: boolean;
}

/** One subscription as its receiver makes it. */
export interface Subscription {
  readonly receiver: Receiver;
  readonly qos: QoS;
  /** Messages keep the RETAIN flag that they were published with. */
  readonly retainAsPublished: boolean;
  /** Never send a message back to where it came from. */
  readonly noLocal: boolean;
  /** Subscription identifier, 0 or absent: none. */
  readonly identifier?: number;
}

/** What one receiver gets of a topic, however many of its subscriptions match: one copy [MQTT 5.0 section 3.3.4]. */
export interface Delivery {
  readonly receiver: Receiver;
  /** The highest of those subscriptions [MQTT-3.3.4-2]. */
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  /** All that those subscriptions have [MQTT-3.3.4-3]. */
  readonly subscriptionIds: readonly number[];
  /** The same for what the receiver itself publishes; undefined: it does not get that back [MQTT-3.8.3-3]. */
  readonly toSelf: Delivery | undefined;
}

/** What the receiver gets of a message that `sender` has published; undefined: nothing. */
export const deliveryTo = (matching: Delivery | undefined, sender: Receiver | undefined): Delivery | undefined =>
  matching?.receiver === sender ? matching?.toSelf : matching;

/** A subscription with the filter it stands under; by itself it is a delivery. */
class Placed implements Delivery {
  readonly receiver: Receiver;
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  readonly subscriptionIds: readonly number[];
  readonly toSelf: Delivery | undefined;

  constructor(
    readonly filter: string,
    { receiver, qos, retainAsPublished, noLocal, identifier = 0 }: Subscription,
  ) {
    this.receiver = receiver;
    this.qos = qos;
    this.retainAsPublished = retainAsPublished;
    this.subscriptionIds = identifier === 0 ? NO_SUBSCRIPTION_IDS : [identifier];
    this.toSelf = noLocal ? undefined : this;
  }
}

/** Several subscriptions of one receiver that match the same topic. */
class Merged implements Delivery {
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  readonly subscriptionIds: readonly number[];
  readonly toSelf: Delivery | undefined;

  constructor(
    readonly receiver: Receiver,
    all: readonly Placed[],
  ) {
    this.qos = Math.max(...all.map(({ qos }) => qos)) as QoS;
    this.retainAsPublished = all.some(({ retainAsPublished }) => retainAsPublished);
    this.subscriptionIds = all.flatMap(({ subscriptionIds }) => subscriptionIds);
    const local = all.filter(({ toSelf }) => toSelf !== undefined);
    this.toSelf = local.length === all.length ? this : local.length === 0 ? undefined : new Merged(receiver, local);
  }
}

/** What a topic's messages come to, one entry a receiver. */
export type Route = readonly Delivery[];

/** Most topic filters of one session. */
export const MAX_SESSION_FILTERS = 10_000;
/** Estimated memory for the filters of one session, and of all. */
const MAX_SESSION_FILTER_BYTES = 8 * 1024 * 1024;
const MAX_FILTER_BYTES = 64 * 1024 * 1024;

/** Measured with Node 20: 205 bytes for a filter of one level, 90 to 110 for each further level, the levels' own characters besides. */
const BYTES_A_FILTER = 200;
const BYTES_A_LEVEL = 100;
const BYTES_A_ROUTE = 48;
const BYTES_A_REFERENCE = 8;
const BYTES_A_MERGED = 150;

/** What one receiver's filters take. */
interface Footprint {
  filters: number;
  bytes: number;
}

/** All subscriptions, and what they cost. */
export class Subscriptions extends SubscriptionTree<Placed> {
  private readonly footprints = new Map<object, Footprint>();
  private bytes = 0;
  /** Of all receivers. */
  count = 0;

  /** Sets the subscription of this key under the filter. */
  place(filter: string, key: object, subscription: Subscription): void {
    if (!this.add(filter, key, new Placed(filter, subscription))) this.account(key, 1, bytesOf(filter));
  }

  override remove(filter: string, key: object): Placed | undefined {
    const removed = super.remove(filter, key);
    if (removed) this.account(key, -1, -bytesOf(filter));
    return removed;
  }

  private account(key: object, filters: number, bytes: number): void {
    const footprint = this.footprints.get(key) ?? { filters: 0, bytes: 0 };
    footprint.filters += filters;
    footprint.bytes += bytes;
    this.bytes += bytes;
    this.count += filters;
    if (footprint.filters === 0) this.footprints.delete(key);
    else this.footprints.set(key, footprint);
  }

  /** A shared subscription stands under its group's key; it counts for each member, too. */
  countShared(member: object, filter: string, filters: 1 | -1): void {
    this.account(member, filters, filters * bytesOf(filter));
  }

  /** Whether there are subscriptions under this key. */
  hasSome(key: object): boolean {
    return this.footprints.has(key);
  }

  /** Which limit (`doc/limits.md`) one more filter of this key would break; undefined if none. */
  limitFor(key: object, filter: string): string | undefined {
    const bytes = bytesOf(filter);
    const { filters, bytes: taken } = this.footprints.get(key) ?? NOTHING;
    if (filters >= MAX_SESSION_FILTERS) return `a session may have ${MAX_SESSION_FILTERS} topic filters`;
    if (taken + bytes > MAX_SESSION_FILTER_BYTES) return `the topic filters of a session may take ${MAX_SESSION_FILTER_BYTES} bytes of memory`;
    if (this.bytes + bytes > MAX_FILTER_BYTES) return `the topic filters of all sessions may take ${MAX_FILTER_BYTES} bytes of memory`;
    return undefined;
  }

  /** One copy a receiver, however many of its subscriptions match. */
  routeOf(name: string): Route {
    const mayBeHidden = name.includes("/$");
    const matches = this.match(name).filter(
      ({ receiver, filter }) =>
        receiver.mayRead(name) && !(mayBeHidden && receiver.mountPrefix && isHiddenBelow(receiver.mountPrefix, filter, name)),
    );
    if (matches.length < 2) return matches.slice(); // as long as it is: the route is kept
    const byReceiver = new Map<Receiver, Placed[]>();
    for (const match of matches) {
      const others = byReceiver.get(match.receiver);
      if (others) others.push(match);
      else byReceiver.set(match.receiver, [match]);
    }
    return byReceiver.size === matches.length ? matches : Array.from(byReceiver, ([receiver, own]) => own[1] === undefined ? (own[0] as Placed) : new Merged(receiver, own));
  }
}

/** Estimated memory for a route that is kept. */
export function bytesOfRoute(route: Route): number {
  let bytes = BYTES_A_ROUTE + BYTES_A_REFERENCE * route.length;
  for (const delivery of route) if (delivery instanceof Merged) bytes += BYTES_A_MERGED + BYTES_A_REFERENCE * delivery.subscriptionIds.length;
  return bytes;
}

const NOTHING: Footprint = { filters: 0, bytes: 0 };

function bytesOf(filter: string): number {
  let levels = 1;
  for (let at = filter.indexOf("/"); at >= 0; at = filter.indexOf("/", at + 1)) levels += 1;
  return BYTES_A_FILTER + BYTES_A_LEVEL * levels + 2 * filter.length;
}
