import type { Timer } from "../clock/clock.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import type { CloseReason } from "../link/close-reason.ts";
import { Link } from "../link/link.ts";
import type { PacketHandler } from "../link/packet-handler.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import type { Log } from "../log/console.ts";
import { PUBACK_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import { decodeDisconnect, encodeDisconnect } from "../mqtt/disconnect.ts";
import { checkEmpty, DISCONNECT, PINGREQ } from "../mqtt/empty.ts";
import type { UserProperty } from "../mqtt/properties.ts";
import { PacketType, type Will } from "../mqtt/protocol.ts";
import { Reason } from "../mqtt/reason.ts";
import { malformed, ProtocolViolation } from "../mqtt/violation.ts";
import { dialOptionsOf, type BridgeContext } from "./context.ts";
import { type Answer, decodeAnswer, type Dialect, encodeGreeting, explain } from "./handshake.ts";

/**
 * How an attempt or a connection has ended. `unspeakable`: the server does not take this way to spell CONNECT; `silent`: it does not answer
 * PINGREQ; `mute`: it does, yet owes us another answer.
 */
export interface RemoteEnd {
  readonly kind: "unreachable" | "timeout" | "refused" | "unspeakable" | "closed" | "lost" | "silent" | "mute" | "left";
  readonly text: string;
  /** CONNACK's code, when refused. */
  readonly code?: number;
  /** Whether the remote ended it, and not we ourselves. */
  readonly byRemote: boolean;
}

export interface RemoteOwner {
  /** CONNACK 0 has come. */
  onEstablished(link: Link, answer: Answer): void;
  /** Every packet after CONNACK, but PINGRESP. @throws ProtocolViolation */
  onPacket(link: Link, firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void;
  onReadEnd(link: Link): void;
  onDrain(): void;
  onPingresp(): void;
  /** Once, and the last thing that is heard. */
  onEnded(end: RemoteEnd, wasEstablished: boolean): void;
}

export interface RemoteOptions {
  readonly address: AddressConfig;
  readonly dialect: Dialect;
  readonly clientId: string;
  readonly cleanStart: boolean;
  readonly will: Will | undefined;
  readonly mark: UserProperty | undefined;
}

const TICK_MS = 500;

/** One connection to a remote broker, from dialling to its end: CONNECT, CONNACK, keep alive. */
export class Remote implements PacketHandler {
  private link: Link | undefined;
  private dialed: { cancel(): void } | undefined;
  private ticker: Timer | undefined;
  private readonly startedMs: number;
  private keepAliveMs: number;
  private pingSentMs = 0;
  private established = false;
  private ended = false;

  constructor(
    private readonly options: RemoteOptions,
    private readonly config: ConnectionConfig,
    private readonly context: BridgeContext,
    private readonly owner: RemoteOwner,
  ) {
    this.startedMs = context.clock.nowMs();
    this.keepAliveMs = config.keepAliveMs;
  }

  get establishedLink(): Link | undefined {
    return this.established ? this.link : undefined;
  }

  start(): void {
    this.dialed = this.context.dial(
      this.options.address,
      dialOptionsOf(this.config, this.context),
      (open) => this.onConnected(open),
      (error) => this.end({ kind: "unreachable", text: error.message, byRemote: true }),
    );
    this.tick();
  }

  /** Asks for a sign of life; PINGRESP goes to the owner. */
  ping(): void {
    this.link?.send(PINGREQ);
    this.pingSentMs = this.context.clock.nowMs();
  }

  /** Ends it from our side: with DISCONNECT if the remote has accepted us. */
  leave(text: string): void {
    if (this.established) this.link?.send(DISCONNECT); // in MQTT 5, too, it means that all is well
    this.end({ kind: "left", text, byRemote: false });
  }

  /** Ends it because the remote does not give an answer that it owes us. */
  giveUp(text: string): void {
    this.end({ kind: "mute", text, byRemote: true });
  }

  private onConnected(open: (listener: TransportListener) => Transport): void {
    this.dialed = undefined;
    const { context, config } = this;
    const maxPacketBytes = context.linkLimits.maxPacketSizeBytes;
    const link = new Link(this, context.linkLimits, context.clock, context.gate);
    this.link = link;
    link.open(open(link));
    link.peerName = this.options.clientId;
    link.endHandshake(maxPacketBytes);
    link.version = this.options.dialect.version;
    link.send(encodeGreeting({ ...this.options, keepAliveSeconds: Math.ceil(config.keepAliveMs / 1000), maxPacketBytes }, config));
  }

  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void {
    const { link } = this;
    if (!link) return;
    if (!this.established) return this.onConnack(link, firstByte, bytes, bodyStart, bodyEnd);
    if (firstByte >> 4 === PacketType.DISCONNECT && link.version === 5) return this.onDisconnect(firstByte, bytes, bodyStart, bodyEnd);
    if (firstByte >> 4 !== PacketType.PINGRESP) return this.owner.onPacket(link, firstByte, bytes, frameStart, bodyStart, bodyEnd);
    checkEmpty(link.version, firstByte, bodyStart, bodyEnd);
    this.pingSentMs = 0;
    this.owner.onPingresp();
  }

  /** We can't make the remote send less: it is told that we have the message, and would send it for ever otherwise. */
  onOversized(firstByte: number, head: Buffer, bodyStart: number, packetBytes: number): void {
    const { link } = this;
    if (!link || !this.established) throw new ProtocolViolation(Reason.PacketTooLarge, `packet of ${packetBytes} bytes before CONNACK`);
    this.context.log.writeSome("bridgePacketTooLarge", { name: this.config.name, bytes: packetBytes });
    const qos = (firstByte >> 1) & 3;
    if (qos === 3) throw malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]");
    const idAt = bodyStart + 2 + head.readUInt16BE(bodyStart);
    if (qos > 0) link.acknowledge(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, head.readUInt16BE(idAt), 0, 0);
  }

  private onConnack(link: Link, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    if (firstByte >> 4 !== PacketType.CONNACK) throw new ProtocolViolation(Reason.ProtocolError, "the first packet was not CONNACK");
    const answer = decodeAnswer(link.version, firstByte, bytes, bodyStart, bodyEnd);
    const { refusal, properties } = answer;
    if (refusal) return this.end({ kind: refusal.kind === "version" ? "unspeakable" : "refused", text: refusal.text, code: refusal.code, byRemote: true });
    this.established = true;
    if (properties.serverKeepAliveSeconds) this.keepAliveMs = properties.serverKeepAliveSeconds * 1000; // [MQTT-3.2.2-21]; with 0 ours does no harm
    const limits = { ...answer.limits, maximumPacketBytes: Math.min(answer.limits.maximumPacketBytes, this.config.maxSentPacketBytes) };
    link.takeLimits(limits.maximumPacketBytes, limits.topicAliasMaximum);
    // CONNACK of 3.1 does not say: a remote that was asked to keep the session is believed to have done so.
    const sessionPresent = answer.sessionPresent || (link.version === 3 && !this.options.cleanStart);
    this.owner.onEstablished(link, { ...answer, sessionPresent, limits });
  }

  private onDisconnect(firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { reasonCode, properties } = decodeDisconnect(5, "server", firstByte, bytes, bodyStart, bodyEnd);
    this.end({ kind: "lost", text: `DISCONNECT, ${explain(reasonCode, properties)}`, byRemote: true });
  }

  onReadEnd(): void {
    if (this.established && this.link) this.owner.onReadEnd(this.link);
  }

  onDrain(): void {
    if (this.established) this.owner.onDrain();
  }

  /** The remote has broken the protocol: MQTT 5 has a word for it, which lets our will stand [MQTT-4.13.1-1] [MQTT-3.14.4-3]. */
  onClosing({ code }: CloseReason): void {
    if (this.established && this.link?.version === 5 && code !== undefined) this.link.send(encodeDisconnect(5, code));
  }

  onClosed(reason: CloseReason): void {
    // A link that we close ourselves has been given up before.
    const byRemote = reason.kind !== "local";
    // A server that wants a certificate says so when the handshake is over for us.
    const kind = this.established ? "lost" : reason.kind === "insecure" ? "unreachable" : "closed";
    this.end({ kind, text: reason.text, byRemote });
  }

  private end(end: RemoteEnd): void {
    if (this.ended) return;
    this.ended = true;
    this.ticker?.cancel();
    this.dialed?.cancel();
    this.link?.close({ kind: "local", text: end.text });
    this.owner.onEnded(end, this.established);
  }

  private tick(): void {
    this.ticker = this.context.clock.after(TICK_MS, () => {
      this.check(this.context.clock.nowMs());
      if (!this.ended) this.tick();
    });
  }

  private check(nowMs: number): void {
    const { config, link } = this;
    if (!this.established || !link) {
      if (nowMs - this.startedMs > config.connectTimeoutMs) this.end({ kind: "timeout", text: "no CONNACK in time", byRemote: true });
      return;
    }
    if (this.pingSentMs > 0) {
      if (nowMs - this.pingSentMs > this.keepAliveMs) this.end({ kind: "silent", text: "PINGREQ was not answered", byRemote: true });
      return;
    }
    // At the next look it would be late [MQTT-3.1.2-23].
    if (nowMs - Math.min(link.lastSentMs, link.lastReceivedMs) + TICK_MS < this.keepAliveMs) return;
    this.ping();
  }
}

/** Tells of an attempt that has led to no connection. */
export function logFailedAttempt(log: Log, place: { readonly name: string; readonly address: string }, { kind, text }: RemoteEnd): void {
  if (kind === "timeout") log.write("bridgeConnectTimeout", place);
  else if (kind === "refused" || kind === "unspeakable") log.write("bridgeRefused", { ...place, code: text });
  else if (kind === "unreachable" || kind === "closed") log.write("bridgeConnectFailed", { ...place, reason: text });
}
