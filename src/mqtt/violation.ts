import { Reason, type ReasonCode } from "./reason.ts";

/** What a peer did wrong on the wire. It closes that one connection and nothing else [MQTT-4.8.0-1]. */
export class ProtocolViolation extends Error {
  readonly reason: ReasonCode;

  constructor(reason: ReasonCode, message: string) {
    super(message);
    this.name = "ProtocolViolation";
    this.reason = reason;
  }
}

/** A packet whose bytes cannot be parsed as the specification lays them out. */
export function malformed(message: string): ProtocolViolation {
  return new ProtocolViolation(Reason.MalformedPacket, message);
}

/** A packet that parses but that the protocol forbids. */
export function protocolError(message: string): ProtocolViolation {
  return new ProtocolViolation(Reason.ProtocolError, message);
}
