// A client's side of WebSocket framing, as much as the load needs.

export const HANDSHAKE =
  "GET /mqtt HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
  "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/** One frame. Its mask is zero, so that what is inside can be filled in later; a broker takes it off like any other. */
export function framed(bytes) {
  const { length } = bytes;
  const header = length < 126 ? Buffer.from([0x82, 0x80 | length]) : Buffer.from([0x82, 0x80 | (length < 65_536 ? 126 : 127)]);
  const extended = Buffer.alloc(length < 126 ? 0 : length < 65_536 ? 2 : 8);
  if (extended.length > 0) extended.writeUIntBE(length, extended.length === 8 ? 2 : 0, extended.length === 8 ? 6 : 2);
  return Buffer.concat([header, extended, Buffer.alloc(4), bytes]);
}

/** Hands on the payloads of a server's frames, moved together in place; a frame that is cut goes on in the next chunk. */
export function unframer(onBytes) {
  let header = [];
  let left = 0;
  return (chunk) => {
    let at = 0;
    let to = 0;
    while (at < chunk.length) {
      if (left === 0) {
        header.push(chunk[at++]);
        const length = header[1] === undefined ? 10 : header[1] < 126 ? 2 : header[1] === 126 ? 4 : 10;
        if (header.length < length) continue;
        left = length === 2 ? header[1] : header.slice(2).reduce((sum, byte) => sum * 256 + byte, 0);
        header = [];
        continue;
      }
      const part = Math.min(left, chunk.length - at);
      chunk.copyWithin(to, at, at + part);
      to += part;
      at += part;
      left -= part;
    }
    if (to > 0) onBytes(chunk.subarray(0, to));
  };
}
