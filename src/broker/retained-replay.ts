import type { Identity } from "../access/identity.ts";
import type { Clock } from "../clock/clock.ts";
import { Message, NO_SUBSCRIPTION_IDS } from "../queue/message.ts";
import type { Replay } from "../session/replayed.ts";
import type { Session } from "../session/session.ts";
import type { GroupNumber } from "../store/store.ts";
import { isHiddenBelow } from "../topic/matching.ts";
import { readRetained, type Retained, type RetainedValue } from "./retained.ts";
import type { Entry } from "./entry.ts";

/** What all replays together may do in one turn: other clients wait meanwhile. */
const TURN_MESSAGES = 256;
const TURN_STEPS = 4096;
const TURN_BYTES = 1024 * 1024;
const TURN_MS = 2;
/** Steps of one replay before it is the next one's turn. */
const SHARE_STEPS = 64;
/** Bytes queued for durable sessions and not yet on disk beyond which replays wait for the store. */
const MAX_UNSTORED_BYTES = 1024 * 1024;

/** What is left of the present turn. */
class Turn {
  private messages = 0;
  private steps = 0;
  private bytes = 0;
  private ms = 0;

  renew(): void {
    this.messages = TURN_MESSAGES;
    this.steps = TURN_STEPS;
    this.bytes = TURN_BYTES;
    this.ms = TURN_MS;
  }

  get isSpent(): boolean {
    return this.messages <= 0 || this.steps <= 0 || this.bytes <= 0 || this.ms <= 0;
  }

  step(): void {
    this.steps -= 1;
  }

  message(bytes: number): void {
    this.messages -= 1;
    this.bytes -= bytes;
  }

  time(ms: number): void {
    this.ms -= ms;
  }
}

/**
 * Retained messages on their way to new subscriptions [MQTT-3.3.1-6], for all sessions in turn and never many in one turn of the loop.
 * What is sent is the value of that moment: a topic that was cleared meanwhile is skipped, one that is new was sent live.
 */
export class RetainedReplays {
  private readonly replays = new Map<Session, SessionReplay>();
  /** Those that can go on, in turn. */
  private readonly ready = new Set<SessionReplay>();
  private readonly awaitingStore = new Set<SessionReplay>();
  private readonly turn = new Turn();
  private isScheduled = false;
  private unstoredBytes = 0;
  private lastGroup: GroupNumber = 0;

  constructor(
    readonly retained: Retained,
    private readonly clock: Clock,
    readonly mayStillWrite: (author: Identity, topicName: string) => boolean,
    /** Whether the store takes new messages. */
    private readonly storeTakes: () => boolean,
  ) {}

  /** Begins, or begins again, for a filter that the session has just subscribed to. */
  start(entry: Entry, filter: string): void {
    const { session } = entry;
    let replay = this.replays.get(session);
    if (!replay) {
      replay = new SessionReplay(entry, this);
      this.replays.set(session, replay);
      session.replay = replay;
    }
    replay.add(filter);
    this.makeReady(replay);
    this.work();
  }

  makeReady(replay: SessionReplay): void {
    this.ready.add(replay);
    if (this.isScheduled) return;
    this.isScheduled = true;
    this.turn.renew();
    this.clock.endOfTurn(this.onTurnEnd);
  }

  private readonly onTurnEnd = (): void => {
    this.turn.renew();
    this.work();
    this.isScheduled = this.ready.size > 0;
    if (this.isScheduled) this.clock.endOfTurn(this.onTurnEnd);
  };

  private work(): void {
    const { turn, ready } = this;
    let beganMs = this.clock.nowMs();
    for (const replay of ready) {
      if (turn.isSpent) return;
      ready.delete(replay);
      const standing = replay.advance(turn);
      if (standing === "done") this.end(replay);
      else if (standing === "awaitsStore") this.awaitingStore.add(replay);
      else if (standing === "goesOn") ready.add(replay); // behind the others: the loop comes to it again
      const nowMs = this.clock.nowMs();
      turn.time(nowMs - beganMs);
      beganMs = nowMs;
    }
  }

  end(replay: SessionReplay): void {
    this.ready.delete(replay);
    this.awaitingStore.delete(replay);
    this.replays.delete(replay.session);
    replay.session.replay = undefined;
  }

  get storeIsBehind(): boolean {
    return this.unstoredBytes >= MAX_UNSTORED_BYTES || !this.storeTakes();
  }

  noteQueued(group: GroupNumber, bytes: number): void {
    if (group <= 0) return; // not for the disk
    this.unstoredBytes += bytes;
    this.lastGroup = group;
  }

  onStored(upTo: GroupNumber): void {
    if (upTo < this.lastGroup) return;
    this.unstoredBytes = 0;
    this.onRoom();
  }

  /** The store takes messages again. */
  onRoom(): void {
    for (const replay of this.awaitingStore) this.makeReady(replay);
    this.awaitingStore.clear();
  }
}

/** Filters of one session whose retained messages are gone through, one after the other. */
class Walk {
  /** The filter that is being gone through. */
  filter = "";
  private steps: Iterator<RetainedValue | undefined> | undefined;
  private readonly filters = new Set<string>();

  constructor(private readonly retained: Retained) {}

  get isDone(): boolean {
    return this.steps === undefined && this.filters.size === 0;
  }

  add(filter: string): void {
    if (filter === this.filter) this.leaveFilter();
    this.filters.delete(filter);
    this.filters.add(filter);
  }

  leaveFilter(): void {
    this.steps = undefined;
  }

  clear(): void {
    this.leaveFilter();
    this.filters.clear();
  }

  /** The next value, undefined if this step found none. */
  next(): RetainedValue | undefined {
    if (!this.steps) {
      for (const filter of this.filters) {
        this.filters.delete(filter);
        this.filter = filter;
        this.steps = this.retained.find(filter);
        break;
      }
    }
    const step = this.steps?.next();
    if (step?.done !== true) return step?.value;
    this.leaveFilter();
    return undefined;
  }
}

type Standing = "goesOn" | "awaitsPeer" | "awaitsStore" | "done";

/**
 * The retained messages that one session is owed. Those of QoS 1 and 2 for a session that outlives its connection are queued as soon as the
 * store keeps up; they do not count against `max_queued_messages`. All others go out as the peer takes them, and end with the connection.
 */
class SessionReplay implements Replay {
  readonly session: Session;
  private readonly queueing: Walk;
  private readonly sending: Walk;
  private readonly message = new Message();

  constructor(
    private readonly entry: Entry,
    private readonly owner: RetainedReplays,
  ) {
    this.session = entry.session;
    this.queueing = new Walk(owner.retained);
    this.sending = new Walk(owner.retained);
  }

  add(filter: string): void {
    if (this.session.durable && this.entry.filters.get(filter)?.qos !== 0) this.queueing.add(filter);
    this.sending.add(filter);
  }

  /** Goes on until it has to wait, or has had its share of the turn. */
  advance(turn: Turn): Standing {
    for (let steps = 0; steps < SHARE_STEPS && !turn.isSpent; steps++) {
      if (!this.queueing.isDone) {
        if (this.owner.storeIsBehind) return "awaitsStore";
        if (!this.session.takesRetained) return "awaitsPeer";
        this.step(this.queueing, turn);
      } else if (!this.sending.isDone) {
        if (!this.session.sender?.isIdle) return "awaitsPeer";
        this.step(this.sending, turn);
      } else {
        return "done";
      }
    }
    return "goesOn";
  }

  private step(walk: Walk, turn: Turn): void {
    turn.step();
    const value = walk.next();
    const options = this.entry.filters.get(walk.filter);
    if (options === undefined) return walk.leaveFilter(); // UNSUBSCRIBE has come
    if (!value || this.owner.retained.hasExpired(value)) return;
    const { message, session, owner } = this;
    readRetained(message, value);
    const qos = message.qos < options.qos ? message.qos : options.qos;
    if (session.durable && (walk === this.queueing) !== qos > 0) return;
    const { name, author } = value;
    if (isHiddenBelow(session.mountPrefix, walk.filter, name) || !session.mayRead(name)) return;
    if (author !== undefined && !owner.mayStillWrite(author, name)) return;
    const bytes = message.payloadEnd - message.topicStart;
    turn.message(bytes);
    message.subscriptionIds = options.identifier === 0 ? NO_SUBSCRIPTION_IDS : [options.identifier];
    if (qos === 0) session.deliver(message, 0, true);
    else owner.noteQueued(session.queueRetained(message, qos), bytes);
  }

  peerHasRoom(): void {
    this.owner.makeReady(this);
  }

  peerGone(): void {
    this.sending.clear();
    this.owner.makeReady(this);
  }

  sessionGone(): void {
    this.owner.end(this);
  }
}
