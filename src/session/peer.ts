import type { Message } from "../queue/message.ts";
import type { GroupNumber } from "../store/store.ts";

/** What a session needs of the connection it is attached to; a link is one. */
export interface Peer {
  /** So much waits for the peer to read that QoS 0 is dropped and nothing more is taken from a queue. */
  readonly congested: boolean;
  /** What the peer has sent is being handed on, perhaps many answers together; `Sender.settle` is called behind them. */
  readonly isHandingOn?: boolean;
  /** Bytes that wait for the peer to read them. When they were many and are gone, `Session.pump` is called. */
  readonly unsentBytes: number;
  /**
   * Appends a PUBLISH; `flags` is the low nibble of its first byte. Its topic begins at `topicStart`, behind a mount point. Bytes are copied.
   * `expirySeconds`: how long it may still be delivered, -1 for ever. False if it would be larger than the peer takes: nothing is sent then.
   */
  publish(flags: number, message: Message, topicStart: number, packetId: number, expirySeconds: number): boolean;
  /**
   * Appends the QoS 0 PUBLISH packets of the message's frame as another peer sent them, of a single one DUP and RETAIN cleared; false if this
   * peer needs them otherwise.
   */
  forward(message: Message, packets: number): boolean;
  /** Appends an acknowledgement, in MQTT 5 with a reason code if it is not success, when group `after` is stored, in the order of the calls. `heldBytes`: what the peer sent for it. */
  acknowledge(firstByte: number, packetId: number, after: GroupNumber, heldBytes: number, reasonCode?: number): void;
}
