import { malformed } from "./violation.ts";
import { ConnackCode } from "./reason.ts";

/** A CONNACK packet. Session present is never sent with a refusal [MQTT-3.2.2-4], nor to a 3.1 client: that is the caller's to know. */
export function encodeConnack(sessionPresent: boolean, code: number): Buffer {
  return Buffer.from([0x20, 2, sessionPresent && code === ConnackCode.accepted ? 1 : 0, code]);
}

/** @throws ProtocolViolation for anything but the exact form of MQTT 3.1.1 section 3.2. */
export function decodeConnack(
  firstByte: number,
  bytes: Buffer,
  bodyStart: number,
  bodyEnd: number,
): { sessionPresent: boolean; code: number } {
  if ((firstByte & 0x0f) !== 0) throw malformed("CONNACK with reserved flags set [MQTT-2.2.2-2]");
  if (bodyEnd - bodyStart !== 2) throw malformed("CONNACK is not two bytes long");
  const flags = bytes[bodyStart] as number;
  const code = bytes[bodyStart + 1] as number;
  if (flags > 1) throw malformed("CONNACK with reserved acknowledge flags set");
  if (code > ConnackCode.notAuthorized) throw malformed(`CONNACK with reserved return code ${code}`);
  if (flags === 1 && code !== 0) throw malformed("CONNACK refuses with session present [MQTT-3.2.2-4]");
  return { sessionPresent: flags === 1, code };
}
