import { below, pick, type Rng } from "./budget.ts";

const EDGES = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];

/** A few changes to bytes, of the kinds that parsers stumble over. */
export function mutateBytes(rng: Rng, original: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(original);
  for (let changes = below(rng, 5); changes > 0; changes--) {
    const at = below(rng, bytes.length + 1);
    const length = 1 + below(rng, 8);
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    switch (below(rng, 8)) {
      case 0: if (bytes.length > 0) bytes[at % bytes.length] = pick(rng, EDGES); break;
      case 1: if (bytes.length > 0) bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << below(rng, 8)); break;
      case 2: bytes = Buffer.concat([head, Buffer.from(Array.from({ length }, () => below(rng, 256))), tail]); break;
      case 3: bytes = Buffer.concat([head, tail.subarray(length)]); break;
      case 4: bytes = Buffer.concat([head, tail.subarray(0, length), tail]); break;
      case 5: bytes = Buffer.from(head); break;
      case 6: {
        const other = pick(rng, others);
        bytes = Buffer.concat([head, other.subarray(below(rng, other.length + 1))]);
        break;
      }
      default: {
        if (bytes.length > 1) bytes.writeUInt16BE(pick(rng, [0, 1, 0x7fff, 0xffff, bytes.length & 0xffff]), Math.min(at, bytes.length - 2));
      }
    }
  }
  return bytes;
}

const WORDS = ["0", "-1", "1", "65535", "65536", "9007199254740993", "1e9", '"', '""', '"a b', "#", "+", "$SYS", "/", "//", "%c", "%u", "a:b:c", "[::1]:99", "\u0000", "\ufeff", "\r", "é", "😀", "true", "$7$1$a$b", "$6$$", "$argon2id$"];

/** A few changes to the lines and words of a text; `words` are those of its language. */
export function mutateText(rng: Rng, original: string, words: readonly string[]): string {
  const lines = original.split("\n");
  for (let changes = 1 + below(rng, 6); changes > 0; changes--) {
    const at = below(rng, lines.length);
    const line = lines[at] ?? "";
    const word = rng() < 0.5 ? pick(rng, words) : pick(rng, WORDS);
    const parts = line.split(" ");
    switch (below(rng, 8)) {
      case 0: lines.splice(at, 1); break;
      case 1: lines.splice(at, 0, pick(rng, lines)); break;
      case 2: lines.splice(at, 0, `${word} ${pick(rng, WORDS)}`); break;
      case 3: parts[below(rng, parts.length)] = word; lines[at] = parts.join(" "); break;
      case 4: lines[at] = `${line} ${word}`; break;
      case 5: lines[at] = line.slice(0, below(rng, line.length + 1)); break;
      case 6: lines[at] = line + pick(rng, WORDS).repeat(1 + below(rng, 2_000)); break;
      default: lines[at] = line.slice(0, below(rng, line.length + 1)) + String.fromCharCode(below(rng, 0x3000)) + line.slice(below(rng, line.length + 1));
    }
  }
  return lines.join("\n");
}

/** The same bytes in pieces. */
export function* pieces(rng: Rng, bytes: Buffer): Generator<Buffer> {
  const longest = pick(rng, [1, 3, 20, 2_000]);
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + below(rng, longest);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}
