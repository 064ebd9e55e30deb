import type { TLSSocket } from "node:tls";

/** The user name in a client's certificate; undefined if there is none in it. */
export function certificateUser(socket: TLSSocket, from: "identity" | "subject"): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (!certificate) return undefined;
  if (from === "subject") return subjectText(certificate.subject);
  const { CN: names } = socket.getPeerCertificate().subject as { CN?: string | string[] };
  const name = Array.isArray(names) ? names[0] : names;
  // A name with a NUL reads as another one where strings end at it.
  return name === undefined || name === "" || name.includes("\0") ? undefined : name;
}

/**
 * A subject as RFC 2253 writes it, in OpenSSL's spelling, which is mosquitto's: the last part first, parts parted by commas, bytes beyond
 * ASCII as \XX. Node writes one part a line, escaped otherwise, and " + " between the values of one part.
 */
export function subjectText(lines: string): string | undefined {
  const text = lines.split("\n").toReversed().map((part) => part.replaceAll(" + ", "+")).join(",");
  const escaped = text.replace(/[^\u0000-\u007f]+/gu, (characters) => [...Buffer.from(characters)].map((byte) => `\\${byte.toString(16).toUpperCase()}`).join(""));
  return escaped === "" ? undefined : escaped;
}
