/**
 * Packets as data. `bytes` is hex, with `LL` for the number of bytes that follow it, `<text>` for a length-prefixed
 * string and `{...}` for bytes behind their length, as properties stand in a packet. A row that decodes is also encoded again, unless
 * `decodeOnly` says that it is not our spelling.
 */
export interface PacketCase {
  readonly name: string;
  readonly clause: string;
  readonly version: 3 | 4 | 5;
  readonly bytes: string;
  readonly expect: { readonly packet: object } | { readonly violation: string; readonly reason?: number } | { readonly unsupported: number } | { readonly accepted: true };
  readonly decodeOnly?: true;
  /** Who sends it, where that matters; a client else. */
  readonly sender?: "server";
}

/** Bytes of a case's notation. */
export function bytesOf(notation: string): Buffer {
  const strings = notation.replace(/<([^>]*)>/g, (_, text: string) => {
    const bytes = Buffer.from(text);
    return bytes.length.toString(16).padStart(4, "0") + bytes.toString("hex");
  });
  const hex = strings.replaceAll(" ", "").replace(/\{([^}]*)\}/g, (_, block: string) => lengthOf(block) + block);
  const [head = "", body] = hex.split("LL");
  return Buffer.from(body === undefined ? head : head + lengthOf(body) + body, "hex");
}

/** How many bytes the hexadecimal text stands for, as a variable byte integer. */
function lengthOf(hex: string): string {
  const bytes: number[] = [];
  let rest = hex.length / 2;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>= 7;
  } while (rest > 0);
  return Buffer.from(bytes).toString("hex");
}
