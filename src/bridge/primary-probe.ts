import type { Timer } from "../clock/clock.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import { Link, type PacketHandler } from "../link/link.ts";
import type { Transport, TransportListener } from "../link/transport.ts";
import { encodeConnect } from "../mqtt/connect.ts";
import { DISCONNECT } from "../mqtt/empty.ts";
import { decodeConnack } from "../mqtt/connack.ts";
import { PacketType } from "../mqtt/protocol.ts";
import { ConnackCode } from "../mqtt/reason.ts";
import { dialOptionsOf, type BridgeContext } from "./context.ts";

/** Asks whether an address answers CONNECT, with a connection of its own: other client identifier, clean session, no will. */
export class PrimaryProbe implements PacketHandler {
  private link: Link | undefined;
  private dialed: { cancel(): void } | undefined;
  private timer: Timer | undefined;
  private finished = false;

  constructor(
    private readonly context: BridgeContext,
    private readonly address: AddressConfig,
    private readonly clientId: string,
    private readonly config: ConnectionConfig,
    private readonly done: (alive: boolean) => void,
  ) {}

  start(): void {
    this.timer = this.context.clock.after(this.config.connectTimeoutMs, () => this.finish(false));
    this.dialed = this.context.dial(this.address, dialOptionsOf(this.config, this.context), (open) => this.onConnected(open), () => this.finish(false));
  }

  private onConnected(open: (listener: TransportListener) => Transport): void {
    const link = new Link(this, this.context.linkLimits, this.context.clock, this.context.gate);
    this.link = link;
    link.open(open(link));
    link.endHandshake(this.context.linkLimits.maxPacketSizeBytes);
    const { username, password } = this.config;
    link.send(
      encodeConnect({
        version: 4,
        bridge: false,
        clientId: this.clientId,
        cleanStart: true,
        keepAliveSeconds: 60,
        ...(username === undefined ? {} : { username }),
        ...(password === undefined || username === undefined ? {} : { password: Buffer.from(password) }),
      }),
    );
  }

  onPacket(firstByte: number, bytes: Buffer, _frameStart: number, bodyStart: number, bodyEnd: number): void {
    if (firstByte >> 4 !== PacketType.CONNACK) return this.finish(false);
    const { code } = decodeConnack(4, firstByte, bytes, bodyStart, bodyEnd);
    if (code === ConnackCode.accepted) this.link?.send(DISCONNECT);
    // It may refuse 4 and take 3: the connection itself finds out. What refuses our credentials would only cost us the address that works.
    this.finish(code === ConnackCode.accepted || code === ConnackCode.unacceptableProtocolVersion);
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
