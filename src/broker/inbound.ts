import { PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import type { Session } from "../session/session.ts";
import type { Topic } from "../topic/topic.ts";
import type { Publisher } from "./admission.ts";
import type { Broker } from "./broker.ts";
import type { Route, Source } from "./subscriptions.ts";

/** Takes a PUBLISH from a peer, whichever side dialled, and acknowledges it when it is safe; what can't be stored is not taken, or waits. */
export function receivePublish(
  broker: Broker, session: Session, from: Source, peer: Peer & Publisher, topic: Topic<Route>, message: Message, packetId: number,
): void {
  if (message.qos === 0) {
    broker.publish(from, topic, message);
    return;
  }
  if (!mustWait(broker, session, from, peer, topic, message, packetId)) return take(broker, session, from, peer, topic, message, packetId);
  const waiting = message.copy();
  broker.waitingRoom.add(peer, {
    bytes: message.payloadLength + topic.bytes.length,
    isBlocked: () => broker.isBlocked(from, topic, waiting),
    take: () => take(broker, session, from, peer, topic, waiting, packetId),
  });
}

function mustWait(
  broker: Broker, session: Session, from: Source, peer: Publisher, topic: Topic<Route>, message: Message, packetId: number,
): boolean {
  const { waitingRoom } = broker;
  if (!waitingRoom.isEmpty && waitingRoom.holds(peer)) return true;
  if (!broker.mayBlock || !broker.isBlocked(from, topic, message)) return false;
  return message.qos === 1 || !session.incoming.isRepeat(packetId, message);
}

function take(broker: Broker, session: Session, from: Source, peer: Peer & Publisher, topic: Topic<Route>, message: Message, packetId: number): void {
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

/** Acknowledges, in its turn, a message that is dropped: MQTT 3 can't say no. */
export function acknowledgeDropped(broker: Broker, peer: Peer & Publisher, qos: QoS, packetId: number): void {
  if (qos === 0 || broker.admission.isRefused(peer)) return;
  const answer = (): void => peer.acknowledge(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId, 0, 0);
  if (broker.waitingRoom.holds(peer)) broker.waitingRoom.add(peer, { bytes: 0, isBlocked: () => false, take: answer });
  else answer();
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
