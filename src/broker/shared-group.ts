import type { QoS } from "../mqtt/protocol.ts";
import { type Message, NO_SUBSCRIPTION_IDS } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import { Admission } from "../session/admission.ts";
import type { Session } from "../session/session.ts";
import type { GroupNumber } from "../store/store.ts";
import { isHiddenBelow } from "../topic/matching.ts";
import type { Entry } from "./entry.ts";
import type { SubscriptionOptions } from "./subscription-options.ts";
import type { Receiver } from "./subscriptions.ts";

interface Member {
  readonly entry: Entry;
  readonly subscriptionIds: readonly number[];
  options: SubscriptionOptions;
}

/** Where the messages of shared subscriptions wait; a queue's name is its group's. */
export interface ShareQueues {
  /** The queue that is there, or a new one. */
  open(name: string, durable: boolean): Session;
  find(name: string): Session | undefined;
  /** Ends it, and drops what waits there. */
  end(name: string): void;
}

/**
 * One shared subscription: each message goes to one of its members, in turn [MQTT 5.0 section 4.8.2]. What none of them can take now waits in a
 * queue of the group, whose peer the group itself is: a member gets no more than its window takes, so that nothing but what is on its way to it is
 * held up when it goes. A message moves from there to a member in one turn, and so in one group of the store: out there, in here.
 */
export class SharedGroup implements Receiver, Peer {
  readonly unsentBytes = 0;
  private readonly members = new Map<Entry, Member>();
  /** The member whose turn was last is the last one. */
  private turns: Member[] = [];
  private queue: Session | undefined;

  constructor(
    readonly name: string,
    private readonly filter: string,
    private readonly queues: ShareQueues,
    /** Names the group in records of messages that its members have in their queues, while all members end with their connections. */
    private readonly ramNumber: number,
    /** The number of the queue from now on: that of records. */
    private readonly onQueue: (number: number) => void,
  ) {}

  /** Takes up what waited when the daemon stopped. */
  start(): void {
    const known = this.queues.find(this.name);
    if (known) this.use(known);
  }

  get size(): number {
    return this.members.size;
  }

  has(entry: Entry): boolean {
    return this.members.has(entry);
  }

  /** The highest QoS of a member. */
  get qos(): QoS {
    return Math.max(0, ...this.turns.map(({ options }) => options.qos)) as QoS;
  }

  set(entry: Entry, options: SubscriptionOptions): void {
    const member = { entry, options, subscriptionIds: options.identifier === 0 ? NO_SUBSCRIPTION_IDS : [options.identifier] };
    this.turns = [member, ...this.turns.filter((other) => other.entry !== entry)];
    this.members.set(entry, member);
    if (this.queue) this.openQueue(); // to disk, now: while it is handing a message on it must not be replaced
    this.pump();
  }

  delete(entry: Entry): void {
    this.members.delete(entry);
    this.turns = this.turns.filter((member) => member.entry !== entry);
    if (this.members.size === 0 && this.queue) this.queues.end(this.name);
  }

  get durable(): boolean {
    return this.turns.some(({ entry }) => entry.session.durable);
  }

  mayRead(topicName: string): boolean {
    return this.turns.some((member) => sees(member, this.filter, topicName));
  }

  deliver(message: Message, qos: QoS, retain: boolean): GroupNumber {
    if (qos === 0 || !this.hasWaiting) {
      const member = this.next(message, qos === 0 ? isReady : hasRoom);
      if (member) return this.hand(member, message, qos, retain);
      const reader = qos === 0 || this.congested ? undefined : this.nextReader(message);
      if (reader) return this.hand(reader, message, qos, retain, withinLimits);
    }
    return qos === 0 ? Admission.dropped : this.openQueue().deliver(message, qos, retain);
  }

  /** Has a message back from a member whose session has ended. */
  takeBack(message: Message): void {
    const { qos, retain } = message;
    const member = this.hasWaiting ? undefined : this.next(message, hasRoom);
    if (member) this.hand(member, message, qos, retain);
    else this.openQueue().takeOver(message, qos, retain);
  }

  blocks(message: Message, copies: number): boolean {
    if ((this.hasWaiting || this.congested) && this.openQueue().blocks(message, copies)) return true;
    if (this.find(message, hasRoom)) return false;
    // Each that has no room either is to tell when it has.
    const readers = this.turns.filter((member) => keeps(member.entry.session) && this.reaches(member, message));
    return readers.length > 0 && readers.every(({ entry }) => entry.session.blocks(message, copies));
  }

  private get hasWaiting(): boolean {
    return this.queue !== undefined && this.queue.queuedMessages > 0;
  }

  /** The queue that lies on disk if a member's does. */
  private openQueue(): Session {
    const { durable, queue } = this;
    if (queue && (queue.durable || !durable)) return queue;
    const waiting: (() => void)[] = [];
    queue?.visitUnwritten((message) => {
      const own = message.copy();
      waiting.push(() => void this.queue?.takeOver(own, own.qos, own.retain));
    });
    if (queue) this.queues.end(this.name);
    this.use(this.queues.open(this.name, durable));
    for (const append of waiting) append();
    return this.openQueue();
  }

  private use(queue: Session): void {
    this.queue = queue;
    if (queue.durable) this.onQueue(queue.number);
    queue.attach(this, Infinity);
  }

  /** The first in turn that takes the message and may read it. */
  private find(message: Message, takes: (session: Session) => boolean): Member | undefined {
    return this.turns.find((member) => takes(member.entry.session) && this.reaches(member, message));
  }

  /** The same; it is the last one then. */
  private next(message: Message, takes: (session: Session) => boolean): Member | undefined {
    return this.moveBack(this.find(message, takes));
  }

  /** While who has room in its window may not read the message: one that may, and has room in its queue if any has. */
  private findReader(message: Message): Member | undefined {
    const hasQueueRoom = (session: Session): boolean => keeps(session) && session.hasQueueRoom(message);
    return (
      this.find(message, (session) => isAttached(session) && hasQueueRoom(session)) ?? this.find(message, hasQueueRoom) ?? this.find(message, isAttached) ?? this.find(message, isDurable)
    );
  }

  private nextReader(message: Message): Member | undefined {
    return this.moveBack(this.findReader(message));
  }

  private moveBack(member: Member | undefined): Member | undefined {
    if (!member) return undefined;
    this.turns.splice(this.turns.indexOf(member), 1);
    this.turns.push(member);
    return member;
  }

  private reaches(member: Member, { topic, topicStart, topicEnd }: Message): boolean {
    const { entry } = member;
    if (entry.rights === undefined && entry.session.mountPrefix === "") return true;
    return sees(member, this.filter, topic.toString("utf8", topicStart, topicEnd));
  }

  /** Unless told otherwise no limit of the member's queue holds: its window has room for the message, or the message has been let in before. */
  private hand({ entry, options, subscriptionIds }: Member, message: Message, qos: QoS, retain: boolean, take: Take = whateverLimits): GroupNumber {
    const effective = qos < options.qos ? qos : options.qos;
    message.subscriptionIds = subscriptionIds;
    message.share = effective > 0 && entry.session.durable ? this.openQueue().number : this.ramNumber;
    const group = take(entry.session, message, effective, retain && options.retainAsPublished);
    message.subscriptionIds = NO_SUBSCRIPTION_IDS;
    message.share = 0;
    return group;
  }

  /** A member may have room. */
  pump(): void {
    if (this.hasWaiting) this.queue?.pump();
  }

  /** No member has room for what waits. */
  get congested(): boolean {
    return !this.turns.some(({ entry }) => hasRoom(entry.session));
  }

  /** A message comes out of the queue; a member takes it over, and so it is done there. */
  publish(flags: number, message: Message, _topicStart: number, packetId: number): boolean {
    const { qos } = message;
    const retain = (flags & 1) !== 0;
    const member = this.next(message, hasRoom);
    const reader = member ? undefined : this.nextReader(message);
    if (member) this.hand(member, message, qos, retain);
    else if (reader) this.hand(reader, message, qos, retain, reader.entry.session.blocks(message, 1) ? whateverLimits : withinLimits);
    if (qos === 1) this.queue?.sender?.onPuback(packetId);
    else {
      this.queue?.sender?.onPubrec(packetId);
      this.queue?.sender?.onPubcomp(packetId);
    }
    return true;
  }

  /** QoS 0 does not wait. */
  forward(): boolean {
    return false;
  }

  /** PUBREL has nobody to go to. */
  acknowledge(): void {}
}

/** How a member takes a message. */
type Take = (session: Session, message: Message, qos: QoS, retain: boolean) => GroupNumber;
const whateverLimits: Take = (session, message, qos, retain) => session.takeOver(message, qos, retain);
const withinLimits: Take = (session, message, qos, retain) => session.deliver(message, qos, retain);

const isAttached = (session: Session): boolean => session.isAttached;
const isReady = (session: Session): boolean => session.sender?.peer.congested === false;
const hasRoom = (session: Session): boolean => session.sender?.hasRoom ?? false;
const isDurable = (session: Session): boolean => session.durable;
const keeps = (session: Session): boolean => session.isAttached || session.durable;

function sees({ entry: { session } }: Member, filter: string, topicName: string): boolean {
  return session.mayRead(topicName) && !isHiddenBelow(session.mountPrefix, filter, topicName);
}
