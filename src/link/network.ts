const V4_IN_V6 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const V6_LEVELS = 8;
/** Levels of an IPv6 address that one host commonly has to itself: a /64. */
const HOST_LEVELS = 4;

/** Whose an address is, for limits: all of an IPv4 address, the first half of an IPv6 one. */
export function networkOf(address: string): string {
  const v4 = V4_IN_V6.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::", 2);
  const levels = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  while (levels.length + after.length < V6_LEVELS) levels.push("0");
  return [...levels, ...after].slice(0, HOST_LEVELS).join(":");
}

/** The same of `ADDRESS:PORT`. */
export const networkOfPeer = (remoteAddress: string): string => networkOf(remoteAddress.slice(0, Math.max(0, remoteAddress.lastIndexOf(":"))));
