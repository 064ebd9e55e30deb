import { decodeProgress } from "../queue/progress.ts";
import { Message } from "../queue/message.ts";
import { intactRecords } from "../queue/page.ts";
import { readRecord, recordEnd, recordSeq } from "../queue/record.ts";
import { Slot } from "../queue/window.ts";
import type { Session } from "../session/session.ts";
import { isShared, shareOf } from "../topic/share.ts";
import type { Entry } from "./entry.ts";
import { SharedGroup, type ShareQueues } from "./shared-group.ts";
import type { SubscriptionOptions } from "./subscription-options.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** Most members of one group: each message may look at all of them. */
const MAX_MEMBERS = 1_000;
const FIRST_RAM_NUMBER = 0xffff_ffff;

/** All shared subscriptions, by `GROUP/FILTER`. */
export class SharedGroups {
  private readonly groups = new Map<string, SharedGroup>();
  /** By the number that stands in records of their messages. */
  private readonly byNumber = new Map<number, SharedGroup>();
  private readonly groupsOf = new Map<Session, Set<SharedGroup>>();
  private nextRamNumber = FIRST_RAM_NUMBER;

  constructor(
    private readonly subscriptions: Subscriptions,
    private readonly queues: ShareQueues,
  ) {}

  has(name: string): boolean {
    return this.groups.has(name);
  }

  /** Which limit one more member would break; undefined if none. */
  limitFor(entry: Entry, filter: string): string | undefined {
    const group = this.groups.get(nameOf(filter));
    return group && group.size >= MAX_MEMBERS && !group.has(entry) ? `a shared subscription may have ${MAX_MEMBERS} members` : undefined;
  }

  /** Adds the session to a group, or changes its options there. */
  join(entry: Entry, filter: string, options: SubscriptionOptions): void {
    const share = shareOf(filter);
    if (!share) return;
    const name = nameOf(filter);
    let group = this.groups.get(name);
    if (!group) {
      const made: SharedGroup = new SharedGroup(name, share.filter, this.queues, this.nextRamNumber, (number) => this.byNumber.set(number, made));
      this.byNumber.set(this.nextRamNumber--, made);
      this.groups.set(name, made);
      made.start();
      group = made;
    }
    const { session } = entry;
    if (!group.has(entry)) this.subscriptions.countShared(session, filter, 1);
    group.set(entry, options);
    this.subscriptions.place(share.filter, group, { receiver: group, qos: group.qos, retainAsPublished: true, noLocal: false });
    const own = this.groupsOf.get(session) ?? new Set();
    own.add(group);
    this.groupsOf.set(session, own);
    session.onRoom = () => {
      for (const one of own) one.pump();
    };
  }

  leave(entry: Entry, filter: string): void {
    const group = this.groups.get(nameOf(filter));
    if (!group?.has(entry)) return;
    const { session } = entry;
    this.subscriptions.countShared(session, filter, -1);
    group.delete(entry);
    this.groupsOf.get(session)?.delete(group);
    const placed = shareOf(filter)?.filter ?? "";
    if (group.size > 0) return this.subscriptions.place(placed, group, { receiver: group, qos: group.qos, retainAsPublished: true, noLocal: false });
    this.subscriptions.remove(placed, group);
    this.groups.delete(group.name);
    for (const [number, one] of this.byNumber) if (one === group) this.byNumber.delete(number);
  }

  /**
   * The session is about to end, and no member any more: the others get what it has not got. What lies on disk follows (`moveOn`): returned is
   * where its messages stand; undefined if there are no others. It may have left its group before the last start, with a message in flight.
   */
  sessionEnds(session: Session): Buffer | undefined {
    this.groupsOf.delete(session);
    if (this.groups.size === 0) return undefined;
    session.visitUnwritten((message, mayBeKnown) => this.give(message, mayBeKnown));
    return session.progress;
  }

  /** Gives other members what the page of a session that has ended holds for them; `left` is where its messages stood. False if it holds nothing for them. */
  moveOn(page: Buffer, left: Buffer): boolean {
    const progress = decodeProgress(left);
    const message = new Message();
    const records = intactRecords(page, 0, progress.nextSeq);
    let hasMoved = false;
    for (let at = 0; at < records.length; at = recordEnd(records, at)) {
      const seq = recordSeq(records, at);
      if (seq < progress.ackedBelow || progress.slots.some((slot) => slot.seq === seq && slot.state === Slot.acknowledged)) continue;
      if (progress.dropped.some(({ from, to }) => seq >= from && seq < to)) continue;
      readRecord(message, records, at);
      if (this.give(message, seq < progress.sentLimit)) hasMoved = true;
    }
    return hasMoved;
  }

  /** To another member: not what may be known to the first one with QoS 2 [MQTT-4.8.2-5]. Returns whether it is given. */
  private give(message: Message, mayBeKnown: boolean): boolean {
    const group = this.byNumber.get(message.share);
    if (!group || (mayBeKnown && message.qos === 2)) return false;
    message.share = 0;
    message.dropSubscriptionIds();
    group.takeBack(message);
    return true;
  }
}

const nameOf = (filter: string): string => {
  const share = isShared(filter) ? shareOf(filter) : undefined;
  return share ? `${share.group}/${share.filter}` : "";
};
