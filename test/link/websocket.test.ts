import { describe, expect, it } from "vitest";
import type { Transport } from "../../src/link/transport.ts";
import { WebSocketTransport } from "../../src/link/websocket.ts";
import { frame } from "../scenario/web-clients.ts";

/** Takes at once what it is told to, and the rest later. */
class Carrier implements Transport {
  readonly remoteAddress = "nowhere";
  readonly progressMark = 0;
  readonly sent: Buffer[] = [];
  unsentBytes = 0;
  taken = 0;

  writeNow(bytes: Buffer, start: number, end: number): number {
    const taken = this.unsentBytes > 0 ? 0 : Math.min(this.taken, end - start);
    this.sent.push(Buffer.from(bytes.subarray(start, start + taken)));
    return taken;
  }

  write(bytes: Buffer, done: () => void): void {
    this.sent.push(Buffer.from(bytes));
    this.unsentBytes += bytes.length;
    done();
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

const nobody = { onBytes: () => undefined, onDrain: () => undefined, onClose: () => undefined };

/** What a link does with its output. */
function send(webSocket: WebSocketTransport, payload: Buffer): void {
  const start = webSocket.headroomBytes;
  const bytes = Buffer.concat([Buffer.alloc(start), payload]);
  const taken = webSocket.writeNow(bytes, start, bytes.length);
  if (taken < payload.length) webSocket.write(bytes.subarray(start + taken), () => undefined);
  bytes.fill(0xff); // the buffer is used again
}

const unmasked = (payload: Buffer, opcode?: number): Buffer => frame(payload, { isMasked: false, ...(opcode === undefined ? {} : { opcode }) });

describe("a frame that its carrier takes in parts", () => {
  it.each([5, 125, 126, 300, 40_000])("of %i bytes stays whole, whatever is sent behind it", (length) => {
    const [first, second, ping] = [Buffer.alloc(length, 1), Buffer.alloc(3, 2), Buffer.from("still there?")];
    const expected = Buffer.concat([unmasked(first), unmasked(second), unmasked(ping, 10), unmasked(Buffer.from([0x03, 0xe8]), 8)]);
    for (const taken of [0, 1, 2, 3, 4, 5, 7, 128, length, length + 2, length + 4, Infinity]) {
      const carrier = new Carrier();
      carrier.taken = taken;
      const webSocket = new WebSocketTransport(nobody);
      webSocket.open(carrier);
      send(webSocket, first);
      send(webSocket, second);
      webSocket.onBytes(frame(ping, { opcode: 9 }));
      webSocket.end();
      webSocket.destroy();
      expect(Buffer.concat(carrier.sent).equals(expected), `${taken} bytes at once`).toBe(true);
    }
  });

  it("is nothing any more behind our close frame", () => {
    const carrier = new Carrier();
    carrier.taken = Infinity;
    const webSocket = new WebSocketTransport(nobody);
    webSocket.open(carrier);
    webSocket.end();
    const { length } = carrier.sent;
    send(webSocket, Buffer.from("late"));
    webSocket.destroy();
    expect(carrier.sent.length).toBe(length);
  });
});
