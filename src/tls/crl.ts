import { pemBytes } from "./pem.ts";

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;

/**
 * Until when a list of revoked certificates holds (RFC 5280, 5.1: TBSCertList is version, signature, issuer, thisUpdate, nextUpdate); undefined
 * if it does not say. Node reads such lists only to use them.
 * @throws Error if it is none.
 */
export function crlEndsMs(block: string): number | undefined {
  const bytes = pemBytes(block);
  const list = element(bytes, 0, SEQUENCE);
  const { start } = element(bytes, list.start, SEQUENCE);
  let at = start;
  if (bytes[at] === INTEGER) at = element(bytes, at, INTEGER).end;
  at = element(bytes, at, SEQUENCE).end;
  at = element(bytes, at, SEQUENCE).end;
  at = element(bytes, at, UTC_TIME, GENERALIZED_TIME).end;
  if (bytes[at] !== UTC_TIME && bytes[at] !== GENERALIZED_TIME) return undefined;
  const time = element(bytes, at, UTC_TIME, GENERALIZED_TIME);
  return timeMs(bytes.toString("latin1", time.start, time.end), bytes[at] === UTC_TIME);
}

function element(bytes: Buffer, at: number, ...tags: readonly number[]): { start: number; end: number } {
  const tag = bytes[at] ?? -1;
  const first = bytes[at + 1] ?? 0xff;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (!tags.includes(tag) || lengthBytes > 4 || at + 2 + lengthBytes > bytes.length) throw new Error("it is no list of revoked certificates");
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
  const start = at + 2 + lengthBytes;
  if (start + length > bytes.length) throw new Error("it is cut off");
  return { start, end: start + length };
}

/** `YYMMDDHHMMSSZ`, or with four digits for the year [RFC 5280, 4.1.2.5]. */
function timeMs(text: string, hasShortYear: boolean): number | undefined {
  const full = hasShortYear ? `${Number(text.slice(0, 2)) < 50 ? "20" : "19"}${text}` : text;
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? [];
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(ms) ? undefined : ms;
}
