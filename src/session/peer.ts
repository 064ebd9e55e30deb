import type { GroupNumber } from "../store/store.ts";

/** What a session needs of the connection it is attached to; a link is one. */
export interface Peer {
  /** So much waits for the peer to read that QoS 0 is dropped and nothing more is taken from a queue. */
  readonly congested: boolean;
  /** Bytes that wait for the peer to read them. When they were many and are gone, `Session.pump` is called. */
  readonly unsentBytes: number;
  /** Appends a PUBLISH; `flags` is the low nibble of its first byte. Bytes are copied. */
  publish(
    flags: number, topic: Buffer, topicStart: number, topicEnd: number, packetId: number,
    payload: Buffer, payloadStart: number, payloadEnd: number,
  ): void;
  /** Appends a whole QoS 0 PUBLISH packet as another peer of the same version sent it, its DUP and RETAIN cleared. */
  forward(frame: Buffer, frameStart: number, frameEnd: number): void;
  /** Appends a four-byte packet when group `after` is stored, in the order of the calls. `heldBytes`: what the peer sent for it. */
  acknowledge(firstByte: number, packetId: number, after: GroupNumber, heldBytes: number): void;
}
