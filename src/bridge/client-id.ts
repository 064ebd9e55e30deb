import { createHash } from "node:crypto";

/** Longest client identifier that MQTT 3.1 allows. */
export const MAX_CLIENT_ID_BYTES_31 = 23;
const HASH_DIGITS = 6;

/** host.name, the host cut at its first dot and to 14 characters; what is longer than 23 bytes is cut and told apart by a hash. */
export function defaultClientId(hostName: string, connectionName: string): string {
  const host = (hostName.split(".")[0] ?? "").slice(0, 14);
  const whole = `${host}.${connectionName}`;
  if (Buffer.byteLength(whole) <= MAX_CLIENT_ID_BYTES_31) return whole;
  const hash = createHash("sha256").update(whole).digest("hex").slice(0, HASH_DIGITS);
  const room = MAX_CLIENT_ID_BYTES_31 - HASH_DIGITS - 1;
  return `${Buffer.from(whole).subarray(0, room).toString().replace(/\uFFFD+$/, "")}-${hash}`;
}
