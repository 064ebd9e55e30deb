import { PacketType } from "./protocol.ts";
import { Reason, type ReasonCode } from "./reason.ts";
import { protocolError } from "./violation.ts";

type Answer = "CONNACK" | "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" | "SUBACK" | "UNSUBACK" | "DISCONNECT" | "AUTH";

const publishCodes = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] as const;
const releaseCodes = [0x00, 0x92] as const;

/** Which reason codes each packet may carry [MQTT 5.0 section 2.4 and those of the packets]. */
const codesOf: { readonly [P in Answer]: readonly ReasonCode[] } = {
  CONNACK: [0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f],
  PUBACK: publishCodes,
  PUBREC: publishCodes,
  PUBREL: releaseCodes,
  PUBCOMP: releaseCodes,
  SUBACK: [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
  UNSUBACK: [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
  DISCONNECT: [
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d,
    0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
  ],
  AUTH: [0x00, 0x18, 0x19],
};

/** From here on a reason code is an error [MQTT 5.0 section 2.4]. */
export const FIRST_ERROR = 0x80;

/** By packet type, then by code. */
const allowed = Object.entries(codesOf).reduce<Uint8Array[]>((table, [packet, codes]) => {
  const row = new Uint8Array(256);
  for (const code of codes) row[code] = 1;
  table[PacketType[packet as Answer]] = row;
  return table;
}, []);

/** @throws ProtocolViolation if packets of this type do not carry this code. */
export function checkReasonCode(packet: Answer, code: number): void {
  if (allowed[PacketType[packet]]?.[code] !== 1) throw protocolError(`${packet} with reason code ${hex(code)}, which is not for it`);
}

const names = new Map<number, string>(Object.entries(Reason).map(([name, code]) => [code, name.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)]));

/** A reason code in words, for the log: `Not authorized (0x87)`. */
export function reasonText(code: number): string {
  return `${names.get(code) ?? "Unknown reason"} (${hex(code)})`;
}

const hex = (code: number): string => `0x${code.toString(16).padStart(2, "0")}`;
