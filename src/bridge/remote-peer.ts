import type { Link } from "../link/link.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import { digest, type EchoGuard } from "./echo-guard.ts";
import type { RemoteLimits } from "./handshake.ts";
import type { Trail } from "./trail.ts";

export interface RemotePeerOptions {
  readonly limits: RemoteLimits;
  readonly echoes: EchoGuard;
  /** The remote has not been told, or has not understood, that it is not to send our messages back. */
  readonly mayEcho: boolean;
  /** What marks our messages, where the remote can pass the mark on. */
  readonly trail: Trail | undefined;
  /** Messages of QoS 0 wait in the queue too, so that none overtakes another. */
  readonly queuesQoS0: boolean;
  onTooLarge(topicName: string): void;
}

/** The remote as the peer of a connection's session: what is sent keeps to the remote's limits, and is known again if it comes back. */
export class RemotePeer implements Peer {
  /** When the newest message that was sent, of those whose QoS the queue takes, had been received; 0: none was. */
  newestSentMs = 0;

  constructor(
    private readonly link: Link,
    private readonly options: RemotePeerOptions,
  ) {}

  get congested(): boolean {
    return this.link.congested;
  }

  get unsentBytes(): number {
    return this.link.unsentBytes;
  }

  publish(flags: number, message: Message, topicStart: number, packetId: number, expirySeconds: number): boolean {
    const { topic, topicEnd, payload, payloadStart, payloadEnd } = message;
    const { limits, echoes, mayEcho, queuesQoS0, onTooLarge } = this.options;
    const isRepeated = (flags & QOS_2_REPEATED) === QOS_2_REPEATED; // one that the remote knows already does not come back
    const watchedName = (mayEcho || echoes.isShared) && !isRepeated ? topic.toString("utf8", topicStart, topicEnd) : undefined;
    const taken = limits.retainAvailable ? flags : flags & ~RETAIN; // [MQTT-3.2.2-14]
    if (!this.send(taken, message, topicStart, packetId, expirySeconds)) {
      onTooLarge(topic.toString("utf8", topicStart, topicEnd));
      return false;
    }
    if ((packetId > 0 || queuesQoS0) && message.receivedMs > this.newestSentMs) this.newestSentMs = message.receivedMs;
    const qosOfReturn = watchedName === undefined ? undefined : echoes.qosOfReturn(watchedName);
    if (watchedName !== undefined && qosOfReturn !== undefined) {
      echoes.noteSent(digest(watchedName, payload, payloadStart, payloadEnd), packetId > 0 && qosOfReturn > 0, (flags & REPEATED) !== 0);
    }
    return true;
  }

  /** A message that fits only without our mark goes without it. */
  private send(flags: number, message: Message, topicStart: number, packetId: number, expirySeconds: number): boolean {
    const { link } = this;
    const { trail } = this.options;
    if (!trail) return link.publish(flags, message, topicStart, packetId, expirySeconds);
    const { properties, propertiesStart, propertiesEnd } = message;
    message.properties = trail.markedBlock(properties, propertiesStart, propertiesEnd);
    message.propertiesStart = 0;
    message.propertiesEnd = message.properties.length;
    const isSent = link.publish(flags, message, topicStart, packetId, expirySeconds);
    message.properties = properties;
    message.propertiesStart = propertiesStart;
    message.propertiesEnd = propertiesEnd;
    return isSent || link.publish(flags, message, topicStart, packetId, expirySeconds);
  }

  /** What goes to a remote has another name than here: it is never the packet that came. */
  forward(): boolean {
    return false;
  }

  acknowledge(firstByte: number, packetId: number, after: number, heldBytes: number, reasonCode?: number): void {
    this.link.acknowledge(firstByte, packetId, after, heldBytes, reasonCode);
  }
}

const RETAIN = 1;
const REPEATED = 8;
const QOS_2_REPEATED = REPEATED | 4;
