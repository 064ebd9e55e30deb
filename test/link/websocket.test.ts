import { describe, expect, it } from "vitest";
import { AckGate } from "../../src/link/ack-gate.ts";
import { Link } from "../../src/link/link.ts";
import type { Transport } from "../../src/link/transport.ts";
import { WebSocketTransport } from "../../src/link/websocket.ts";
import { frame } from "../scenario/web-clients.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

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

  calls: string[] = [];

  pause(): void {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }

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

it("that ends in the read that has brought its last packets loses none of them, though its link takes so long that it rests", () => {
  const clock = new VirtualClock();
  const packets: number[] = [];
  let takenMs = 0;
  const startMs = clock.exactMs();
  clock.exactMs = () => startMs + takenMs;
  const handler = {
    onPacket: (first: number) => {
      packets.push(first);
      takenMs += 0.1; // it goes to many receivers
    },
    onDrain: () => undefined,
    onClosed: () => packets.push(0),
  };
  const link = new Link(handler, { maxPacketSizeBytes: 1_000, maxUnsentBytes: 5_000, maxUncommittedBytes: 1_000 }, clock, new AckGate(1_000));
  const webSocket = new WebSocketTransport(link);
  webSocket.open(new Carrier());
  link.open(webSocket);
  const publishes = Array.from({ length: 200 }, () => Buffer.concat([Buffer.from([0x30, 0x7f, 0, 1, 0x74]), Buffer.alloc(124)]));
  webSocket.onBytes(Buffer.concat([frame(Buffer.concat([...publishes, Buffer.from([0xe0, 0])])), frame(Buffer.from([0x03, 0xe8]), { opcode: 8 })]));
  while (clock.step());
  expect(packets).toEqual([...publishes.map(() => 0x30), 0xe0, 0]);
});

describe("a read of very many small frames", () => {
  const many = (count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame(Buffer.alloc(0), { opcode: 9 })));
  const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  function open(): { carrier: Carrier; webSocket: WebSocketTransport } {
    const carrier = new Carrier();
    const webSocket = new WebSocketTransport(nobody);
    webSocket.open(carrier);
    return { carrier, webSocket };
  }

  it("is the last one of its turn", async () => {
    const { carrier, webSocket } = open();
    webSocket.onBytes(many(500));
    expect(carrier.calls).toEqual([]);
    webSocket.onBytes(many(600));
    webSocket.onBytes(many(600)); // was on its way
    expect(carrier.calls).toEqual(["pause"]);
    await nextTurn();
    expect(carrier.calls).toEqual(["pause", "resume"]);
    webSocket.onBytes(many(10));
    webSocket.onBytes(Buffer.concat(Array.from({ length: 600 }, () => frame(Buffer.alloc(20)))));
    expect(carrier.calls).toEqual(["pause", "resume"]);
  });

  it("leaves it to the link whether more is read then", async () => {
    const { carrier, webSocket } = open();
    webSocket.onBytes(many(600));
    webSocket.pause();
    await nextTurn();
    expect(carrier.calls).not.toContain("resume");
    webSocket.resume();
    expect(carrier.calls.at(-1)).toBe("resume");
    webSocket.onBytes(many(600));
    webSocket.resume();
    expect(carrier.calls.at(-1)).toBe("pause");
    await nextTurn();
    expect(carrier.calls.at(-1)).toBe("resume");
  });
});
