import { PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import type { Session } from "../session/session.ts";
import type { Topic } from "../topic/topic.ts";
import type { Broker } from "./broker.ts";
import type { Route, Source } from "./subscriptions.ts";

/** Takes a PUBLISH from a peer, whichever side dialled, and acknowledges it when it is safe. */
export function receivePublish(
  broker: Broker, session: Session, from: Source, peer: Peer, topic: Topic<Route>, message: Message, packetId: number,
): void {
  if (message.qos === 0) {
    broker.publish(from, topic, message);
    return;
  }
  const appendedBefore = broker.appendedBytes;
  if (message.qos === 1) {
    const after = broker.publish(from, topic, message);
    peer.acknowledge(PUBACK_BYTE, packetId, after, broker.appendedBytes - appendedBefore);
    return;
  }
  const { incoming } = session;
  if (incoming.isRepeat(packetId, message)) {
    peer.acknowledge(PUBREC_BYTE, packetId, incoming.touch(), 0);
    return;
  }
  const routed = broker.publish(from, topic, message);
  peer.acknowledge(PUBREC_BYTE, packetId, Math.max(routed, incoming.add(packetId, message)), broker.appendedBytes - appendedBefore);
}

/** PUBREL: the identifier is free again once its removal is on disk. An unknown one is answered too [MQTT-4.3.3-2]. */
export function receivePubrel(session: Session, peer: Peer, packetId: number): void {
  peer.acknowledge(PUBCOMP_BYTE, packetId, session.incoming.remove(packetId), 0);
}
