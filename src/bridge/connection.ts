import type { Identity } from "../access/identity.ts";
import { lossesOf, textOfLosses } from "../broker/losses.ts";
import type { Entry, Holder } from "../broker/entry.ts";
import type { Timer } from "../clock/clock.ts";
import type { ConnectionConfig } from "../config/config.ts";
import type { Link } from "../link/link.ts";
import { Reason } from "../mqtt/reason.ts";
import type { Session } from "../session/session.ts";
import { Addresses, addressText } from "./addresses.ts";
import { Backoff } from "./backoff.ts";
import { defaultClientId } from "./client-id.ts";
import type { BridgeContext } from "./context.ts";
import { Exchange } from "./exchange.ts";
import type { Answer } from "./handshake.ts";
import { Laziness } from "./laziness.ts";
import { Notification } from "./notification.ts";
import { Outgoing } from "./outgoing.ts";
import { PrimaryReturn } from "./primary-return.ts";
import { logFailedAttempt, Remote, type RemoteEnd, type RemoteOwner } from "./remote.ts";
import { RetainedCopy } from "./retained-copy.ts";
import { TopicMap } from "./topic-lines.ts";

/**
 * What the connection is about: `off`: not wanted (stopped by hand, manual, or its one session is over); `lazy`: waits for enough messages;
 * `pausing`: waits for its next attempt; `connecting`; `purging`: connected with a clean session, to make the remote forget us; `asking`: connected,
 * to see whether the remote takes this CONNECT, or has a session that is to be ended; `established`; `finishing`: established, sends nothing new and leaves when all exchanges are over.
 */
type State = "off" | "lazy" | "pausing" | "connecting" | "purging" | "asking" | "established" | "finishing";

/** What follows when an established connection has been left on purpose. */
type Then = "off" | "lazy" | "primary" | "start" | "again";

const PURGE_PAUSE_MS = 10;
const MIN_PAUSE_MS = 50;
const TICK_MS = 500;
/** Time that exchanges have to finish before we leave all the same. */
const FINISH_LIMIT_MS = 5_000;
/** A connection that lasts so long was worth it: failures before it count no more. */
const STABLE_MS = 5_000;

/** One bridge connection: decides when to connect and where, and keeps a session of the broker attached to the remote meanwhile. */
export class BridgeConnection implements RemoteOwner, Holder {
  readonly outgoing: Outgoing;
  readonly clientId: string;
  private readonly identity: Identity;
  private readonly entry: Entry;
  private readonly outTopics: TopicMap;
  private readonly exchange: Exchange;
  private readonly retainedCopy: RetainedCopy;
  private readonly laziness: Laziness;
  private readonly notification: Notification;
  private readonly backoff: Backoff;
  private readonly addresses: Addresses;
  private readonly primaryReturn: PrimaryReturn;
  private state: State = "off";
  private stateSinceMs = 0;
  private then: Then = "off";
  private remote: Remote | undefined;
  private timer: Timer | undefined;
  private ticker: Timer | undefined;

  constructor(
    readonly config: ConnectionConfig,
    private readonly context: BridgeContext,
  ) {
    const { broker, log } = context;
    const { name } = config;
    this.identity = { kind: "bridge", id: name, user: undefined };
    this.clientId = config.clientId ?? defaultClientId(context.hostName, name);
    this.backoff = new Backoff(config.reconnectIntervalMs, config.maxReconnectIntervalMs, context.rng);
    const { entry } = broker.sessions.open(this.identity, { cleanStart: false, expiryMs: Infinity }, this);
    this.entry = entry;
    if (config.queue.queueFull === "block") broker.hasBlockingBridge = true;
    entry.session.drainLimits = config.drain;
    entry.session.bounds.limits = { ...entry.session.bounds.limits, ...config.queue };
    this.addresses = new Addresses(config, entry.remotes, (remotes) => broker.sessions.setRemotes(entry, { ...entry.remotes, ...remotes }));
    this.primaryReturn = new PrimaryReturn(config, context, this.clientId, (primary) => {
      if (this.state !== "established") return;
      log.write("bridgeBackToPrimary", { name, address: addressText(primary) });
      this.finish("primary", "back to the first address");
    });
    this.outTopics = TopicMap.outgoing(config.topics);
    this.outgoing = new Outgoing(entry.session, this.outTopics, {
      outgoingRetain: config.outgoingRetain,
      onUnsendable: (topic) => log.write("bridgeTopicTooLong", { name, topic: topic.slice(0, 80) }),
      onRepeats: (topic, messages) => log.write("bridgeRepeats", { name, topic: topic.slice(0, 80), messages, line: this.outTopics.lineFrom(topic) ?? "?" }),
    });
    const source = { receiver: this.outgoing, identity: this.identity, isBridge: true };
    this.exchange = new Exchange(config, entry, this.outTopics, TopicMap.incoming(config.topics), source, context, () => this.remote?.ping());
    this.retainedCopy = new RetainedCopy(entry, this.outTopics, this.outgoing, context);
    this.laziness = new Laziness(config, entry.session, this.outgoing);
    this.notification = new Notification(config, this.clientId, source, context);
    this.bindRights();
    for (const { filter, qos } of this.outTopics.subscriptions) {
      broker.subscriptions.place(filter, this.outgoing, { receiver: this.outgoing, qos, retainAsPublished: true, noLocal: true });
    }
  }

  /** The rules of access have changed. */
  bindRights(): void {
    this.outgoing.rights = this.exchange.rights = this.context.broker.access.rightsOf(this.identity);
  }

  get name(): string {
    return this.config.name;
  }

  get isEstablished(): boolean {
    return this.state === "established" || this.state === "finishing";
  }

  /** Not wanted, or being left for that. */
  get isOff(): boolean {
    return this.state === "off" || (this.state === "finishing" && this.then === "off");
  }

  get stateText(): string {
    return this.isEstablished ? `connected to ${this.addresses.text}` : STATE_TEXTS[this.state];
  }

  /** What the remote has not got of what was meant for it: begins with a comma where there is something. */
  get lossesText(): string {
    return textOfLosses(lossesOf(this.entry.session));
  }

  /** Its queue, and what is put aside. */
  get session(): Session {
    return this.entry.session;
  }

  get queuedMessages(): number {
    return this.entry.session.queuedMessages;
  }

  /** Begins as `start_type` says. */
  start({ off = false } = {}): void {
    this.notification.tellLocal("0");
    this.tick();
    if (off) return;
    if (this.config.startType === "lazy") this.enter("lazy");
    else if (this.config.startType !== "manual") this.connectIn(0);
  }

  /** Begins whatever `start_type` says, when it has been left if it is being left; false if it has begun already. */
  startByHand(): boolean {
    if (this.state === "finishing" && (this.then === "off" || this.then === "lazy")) {
      this.then = "start";
      return true;
    }
    if (this.state !== "off" && this.state !== "lazy") return false;
    this.backoff.succeeded();
    this.begin();
    return true;
  }

  private begin(): void {
    this.context.log.write("bridgeStarting", { name: this.name });
    this.connectIn(0);
  }

  /** Ends it until it is started by hand, at the same address then; false if it is off already. */
  stopByHand(): boolean {
    if (this.state === "off") return false;
    this.context.log.write("bridgeStopping", { name: this.name });
    if (this.isEstablished) {
      this.finish("off", "the connection is stopped");
      return true;
    }
    this.timer?.cancel();
    this.enter("off");
    this.remote?.leave("the connection is stopped");
    this.context.log.write("bridgeStopped", { name: this.name });
    return true;
  }

  /** The end of this object: nothing is awaited. The queue stays in the store and takes what comes. */
  close(): void {
    this.ticker?.cancel();
    this.timer?.cancel();
    this.primaryReturn.cancel();
    if (this.isEstablished) this.sayGoodbye();
    this.enter("off");
    this.remote?.leave("the connection is stopped");
    this.context.broker.sessions.release(this.entry, this);
  }

  /** The connection is not configured any more: nothing is queued for it from now on. */
  unsubscribe(): void {
    const { subscriptions } = this.context.broker;
    for (const { filter } of this.outTopics.subscriptions) subscriptions.remove(filter, this.outgoing);
    this.exchange.leaveEchoes();
  }

  private enter(state: State): void {
    this.state = state;
    this.stateSinceMs = this.context.clock.nowMs();
  }

  private connectIn(delayMs: number): void {
    this.timer?.cancel();
    this.enter("pausing");
    this.timer = this.context.clock.after(delayMs, () => this.connect());
  }

  private connect(): void {
    const { config, context, addresses } = this;
    context.log.write("bridgeConnecting", { name: this.name, address: addresses.text });
    const { dialect } = addresses.spelling;
    const purge = addresses.mustPurge && !config.cleanSession;
    this.enter(purge ? "purging" : "connecting");
    this.remote = new Remote(
      {
        address: addresses.current,
        dialect,
        clientId: this.clientId,
        cleanStart: config.cleanSession || purge,
        will: purge ? undefined : this.notification.will,
        mark: config.tryPrivate && dialect.version === 5 ? context.trail.mark : undefined,
      },
      config,
      context,
      this,
    );
    this.remote.start();
  }

  onEstablished(link: Link, { sessionPresent, limits, properties }: Answer): void {
    const { context, addresses, config } = this;
    this.notification.retains = limits.retainAvailable;
    if (this.state === "purging") {
      addresses.purged();
      return this.remote?.leave("the remote has forgotten the session of this name");
    }
    if (addresses.isOfThePast(sessionPresent)) {
      this.enter("asking");
      return this.remote?.leave("the session of the past is ended first");
    }
    // Before it is asked again: then it may have a session that was made by this very CONNECT.
    if (!addresses.accepted(sessionPresent)) this.entry.session.forgetPeer();
    if (!addresses.spelling.accepted()) {
      this.enter("asking");
      return this.remote?.leave("a fuller CONNECT is tried again");
    }
    const nowMs = context.clock.nowMs();
    this.enter("established");
    this.laziness.lastTrafficMs = nowMs;
    this.primaryReturn.begin(nowMs);
    context.log.write("bridgeEstablished", { name: this.name, address: addresses.text });
    const keptSeconds = properties.sessionExpirySeconds ?? Infinity;
    if (!config.cleanSession && keptSeconds < config.sessionExpirySeconds) {
      context.log.write("bridgeSessionExpiry", { name: this.name, address: addresses.text, seconds: keptSeconds });
    }
    this.notification.tellLocal("1");
    this.notification.tellRemote(link, "1");
    this.exchange.begin({ link, sessionPresent, limits, address: addresses.text, knowsBridge: addresses.spelling.dialect.bridge });
    this.retainedCopy.send(addresses.text);
  }

  onPingresp(): void {
    this.exchange.onPingresp();
  }

  onPacket(link: Link, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    this.laziness.lastTrafficMs = link.lastReceivedMs;
    this.exchange.onPacket(link, firstByte, bytes, frameStart, bodyStart, bodyEnd);
  }

  onReadEnd(link: Link): void {
    this.exchange.onReadEnd(link);
  }

  onDrain(): void {
    this.exchange.onDrain();
    this.retainedCopy.goOn();
  }

  /** Leaves an established connection when its exchanges are over. */
  private finish(then: Then, text: string): void {
    this.then = then;
    if (this.state === "finishing") return;
    this.enter("finishing");
    this.exchange.finish();
    this.leaveIfFinished(text);
  }

  private leaveIfFinished(text: string): void {
    const isLate = this.context.clock.nowMs() - this.stateSinceMs >= FINISH_LIMIT_MS;
    if (this.entry.session.hasOpenExchanges && !isLate) return;
    this.sayGoodbye();
    this.remote?.leave(text);
  }

  private sayGoodbye(): void {
    const link = this.remote?.establishedLink;
    if (link) this.notification.tellRemote(link, "0");
  }

  onEnded(end: RemoteEnd, wasEstablished: boolean): void {
    const { context, addresses, state } = this;
    this.remote = undefined;
    this.primaryReturn.cancel();
    if ((state === "purging" || state === "asking") && wasEstablished) return this.connectIn(PURGE_PAUSE_MS);
    if (wasEstablished) this.sessionEnded(end);
    if (state === "off") return;
    if (state === "finishing") return this.afterFinish();
    if (wasEstablished && this.config.startType === "once") {
      this.enter("off");
      return context.log.write("bridgeStopped", { name: this.name });
    }
    if (!wasEstablished && this.canFallBack(end)) {
      context.log.write("bridgePlainProtocol", { name: this.name, address: addresses.text });
      return this.connectIn(MIN_PAUSE_MS);
    }
    if (!wasEstablished) logFailedAttempt(context.log, { name: this.name, address: addresses.text }, end);
    addresses.toNext();
    // Counted from the beginning of an attempt: one that hung until its time-out has waited already.
    const goneMs = wasEstablished ? 0 : context.clock.nowMs() - this.stateSinceMs;
    const waitMs = Math.max(MIN_PAUSE_MS, this.backoff.nextMs() - goneMs);
    context.log.write("bridgeRetry", { name: this.name, seconds: Math.ceil(waitMs / 1000) });
    this.connectIn(waitMs);
  }

  private sessionEnded(end: RemoteEnd): void {
    const { entry, context, addresses, exchange } = this;
    const nowMs = context.clock.nowMs();
    const isLost = end.kind === "lost";
    if (this.notification.connectionEnded(isLost && !exchange.hasHeard, nowMs - this.stateSinceMs)) {
      context.log.write("bridgeNotificationRefused", { name: this.name, address: addresses.text });
    }
    addresses.left(entry.session.leavesExchanges);
    this.retainedCopy.connectionEnded(nowMs, exchange.end(isLost));
    this.notification.tellLocal("0");
    if (end.kind === "silent") context.log.write("bridgePingTimeout", { name: this.name });
    else if (end.byRemote) context.log.write("bridgeLost", { name: this.name, address: addresses.text, reason: end.text });
  }

  private afterFinish(): void {
    if (this.then === "primary") {
      this.primaryReturn.goingBack();
      this.addresses.toPrimary();
      return this.connectIn(0);
    }
    if (this.then === "again") return this.connectIn(0);
    if (this.then === "lazy") return this.enter("lazy");
    this.enter("off");
    this.context.log.write("bridgeStopped", { name: this.name });
    if (this.then === "start") this.startByHand();
  }

  /** A server that refuses the protocol, or just closes on the private bit, is asked again without it. */
  private canFallBack({ kind, code }: RemoteEnd): boolean {
    if (kind === "unspeakable") return this.addresses.spelling.refused();
    if (kind === "refused" && code === Reason.RetainNotSupported && this.notification.retains) {
      this.notification.retains = false; // our will is retained
      return true;
    }
    return kind === "closed" && this.addresses.spelling.closed();
  }

  private tick(): void {
    this.ticker = this.context.clock.after(TICK_MS, () => {
      this.check(this.context.clock.nowMs());
      this.tick();
    });
  }

  private check(nowMs: number): void {
    if (this.state === "lazy") {
      if (this.laziness.mustBegin(nowMs)) this.begin();
      return;
    }
    if (this.state === "finishing") return this.leaveIfFinished("the exchanges are over");
    if (this.state !== "established") return;
    this.retainedCopy.goOn();
    if (nowMs - this.stateSinceMs >= STABLE_MS) {
      this.backoff.succeeded();
      if (this.addresses.isPrimary) this.primaryReturn.stayed();
      if (this.notification.mustRetry()) return this.finish("again", "its state is told once more");
    }
    const overdue = this.exchange.overdue(nowMs);
    if (overdue !== undefined) return this.remote?.giveUp(overdue);
    if (this.config.startType === "lazy") {
      if (!this.laziness.mayEnd(nowMs)) return;
      this.context.log.write("bridgeIdle", { name: this.name });
      return this.finish("lazy", "the connection is idle");
    }
    const { primaryToReturnTo } = this.addresses;
    if (primaryToReturnTo) this.primaryReturn.check(primaryToReturnTo, nowMs);
  }

  takenOver(): void {
    this.close();
  }
}

const STATE_TEXTS = {
  off: "stopped",
  lazy: "waiting for messages",
  pausing: "waiting for its next attempt",
  connecting: "connecting",
  purging: "connecting",
  asking: "connecting",
  established: "connected",
  finishing: "stopping",
} as const satisfies Record<State, string>;
