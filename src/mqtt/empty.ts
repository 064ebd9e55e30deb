import { malformed } from "./violation.ts";
import type { ProtocolVersion } from "./protocol.ts";

/** Packets without a body. They are shared: nobody may write into them. */
export const PINGREQ: Buffer = Buffer.from([0xc0, 0]);
export const PINGRESP: Buffer = Buffer.from([0xd0, 0]);
export const DISCONNECT: Buffer = Buffer.from([0xe0, 0]);

/**
 * Checks a PINGREQ, PINGRESP or, before MQTT 5, DISCONNECT [MQTT-2.2.2-2] [MQTT-3.14.1-1]. 3.1 leaves the flags unused.
 * @throws ProtocolViolation
 */
export function checkEmpty(version: ProtocolVersion, firstByte: number, bodyStart: number, bodyEnd: number): void {
  if (version >= 4 && (firstByte & 0x0f) !== 0) throw malformed("packet with reserved flags set [MQTT-2.2.2-2]");
  if (bodyEnd !== bodyStart) throw malformed("packet with a body where none belongs");
}
