import type { RemotesRecord } from "../broker/entry.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import type { Dialect } from "./handshake.ts";

/** A server that closes instead of answering CONNECT this often, one time after the other, is asked in a plainer way. */
const CLOSES_BEFORE_FALL_BACK = 2;
/** When a plainer way has been taken this often after closes, it is where the next connection begins. */
const TIMES_TO_REMEMBER = 2;

/** How one address wants its CONNECT: steps of `ladder`. */
interface Manner {
  step: number;
  /** Where each connection begins. */
  first: number;
  closes: number;
  taken: number;
}

/** The addresses of a connection: which is next, how CONNECT is spelt there, where a session of ours is out of step. */
export class Addresses {
  private index = 0;
  /** Ways to spell CONNECT, from the one with most in it to the plainest. */
  private readonly ladder: readonly Dialect[];
  private readonly manners: readonly Manner[];
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
    const olderVersions: readonly ProtocolVersion[] = config.protocolVersion === 3 ? [3] : [4, 3];
    const spelt = (bridge: boolean): Dialect[] => olderVersions.map((version) => ({ version, bridge }));
    const newest: Dialect[] = config.protocolVersion === 5 ? [{ version: 5, bridge: false }] : [];
    this.ladder = [...newest, ...(config.tryPrivate ? spelt(true) : []), ...spelt(false)];
    this.manners = config.addresses.map(() => ({ step: 0, first: 0, closes: 0, taken: 0 }));
    this.inStep = new Set(remembered.inStep);
    this.stale = new Set(remembered.stale);
    this.last = remembered.last;
    this.leftOpen = new Set(remembered.last === undefined ? [] : [remembered.last]);
  }

  get current(): AddressConfig {
    return this.config.addresses[this.index] ?? NOWHERE;
  }

  get text(): string {
    return addressText(this.current);
  }

  get dialect(): Dialect {
    return this.ladder[this.manner.step] ?? PLAIN;
  }

  private get manner(): Manner {
    return this.manners[this.index] ?? NO_MANNER;
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
    this.manner.step = this.manner.first;
    this.index = (this.index + 1) % Math.max(1, this.config.addresses.length);
  }

  toPrimary(): void {
    this.index = 0;
  }

  /** CONNACK 0. Addresses that share one session know what we left open; with any other the session left behind goes stale. */
  accepted(sessionPresent: boolean): void {
    const { text, manner } = this;
    manner.closes = 0;
    manner.taken = manner.step === manner.first ? 0 : manner.taken + 1;
    if (manner.taken >= TIMES_TO_REMEMBER) manner.first = manner.step;
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
    this.manner.step = this.manner.first;
  }

  private save(): void {
    this.remember({ inStep: [...this.inStep], stale: [...this.stale], last: this.last });
  }

  /** The server refuses the protocol: chooses the next way to spell CONNECT for good; false if there is none. */
  fallBack(): boolean {
    const { manner, ladder } = this;
    if (manner.step + 1 >= ladder.length) return false;
    manner.step += 1;
    manner.first = manner.step;
    return true;
  }

  /** The server has closed without CONNACK: perhaps it does not take what CONNECT says. True if a plainer one is to be sent next. */
  closedUnanswered(): boolean {
    const { manner, ladder } = this;
    manner.closes += 1;
    if (manner.closes < CLOSES_BEFORE_FALL_BACK) return false;
    if (manner.step + 1 < ladder.length) {
      manner.step += 1;
      return true;
    }
    manner.closes = 0;
    return false;
  }
}

const NOWHERE: AddressConfig = { scheme: "mqtt", host: "", port: 0, path: "" };
const PLAIN: Dialect = { version: 4, bridge: false };
const NO_MANNER: Manner = { step: 0, first: 0, closes: 0, taken: 0 };

/** The same for TCP and TLS: it is one broker with one session of ours. */
export const addressText = ({ scheme, host, port, path }: AddressConfig): string =>
  `${path === "" ? "" : `${scheme}://`}${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
