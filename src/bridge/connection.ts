import { receivePubrel } from "../broker/inbound.ts";
import type { Entry, Holder } from "../broker/sessions.ts";
import type { Timer } from "../clock/clock.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import { Link, type CloseReason, type PacketHandler } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import { decodeAck } from "../mqtt/acks.ts";
import { decodeConnack } from "../mqtt/connack.ts";
import { encodeConnect } from "../mqtt/connect.ts";
import { checkEmpty, DISCONNECT, PINGREQ } from "../mqtt/empty.ts";
import { PacketType, type ProtocolVersion } from "../mqtt/protocol.ts";
import { ConnackCode, Reason } from "../mqtt/reason.ts";
import { decodeSuback, encodeSubscribe, SUBACK_FAILURE } from "../mqtt/subscribe.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import { FIRST_REQUEST_ID } from "../session/packet-id.ts";
import { Backoff } from "./backoff.ts";
import type { BridgeContext } from "./context.ts";
import { Incoming } from "./incoming.ts";
import { Notification } from "./notification.ts";
import { Outgoing } from "./outgoing.ts";
import { PrimaryProbe } from "./primary-probe.ts";
import { TopicMap } from "./topic-lines.ts";

/** How a CONNECT is spelt; the next is tried when a server does not take one. */
interface Dialect {
  readonly version: ProtocolVersion;
  readonly bridge: boolean;
}
const PRIVATE: Dialect = { version: 4, bridge: true };
const PLAIN: Dialect = { version: 4, bridge: false };
const OLD: Dialect = { version: 3, bridge: false };

/** `idle`: not started or waiting for the next attempt. `purging`: connected once with a clean session, to make the remote forget us. */
type State = "stopped" | "idle" | "dialing" | "connecting" | "purging" | "established";

const PURGE_PAUSE_MS = 10;
const FALLBACK_PAUSE_MS = 50;
const TICK_MS = 500;
const SUBACK_LIMIT_MS = 30_000;
const MAX_CLIENT_ID_BYTES_31 = 23;

/** One bridge connection: dials, logs in, keeps a session of the broker attached to the remote for as long as it can. */
export class BridgeConnection implements PacketHandler, Holder {
  readonly outgoing: Outgoing;
  private readonly entry: Entry;
  private readonly outTopics: TopicMap;
  private readonly incoming: Incoming;
  private readonly notification: Notification;
  private readonly backoff: Backoff;
  private readonly clientId: string;
  private state: State = "stopped";
  private link: Link | undefined;
  private dialed: { cancel(): void } | undefined;
  private timer: Timer | undefined;
  private ticker: Timer | undefined;
  private addressIndex = 0;
  private readonly dialects: Dialect[];
  private stateSinceMs = 0;
  private pingSentMs = 0;
  private subscribeSentMs = 0;
  /** The remote may hold QoS 2 identifiers of a session we know nothing of. */
  private purgeFirst: boolean;
  private probe: { cancel(): void } | undefined;
  private nextProbeMs = 0;

  constructor(
    private readonly config: ConnectionConfig,
    private readonly context: BridgeContext,
  ) {
    const { broker } = context;
    this.outTopics = TopicMap.outgoing(config.topics);
    this.backoff = new Backoff(config.reconnectIntervalMs, config.maxReconnectIntervalMs, context.rng);
    this.clientId = config.clientId ?? defaultClientId(context.hostName, config.name);
    this.dialects = config.addresses.map(() => (config.tryPrivate ? PRIVATE : PLAIN));
    const { entry, present } = broker.sessions.open("bridge", config.name, false, this);
    this.entry = entry;
    this.purgeFirst = !present && !config.cleanSession;
    this.outgoing = new Outgoing(entry.session, this.outTopics);
    this.incoming = new Incoming(config.name, TopicMap.incoming(config.topics), entry.session, this.outgoing, context);
    const notificationTopic = config.notificationTopic ?? `$SYS/broker/connection/${this.clientId}/state`;
    this.notification = new Notification(notificationTopic, this.outgoing, context);
    for (const { filter, qos } of this.outTopics.subscriptions) {
      broker.subscriptions.add(filter, this.outgoing, { receiver: this.outgoing, qos, retainAsPublished: true, noLocal: true });
    }
  }

  get name(): string {
    return this.config.name;
  }

  get isEstablished(): boolean {
    return this.state === "established";
  }

  start(): void {
    if (this.config.notifications) this.notification.tellLocal("0");
    this.tick();
    this.attemptIn(0);
  }

  /** Ends the connection; the queue stays. */
  stop(): void {
    this.ticker?.cancel();
    this.timer?.cancel();
    this.probe?.cancel();
    this.dialed?.cancel();
    this.disconnect("the connection is stopped");
    this.state = "stopped";
  }

  private disconnect(text: string): void {
    const { link } = this;
    if (!link) return;
    if (this.state === "established") {
      if (this.config.notifications) this.notification.tellRemote(link, "0");
      link.send(DISCONNECT);
    }
    link.close({ kind: "local", text });
  }

  private attemptIn(delayMs: number): void {
    this.timer?.cancel();
    this.enter("idle");
    this.timer = this.context.clock.after(delayMs, () => this.attempt());
  }

  private enter(state: State): void {
    this.state = state;
    this.stateSinceMs = this.context.clock.nowMs();
  }

  private get address(): AddressConfig {
    return this.config.addresses[this.addressIndex] ?? { host: "", port: 0 };
  }

  private get addressText(): string {
    return `${this.address.host}:${this.address.port}`;
  }

  private attempt(): void {
    this.context.log.write("bridgeConnecting", { name: this.name, address: this.addressText });
    this.enter("dialing");
    this.dialed = this.context.dial(
      this.address,
      (open) => this.onConnected(open),
      (error) => {
        this.context.log.write("bridgeConnectFailed", { name: this.name, address: this.addressText, reason: error.message });
        this.failed();
      },
    );
  }

  private onConnected(open: (listener: TransportListener) => Transport): void {
    this.dialed = undefined;
    const { context, config } = this;
    const link = new Link(this, context.linkLimits, context.clock, context.gate);
    this.link = link;
    link.open(open(link));
    const dialect = this.dialects[this.addressIndex] ?? PLAIN;
    link.version = dialect.version;
    link.send(
      encodeConnect({
        version: dialect.version,
        bridge: dialect.bridge,
        clientId: this.clientId,
        cleanStart: config.cleanSession || this.purgeFirst,
        keepAliveSeconds: Math.ceil(config.keepAliveMs / 1000),
        ...(config.notifications ? { will: this.notification.will } : {}),
        ...(config.username === undefined ? {} : { username: config.username }),
        ...(config.password === undefined || config.username === undefined ? {} : { password: Buffer.from(config.password) }),
      }),
    );
    this.enter(this.purgeFirst && !config.cleanSession ? "purging" : "connecting");
  }

  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { link } = this;
    if (!link) return;
    if (this.state !== "established") return this.onConnack(link, firstByte, bytes, bodyStart, bodyEnd);
    const { session } = this.entry;
    const { version } = link;
    switch (firstByte >> 4) {
      case PacketType.PUBLISH:
        return this.incoming.receive(link, firstByte, bytes, frameStart, bodyStart, bodyEnd);
      case PacketType.PUBACK:
        session.onPuback(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
        return;
      case PacketType.PUBREC:
        session.onPubrec(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
        return;
      case PacketType.PUBCOMP:
        session.onPubcomp(decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
        return;
      case PacketType.PUBREL:
        return receivePubrel(session, link, decodeAck(version, firstByte, bytes, bodyStart, bodyEnd));
      case PacketType.SUBACK:
        return this.onSuback(firstByte, bytes, bodyStart, bodyEnd);
      case PacketType.PINGRESP:
        checkEmpty(version, firstByte, bodyStart, bodyEnd);
        this.pingSentMs = 0;
        return;
      default:
        throw new ProtocolViolation(Reason.ProtocolError, `packet type ${firstByte >> 4} is not for a server to send now`);
    }
  }

  private onConnack(link: Link, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    if (firstByte >> 4 !== PacketType.CONNACK) throw new ProtocolViolation(Reason.ProtocolError, "the first packet was not CONNACK");
    const { sessionPresent, code } = decodeConnack(firstByte, bytes, bodyStart, bodyEnd);
    const { config, context } = this;
    if (code !== ConnackCode.accepted) {
      if (code === ConnackCode.unacceptableProtocolVersion && this.fallBack()) {
        return link.close({ kind: "local", text: "protocol version refused" });
      }
      context.log.write("bridgeRefused", { name: this.name, address: this.addressText, code });
      return link.close({ kind: "local", text: `CONNACK ${code}` });
    }
    if (this.state === "purging") {
      this.purgeFirst = false;
      link.send(DISCONNECT);
      return link.close({ kind: "local", text: "the remote has forgotten the session of this name" });
    }
    this.backoff.succeeded();
    this.enter("established");
    this.pingSentMs = 0;
    context.log.write("bridgeEstablished", { name: this.name, address: this.addressText });
    if (config.notifications) {
      this.notification.tellLocal("1");
      this.notification.tellRemote(link, "1");
    }
    const requests = this.incoming.subscriptions;
    if (requests.length > 0) {
      link.send(encodeSubscribe(FIRST_REQUEST_ID, requests));
      this.subscribeSentMs = context.clock.nowMs();
    }
    const { session } = this.entry;
    if (!sessionPresent) session.forgetPeer();
    session.attach(link, context.maxInflightMessages);
    if (!sessionPresent) this.sendRetained(); // behind the backlog: the newest value comes last
  }

  /** The remote knows nothing of us yet: the retained messages that it would have had. */
  private sendRetained(): void {
    for (const { filter, qos } of this.outTopics.subscriptions) {
      this.context.broker.retained.match(filter, (retained) => {
        this.outgoing.deliver(retained, retained.qos < qos ? retained.qos : qos, true);
      });
    }
  }

  /** Chooses the next way to spell CONNECT for this address; false if there is none. */
  private fallBack(): boolean {
    const dialect = this.dialects[this.addressIndex];
    if (dialect === OLD || dialect === undefined) return false;
    this.dialects[this.addressIndex] = dialect === PRIVATE ? PLAIN : OLD;
    this.context.log.write("bridgePlainProtocol", { name: this.name, address: this.addressText });
    return true;
  }

  private onSuback(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { codes } = decodeSuback(firstByte, bytes, bodyStart, bodyEnd);
    this.subscribeSentMs = 0;
    this.incoming.subscriptions.forEach(({ filter }, index) => {
      if (codes[index] === undefined || codes[index] === SUBACK_FAILURE) {
        this.context.log.write("bridgeSubscribeRefused", { name: this.name, filter });
      }
    });
  }

  onDrain(): void {
    this.entry.session.pump();
  }

  onClosed(reason: CloseReason): void {
    const { state } = this;
    this.link = undefined;
    if (state === "stopped") return;
    if (state === "established") {
      this.entry.session.detach();
      if (this.config.notifications) this.notification.tellLocal("0");
      this.context.log.write("bridgeLost", { name: this.name, address: this.addressText, reason: reason.text });
      if (this.switchToPrimary) {
        this.switchToPrimary = false;
        this.addressIndex = 0;
        return this.attemptIn(0);
      }
      return this.failed();
    }
    if (state === "purging" && !this.purgeFirst) return this.attemptIn(PURGE_PAUSE_MS);
    if (reason.kind === "local" && reason.text === "protocol version refused") return this.attemptIn(FALLBACK_PAUSE_MS);
    // A server that simply closes on the private bit is asked again without it.
    if (reason.kind !== "local" && this.dialects[this.addressIndex] === PRIVATE && this.fallBack()) return this.attemptIn(FALLBACK_PAUSE_MS);
    this.failed();
  }

  private switchToPrimary = false;

  private failed(): void {
    this.dialed = undefined;
    this.addressIndex = (this.addressIndex + 1) % this.config.addresses.length;
    const waitMs = this.backoff.nextMs();
    this.context.log.write("bridgeRetry", { name: this.name, seconds: Math.ceil(waitMs / 1000) });
    this.attemptIn(waitMs);
  }

  /** Twice a second: time-outs, keep alive, the primary's health. */
  private tick(): void {
    this.ticker = this.context.clock.after(TICK_MS, () => {
      this.check(this.context.clock.nowMs());
      if (this.state !== "stopped") this.tick();
    });
  }

  private check(nowMs: number): void {
    const { config, context, link } = this;
    if (this.state === "dialing" || this.state === "connecting" || this.state === "purging") {
      if (nowMs - this.stateSinceMs <= config.connectTimeoutMs) return;
      context.log.write("bridgeConnectTimeout", { name: this.name, address: this.addressText });
      if (link) return link.close({ kind: "local", text: "no CONNACK in time" });
      this.dialed?.cancel();
      return this.failed();
    }
    if (this.state !== "established" || !link) return;
    if (this.pingSentMs > 0 && nowMs - this.pingSentMs > config.keepAliveMs) {
      context.log.write("bridgePingTimeout", { name: this.name });
      return link.close({ kind: "error", text: "PINGREQ was not answered" });
    }
    if (this.subscribeSentMs > 0 && nowMs - this.subscribeSentMs > SUBACK_LIMIT_MS) {
      return link.close({ kind: "error", text: "SUBSCRIBE was not answered" });
    }
    if (this.pingSentMs === 0 && nowMs - Math.min(link.lastSentMs, link.lastReceivedMs) >= config.keepAliveMs) {
      link.send(PINGREQ);
      this.pingSentMs = nowMs;
    }
    if (!config.roundRobin && this.addressIndex > 0) this.probePrimary(nowMs);
  }

  /** While we are at another address the first one is dialled from time to time; when it answers we go back to it. */
  private probePrimary(nowMs: number): void {
    const primary = this.config.addresses[0];
    if (!primary || this.probe || nowMs < this.nextProbeMs) return;
    this.nextProbeMs = nowMs + this.config.reconnectIntervalMs;
    const prober = new PrimaryProbe(this.context, primary, `${this.clientId.slice(0, 22)}-`, this.config, (alive) => {
      this.probe = undefined;
      if (!alive || this.state !== "established") return;
      this.context.log.write("bridgeBackToPrimary", { name: this.name, address: `${primary.host}:${primary.port}` });
      this.switchToPrimary = true;
      this.disconnect("back to the first address");
    });
    this.probe = prober;
    prober.start();
  }

  takenOver(): void {
    this.stop();
  }
}

/** host.name; the host cut at its first dot and to 14 characters, the whole to 23 bytes. */
function defaultClientId(hostName: string, connectionName: string): string {
  const host = (hostName.split(".")[0] ?? "").slice(0, 14);
  return Buffer.from(`${host}.${connectionName}`).subarray(0, MAX_CLIENT_ID_BYTES_31).toString();
}
