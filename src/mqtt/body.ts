import { malformed } from "./violation.ts";
import { isValidUtf8 } from "./utf8.ts";

/**
 * Reads the fields of one packet body in order; for the rare packets only, PUBLISH reads its bytes itself.
 * Invariant: `at <= end`. Every method throws ProtocolViolation when the body is too short.
 */
export class BodyReader {
  readonly bytes: Buffer;
  readonly end: number;
  at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  get atEnd(): boolean {
    return this.at >= this.end;
  }

  byte(what: string): number {
    this.#need(1, what);
    return this.bytes[this.at++] as number;
  }

  uint16(what: string): number {
    this.#need(2, what);
    const value = this.bytes.readUInt16BE(this.at);
    this.at += 2;
    return value;
  }

  /** A packet identifier, which is never 0 [MQTT-2.3.1-1]. */
  packetId(): number {
    const id = this.uint16("packet identifier");
    if (id === 0) throw malformed("packet identifier 0");
    return id;
  }

  /** Length-prefixed binary field, copied so that it outlives the chunk it came in. */
  binary(what: string): Buffer {
    const start = this.#prefixed(what);
    return Buffer.from(this.bytes.subarray(start, this.at));
  }

  /** Length-prefixed UTF-8 string; a BOM is kept as it is [MQTT-1.5.3-3]. */
  string(what: string): string {
    const start = this.#prefixed(what);
    if (!isValidUtf8(this.bytes, start, this.at)) throw malformed(`${what} is not valid UTF-8`);
    return this.bytes.toString("utf8", start, this.at);
  }

  /** @throws ProtocolViolation if bytes are left over. */
  finish(packet: string): void {
    if (this.at !== this.end) throw malformed(`${packet} has ${this.end - this.at} bytes too many`);
  }

  #prefixed(what: string): number {
    const length = this.uint16(what);
    this.#need(length, what);
    const start = this.at;
    this.at += length;
    return start;
  }

  #need(count: number, what: string): void {
    if (this.at + count > this.end) throw malformed(`${what} is cut off`);
  }
}

/** Writes a length-prefixed field; returns the position after it. @throws RangeError above 65535 bytes. */
export function writePrefixed(target: Buffer, at: number, field: Uint8Array): number {
  const position = target.writeUInt16BE(field.length, at);
  target.set(field, position);
  return position + field.length;
}
