import { PUBACK_BYTE, PUBCOMP_BYTE, PUBREC_BYTE } from "../mqtt/acks.ts";
import { Reason } from "../mqtt/reason.ts";
import { FIRST_ERROR } from "../mqtt/reason-codes.ts";
import type { QoS } from "../mqtt/protocol.ts";
import type { Message } from "../queue/message.ts";
import type { Peer } from "../session/peer.ts";
import type { Session } from "../session/session.ts";
import type { Topic } from "../topic/topic.ts";
import type { Publisher } from "./admission.ts";
import type { Broker } from "./broker.ts";
import type { Source } from "./subscriptions.ts";
import type { WaitingPublish } from "./waiting-room.ts";

const TOO_MANY_OPEN = { kind: "local", text: "too many QoS 2 messages of all sessions have no PUBREL", code: Reason.QuotaExceeded } as const;

/** Takes a PUBLISH from a peer, whichever side dialled, and acknowledges it when it is safe; what can't be stored is not taken, or waits. */
export function receivePublish(
  broker: Broker, session: Session, from: Source, peer: Peer & Publisher, topic: Topic, message: Message, packetId: number,
): void {
  if (message.qos === 0) {
    broker.publish(from, topic, message);
    return;
  }
  if (!mustWait(broker, session, from, peer, topic, message, packetId)) return take(broker, session, from, peer, topic, message, packetId);
  const waiting = message.copy();
  broker.waitingRoom.add(peer, {
    bytes: message.payloadLength + topic.bytes.length + message.propertiesEnd - message.propertiesStart,
    isBlocked: () => broker.isBlocked(from, topic, waiting),
    take: () => take(broker, session, from, peer, topic, waiting, packetId),
    refuse: () => {
      if (!canBeTold(from, peer)) return false;
      refuse(peer, waiting, packetId);
      return true;
    },
  });
}

function mustWait(
  broker: Broker, session: Session, from: Source, peer: Publisher, topic: Topic, message: Message, packetId: number,
): boolean {
  const { waitingRoom } = broker;
  if (!waitingRoom.isEmpty && waitingRoom.holds(peer)) return true;
  if (!broker.mayBlock || !broker.isBlocked(from, topic, message)) return false;
  return message.qos === 1 || !session.incoming.isRepeat(packetId, message);
}

function take(broker: Broker, session: Session, from: Source, peer: Peer & Publisher, topic: Topic, message: Message, packetId: number): void {
  const { admission } = broker;
  if (!admission.isOpen && admission.isRefused(peer)) return;
  if (message.qos === 1) {
    if (!admission.isOpen && !admits(broker, from, peer, topic, message, packetId)) return;
    const appendedBefore = broker.appendedBytes;
    const after = broker.publish(from, topic, message);
    peer.acknowledge(PUBACK_BYTE, packetId, after, broker.appendedBytes - appendedBefore, peer.version === 5 ? outcome(broker, from, message) : 0);
    return;
  }
  const { incoming } = session;
  if (incoming.isRepeat(packetId, message)) {
    peer.acknowledge(PUBREC_BYTE, packetId, incoming.touch(), 0);
    return;
  }
  if (!incoming.hasRoom) {
    if (canBeTold(from, peer)) return refuse(peer, message, packetId);
    return peer.close(TOO_MANY_OPEN);
  }
  if (!admission.isOpen && !admits(broker, from, peer, topic, message, packetId)) return;
  const appendedBefore = broker.appendedBytes;
  const routed = broker.publish(from, topic, message);
  const reason = peer.version === 5 ? outcome(broker, from, message) : 0;
  const noted = reason >= FIRST_ERROR ? 0 : incoming.add(packetId, message);
  peer.acknowledge(PUBREC_BYTE, packetId, Math.max(routed, noted), broker.appendedBytes - appendedBefore, reason);
}

/** What a publisher of MQTT 5 is told of its message. */
function outcome({ matched, taken }: Broker, from: Source, { retain }: Message): number {
  if (matched === 0) return Reason.NoMatchingSubscribers;
  return taken === 0 && !retain && !from.isBridge ? Reason.QuotaExceeded : 0;
}

/** Acknowledges, in its turn, a message that is dropped; MQTT 3 can't say no, 5 can with a reason code. */
export function acknowledgeDropped(broker: Broker, peer: Peer & Publisher, qos: QoS, packetId: number, reasonCode = 0): void {
  if (qos === 0 || broker.admission.isRefused(peer)) return;
  const answer = (): void => peer.acknowledge(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId, 0, 0, reasonCode);
  if (broker.waitingRoom.holds(peer)) broker.waitingRoom.add(peer, answerInTurn(answer));
  else answer();
}

/** It waits for nothing but those before it. */
const answerInTurn = (answer: () => void): WaitingPublish => ({ bytes: 0, isBlocked: () => false, take: answer, refuse: () => (answer(), true) });

/** Whether the publisher will send again what it is told is not taken. */
function canBeTold({ isBridge }: Source, { version }: Publisher): boolean {
  return version === 5 && !isBridge;
}

function refuse(peer: Peer, { qos }: Message, packetId: number): void {
  peer.acknowledge(qos === 1 ? PUBACK_BYTE : PUBREC_BYTE, packetId, 0, 0, Reason.QuotaExceeded);
}

/** Whether there is room for the message; a client of MQTT 5 is told if not, of others nothing more is taken. */
function admits(broker: Broker, from: Source, peer: Peer & Publisher, topic: Topic, message: Message, packetId: number): boolean {
  if (broker.admission.hasRoom(peer) || !broker.needsStore(from, topic, message)) return true;
  if (canBeTold(from, peer)) refuse(peer, message, packetId);
  else broker.admission.refuse(peer, from.identity.kind);
  return false;
}

/** PUBREL, in its turn: behind what waits there may be a copy of the message. The identifier is free again once its removal is on disk. */
export function receivePubrel(broker: Broker, session: Session, peer: Peer & Publisher, packetId: number): void {
  const { waitingRoom } = broker;
  if (waitingRoom.isEmpty || !waitingRoom.holds(peer)) release(session, peer, packetId);
  else waitingRoom.add(peer, answerInTurn(() => release(session, peer, packetId)));
}

/** An unknown identifier is answered too [MQTT-4.3.3-2]. */
function release(session: Session, peer: Peer & Publisher, packetId: number): void {
  const reason = peer.version === 5 && !session.incoming.has(packetId) ? Reason.PacketIdentifierNotFound : 0;
  peer.acknowledge(PUBCOMP_BYTE, packetId, session.incoming.remove(packetId), 0, reason);
}
