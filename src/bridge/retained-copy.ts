import type { Identity } from "../access/identity.ts";
import type { Entry, OwedRetained, RemotesRecord } from "../broker/entry.ts";
import { readRetained, type RetainedValue } from "../broker/retained.ts";
import type { Sessions } from "../broker/sessions.ts";
import type { Holding } from "../link/ack-gate.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { Message } from "../queue/message.ts";
import type { GroupNumber } from "../store/store.ts";
import { NameHeap } from "../topic/name-heap.ts";
import type { BridgeContext } from "./context.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Mapped, TopicMap } from "./topic-lines.ts";

const MAX_RETAINED_MARKS = 16;
/** Values in one turn that are looked at for QoS 0, looked at for the queue, and queued: about half a millisecond each. */
const TURN_STEPS = 256;
const TURN_FOUND = 512;
const TURN_QUEUED = 64;
/** Bytes that the remote has not read, or the store not taken, beyond which it gets no more of them. */
const MAX_UNSENT_BYTES = 256 * 1024;
const MAX_UNSTORED_BYTES = 1024 * 1024;

/** Nothing is queued for the connection any more: what is retained when it is configured again goes to each address. */
export function endQueueing(sessions: Sessions, entry: Entry): void {
  if (entry.remotes.queued) sessions.setRemotes(entry, { ...entry.remotes, retainedSent: [], retainedOwed: undefined, queued: undefined });
}

/** What the present remote is owed: the names are found first, and come up in their order, so that a name tells how far it has come. */
interface Owed {
  readonly mark: string;
  upTo: string;
  readonly beforeMs: number;
  readonly left: OwedRetained["left"];
  /** Until then what was queued for another remote, which comes before. */
  readonly behindMs: number;
  readonly names: NameHeap;
  /** Finds them; undefined when all are found. */
  finding: Iterator<undefined> | undefined;
}

/**
 * Brings the remote the retained messages that the queue does not: those from before the queue took them along, once to each address for each
 * set of topic lines; and what goes with QoS 0 and came while nobody was there to take it, as fast as the remote reads. Few in one turn.
 */
export class RetainedCopy implements Holding {
  /** Of the messages that remotes have been sent the newest was received then, as far as is known: what was retained later is in the queue. */
  private newestSentMs: number;
  /** The remote that was connected last has got all of the queue that was received before. */
  private deliveredMs: number;
  /** What the present remote is still to get by the queue. How far that is stands in the record, with the group that takes the messages. */
  private owed: Owed | undefined;
  /** And with QoS 0. */
  private missed: Iterator<undefined> | undefined;
  /** Queued and not stored yet, and the group with which it will be. */
  private unstoredBytes = 0;
  private lastGroup: GroupNumber = 0;
  private isScheduled = false;
  private readonly message = new Message();

  constructor(
    private readonly entry: Entry,
    private readonly topics: TopicMap,
    private readonly outgoing: Outgoing,
    private readonly context: Pick<BridgeContext, "broker" | "clock" | "gate">,
  ) {
    const nowMs = context.clock.nowMs();
    this.newestSentMs = nowMs;
    this.deliveredMs = entry.session.oldestMs ?? nowMs;
    entry.session.onRoom = () => {
      if (this.owed) this.goOnNextTurn();
    };
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
    this.remember({ retainedSent, retainedOwed: undefined, queued: { lines, sinceMs: nowMs + 1 } });
  }

  private remember(changes: Partial<RemotesRecord>): void {
    const { entry, context } = this;
    context.broker.sessions.setRemotes(entry, { ...entry.remotes, ...changes });
  }

  connectionEnded(nowMs: number, newestSentMs: number): void {
    this.owed = this.missed = undefined;
    this.newestSentMs = Math.max(this.newestSentMs, newestSentMs);
    this.deliveredMs = this.entry.session.oldestMs ?? nowMs;
    if (this.entry.remotes.missedSinceMs === undefined) this.remember({ missedSinceMs: nowMs });
  }

  send(address: string): void {
    const mark = `${address} ${this.topics.digest}`;
    const isOther = this.leaveOthers(mark);
    const { retainedSent, retainedOwed = [], missedSinceMs = 0 } = this.entry.remotes;
    const begun = retainedOwed.find((owed) => owed.mark === mark);
    const isDone = retainedSent.includes(mark);
    const isNew = !isDone && !begun;
    const others = retainedOwed.filter((owed) => owed !== begun);
    if (!isDone) this.beginOwed(mark, begun, others, isOther);
    const sinceMs = isNew ? 0 : Math.min(missedSinceMs, begun?.left?.sinceMs ?? Infinity);
    if (sinceMs < missedSinceMs) this.remember({ missedSinceMs: sinceMs });
    this.missed = this.sendMissed(sinceMs, this.context.clock.nowMs());
    this.goOn();
  }

  /** What the queue holds goes to this remote from now on: those that were connected before will miss it. Returns whether there are any. */
  private leaveOthers(mark: string): boolean {
    const { retainedSent, retainedOwed = [], retainedQueuedMs = 0, missedSinceMs = Infinity } = this.entry.remotes;
    const isLeft = (owed: OwedRetained): boolean => owed.mark !== mark && owed.beforeMs !== undefined;
    const done = retainedSent.filter((sent) => sent !== mark);
    if (done.length === 0 && !retainedOwed.some(isLeft)) return false;
    const sinceMs = Math.min(this.deliveredMs, missedSinceMs);
    const hasAllQueued = retainedQueuedMs < this.deliveredMs;
    const leave = ({ mark, upTo, left }: OwedRetained): OwedRetained => ({ mark, upTo: "", left: left ?? { sinceMs, upTo: hasAllQueued ? upTo : "" } });
    this.remember({
      retainedSent: retainedSent.filter((sent) => sent === mark),
      retainedOwed: [
        ...retainedOwed.map((owed) => (isLeft(owed) ? leave(owed) : owed)),
        ...done.map((sent) => ({ mark: sent, upTo: "", left: hasAllQueued ? { sinceMs } : { sinceMs, upTo: "" } })),
      ],
    });
    return true;
  }

  private beginOwed(mark: string, begun: OwedRetained | undefined, others: readonly OwedRetained[], isOther: boolean): void {
    const { retainedSent, retainedOwed, retainedQueuedMs = 0, queued } = this.entry.remotes;
    // Nothing has left the queue before it was connected for the first time.
    const leftMs = retainedSent.length > 0 || retainedOwed ? this.newestSentMs + 1 : 0;
    const upTo = begun?.upTo ?? "";
    const beforeMs = begun?.beforeMs ?? Math.max(queued?.sinceMs ?? 0, leftMs);
    const left = begun?.left;
    this.remember({ retainedOwed: [...others, { mark, upTo, beforeMs, left }].slice(-MAX_RETAINED_MARKS) });
    const names = new NameHeap();
    const behindMs = isOther ? retainedQueuedMs : 0;
    this.owed = { mark, upTo, beforeMs, left, behindMs, names, finding: this.findOwed(upTo, { beforeMs, left }, names) };
  }

  private *findOwed(upTo: string, owed: Pick<Owed, "beforeMs" | "left">, names: NameHeap): Iterator<undefined> {
    const { topics, context, message } = this;
    for (const { filter } of topics.subscriptions) {
      const values = context.broker.retained.find(filter);
      for (let step = values.next(); step.done !== true; step = values.next()) {
        const { value } = step;
        if (value && value.name > upTo) {
          readRetained(message, value);
          if (this.isOwed(value.name, message.qos, owed)) names.add(value.name);
        }
        yield undefined;
      }
    }
  }

  /** The value that was read. What changes meanwhile is queued as it comes. */
  private isOwed(name: string, qos: QoS, { beforeMs, left }: Pick<Owed, "beforeMs" | "left">): boolean {
    const { receivedMs } = this.message;
    return this.isQueued(qos) && receivedMs < beforeMs && (!left || receivedMs >= left.sinceMs || (left.upTo !== undefined && name > left.upTo));
  }

  /** A slice of what is owed, in one group with how far that is: a kill neither loses nor doubles any. Returns whether it can go on. */
  private queueOwed(): boolean {
    const { owed, entry } = this;
    if (!owed) return false;
    for (let steps = 0; owed.finding; steps++) {
      if (steps === TURN_FOUND) return true;
      if (owed.finding.next().done === true) owed.finding = undefined;
    }
    // The queue does not grow with each change between remotes that take little.
    if (!this.hasRoom || (entry.session.oldestMs ?? Infinity) <= owed.behindMs) return false;
    const { retainedSent, retainedOwed = [] } = entry.remotes;
    const others = retainedOwed.slice(0, -1);
    let hasRoom = true;
    for (let queued = 0; queued < TURN_QUEUED && this.hasRoom; queued++) {
      const name = owed.names.take();
      if (name === undefined) {
        this.owed = undefined;
        this.remember({
          retainedSent: [...retainedSent, owed.mark].slice(-MAX_RETAINED_MARKS),
          retainedOwed: others.length > 0 ? others : undefined,
          ...(queued > 0 ? { retainedQueuedMs: this.context.clock.nowMs() } : {}),
        });
        return false;
      }
      if (name === owed.upTo) continue; // several lines match it
      if (!this.queue(name, owed)) {
        owed.names.add(name);
        if (queued === 0) return false; // nothing is to be written at each look
        hasRoom = false;
        break;
      }
      owed.upTo = name;
    }
    const { mark, upTo, beforeMs, left } = owed;
    this.remember({ retainedOwed: [...others, { mark, upTo, beforeMs, left }], retainedQueuedMs: this.context.clock.nowMs() });
    return hasRoom && this.hasRoom;
  }

  /** Not to a full disk, nor faster than the store takes it, and nothing that limits of the queue would cost, or push out for it. */
  private get hasRoom(): boolean {
    const { entry, context } = this;
    return this.unstoredBytes < MAX_UNSTORED_BYTES && context.broker.admission.storeTakes && entry.session.bounds.takesLater(0);
  }

  /** False if the value has to wait for room: one of its size would not be taken, or push others out. */
  private queue(name: string, owed: Owed): boolean {
    const { context, message } = this;
    const value = context.broker.retained.get(name);
    const mapped = value && this.topics.map(name);
    if (!mapped) return true;
    if (!this.entry.session.bounds.takesLater(value.record.length + mapped.name.length)) return false;
    const group = this.handOn(value, mapped, (qos) => this.isOwed(name, qos, owed));
    if (group <= 0) return true; // not for the disk
    this.unstoredBytes += message.payloadEnd - message.topicStart;
    this.lastGroup = group;
    context.gate.hold(this);
    return true;
  }

  releaseHeld(upTo: GroupNumber): boolean {
    if (upTo < this.lastGroup) return false;
    this.unstoredBytes = 0;
    if (this.owed) this.goOnNextTurn();
    return true;
  }

  /** Whether what goes with this QoS waits for a remote that is away. */
  private isQueued(qos: QoS): boolean {
    return qos > 0 || this.entry.session.bounds.limits.queueQoS0;
  }

  /** To be called now and then, and when the remote has read something. */
  goOn(): void {
    if (this.isScheduled) return;
    const canQueue = this.queueOwed();
    const canSend = this.sendSome();
    if (canQueue || canSend) this.goOnNextTurn();
  }

  private goOnNextTurn(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    this.context.clock.endOfTurn(() => {
      this.isScheduled = false;
      this.goOn();
    });
  }

  /** The same for what goes with QoS 0. */
  private sendSome(): boolean {
    const { missed, entry } = this;
    const peer = entry.session.sender?.peer;
    if (!missed || !peer) return false;
    for (let steps = 0; steps < TURN_STEPS; steps++) {
      if (peer.congested || peer.unsentBytes > MAX_UNSENT_BYTES) return false;
      if (missed.next().done !== true) continue;
      this.missed = undefined;
      this.remember({ missedSinceMs: undefined });
      return false;
    }
    return true;
  }

  /** What came since then with QoS 0 and before the remote was there; each once, however many lines match. */
  private *sendMissed(sinceMs: number, beforeMs: number): Iterator<undefined> {
    const { topics, context, message } = this;
    const isMissed = (qos: QoS): boolean => !this.isQueued(qos) && message.receivedMs >= sinceMs && message.receivedMs <= beforeMs;
    for (const { filter } of topics.subscriptions) {
      const values = context.broker.retained.find(filter);
      for (let step = values.next(); step.done !== true; step = values.next()) {
        const { value } = step;
        const mapped = value && topics.map(value.name);
        if (value && mapped?.filter === filter) this.handOn(value, mapped, isMissed);
        yield undefined;
      }
    }
  }

  /** Hands on a value that the remote may have, if `isWanted` with the QoS that it goes out with. Returns what `deliver` does. */
  private handOn(value: RetainedValue, mapped: Mapped, isWanted: (qos: QoS) => boolean): GroupNumber {
    const { context, outgoing, message } = this;
    if (context.broker.retained.hasExpired(value)) return 0;
    readRetained(message, value);
    const qos = message.qos < mapped.qos ? message.qos : mapped.qos;
    if (!this.mayGo(value) || !isWanted(qos)) return 0;
    message.receivedMs = context.clock.nowMs(); // it waits from now on, however old the value is
    return outgoing.deliver(message, qos, true);
  }

  /** Not back over the connection that it came by: a remote may have a newer one by now. */
  private mayGo({ name, author }: RetainedValue): boolean {
    const { entry, outgoing, context } = this;
    if (!outgoing.mayRead(name)) return false;
    return !author || (!isSame(author, entry.identity) && context.broker.access.mayStillWrite(author, name));
  }
}

const isSame = (one: Identity, other: Identity): boolean => one.kind === other.kind && one.id === other.id;
