import type { Entry } from "../broker/entry.ts";
import type { Sessions } from "../broker/sessions.ts";
import { plainOptions } from "../broker/subscription-options.ts";
import type { Link } from "../link/link.ts";
import type { QoS } from "../mqtt/protocol.ts";
import { decodeSuback, encodeSubscribe, SUBACK_FAILURE } from "../mqtt/subscribe.ts";
import { encodeUnsubscribe } from "../mqtt/unsubscribe.ts";
import { FIRST_REQUEST_ID } from "../session/packet-id.ts";

const UNSUBSCRIBE_ID = FIRST_REQUEST_ID + 1;
const SUBACK_LIMIT_MS = 30_000;

/** What a connection has subscribed to at its remote. It is kept in the store: a filter that is configured no more is given up there, until the remote has said that it is. */
export class RemoteSubscriptions {
  private askedAtMs = 0;
  /** Filters whose end the remote has not confirmed. */
  private givenUp: readonly string[] = [];

  constructor(
    private readonly wanted: readonly { readonly filter: string; readonly qos: QoS }[],
    private readonly entry: Entry,
    private readonly sessions: Sessions,
    /** MQTT 5: nothing of ours is to come back. */
    private readonly noLocal: boolean,
    private readonly onRefused: (filter: string, code: number) => void,
  ) {}

  /** After CONNACK. A remote that kept its session knows our filters; we ask all the same, since it may have lost some. */
  ask(link: Link, sessionPresent: boolean, nowMs: number): void {
    const { wanted, entry, sessions } = this;
    const known = [...entry.filters.keys()];
    const obsolete = known.filter((filter) => !wanted.some((one) => one.filter === filter));
    this.givenUp = sessionPresent ? obsolete : known;
    if (!sessionPresent) this.onUnsuback();
    else if (obsolete.length > 0) link.send(encodeUnsubscribe(link.version, UNSUBSCRIBE_ID, obsolete));
    if (wanted.length === 0) return;
    for (const { filter, qos } of wanted) sessions.subscribe(entry, filter, plainOptions(qos));
    link.send(encodeSubscribe(link.version, FIRST_REQUEST_ID, wanted.map((one) => ({ ...one, noLocal: this.noLocal, retainAsPublished: true }))));
    this.askedAtMs = nowMs;
  }

  /** @throws ProtocolViolation */
  onSuback(link: Link, firstByte: number, bytes: Buffer, bodyStart: number, bodyEnd: number): void {
    const { codes } = decodeSuback(link.version, firstByte, bytes, bodyStart, bodyEnd);
    this.askedAtMs = 0;
    this.wanted.forEach(({ filter }, index) => {
      const code = codes[index] ?? SUBACK_FAILURE;
      if (code < SUBACK_FAILURE) return;
      this.sessions.unsubscribe(this.entry, filter);
      this.onRefused(filter, code);
    });
  }

  /** Also where it refuses: it would each time. */
  onUnsuback(): void {
    for (const filter of this.givenUp) this.sessions.unsubscribe(this.entry, filter);
    this.givenUp = [];
  }

  isOverdue(nowMs: number): boolean {
    return this.askedAtMs > 0 && nowMs - this.askedAtMs > SUBACK_LIMIT_MS;
  }

  /** The connection is over. */
  reset(): void {
    this.askedAtMs = 0;
  }
}
