import { Reason, type ReasonCode } from "../mqtt/reason.ts";
import { ProtocolViolation } from "../mqtt/violation.ts";
import { TlsFailure } from "./tls-reason.ts";

/** Why a connection has ended. `internal`: our own fault, an exception. `insecure`: TLS has failed. */
export interface CloseReason {
  readonly kind: "peer" | "violation" | "local" | "error" | "insecure" | "internal";
  readonly text: string;
  /** What MQTT 5 has for it; absent if there is nothing to say to the peer. */
  readonly code?: ReasonCode;
}

/** Of an exception while packets are taken. One that is no violation is our own fault: it costs this connection, not the others. */
export function reasonOfException(error: unknown): CloseReason {
  if (error instanceof ProtocolViolation) return { kind: "violation", text: error.message, code: error.reason };
  return { kind: "internal", code: Reason.UnspecifiedError, text: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** Of a transport that has ended. */
export function reasonOfEnd(error: Error | undefined): CloseReason {
  if (!error) return { kind: "peer", text: "closed by the other side" };
  const kind = error instanceof ProtocolViolation ? "violation" : error instanceof TlsFailure ? "insecure" : "error";
  return { kind, text: error.message };
}
