import type { Access } from "../access/access.ts";
import type { Clock } from "../clock/clock.ts";
import { Reason } from "../mqtt/reason.ts";
import type { MemoryBudget } from "../queue/memory-budget.ts";
import { type Message, NO_SUBSCRIPTION_IDS } from "../queue/message.ts";
import type { Session } from "../session/session.ts";
import type { SessionContext, SessionLimits } from "../session/session-context.ts";
import type { GroupNumber, Store } from "../store/store.ts";
import type { Topic } from "../topic/topic.ts";
import { TopicTable } from "../topic/topic-table.ts";
import { Admission, type Publisher } from "./admission.ts";
import { Retained } from "./retained.ts";
import { RetainedReplays } from "./retained-replay.ts";
import { DelayedWills } from "./delayed-wills.ts";
import type { Burst } from "./burst.ts";
import type { Entry } from "./entry.ts";
import { Routes } from "./routes.ts";
import { Sessions } from "./sessions.ts";
import type { SubscriptionOptions } from "./subscription-options.ts";
import { WaitingRoom } from "./waiting-room.ts";
import { deliveryTo, Subscriptions, type Source } from "./subscriptions.ts";

export interface BrokerEvents {
  onDropped(session: Session): void;
  onLevel(session: Session, isNearlyFull: boolean): void;
  /** The connection has waited too long for room in a queue with `block`, and is about to be closed. */
  onBlockTimeout(publisher: Publisher): void;
  onLost(session: Session, messages: number): void;
  /** The retained message of this topic can't be read any more. */
  onDamaged(topicName: string): void;
  /** A connection published what can't be stored; `connections` are in that state. */
  onRefused(connections: number): void;
}

export interface BrokerContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly budget: MemoryBudget;
  readonly limits: SessionLimits & { readonly blockTimeoutMs: number };
  /** What may be taken and not on disk yet while the store fails, in all. */
  readonly maxUncommittedBytes: number;
  readonly autosaveIntervalMs: number;
  readonly access: Access;
  readonly events: BrokerEvents;
}

interface Will {
  readonly from: Source;
  readonly topic: Topic;
  readonly message: Message;
  readonly bytes: number;
}

/** Wills that wait for room in the store. */
const MAX_WILL_BYTES = 1024 * 1024;

/** Where messages meet subscriptions. */
export class Broker {
  readonly topics = new TopicTable();
  readonly subscriptions = new Subscriptions();
  private readonly routes = new Routes(this.subscriptions);
  readonly retained: Retained;
  readonly sessions: Sessions;
  readonly admission: Admission;
  readonly waitingRoom: WaitingRoom;
  private readonly replays: RetainedReplays;
  private readonly delayedWills: DelayedWills;
  /** Published to the daemon, not by it. */
  receivedMessages = 0;
  droppedMessages = 0;
  /** How many receivers the message had that was published last, and how many of them have taken it. */
  matched = 0;
  taken = 0;
  /** Bytes that were handed to the store, one copy for each durable receiver. */
  appendedBytes = 0;
  /** `appendedBytes` when a group was stored last. */
  private appendedWhenStored = 0;
  /** Wills that wait until the store takes them, the last of each client. */
  private readonly wills = new Map<string, Will>();
  private willBytes = 0;
  /** A connection was configured with `queue_full block`. */
  hasBlockingBridge = false;
  private currentAccess: Access;
  private readonly awaitingStore = new Set<Session>();

  constructor(private readonly context: BrokerContext) {
    const sessionContext: SessionContext<Session> = {
      store: context.store,
      clock: context.clock,
      budget: context.budget,
      totals: { messages: 0, bytes: 0 },
      incomingTotal: { count: 0 },
      limits: context.limits,
      onAppended: (session) => this.awaitingStore.add(session),
      onDropped: (session) => {
        this.droppedMessages += 1;
        context.events.onDropped(session);
      },
      onRoom: () => this.waitingRoom.onRoom(),
      onLevel: (session, isNearlyFull) => context.events.onLevel(session, isNearlyFull),
      onLost: (session, messages) => context.events.onLost(session, messages),
      onRemounted: (session) => {
        if (this.subscriptions.hasSome(session)) this.subscriptions.invalidate();
      },
    };
    this.currentAccess = context.access;
    this.waitingRoom = new WaitingRoom(
      context.clock,
      () => context.limits.blockTimeoutMs,
      context.maxUncommittedBytes,
      (publisher) => {
        context.events.onBlockTimeout(publisher);
        publisher.close({ kind: "local", text: "there is no room in a queue for what it publishes", code: Reason.QuotaExceeded });
      },
    );
    this.admission = new Admission(
      context.store,
      context.clock,
      () => this.appendedBytes - this.appendedWhenStored > context.maxUncommittedBytes,
      (connections) => context.events.onRefused(connections),
      () => this.onRoom(),
    );
    this.retained = new Retained(context.store, context.clock, context.autosaveIntervalMs, (topicName) => context.events.onDamaged(topicName));
    this.replays = new RetainedReplays(this.retained, context.clock, (author, topicName) => this.currentAccess.mayStillWrite(author, topicName), () => this.admission.storeTakes);
    this.delayedWills = new DelayedWills(
      context.store,
      context.clock,
      (entry, message) => this.mayPublishWill(sourceOf(entry), this.topicOf(message), message),
      (entry, message) => this.publishWill(sourceOf(entry), this.topicOf(message), message),
    );
    this.sessions = new Sessions(context.store, this.subscriptions, sessionContext, (identity) => this.currentAccess.rightsOf(identity), {
      onTakenUp: (entry) => this.delayedWills.cancel(entry),
      mayEnd: (entry) => this.delayedWills.mayRelease(entry),
      onEnded: (entry) => this.delayedWills.release(entry),
    });
    context.store.onStored((upTo) => this.onStored(upTo));
    context.store.onState(() => {
      for (const session of this.awaitingStore) session.pump(); // to a store that fails it may be in vain to wait
    });
  }

  /** Whether the store can't be opened: sessions that outlive a connection can't be had. */
  get isStoreAbsent(): boolean {
    return this.context.store.state === "absent";
  }

  /** Takes over from the broker that served while the store could not be opened: retained messages and wills that wait. */
  inherit(before: Broker): void {
    before.retained.match("#", (message, name) => void this.publish(undefined, this.topics.intern(name), message));
    for (const { from, topic, message } of before.wills.values()) this.publish(from, this.topics.intern(topic.name), message);
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

  /** Restores retained messages, sessions and queues. No listener may be open yet; `begin` follows. */
  async recover(): Promise<void> {
    await this.retained.recover();
    await this.sessions.recover();
    await this.delayedWills.recover(this.sessions.all());
  }

  /** When connections are there, to which wills may go: what came of age while the daemon was away is published, and ended. */
  begin(): void {
    this.delayedWills.begin();
    this.sessions.endOver();
  }

  private onStored(upTo: GroupNumber): void {
    this.appendedWhenStored = this.appendedBytes;
    for (const session of this.awaitingStore) {
      if (session.onStored(upTo)) this.awaitingStore.delete(session);
    }
    this.replays.onStored(upTo);
  }

  /**
   * Routes one message; `from` is undefined for the daemon's own. Returns the group its acknowledgement waits for, 0 if none.
   * Every durable receiver's append, and a retained value of QoS 1 or 2, is in that group or an earlier one.
   */
  publish(from: Source | undefined, topic: Topic, message: Message): GroupNumber {
    if (from !== undefined) this.receivedMessages += 1;
    let after: GroupNumber = 0;
    if (message.retain) after = this.retained.set(topic.name, message, from?.identity);
    const route = this.routes.of(topic);
    const { qos, retain } = message;
    let copies = after > 0 ? 1 : 0;
    let matched = 0;
    let taken = 0;
    const sender = from?.receiver;
    for (let index = 0; index < route.length; index++) {
      const matching = route[index];
      const delivery = deliveryTo(matching, sender);
      if (delivery === undefined) continue;
      message.subscriptionIds = delivery.subscriptionIds;
      const effective = qos < delivery.qos ? qos : delivery.qos;
      const group = delivery.receiver.deliver(message, effective, retain && delivery.retainAsPublished);
      matched += 1;
      if (group >= 0) taken += 1;
      if (group > 0) copies += 1;
      if (group > after) after = group;
    }
    message.subscriptionIds = NO_SUBSCRIPTION_IDS;
    this.matched = matched;
    this.taken = taken;
    if (copies > 0) this.appendedBytes += copies * (message.payloadLength + message.topicEnd - message.topicStart);
    return after;
  }

  /** The same for a burst. */
  publishBurst(burst: Burst): void {
    const { from, topic, message, packets } = burst;
    burst.packets = 0;
    this.receivedMessages += packets;
    const route = this.routes.of(topic);
    for (let index = 0; index < route.length; index++) {
      const matching = route[index];
      const delivery = deliveryTo(matching, from.receiver);
      if (delivery === undefined) continue;
      const { receiver } = delivery;
      message.subscriptionIds = delivery.subscriptionIds;
      if (receiver.forward?.(message, packets) !== true) burst.forEach((each) => receiver.deliver(each, 0, false));
    }
    message.subscriptionIds = NO_SUBSCRIPTION_IDS;
  }

  /** Whether some queue may have its publishers wait: what the hot path asks. */
  get mayBlock(): boolean {
    return this.hasBlockingBridge || this.context.limits.queueFull === "block";
  }

  /** Whether a queue that the message goes to has no room for it and has its publisher wait; then nothing is appended anywhere. */
  isBlocked({ receiver }: Source, topic: Topic, message: Message): boolean {
    const route = this.routes.of(topic);
    let isBlocked = false;
    for (const matching of route) {
      const delivery = deliveryTo(matching, receiver);
      if (delivery === undefined || delivery.qos === 0) continue;
      message.subscriptionIds = delivery.subscriptionIds;
      isBlocked ||= delivery.receiver.blocks(message, route.length);
    }
    message.subscriptionIds = NO_SUBSCRIPTION_IDS;
    return isBlocked;
  }

  /** Whether taking the message adds something to the store. The removal of a retained message does not. */
  needsStore({ receiver, identity }: Source, topic: Topic, { qos, retain, payloadLength }: Message): boolean {
    if (qos === 0) return false;
    if (qos === 2 && this.sessions.get(identity.kind, identity.id)?.session.durable) return true;
    if (retain && payloadLength > 0 && !topic.isSystem) return true;
    return this.routes.of(topic).some((to) => to.qos > 0 && to.receiver.durable && (to.receiver !== receiver || to.toSelf !== undefined));
  }

  /** Publishes the will of a connection that has ended; one that the store can't take now is published when it can, if not too many wait. */
  publishWill(from: Source, topic: Topic, message: Message): void {
    if (this.mayPublishWill(from, topic, message)) return void this.publish(from, topic, message);
    const { identity } = from;
    const bytes = message.payloadLength + topic.bytes.length;
    if (this.willBytes + bytes > MAX_WILL_BYTES) return;
    this.willBytes += bytes - (this.wills.get(identity.id)?.bytes ?? 0);
    this.wills.delete(identity.id);
    this.wills.set(identity.id, { from, topic, message: message.copy(), bytes });
  }

  private mayPublishWill(from: Source, topic: Topic, message: Message): boolean {
    return this.admission.hasRoom(undefined) || !this.needsStore(from, topic, message);
  }

  private topicOf({ topic, topicStart, topicEnd }: Message): Topic {
    return this.topics.lookup(topic, topicStart, topicEnd);
  }

  /** Publishes the will of a connection that has ended when its delay is over, or its session. */
  delayWill(entry: Entry, message: Message, delayMs: number): void {
    this.delayedWills.delay(entry, message, delayMs);
  }

  /** Publishes the wills that wait, whatever the store says. */
  publishWaitingWills(): void {
    const waiting = [...this.wills.values()];
    this.wills.clear();
    this.willBytes = 0;
    for (const { from, topic, message } of waiting) {
      message.receivedMs = this.context.clock.nowMs();
      this.publish(from, topic, message);
    }
  }

  private onRoom(): void {
    this.publishWaitingWills();
    this.delayedWills.onRoom();
    this.replays.onRoom();
  }

  /** Subscribes a client's session. Returns the group the SUBACK waits for, or the limit that forbids it, in words. */
  subscribe(entry: Entry, filter: string, options: SubscriptionOptions): GroupNumber | string {
    return this.sessions.limitFor(entry, filter) ?? this.sessions.subscribe(entry, filter, options);
  }

  /** Retained messages for a new subscription [MQTT-3.3.1-6]; few at once, many over the turns that follow. */
  sendRetained(entry: Entry, filter: string): void {
    this.replays.start(entry, filter);
  }
}

/** Whose will it is. */
const sourceOf = ({ session, identity }: Entry): Source => ({ receiver: session, identity, isBridge: false });
