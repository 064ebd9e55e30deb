import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameReader, type FrameSink } from "../../src/link/frames.ts";
import { writeRemainingLength } from "../../src/mqtt/frame.ts";
import { Reason } from "../../src/mqtt/reason.ts";
import { ProtocolViolation } from "../../src/mqtt/violation.ts";

interface Frame {
  readonly first: number;
  readonly header: string;
  readonly body: string;
}

/** A packet, its length padded to more bytes than it needs if `lengthBytes` says so: 3.1.1 does not forbid it. */
function packet(first: number, body: Uint8Array, lengthBytes = 1): Buffer {
  const length = Buffer.alloc(4);
  let size = writeRemainingLength(length, 0, body.length);
  while (size < lengthBytes) {
    length[size - 1]! |= 0x80; // size is at least 1
    length[size++] = 0;
  }
  return Buffer.concat([Buffer.from([first]), length.subarray(0, size), body]);
}

/** What an earlier read has left in the buffer: a whole packet. */
const LEFT_OVER = Buffer.from([0xc0, 0x00]);

/** Reads each piece from a buffer that is used again at once, as a read buffer is. */
function read(pieces: readonly Uint8Array[], maxPacketBytes = 1 << 20): { frames: Frame[]; reader: FrameReader } {
  const frames: Frame[] = [];
  const onFrame = (first: number, bytes: Buffer, frameStart: number, bodyStart: number, bodyEnd: number): boolean => {
    frames.push({ first, header: bytes.toString("hex", frameStart, bodyStart), body: bytes.toString("hex", bodyStart, bodyEnd) });
    return true;
  };
  const reader = new FrameReader({ onFrame }, maxPacketBytes);
  for (const piece of pieces) {
    const shared = Buffer.alloc(piece.length + LEFT_OVER.length);
    shared.set(piece);
    shared.set(LEFT_OVER, piece.length);
    expect(reader.read(shared, piece.length)).toBe(piece.length);
    shared.fill(0xff);
  }
  return { frames, reader };
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((to, index) => bytes.subarray(places[index], to));
}

const body = fc.oneof(fc.uint8Array({ maxLength: 5 }), fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 16_380, max: 16_390 }).map((n) => new Uint8Array(n)));
const packets = fc.array(fc.tuple(fc.nat(255), body, fc.integer({ min: 1, max: 4 })), { maxLength: 6 });

describe("FrameReader", () => {
  it("finds the same packets however the stream is split", () => {
    fc.assert(
      fc.property(packets, fc.array(fc.nat(), { maxLength: 12 }), (contents, cuts) => {
        const encoded = contents.map(([first, bytes, lengthBytes]) => packet(first, bytes, lengthBytes));
        const { frames, reader } = read(split(Buffer.concat(encoded), cuts));
        expect(frames.length).toBe(contents.length);
        for (const [index, [first, bytes]] of contents.entries()) {
          expect(frames[index]?.first).toBe(first);
          expect(frames[index]?.body === Buffer.from(bytes).toString("hex")).toBe(true);
          expect(`${frames[index]?.header}${frames[index]?.body}` === encoded[index]?.toString("hex")).toBe(true);
        }
        expect(reader.partialBytes).toBe(0);
      }),
    );
  });

  it("finds them byte by byte", () => {
    const [none, long, short] = [Buffer.alloc(0), Buffer.alloc(130, 7), Buffer.from([0, 1])];
    const packets = [packet(0xc0, none), packet(0x30, long), packet(0x40, short, 4), packet(0xe0, none)];
    const { frames } = read([...Buffer.concat(packets)].map((byte) => Buffer.from([byte])));
    expect(frames.map(({ first }) => first)).toEqual([0xc0, 0x30, 0x40, 0xe0]);
    expect(frames.map(({ body }) => body.length / 2)).toEqual([0, 130, 2, 0]);
  });

  it("keeps packets apart that come to several readers at the same time, in buffers that are used again", () => {
    const found: string[] = [];
    const readers = Array.from({ length: 5 }, (_, index) => {
      const onFrame = (_first: number, bytes: Buffer, _start: number, bodyStart: number, bodyEnd: number): boolean => {
        found.push(`${index} ${createHash("md5").update(bytes.subarray(bodyStart, bodyEnd)).digest("hex")}`);
        return true;
      };
      return new FrameReader({ onFrame }, 1 << 22);
    });
    const sent: string[] = [];
    const sizes = [40_000, 70_000, 300_000, 1_000_000, 100_000];
    const streams = readers.map((_, index) => Buffer.concat(sizes.map((_size, round) => {
      const body = randomBytes(sizes[(index + round) % sizes.length] ?? 0);
      sent.push(`${index} ${createHash("md5").update(body).digest("hex")}`);
      return packet(0x30, body);
    })));
    const shared = Buffer.alloc(65_536);
    for (let at = 0; at < Math.max(...streams.map(({ length }) => length)); at += shared.length) {
      for (const [index, stream] of streams.entries()) {
        readers[index]?.read(shared, stream.copy(shared, 0, at, at + shared.length));
        readers[index]?.endRead();
      }
    }
    expect(found.sort()).toEqual(sent.sort());
  });

  it("keeps what is not whole yet", () => {
    const bytes = packet(0x30, Buffer.alloc(300, 1));
    for (let cut = 1; cut < bytes.length; cut++) {
      const { frames, reader } = read([bytes.subarray(0, cut)]);
      expect(frames.length).toBe(0);
      expect(reader.partialBytes).toBeGreaterThanOrEqual(cut);
    }
  });

  it.each([[[]], [[1]], [[2]], [[1, 2, 3, 4]]])("takes a packet of the largest size and refuses a larger one at its header, cut at %j", (cuts) => {
    const limit = 1000;
    const largest = packet(0x30, Buffer.alloc(limit - 3));
    expect(read(split(largest, cuts), limit).frames.length).toBe(1);
    const header = packet(0x30, Buffer.alloc(limit - 2)).subarray(0, 3);
    const refused = expect.objectContaining({ reason: Reason.PacketTooLarge, message: "packet of 1001 bytes, the limit is 1000" });
    expect(() => read(split(header, cuts), limit)).toThrow(refused);
  });

  it("counts the bytes of a padded length into the size", () => {
    expect(read([packet(0x30, Buffer.alloc(95), 4)], 100).frames.length).toBe(1);
    expect(() => read([packet(0x30, Buffer.alloc(96), 4)], 100)).toThrow("packet of 101 bytes, the limit is 100");
  });

  it.each([[[]], [[1]], [[2]], [[3]], [[4]]])("refuses a length of five bytes as soon as the fourth asks for it, cut at %j", (cuts) => {
    const malformed = expect.objectContaining({ reason: Reason.MalformedPacket, message: "remaining length longer than four bytes" });
    const bytes = Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80]);
    expect(() => read(split(bytes, cuts))).toThrow(malformed);
    expect(read([bytes.subarray(0, 4)]).frames).toEqual([]);
  });

  it("hands out what came before a bad length", () => {
    const frames: number[] = [];
    const reader = new FrameReader({ onFrame: (first) => frames.push(first) > 0 }, 100);
    const bytes = Buffer.concat([packet(0xc0, Buffer.alloc(0)), packet(0xd0, Buffer.alloc(0)), Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff])]);
    expect(() => reader.read(bytes)).toThrow(ProtocolViolation);
    expect(frames).toEqual([0xc0, 0xd0]);
  });

  it("stops behind the packet with which its sink has had enough, and tells how far it came", () => {
    const [one, two, three] = [packet(0xc0, Buffer.alloc(0)), packet(0x30, Buffer.alloc(5)), packet(0xe0, Buffer.alloc(0))];
    const seen: number[] = [];
    const reader = new FrameReader({ onFrame: (first) => seen.push(first) < 2 }, 100);
    expect(reader.read(Buffer.concat([one, two, three]))).toBe(one.length + two.length);
    expect(seen).toEqual([0xc0, 0x30]);
    const cut = new FrameReader({ onFrame: (first) => seen.push(first) < 4 }, 100);
    expect(cut.read(Buffer.concat([one, two.subarray(0, 2)]))).toBe(4);
    expect(cut.read(Buffer.concat([two.subarray(2), three]))).toBe(5);
    expect(seen).toEqual([0xc0, 0x30, 0xc0, 0x30]);
  });

  it("holds memory for what has come, not for what was announced", () => {
    const huge = Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3]);
    const before = process.memoryUsage().arrayBuffers;
    const readers = Array.from({ length: 20 }, () => read([huge], 2 ** 30).reader);
    expect(readers.every(({ partialBytes }) => partialBytes > 0 && partialBytes < 1024)).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  });
});

/** What a reader made of a stream: whole packets and the heads of those it passed over, each as it lay in the stream. */
function readAll(pieces: readonly Uint8Array[], maxPacketBytes: number, stopAfter: readonly number[] = []): { seen: string[]; partialBytes: number } {
  const seen: string[] = [];
  const sink: FrameSink = {
    onFrame: (first, bytes, frameStart, _bodyStart, bodyEnd) => {
      expect(bytes[frameStart]).toBe(first);
      seen.push(`packet ${bytes.toString("hex", frameStart, bodyEnd)}`);
      return !stopAfter.includes(seen.length);
    },
    onOversized: (first, head, bodyStart, packetBytes) => {
      expect(head[0]).toBe(first);
      seen.push(`head ${head.toString("hex")} body at ${bodyStart} of ${packetBytes}`);
    },
  };
  const reader = new FrameReader(sink, maxPacketBytes);
  for (const piece of pieces) {
    let rest = Buffer.from(piece);
    do {
      const taken = reader.read(rest);
      const next = Buffer.from(rest.subarray(taken));
      rest.fill(0xff); // a read buffer is used again
      rest = next;
    } while (rest.length > 0);
  }
  return { seen, partialBytes: reader.partialBytes };
}

function publishPacket(flags: number, topicBytes: number, restBytes: number, lengthBytes: number): Buffer {
  const content = Buffer.alloc(2 + topicBytes + 2 + restBytes, 0x61);
  content.writeUInt16BE(topicBytes, 0);
  content.writeUInt16BE(0xabcd, 2 + topicBytes);
  return packet(0x30 | flags, content, lengthBytes);
}

describe("FrameReader that passes over oversized PUBLISH packets", () => {
  const limit = 150;
  const lengthBytes = fc.integer({ min: 1, max: 4 });
  const passed = fc.record({
    flags: fc.nat(15), topicBytes: fc.oneof(fc.nat(10), fc.nat(400)), restBytes: fc.oneof(fc.integer({ min: limit, max: 400 }), fc.integer({ min: limit, max: 40_000 })), lengthBytes,
  });
  const whole = fc.record({ first: fc.nat(255), content: fc.uint8Array({ maxLength: limit - 5 }), lengthBytes });

  it("finds the same packets and the same heads however the stream is split and wherever the sink stops", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(passed, whole), { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 16 }), fc.array(fc.nat(8)), (contents, cuts, stopAfter) => {
        const expected: string[] = [];
        const stream = contents.map((content) => {
          if ("first" in content) {
            const bytes = packet(content.first, content.content, content.lengthBytes);
            expected.push(`packet ${bytes.toString("hex")}`);
            return bytes;
          }
          const bytes = publishPacket(content.flags, content.topicBytes, content.restBytes, content.lengthBytes);
          const bodyStart = bytes.length - (4 + content.topicBytes + content.restBytes);
          const idBytes = ((bytes[0] ?? 0) & 6) === 0 ? 0 : 2;
          const head = bytes.subarray(0, bodyStart + 2 + content.topicBytes + idBytes);
          expected.push(`head ${head.toString("hex")} body at ${bodyStart} of ${bytes.length}`);
          return bytes;
        });
        const { seen, partialBytes } = readAll(split(Buffer.concat(stream), cuts), limit, stopAfter);
        expect(seen.length).toBe(expected.length);
        expect(seen.every((text, index) => text === expected[index])).toBe(true);
        expect(partialBytes).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  it("finds them byte by byte", () => {
    const stream = Buffer.concat([packet(0xc0, Buffer.alloc(0)), publishPacket(2, 3, 500, 3), publishPacket(4, 300, 0, 1), packet(0xe0, Buffer.alloc(0))]);
    const { seen } = readAll([...stream].map((byte) => Buffer.from([byte])), limit);
    expect(seen).toEqual(readAll([stream], limit).seen);
    expect(seen.map((text) => text.split(" ")[0])).toEqual(["packet", "head", "head", "packet"]);
  });

  it("holds memory for the head alone", () => {
    const bytes = publishPacket(2, 3, 100_000, 1);
    expect(readAll([bytes.subarray(0, 6)], limit).partialBytes).toBeLessThan(1024);
    expect(readAll([bytes.subarray(0, 90_000)], limit).partialBytes).toBe(0);
  });

  it("takes a PUBLISH of the largest size whole", () => {
    const bytes = packet(0x30, Buffer.alloc(limit - 3));
    expect(bytes.length).toBe(limit);
    expect(readAll([bytes], limit).seen).toEqual([`packet ${bytes.toString("hex")}`]);
  });

  it("refuses an oversized packet of another type, at its header", () => {
    const refused = expect.objectContaining({ reason: Reason.PacketTooLarge });
    for (const first of [0x10, 0x82, 0xf0]) expect(() => readAll([Buffer.from([first, 0xff, 0x01])], limit)).toThrow(refused);
  });

  // [MQTT-3.3.2.1]: QoS 0 has no packet identifier, so the topic may end where the packet ends.
  it("loses nothing behind a PUBLISH of QoS 0 without payload", () => {
    const content = Buffer.alloc(2 + limit, 0x61);
    content.writeUInt16BE(limit, 0);
    const behind = packet(0xc0, Buffer.alloc(0));
    expect(readAll([Buffer.concat([packet(0x30, content), behind])], limit).seen.at(-1)).toBe(`packet ${behind.toString("hex")}`);
  });

  it("refuses a topic that goes on behind the packet's end, instead of eating the next packet", () => {
    const content = Buffer.alloc(2 + limit, 0x61);
    content.writeUInt16BE(limit + 4, 0);
    const stream = Buffer.concat([packet(0x32, content), Buffer.alloc(10, Buffer.from([0xc0, 0]))]);
    expect(() => readAll([stream], limit)).toThrow(ProtocolViolation);
  });
});
