import { PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import { Reason } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import type { Session } from "../session/session.ts";
import type { Topic } from "../topic/topic.ts";
import type { Broker } from "./broker.ts";
import type { Receiver, Route } from "./subscriptions.ts";

/** QoS 2 messages that one peer may leave without PUBREL. */
const MAX_INCOMING_QOS2 = 1024;

/** Takes a PUBLISH from a peer, whichever side dialled, and acknowledges it when it is safe. */
export function receivePublish(
  broker: Broker, session: Session, from: Receiver, peer: Peer, topic: Topic<Route>, message: Message, packetId: number,
): void {
  if (message.qos === 0) {
    broker.publish(from, topic, message);
    return;
  }
  const heldBytes = message.payloadLength;
  if (message.qos === 1) {
    peer.acknowledge(PUBACK_BYTE, packetId, broker.publish(from, topic, message), heldBytes);
    return;
  }
  const { incoming } = session;
  if (incoming.isRepeat(packetId, message)) {
    peer.acknowledge(PUBREC_BYTE, packetId, incoming.touch(), heldBytes);
    return;
  }
  if (incoming.size >= MAX_INCOMING_QOS2) {
    throw new ProtocolViolation(Reason.ReceiveMaximumExceeded, `more than ${MAX_INCOMING_QOS2} QoS 2 messages without PUBREL`);
  }
  const routed = broker.publish(from, topic, message);
  peer.acknowledge(PUBREC_BYTE, packetId, Math.max(routed, incoming.add(packetId, message)), heldBytes);
}

/** PUBREL: the identifier is free again once its removal is on disk. An unknown one is answered too [MQTT-4.3.3-2]. */
export function receivePubrel(session: Session, peer: Peer, packetId: number): void {
  peer.acknowledge(PUBCOMP_BYTE, packetId, session.incoming.remove(packetId), 0);
}
