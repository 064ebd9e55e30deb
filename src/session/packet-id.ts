/**
 * Packet identifiers come from sequence numbers, so that the identifier of an unacknowledged message is the same after a restart without
 * being stored: 1 + lane x 16384 + (seq mod 16384). Identifiers from 49153 on are for SUBSCRIBE and UNSUBSCRIBE of bridges.
 */
export const IDS_PER_LANE = 16384;
export const LANES = 3;
/** The lane on disk of messages that are put aside: they have no packet identifiers. */
export const PARKED_LANE = LANES;
export const FIRST_REQUEST_ID = 1 + LANES * IDS_PER_LANE;

export const packetIdOf = (lane: number, seq: number): number => 1 + lane * IDS_PER_LANE + (seq % IDS_PER_LANE);
export const laneOf = (packetId: number): number => Math.floor((packetId - 1) / IDS_PER_LANE);
export const indexOf = (packetId: number): number => (packetId - 1) % IDS_PER_LANE;
