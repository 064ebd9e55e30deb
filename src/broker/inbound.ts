import { PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import type { Session } from "../session/session.ts";
import type { Topic } from "../topic/topic.ts";
import type { Publisher } from "./admission.ts";
import type { Broker } from "./broker.ts";
import type { Route, Source } from "./subscriptions.ts";

/** Takes a PUBLISH from a peer, whichever side dialled, and acknowledges it when it is safe; what can't be stored is not taken. */
export function receivePublish(
  broker: Broker, session: Session, from: Source, peer: Peer & Publisher, topic: Topic<Route>, message: Message, packetId: number,
): void {
  if (message.qos === 0) {
    broker.publish(from, topic, message);
    return;
  }
  const { admission } = broker;
  if (!admission.isOpen && admission.isRefused(peer)) return;
  if (message.qos === 1) {
    if (!admission.isOpen && !admits(broker, from, peer, topic, message)) return;
    const appendedBefore = broker.appendedBytes;
    const after = broker.publish(from, topic, message);
    peer.acknowledge(PUBACK_BYTE, packetId, after, broker.appendedBytes - appendedBefore);
    return;
  }
  const { incoming } = session;
  if (incoming.isRepeat(packetId, message)) {
    peer.acknowledge(PUBREC_BYTE, packetId, incoming.touch(), 0);
    return;
  }
  if (!admission.isOpen && !admits(broker, from, peer, topic, message)) return;
  const appendedBefore = broker.appendedBytes;
  const routed = broker.publish(from, topic, message);
  peer.acknowledge(PUBREC_BYTE, packetId, Math.max(routed, incoming.add(packetId, message)), broker.appendedBytes - appendedBefore);
}

function admits(broker: Broker, from: Source, publisher: Publisher, topic: Topic<Route>, message: Message): boolean {
  if (broker.admission.hasRoom(publisher) || !broker.needsStore(from, topic, message)) return true;
  broker.admission.refuse(publisher, from.identity.kind === "bridge" ? "bridge" : "client");
  return false;
}

/** PUBREL: the identifier is free again once its removal is on disk. An unknown one is answered too [MQTT-4.3.3-2]. */
export function receivePubrel(session: Session, peer: Peer, packetId: number): void {
  peer.acknowledge(PUBCOMP_BYTE, packetId, session.incoming.remove(packetId), 0);
}
