import { createHash } from "node:crypto";
import type { Identity } from "../access/identity.ts";
import type { Session } from "../session/session.ts";
import { receivePubrel } from "../broker/inbound.ts";
import type { Entry, Holder } from "../broker/sessions.ts";
import type { Timer } from "../clock/clock.ts";
import type { ConnectionConfig } from "../config/config.ts";
import type { Link } from "../link/link.ts";
import { decodeAck } from "../mqtt/acks.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import { Addresses, addressText } from "./addresses.ts";
import { GuardedPeer } from "./echo-guard.ts";
import { Backoff } from "./backoff.ts";
import type { BridgeContext } from "./context.ts";
import { Incoming } from "./incoming.ts";
import { Notification } from "./notification.ts";
import { Outgoing } from "./outgoing.ts";
import { PrimaryProbe } from "./primary-probe.ts";
import { Remote, type RemoteEnd, type RemoteOwner } from "./remote.ts";
import { Suspicion } from "./suspicion.ts";
import type { Peer } from "../session/peer.ts";
import { RemoteSubscriptions } from "./remote-subscriptions.ts";
import { TopicMap } from "./topic-lines.ts";

/**
 * What the connection is about: `off`: not wanted (stopped by hand, manual, or its one session is over); `lazy`: waits for enough messages;
 * `pausing`: waits for its next attempt; `connecting`; `purging`: connected with a clean session, to make the remote forget us;
 * `established`; `finishing`: established, sends nothing new and leaves when all exchanges are over.
 */
type State = "off" | "lazy" | "pausing" | "connecting" | "purging" | "established" | "finishing";

/** What follows when an established connection has been left on purpose. */
type Then = "off" | "lazy" | "primary";

const PURGE_PAUSE_MS = 10;
const FALLBACK_PAUSE_MS = 50;
const TICK_MS = 500;
/** Time that exchanges have to finish before we leave all the same. */
const FINISH_LIMIT_MS = 5_000;
/** A connection that lasts so long was worth it: failures before it count no more. */
const STABLE_MS = 5_000;
const UNHEARD_ENDS = 2;
const QUICK_END_MS = 2_000;
const MAX_RETURN_DOUBLINGS = 6;
const MAX_RETAINED_MARKS = 16;
const MAX_CLIENT_ID_BYTES_31 = 23;
const HASH_DIGITS = 6;

/** One bridge connection: decides when to connect and where, and keeps a session of the broker attached to the remote meanwhile. */
export class BridgeConnection implements RemoteOwner, Holder {
  readonly outgoing: Outgoing;
  readonly clientId: string;
  private readonly identity: Identity;
  private readonly entry: Entry;
  private readonly outTopics: TopicMap;
  private readonly inTopics: TopicMap;
  private readonly incoming: Incoming;
  private readonly subscriptions: RemoteSubscriptions;
  private readonly notification: Notification;
  private readonly backoff: Backoff;
  private readonly addresses: Addresses;
  private state: State = "off";
  private stateSinceMs = 0;
  private then: Then = "off";
  private remote: Remote | undefined;
  private peer: Peer | undefined;
  private readonly suspicion = new Suspicion();
  private timer: Timer | undefined;
  private ticker: Timer | undefined;
  private probe: { cancel(): void } | undefined;
  private nextProbeMs = 0;
  private lastTrafficMs = 0;
  /** Whether the remote has sent anything since CONNACK, and how often it has ended a connection before that. */
  private hasHeard = false;
  private unheardEnds = 0;
  private isNotificationRefused = false;
  /** When the queue was empty last: what was retained before that is not in it. */
  private emptySinceMs: number;
  /** Since when QoS 0 is missed. */
  private leftMs: number;
  /** How often we have gone back to the first address without staying there. */
  private returns = 0;

  constructor(
    readonly config: ConnectionConfig,
    private readonly context: BridgeContext,
  ) {
    const { broker } = context;
    this.identity = { kind: "bridge", id: config.name, user: undefined };
    this.outTopics = TopicMap.outgoing(config.topics);
    this.backoff = new Backoff(config.reconnectIntervalMs, config.maxReconnectIntervalMs, context.rng);
    this.clientId = config.clientId ?? defaultClientId(context.hostName, config.name);
    const { entry } = broker.sessions.open(this.identity, false, this);
    this.entry = entry;
    entry.session.queueLimits = { ...entry.session.queueLimits, ...config.queue };
    this.addresses = new Addresses(config, entry.remotes, (remotes) => broker.sessions.setRemotes(entry, { ...entry.remotes, ...remotes }));
    this.outgoing = new Outgoing(entry.session, this.outTopics, {
      outgoingRetain: config.outgoingRetain,
      onUnsendable: (topic) => context.log.write("bridgeTopicTooLong", { name: config.name, topic: topic.slice(0, 80) }),
    });
    const source = { receiver: this.outgoing, identity: this.identity };
    this.inTopics = TopicMap.incoming(config.topics);
    const loopLines = (name: string): string => `in by line ${this.inTopics.lineFrom(name) ?? "?"}, out by line ${this.outTopics.lineTo(name) ?? "?"}`;
    this.incoming = new Incoming(config.name, this.inTopics, entry.session, source, context, loopLines);
    for (const address of config.addresses) context.echoes.at(addressText(address)).join(this, this.inTopics);
    this.leftMs = context.clock.nowMs();
    this.emptySinceMs = entry.session.queuedMessages === 0 ? context.clock.nowMs() : entry.sinceMs;
    this.subscriptions = new RemoteSubscriptions(this.inTopics.subscriptions, entry, broker.sessions, (filter) =>
      context.log.write("bridgeSubscribeRefused", { name: config.name, filter }),
    );
    this.bindRights();
    const notificationTopic = (config.notificationTopic ?? "$SYS/broker/connection/%s/state").replaceAll("%s", () => this.clientId);
    this.notification = new Notification(notificationTopic, source, context);
    for (const { filter, qos } of this.outTopics.subscriptions) {
      broker.subscriptions.add(filter, this.outgoing, { receiver: this.outgoing, qos, retainAsPublished: true, noLocal: true });
    }
  }

  /** The rules of access have changed. */
  bindRights(): void {
    this.outgoing.rights = this.incoming.rights = this.context.broker.access.rightsOf(this.identity);
  }

  get name(): string {
    return this.config.name;
  }

  get isEstablished(): boolean {
    return this.state === "established" || this.state === "finishing";
  }

  get isOff(): boolean {
    return this.state === "off";
  }

  get stateText(): string {
    return this.isEstablished ? `connected to ${this.addresses.text}` : STATE_TEXTS[this.state];
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
    if (this.config.notifications) this.notification.tellLocal("0");
    this.tick();
    if (off) return;
    if (this.config.startType === "lazy") this.enter("lazy");
    else if (this.config.startType !== "manual") this.connectIn(0);
  }

  /** Begins whatever `start_type` says; false if it has begun already. */
  startByHand(): boolean {
    if (this.state !== "off" && this.state !== "lazy") return false;
    this.context.log.write("bridgeStarting", { name: this.name });
    this.backoff.succeeded();
    this.connectIn(0);
    return true;
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
    this.probe?.cancel();
    if (this.isEstablished) this.sayGoodbye();
    this.enter("off");
    this.remote?.leave("the connection is stopped");
    this.context.broker.sessions.release(this.entry, this);
  }

  /** The connection is not configured any more: nothing is queued for it from now on. */
  unsubscribe(): void {
    const { subscriptions } = this.context.broker;
    for (const { filter } of this.outTopics.subscriptions) subscriptions.remove(filter, this.outgoing);
    for (const address of this.config.addresses) this.context.echoes.at(addressText(address)).leave(this);
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
    const purge = addresses.mustPurge && !config.cleanSession;
    this.enter(purge ? "purging" : "connecting");
    this.remote = new Remote(
      {
        address: addresses.current,
        dialect: addresses.dialect,
        clientId: this.clientId,
        cleanStart: config.cleanSession || purge,
        will: this.tellsRemote && !purge ? this.notification.will : undefined,
      },
      config,
      context,
      this,
    );
    this.remote.start();
  }

  onEstablished(link: Link, sessionPresent: boolean): void {
    const { config, context, addresses } = this;
    if (this.state === "purging") {
      addresses.purged();
      return this.remote?.leave("the remote has forgotten the session of this name");
    }
    const nowMs = context.clock.nowMs();
    addresses.accepted(sessionPresent);
    this.enter("established");
    this.hasHeard = false;
    this.lastTrafficMs = nowMs;
    this.nextProbeMs = nowMs + config.reconnectIntervalMs * 2 ** Math.min(this.returns, MAX_RETURN_DOUBLINGS);
    context.log.write("bridgeEstablished", { name: this.name, address: addresses.text });
    if (config.notifications) {
      this.notification.tellLocal("1");
      if (this.tellsRemote) this.notification.tellRemote(link, "1");
    }
    this.subscriptions.ask(link, sessionPresent, context.clock.nowMs());
    const { session } = this.entry;
    if (!sessionPresent) session.forgetPeer();
    const echoes = context.echoes.at(addresses.text);
    if (!echoes.isShared) echoes.clear();
    this.incoming.echoes = echoes;
    this.peer = this.outTopics.subscriptions.length > 0 ? new GuardedPeer(link, echoes, !addresses.dialect.bridge) : link;
    if (this.suspicion.begin()) this.remote?.ping();
    else session.attach(this.peer, context.settings.maxInflightMessages);
    this.sendRetained();
  }

  /** The remote is alive: the suspect goes out, alone, in its turn. */
  onPingresp(): void {
    this.hasHeard = true;
    const { peer, suspicion, entry } = this;
    if (!peer || entry.session.isAttached) return;
    suspicion.answeredPing();
    entry.session.attach(peer, 1);
  }

  /** A message has been answered for good. */
  private onAnswered(): void {
    const { suspicion, state } = this;
    const { session } = this.entry;
    suspicion.taken();
    if (!suspicion.suspect || state !== "established" || session.isQueued(suspicion.suspect)) return;
    suspicion.acquit();
    session.widen(this.context.settings.maxInflightMessages);
  }

  /** The remote ends each connection on which it is sent this message, and takes others: it is put aside, so that the queue goes on. */
  private park(): void {
    const { log } = this.context;
    this.entry.session.parkHead().then(
      (parked) => {
        if (parked) log.write("bridgeParked", { name: this.name, address: this.addresses.text, topic: parked.topic, bytes: parked.bytes });
      },
      () => undefined, // the store tells of its own failure; the message stays where it is
    );
  }

  private get tellsRemote(): boolean {
    return this.config.notifications && !this.config.notificationsLocalOnly && !this.isNotificationRefused;
  }

  /** Some brokers end a connection that publishes to $SYS; they would do so for ever. */
  private suspectNotification(end: RemoteEnd): void {
    const wasQuick = this.context.clock.nowMs() - this.stateSinceMs < QUICK_END_MS;
    if (!this.tellsRemote || !this.notification.isSystemTopic || end.kind !== "lost" || this.hasHeard || !wasQuick) {
      this.unheardEnds = 0;
      return;
    }
    this.unheardEnds += 1;
    if (this.unheardEnds < UNHEARD_ENDS) return;
    this.isNotificationRefused = true;
    this.context.log.write("bridgeNotificationRefused", { name: this.name, address: this.addresses.text });
  }

  /**
   * What was retained before the queue took it along: once to each address, for each set of topic lines. And what came with QoS 0 while nobody
   * was there to take it.
   */
  private sendRetained(): void {
    const { entry, outTopics, context } = this;
    const mark = `${this.addresses.text} ${outTopics.digest}`;
    const { retainedSent } = entry.remotes;
    const isNew = !retainedSent.includes(mark);
    const queuedSinceMs = !isNew ? 0 : retainedSent.length === 0 ? entry.sinceMs : this.emptySinceMs;
    const leftMs = this.leftMs;
    if (isNew) context.broker.sessions.setRemotes(entry, { ...entry.remotes, retainedSent: [...retainedSent, mark].slice(-MAX_RETAINED_MARKS) });
    for (const { filter, qos } of outTopics.subscriptions) {
      context.broker.retained.match(filter, (retained, topicName, author) => {
        const wasMissed = retained.qos === 0 && retained.receivedMs >= leftMs;
        if (!wasMissed && retained.receivedMs >= queuedSinceMs) return;
        if (!this.outgoing.mayRead(topicName) || (author && !context.broker.access.mayStillWrite(author, topicName))) return;
        retained.receivedMs = context.clock.nowMs(); // it waits from now on, however old the value is
        this.outgoing.deliver(retained, retained.qos < qos ? retained.qos : qos, true);
      });
    }
  }

  onPacket(link: Link, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { session } = this.entry;
    const { version } = link;
    this.lastTrafficMs = link.lastReceivedMs;
    this.hasHeard = true;
    switch (firstByte >> 4) {
      case PacketType.PUBLISH:
        return this.incoming.receive(link, firstByte, bytes, frameStart, bodyStart, bodyEnd);
      case PacketType.PUBACK:
        if (session.onPuback(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd))) this.onAnswered();
        return;
      case PacketType.PUBREC:
        session.onPubrec(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
        return;
      case PacketType.PUBCOMP:
        if (session.onPubcomp(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd))) this.onAnswered();
        return;
      case PacketType.PUBREL:
        return receivePubrel(session, link, decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBACK:
        return this.subscriptions.onSuback(firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.UNSUBACK:
        decodeAck(version, firstByte, bytes, bodyStart, bodyEnd);
        return;
      default:
        throw new ProtocolViolation(Reason.ProtocolError, `packet type ${firstByte >> 4} is not for a server to send now`);
    }
  }

  onDrain(): void {
    this.entry.session.pump();
  }

  /** Leaves an established connection when its exchanges are over. */
  private finish(then: Then, text: string): void {
    this.then = then;
    if (this.state === "finishing") return;
    this.enter("finishing");
    this.entry.session.quiesce();
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
    if (link && this.tellsRemote) this.notification.tellRemote(link, "0");
  }

  onEnded(end: RemoteEnd, wasEstablished: boolean): void {
    const { context, addresses, state } = this;
    this.remote = undefined;
    this.subscriptions.reset();
    this.probe?.cancel();
    if (state === "purging" && wasEstablished) return this.connectIn(PURGE_PAUSE_MS);
    if (wasEstablished) this.sessionEnded(end);
    if (state === "off") return;
    if (state === "finishing") return this.afterFinish();
    if (wasEstablished && this.config.startType === "once") {
      this.enter("off");
      return context.log.write("bridgeStopped", { name: this.name });
    }
    if (!wasEstablished && this.canFallBack(end)) {
      context.log.write("bridgePlainProtocol", { name: this.name, address: addresses.text });
      return this.connectIn(FALLBACK_PAUSE_MS);
    }
    this.logFailure(end);
    addresses.toNext();
    const waitMs = this.backoff.nextMs();
    context.log.write("bridgeRetry", { name: this.name, seconds: Math.ceil(waitMs / 1000) });
    this.connectIn(waitMs);
  }

  private sessionEnded(end: RemoteEnd): void {
    const { entry, context, addresses } = this;
    this.suspectNotification(end);
    addresses.left(entry.session.hasOpenExchanges);
    const { session } = entry;
    session.detach();
    this.leftMs = context.clock.nowMs();
    this.peer = undefined;
    if (this.suspicion.ended(session.firstUnanswered, end.kind === "lost")) this.park();
    if (this.config.notifications) this.notification.tellLocal("0");
    if (end.kind === "silent") context.log.write("bridgePingTimeout", { name: this.name });
    else if (end.byRemote) context.log.write("bridgeLost", { name: this.name, address: addresses.text, reason: end.text });
  }

  private afterFinish(): void {
    if (this.then === "primary") {
      this.returns += 1;
      this.addresses.toPrimary();
      return this.connectIn(0);
    }
    this.enter(this.then);
    if (this.then === "off") this.context.log.write("bridgeStopped", { name: this.name });
  }

  /** A server that refuses the protocol, or just closes on the private bit, is asked again without it. */
  private canFallBack({ kind }: RemoteEnd): boolean {
    if (kind === "unspeakable") return this.addresses.fallBack();
    return kind === "closed" && this.addresses.closedUnanswered();
  }

  private logFailure({ kind, text, code = 0 }: RemoteEnd): void {
    const { log } = this.context;
    const place = { name: this.name, address: this.addresses.text };
    if (kind === "timeout") log.write("bridgeConnectTimeout", place);
    else if (kind === "refused" || kind === "unspeakable") log.write("bridgeRefused", { ...place, code });
    else if (kind === "unreachable" || kind === "closed") log.write("bridgeConnectFailed", { ...place, reason: text });
  }

  private tick(): void {
    this.ticker = this.context.clock.after(TICK_MS, () => {
      this.check(this.context.clock.nowMs());
      this.tick();
    });
  }

  private check(nowMs: number): void {
    if (this.state === "lazy") return this.startIfWorthIt(nowMs);
    if (this.state === "finishing") return this.leaveIfFinished("the exchanges are over");
    if (this.state !== "established") return;
    if (this.queuedMessages === 0) this.emptySinceMs = nowMs;
    if (nowMs - this.stateSinceMs >= STABLE_MS) {
      this.backoff.succeeded();
      if (this.addresses.isPrimary) this.returns = 0;
    }
    if (this.subscriptions.isOverdue(nowMs)) return this.remote?.giveUp("SUBSCRIBE was not answered");
    if (this.config.startType === "lazy") return this.stopIfIdle(nowMs);
    this.probePrimary(nowMs);
  }

  private startIfWorthIt(nowMs: number): void {
    const { threshold, maxAgeMs } = this.config;
    const queued = this.queuedMessages;
    const isOld = maxAgeMs > 0 && queued > 0 && nowMs - (this.entry.session.oldestMs ?? nowMs) >= maxAgeMs;
    if (queued < threshold && !isOld) return;
    this.context.log.write("bridgeStarting", { name: this.name });
    this.connectIn(0);
  }

  private stopIfIdle(nowMs: number): void {
    if (this.outgoing.takeHasDelivered() || this.entry.session.hasOpenExchanges) this.lastTrafficMs = nowMs;
    if (nowMs - this.lastTrafficMs < this.config.idleTimeoutMs) return;
    this.context.log.write("bridgeIdle", { name: this.name });
    this.finish("lazy", "the connection is idle");
  }

  /** While we are at another address the first one is dialled from time to time; when it answers we go back to it. */
  private probePrimary(nowMs: number): void {
    const primary = this.addresses.primaryToReturnTo;
    if (!primary || this.probe || nowMs < this.nextProbeMs) return;
    this.nextProbeMs = nowMs + this.config.reconnectIntervalMs;
    const probe = new PrimaryProbe(this.context, primary, `${this.clientId.slice(0, MAX_CLIENT_ID_BYTES_31 - 1)}-`, this.config, (alive) => {
      this.probe = undefined;
      if (!alive || this.state !== "established") return;
      this.context.log.write("bridgeBackToPrimary", { name: this.name, address: addressText(primary) });
      this.finish("primary", "back to the first address");
    });
    this.probe = probe;
    probe.start();
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
  established: "connected",
  finishing: "stopping",
} as const satisfies Record<State, string>;

/** host.name, the host cut at its first dot and to 14 characters; what is longer than 23 bytes is cut and told apart by a hash. */
function defaultClientId(hostName: string, connectionName: string): string {
  const host = (hostName.split(".")[0] ?? "").slice(0, 14);
  const whole = `${host}.${connectionName}`;
  if (Buffer.byteLength(whole) <= MAX_CLIENT_ID_BYTES_31) return whole;
  const hash = createHash("sha256").update(whole).digest("hex").slice(0, HASH_DIGITS);
  const room = MAX_CLIENT_ID_BYTES_31 - HASH_DIGITS - 1;
  return `${Buffer.from(whole).subarray(0, room).toString().replace(/\uFFFD+$/, "")}-${hash}`;
}
