import type { Source } from "../broker/subscriptions.ts";
import type { ConnectionConfig } from "../config/config.ts";
import type { Link } from "../link/link.ts";
import type { Will } from "../mqtt/protocol.ts";
import { messageOf } from "../queue/message.ts";
import type { BridgeContext } from "./context.ts";

const PAYLOAD = { "0": Buffer.from("0"), "1": Buffer.from("1") } as const;
type Payload = keyof typeof PAYLOAD;

/** A connection that a remote ends so soon, without a word, twice running: perhaps it does not like what it was told first. */
const QUICK_END_MS = 2_000;
const UNHEARD_ENDS = 2;

/** Says on a connection's notification topic, here and at the remote, whether the connection is up: retained `1` or `0`. */
export class Notification {
  private readonly topic: Buffer;
  private unheardEnds = 0;
  /** The remote is told nothing: it seems not to like it, or has shown so, since it was told once more after it had kept a connection without. */
  private isRefused = false;
  private isRetried = false;
  /** Whether the remote retains messages, as far as we know. */
  retains = true;

  constructor(
    private readonly config: ConnectionConfig,
    clientId: string,
    /** The connection itself, which does not forward its own notifications. */
    private readonly from: Source,
    private readonly context: BridgeContext,
  ) {
    this.topic = Buffer.from((config.notificationTopic ?? "$SYS/broker/connection/%s/state").replaceAll("%s", () => clientId));
  }

  private get tellsRemote(): boolean {
    return this.config.notifications && !this.config.notificationsLocalOnly && !this.isRefused;
  }

  /** What the remote publishes when the connection breaks. */
  get will(): Will | undefined {
    return this.tellsRemote ? { topic: this.topic, payload: PAYLOAD["0"], qos: 0, retain: this.retains } : undefined;
  }

  tellLocal(payload: Payload): void {
    if (!this.config.notifications) return;
    const { broker, clock } = this.context;
    const topic = broker.topics.lookup(this.topic, 0, this.topic.length);
    if (!topic.valid) return;
    broker.publish(this.from, topic, messageOf(topic.bytes, PAYLOAD[payload], { qos: 0, retain: true, receivedMs: clock.nowMs() }));
  }

  tellRemote(link: Link, payload: Payload): void {
    if (!this.tellsRemote) return;
    const message = messageOf(this.topic, PAYLOAD[payload], { qos: 0, retain: this.retains, receivedMs: this.context.clock.nowMs() });
    link.publish(this.retains ? RETAIN_FLAG : 0, message, 0, 0, NO_EXPIRY);
  }

  /**
   * A connection has ended; `wasLostUnheard`: lost, and the remote had not said anything. Some brokers end one that publishes to $SYS; they would
   * do so for ever. True if the remote is told nothing from now on.
   */
  connectionEnded(wasLostUnheard: boolean, lastedMs: number): boolean {
    if (this.isRefused) return false;
    if (!this.tellsRemote || this.topic[0] !== DOLLAR || !wasLostUnheard || lastedMs >= QUICK_END_MS) {
      this.unheardEnds = 0;
      this.isRetried = false;
      return false;
    }
    this.unheardEnds += 1;
    this.isRefused = this.unheardEnds >= UNHEARD_ENDS;
    return this.isRefused && !this.isRetried;
  }

  /** A connection stands. True if it is to be made anew, to tell the remote once more: it may just have been in trouble when it ended those before. */
  mustRetry(): boolean {
    if (!this.isRefused || this.isRetried) return false;
    this.isRefused = false;
    this.isRetried = true;
    this.unheardEnds = UNHEARD_ENDS - 1;
    return true;
  }
}

const RETAIN_FLAG = 1;
const NO_EXPIRY = -1;
const DOLLAR = 0x24;
