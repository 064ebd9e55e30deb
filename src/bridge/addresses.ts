import type { RemotesRecord } from "../broker/sessions.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import type { Dialect } from "./remote.ts";

/** A server that closes on the private bit this often, one time after the other, is asked without it. */
const CLOSES_BEFORE_FALL_BACK = 2;

/** The addresses of a connection: which is next, how CONNECT is spelt there, where a session of ours is out of step. */
export class Addresses {
  private index = 0;
  private readonly first: Dialect;
  private readonly dialects: Dialect[];
  /** Addresses that have refused a dialect with CONNACK 1, and so need not be asked again; others are, at the next connection. */
  private readonly refused = new Set<number>();
  /** How often each has closed on the private bit, one time after the other. */
  private readonly closes: number[];
  /** Addresses that we left with exchanges open. After a start the last one counts as such. */
  private readonly leftOpen: Set<string>;
  /** Addresses where no identifier of the past is left; and those where some are, that stand for other messages now. */
  private readonly inStep: Set<string>;
  private readonly stale: Set<string>;
  private last: string | undefined;

  constructor(
    private readonly config: ConnectionConfig,
    remembered: RemotesRecord,
    private readonly remember: (remotes: Pick<RemotesRecord, "inStep" | "stale" | "last">) => void,
  ) {
    this.first = { version: config.protocolVersion, bridge: config.tryPrivate };
    this.dialects = config.addresses.map(() => this.first);
    this.closes = config.addresses.map(() => 0);
    this.inStep = new Set(remembered.inStep);
    this.stale = new Set(remembered.stale);
    this.last = remembered.last;
    this.leftOpen = new Set(remembered.last === undefined ? [] : [remembered.last]);
  }

  get current(): AddressConfig {
    return this.config.addresses[this.index] ?? { host: "", port: 0 };
  }

  get text(): string {
    return addressText(this.current);
  }

  get dialect(): Dialect {
    return this.dialects[this.index] ?? this.first;
  }

  get isPrimary(): boolean {
    return this.index === 0;
  }

  /** The first address, while another one is in use and the first is to be gone back to. */
  get primaryToReturnTo(): AddressConfig | undefined {
    return this.config.roundRobin || this.isPrimary ? undefined : this.config.addresses[0];
  }

  /**
   * Whether the remote's session must be ended first: it may hold QoS 2 identifiers that stand for other messages now. An address that was
   * never used may share the session that we have just left (a multi-instance queue manager): then it must not.
   */
  get mustPurge(): boolean {
    if (this.config.cleanSession) return false;
    return this.stale.has(this.text) || (!this.inStep.has(this.text) && this.leftOpen.size === 0);
  }

  purged(): void {
    this.stale.delete(this.text);
    if (this.inStep.size === 0) for (const address of this.config.addresses) this.inStep.add(addressText(address));
    this.inStep.add(this.text);
    this.save();
  }

  toNext(): void {
    this.retryFirstDialect();
    this.index = (this.index + 1) % Math.max(1, this.config.addresses.length);
  }

  toPrimary(): void {
    this.index = 0;
  }

  /** CONNACK 0. Addresses that share one session know what we left open; with any other the session left behind goes stale. */
  accepted(sessionPresent: boolean): void {
    this.closes[this.index] = 0;
    const { text } = this;
    if (!sessionPresent && !this.config.cleanSession) {
      for (const left of this.leftOpen) if (left !== text) this.stale.add(left);
    }
    this.leftOpen.clear();
    this.inStep.add(text);
    this.last = text;
    this.save();
  }

  /** A connection has ended, with or without exchanges that are not finished. */
  left(withOpenExchanges: boolean): void {
    if (withOpenExchanges) this.leftOpen.add(this.text);
    this.retryFirstDialect();
  }

  private retryFirstDialect(): void {
    if (this.refused.has(this.index) || this.dialect === this.first) return;
    this.dialects[this.index] = this.first;
    this.closes[this.index] = 0;
  }

  private save(): void {
    this.remember({ inStep: [...this.inStep], stale: [...this.stale], last: this.last });
  }

  /** The server refuses the protocol: chooses the next way to spell CONNECT for good; false if there is none. */
  fallBack(): boolean {
    const { version, bridge } = this.dialect;
    if (bridge) this.dialects[this.index] = { version, bridge: false };
    else if (version > 3) this.dialects[this.index] = { version: 3, bridge: false };
    else return false;
    this.refused.add(this.index);
    return true;
  }

  /** The server has closed without CONNACK: perhaps because of the private bit. True if CONNECT is to be sent without it next. */
  closedUnanswered(): boolean {
    const closes = (this.closes[this.index] ?? 0) + 1;
    this.closes[this.index] = closes;
    if (!this.dialect.bridge || closes < CLOSES_BEFORE_FALL_BACK) return false;
    this.dialects[this.index] = { version: this.dialect.version, bridge: false };
    return true;
  }
}

export const addressText = ({ host, port }: AddressConfig): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
