import type { Timer } from "../clock/clock.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import { Link } from "../link/link.ts";
import type { PacketHandler } from "../link/packet-handler.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import { DISCONNECT } from "../mqtt/empty.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { dialOptionsOf, type BridgeContext } from "./context.ts";
import { decodeAnswer, type Dialect, encodeGreeting } from "./handshake.ts";

/** Asks whether an address answers CONNECT, with a connection of its own: other client identifier, clean session, no will. */
export class PrimaryProbe implements PacketHandler {
  private link: Link | undefined;
  private dialed: { cancel(): void } | undefined;
  private timer: Timer | undefined;
  private finished = false;
  private readonly dialect: Dialect;

  constructor(
    private readonly context: BridgeContext,
    private readonly address: AddressConfig,
    private readonly clientId: string,
    private readonly config: ConnectionConfig,
    private readonly done: (alive: boolean) => void,
  ) {
    this.dialect = { version: config.protocolVersion === 5 ? 5 : 4, bridge: false };
  }

  start(): void {
    this.timer = this.context.clock.after(this.config.connectTimeoutMs, () => this.finish(false));
    this.dialed = this.context.dial(this.address, dialOptionsOf(this.config, this.context), (open) => this.onConnected(open), () => this.finish(false));
  }

  private onConnected(open: (listener: TransportListener) => Transport): void {
    const link = new Link(this, this.context.linkLimits, this.context.clock, this.context.gate);
    this.link = link;
    link.open(open(link));
    link.endHandshake(this.context.linkLimits.maxPacketSizeBytes);
    link.version = this.dialect.version;
    const { maxPacketSizeBytes: maxPacketBytes } = this.context.linkLimits;
    const { dialect, clientId, config } = this;
    link.send(encodeGreeting({ dialect, clientId, cleanStart: true, keepAliveSeconds: 60, will: undefined, maxPacketBytes, mark: undefined }, config));
  }

  onPacket(firstByte: number, bytes: Buffer, _frameStart: number, bodyStart: number, bodyEnd: number): void {
    if (firstByte >> 4 !== PacketType.CONNACK) return this.finish(false);
    const { refusal } = decodeAnswer(this.dialect.version, firstByte, bytes, bodyStart, bodyEnd);
    if (!refusal) this.link?.send(DISCONNECT);
    // It may refuse this version and take an older one: the connection itself finds out. What refuses our credentials would only cost us the address that works.
    this.finish(!refusal || refusal.kind === "version");
  }

  onDrain(): void {
    // nothing is queued for a probe
  }

  onClosed(): void {
    this.finish(false);
  }

  cancel(): void {
    this.finish(false);
  }

  private finish(alive: boolean): void {
    if (this.finished) return;
    this.finished = true;
    this.timer?.cancel();
    this.dialed?.cancel();
    this.link?.close({ kind: "local", text: "probe is over" });
    this.done(alive);
  }
}
