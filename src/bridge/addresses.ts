import type { RemotesRecord } from "../broker/entry.ts";
import type { AddressConfig, ConnectionConfig } from "../config/config.ts";
import type { ProtocolVersion } from "../mqtt/protocol.ts";
import type { Dialect } from "./handshake.ts";
import { Spelling } from "./spelling.ts";

/** The addresses of a connection: which is next, how CONNECT is spelt there, where a session of ours is out of step. */
export class Addresses {
  private index = 0;
  private readonly spellings: readonly Spelling[];
  /** Addresses that we left with exchanges open, or have come back to and may leave so at once. After a start the last one counts as such. */
  private readonly leftOpen: Set<string>;
  /** Addresses where no identifier of the past is left; and those where some are, that stand for other messages now. */
  private readonly inStep: Set<string>;
  private readonly stale: Set<string>;
  /** Addresses that have shown to keep sessions of their own: one did not have the session that the other had. */
  private readonly apart: Set<string>;
  private last: string | undefined;
  /** Where there is no session because we have ended it; and where one was found that is to be ended. */
  private purgedAt: string | undefined;
  private foundAt: string | undefined;

  constructor(
    private readonly config: ConnectionConfig,
    remembered: RemotesRecord,
    private readonly remember: (remotes: Pick<RemotesRecord, "inStep" | "stale" | "apart" | "last">) => void,
  ) {
    const ladder = ladderOf(config);
    this.spellings = config.addresses.map(() => new Spelling(ladder));
    this.inStep = new Set(remembered.inStep);
    this.stale = new Set(remembered.stale);
    this.apart = new Set(remembered.apart);
    this.last = remembered.last;
    this.leftOpen = new Set(remembered.last === undefined ? [] : [remembered.last]);
  }

  get current(): AddressConfig {
    return this.config.addresses[this.index] ?? NOWHERE;
  }

  get text(): string {
    return addressText(this.current);
  }

  /** How the present one wants its CONNECT. */
  get spelling(): Spelling {
    return this.spellings[this.index] ?? PLAINLY;
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
   * never used may share the session that we have just left (a multi-instance queue manager): then it must not. Nor need it where another one was used
   * before, unless a session is found: that there is none tells that the two are apart.
   */
  get mustPurge(): boolean {
    if (this.config.cleanSession) return false;
    return this.stale.has(this.text) || (this.isUnused && (this.last === undefined || this.foundAt === this.text));
  }

  /** Never used, and nothing is open that a session there could share. */
  private get isUnused(): boolean {
    return !this.inStep.has(this.text) && this.leftOpen.size === 0;
  }

  /** CONNACK 0, before `accepted`: whether the session there is one of the past. It must be ended before the address is used. */
  isOfThePast(sessionPresent: boolean): boolean {
    const isPast = sessionPresent && !this.config.cleanSession && this.isUnused;
    if (isPast) this.foundAt = this.text;
    return isPast;
  }

  purged(): void {
    this.foundAt = undefined;
    this.stale.delete(this.text);
    if (this.inStep.size === 0) for (const address of this.config.addresses) this.inStep.add(addressText(address));
    this.inStep.add(this.text);
    this.purgedAt = this.text;
    this.save();
  }

  toNext(): void {
    this.spelling.restart();
    this.index = (this.index + 1) % Math.max(1, this.config.addresses.length);
  }

  toPrimary(): void {
    this.index = 0;
  }

  /**
   * CONNACK 0. Returns whether the remote knows the exchanges that we have left open: so do addresses that share one session. With any other the
   * session left behind goes stale.
   */
  accepted(sessionPresent: boolean): boolean {
    const { text, last, apart } = this;
    const { cleanSession } = this.config;
    if (!sessionPresent && !cleanSession && last !== undefined && last !== text && this.purgedAt !== text) apart.add(last).add(text);
    const leftElsewhere = [...this.leftOpen].filter((left) => left !== text);
    const isKnown = sessionPresent && (leftElsewhere.length === 0 || !apart.has(text));
    if (!isKnown && !cleanSession) for (const left of leftElsewhere) this.stale.add(left);
    const areOpen = isKnown && this.leftOpen.size > 0;
    this.leftOpen.clear();
    if (areOpen) this.leftOpen.add(text);
    this.purgedAt = undefined;
    this.inStep.add(text);
    this.last = text;
    this.save();
    return isKnown;
  }

  /** A connection has ended, with or without exchanges that are not finished. */
  left(withOpenExchanges: boolean): void {
    if (withOpenExchanges) this.leftOpen.add(this.text);
    else this.leftOpen.delete(this.text);
    this.spelling.restart();
  }

  private save(): void {
    this.remember({ inStep: [...this.inStep], stale: [...this.stale], apart: [...this.apart], last: this.last });
  }
}

const NOWHERE: AddressConfig = { scheme: "mqtt", host: "", port: 0, path: "" };
const PLAIN: Dialect = { version: 4, bridge: false };
const PLAINLY = new Spelling([PLAIN]);

function ladderOf({ protocolVersion, tryPrivate }: ConnectionConfig): [Dialect, ...Dialect[]] {
  const newest: ProtocolVersion[] = protocolVersion === 5 ? [5] : [];
  const older: ProtocolVersion[] = protocolVersion === 3 ? [3] : [4, 3];
  const spelt = (versions: ProtocolVersion[], bridge: boolean): Dialect[] => versions.map((version) => ({ version, bridge }));
  const [fullest = PLAIN, ...plainer] = [...spelt(newest, false), ...spelt(tryPrivate ? older : [], true), ...spelt(older, false)];
  return [fullest, ...plainer];
}

/** The same for TCP and TLS: it is one broker with one session of ours. */
export const addressText = ({ scheme, host, port, path }: AddressConfig): string =>
  `${path === "" ? "" : `${scheme}://`}${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
