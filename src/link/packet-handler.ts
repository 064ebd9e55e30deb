import type { CloseReason } from "./close-reason.ts";

/** What takes a link's packets: first the handshake, then the session's side. */
export interface PacketHandler {
  /** @throws ProtocolViolation, which closes the link. */
  onPacket(firstByte: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): void;
  /** A PUBLISH that is larger than is taken: its head, up to its packet identifier. Without this it is a violation. */
  onOversized?(firstByte: number, head: Buffer, bodyStart: number, packetBytes: number): void;
  /** What was read is over, and its bytes with it. */
  onReadEnd?(): void;
  /** Whether a connection may begin so, asked with its first byte; if not, it has been closed. */
  mayBegin?(firstByte: number): boolean;
  /** The other side has taken what was pending. */
  onDrain(): void;
  /** The link is about to end while something may still be sent: for a last word. */
  onClosing?(reason: CloseReason): void;
  onClosed(reason: CloseReason): void;
}
