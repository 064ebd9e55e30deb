import { readVarint } from "./varint.ts";

const LITERAL = 0;
const COPY_1 = 1;
const COPY_2 = 2;

/** Unpacks a block in Snappy's raw format (format_description.txt of google/snappy); undefined if it is not in it. */
export function unpackSnappy(bytes: Buffer): Buffer | undefined {
  const header = readVarint(bytes, 0);
  if (!header) return undefined;
  const unpacked = Buffer.allocUnsafe(header.value);
  let at = header.end;
  let filled = 0;
  while (at < bytes.length) {
    const tag = bytes[at] ?? 0;
    const kind = tag & 3;
    at += 1;
    if (kind === LITERAL) {
      const short = tag >> 2;
      const lengthBytes = short < 60 ? 0 : short - 59;
      if (at + lengthBytes > bytes.length) return undefined;
      const length = (lengthBytes === 0 ? short : bytes.readUIntLE(at, lengthBytes)) + 1;
      at += lengthBytes;
      if (at + length > bytes.length || filled + length > unpacked.length) return undefined;
      bytes.copy(unpacked, filled, at, at + length);
      at += length;
      filled += length;
      continue;
    }
    const offsetBytes = kind === COPY_1 ? 1 : kind === COPY_2 ? 2 : 4;
    if (at + offsetBytes > bytes.length) return undefined;
    const length = kind === COPY_1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2);
    const offset = bytes.readUIntLE(at, offsetBytes) + (kind === COPY_1 ? (tag >> 5) << 8 : 0);
    at += offsetBytes;
    if (offset === 0 || offset > filled || filled + length > unpacked.length) return undefined;
    for (const end = filled + length; filled < end; filled++) unpacked[filled] = unpacked[filled - offset] ?? 0; // may overlap itself
  }
  return filled === unpacked.length ? unpacked : undefined;
}
