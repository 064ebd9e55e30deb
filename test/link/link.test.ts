import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import { AckGate } from "../../src/link/ack-gate.ts";
import type { CloseReason } from "../../src/link/close-reason.ts";
import { Link, type LinkLimits } from "../../src/link/link.ts";
import type { PacketHandler } from "../../src/link/packet-handler.ts";
import type { Transport } from "../../src/link/transport.ts";
import { PUBACK_BYTE, PUBREC_BYTE } from "../../src/mqtt/acks.ts";
import { malformed } from "../../src/mqtt/violation.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";
import { type Message, messageOf } from "../../src/queue/message.ts";

/** So much beyond `maxUnsentBytes` stops the reading. */
const ANSWERS_BYTES = 256 * 1024 + 6000;
const LIMITS: LinkLimits = { maxPacketSizeBytes: 1000, maxUnsentBytes: 5000, maxUncommittedBytes: 100 };
const PINGREQ = Buffer.from([0xc0, 0]);

/** What a socket does, by hand: takes bytes at once, or only when it is told that the peer reads. */
class HandTransport implements Transport {
  readonly remoteAddress = "hand:1";
  reads = true;
  writes: Buffer[] = [];
  calls: string[] = [];
  unsentBytes = 0;
  progressMark = 0;
  private pending: { bytes: number; done: () => void }[] = [];

  write(bytes: Buffer, done: () => void): void {
    this.writes.push(Buffer.from(bytes));
    if (this.reads) return done();
    this.unsentBytes += bytes.length;
    this.pending.push({ bytes: bytes.length, done });
  }

  /** The peer takes a part of what is with the system: no write is done. */
  readSome(): void {
    this.progressMark += 1;
  }

  readOne(): void {
    const { bytes, done } = this.pending.shift() ?? expect.fail("nothing is unsent");
    this.progressMark += 1;
    this.unsentBytes -= bytes;
    done();
  }

  readAll(): void {
    for (let count = this.pending.length; count > 0; count--) this.readOne();
  }

  pause(): void {
    this.calls.push("pause");
  }

  resume(): void {
    this.calls.push("resume");
  }

  end(): void {
    this.calls.push("end");
  }

  destroy(): void {
    this.calls.push("destroy");
  }

  /** What was written since it was last asked, one text a write. */
  take(): string[] {
    return this.writes.splice(0).map((bytes) => bytes.toString("hex"));
  }

  takeCalls(): string[] {
    return this.calls.splice(0);
  }
}

class Handler implements PacketHandler {
  readonly packets: number[] = [];
  drains = 0;
  closed: CloseReason[] = [];
  whenPacket: (firstByte: number) => void = () => undefined;
  onReadEnd = (): void => undefined;

  onPacket: PacketHandler["onPacket"] = (firstByte) => {
    this.packets.push(firstByte);
    this.whenPacket(firstByte);
  };

  onDrain(): void {
    this.drains += 1;
  }

  onClosed(reason: CloseReason): void {
    this.closed.push(reason);
  }
}

let clock: VirtualClock;
let gate: AckGate;

function connect(limits = LIMITS): { link: Link; transport: HandTransport; handler: Handler } {
  const handler = new Handler();
  const link = new Link(handler, limits, clock, gate);
  const transport = new HandTransport();
  link.open(transport);
  return { link, transport, handler };
}

const turn = (): void => void clock.step();
const message = (bytes: number): Message => messageOf(Buffer.from("t"), Buffer.alloc(bytes, 0x70), { qos: 1, retain: false, receivedMs: 0 });
const publish = (link: Link, id: number, bytes = 1): void => void link.publish(0x32, message(bytes), 0, id, -1);
const puback = (id: number): string => `4002${id.toString(16).padStart(4, "0")}`;

beforeEach(() => {
  clock = new VirtualClock();
  gate = new AckGate(1000);
});

describe("output", () => {
  it("of one turn leaves in one write at its end", () => {
    const { link, transport } = connect();
    publish(link, 1);
    link.acknowledge(PUBACK_BYTE, 2, 0, 0);
    link.send(Buffer.from("d000", "hex"));
    link.forward(Object.assign(message(0), { frame: Buffer.from("..390300016178..".replace(/\./g, "f"), "hex"), frameStart: 1, frameEnd: 6 }), 1);
    expect(transport.take()).toEqual([]);
    turn();
    expect(transport.take()).toEqual(["32060001740001" + "70" + puback(2) + "d000" + "3003000161"]);
    turn();
    expect(transport.take()).toEqual([]);
  });

  describe("of large packets that are forwarded", () => {
    /** Takes so many bytes of each piece at once. */
    class TakingTransport extends HandTransport {
      all = Buffer.alloc(0);
      readonly sizes: number[] = [];

      constructor(private readonly atOnce: number) {
        super();
      }

      writeNow(bytes: Buffer, start: number, end: number): number {
        if (this.unsentBytes > 0) return 0;
        const taken = Math.min(this.atOnce, end - start);
        this.keep(bytes.subarray(start, start + taken));
        return taken;
      }

      override write(bytes: Buffer, done: () => void): void {
        super.write(bytes, () => {
          this.keep(bytes);
          done();
        });
      }

      private keep(bytes: Buffer): void {
        this.all = Buffer.concat([this.all, bytes]);
        this.sizes.push(bytes.length);
      }
    }

    const large = (first: number, fill: number): Buffer => Buffer.concat([Buffer.from([first, 0xf4, 0x93, 0x09, 0, 1, 0x61]), Buffer.alloc(149_997, fill)]);

    const open = (atOnce: number): { link: Link; transport: TakingTransport } => {
      const link = new Link(new Handler(), { ...LIMITS, maxUnsentBytes: 10_000_000 }, clock, gate);
      const transport = new TakingTransport(atOnce);
      transport.reads = false;
      link.open(transport);
      return { link, transport };
    };

    function expectSent(transport: TakingTransport, sent: Buffer[]): void {
      turn();
      while (transport.unsentBytes > 0) transport.readOne();
      expect(transport.all.equals(Buffer.concat(sent))).toBe(true);
      expect(gate.traffic.sentBytes).toBe(transport.all.length);
      expect(gate.totals.unsentBytes).toBe(0);
    }

    it("has its handler told that there is room when it has left behind what the peer has taken, of which that was told before", () => {
      const handler = new Handler();
      const link = new Link(handler, { ...LIMITS, maxUnsentBytes: 100_000 }, clock, gate);
      const transport = new TakingTransport(1_000_000);
      link.open(transport);
      transport.reads = false;
      transport.unsentBytes = 1; // nothing is taken at once
      publish(link, 1);
      turn();
      publish(link, 2, 150_000);
      turn();
      transport.unsentBytes = 0;
      link.onDrain(); // as Node's streams do, before they say of their writes that they are done
      expect([link.congested, handler.drains]).toEqual([true, 0]);
      transport.readAll();
      turn();
      expect([link.congested, handler.drains]).toEqual([false, 1]);
    });

    it.each([0, 1, 70_000, 1_000_000])("is whole and in order where %i bytes are taken at once", (atOnce) => {
      const { link, transport } = open(atOnce);
      const sent: Buffer[] = [];
      [0x30, 0x31, 0x30, 0x30].forEach((first, i) => {
        const frame = Buffer.concat([Buffer.from("before"), large(first, i), Buffer.from("behind")]);
        link.send(PINGREQ);
        link.forward(Object.assign(message(0), { frame, frameStart: 6, frameEnd: frame.length - 6 }), 1);
        link.send(Buffer.from([0xd0, 0]));
        sent.push(PINGREQ, large(0x30, i), Buffer.from([0xd0, 0]));
        frame.fill(0xff); // what was read may change now
        if (i === 2) turn();
      });
      expectSent(transport, sent);
      // The second one has the flag RETAIN, which must not go out: it is copied.
      if (atOnce === 1_000_000) expect(transport.sizes.filter((bytes) => bytes === 150_004)).toHaveLength(3);
    });

    it.each([0, 1, 70_000, 1_000_000].flatMap((atOnce) => [[4, atOnce], [5, atOnce]] as const))("is whole and in order with MQTT %i and an identifier of its own where %i bytes are taken at once", (version, atOnce) => {
      const { link, transport } = open(atOnce);
      link.version = version;
      const [heads, properties] = version === 4 ? ["3206", ""] : ["3207", "00"];
      const sent: Buffer[] = [];
      for (const id of [1, 2, 3]) {
        const content = Buffer.alloc(150_000, id);
        publish(link, id);
        link.publish(2, messageOf(Buffer.from("t"), content, { qos: 1, retain: false, receivedMs: 0 }), 0, id, -1);
        sent.push(Buffer.from(`${heads}000174000${id}${properties}70` + `32${version === 4 ? "f5" : "f6"}9309000174000${id}${properties}`, "hex"), Buffer.from(content));
        content.fill(0xff); // what was read may change now
      }
      expectSent(transport, sent);
    });
  });

  describe("that a read has caused", () => {
    const later = (): void => {
      clock.after(1, () => undefined);
      turn();
    };
    const twoLinks = () => {
      const from = connect();
      const to = connect();
      let id = 0;
      from.handler.whenPacket = () => {
        publish(to.link, ++id);
        from.link.acknowledge(PUBACK_BYTE, id, 0, 0);
      };
      return { from, to };
    };
    const sent = (id: number): string => `3206000174000${id}70`;

    it("leaves with the read of one packet, to its sender and to others", () => {
      const { from, to } = twoLinks();
      later();
      from.link.onBytes(PINGREQ);
      expect(to.transport.take()).toEqual([sent(1)]);
      expect(from.transport.take()).toEqual([puback(1)]);
      turn();
      expect([...to.transport.take(), ...from.transport.take()]).toEqual([]);
    });

    it("waits for the turn's end when the read has brought more packets", () => {
      const { from, to } = twoLinks();
      later();
      from.link.onBytes(Buffer.concat([PINGREQ, PINGREQ]));
      expect(to.transport.take()).toEqual([]);
      turn();
      expect(to.transport.take()).toEqual([sent(1) + sent(2)]);
      expect(from.transport.take()).toEqual([puback(1) + puback(2)]);
    });

    it("waits for the turn's end when something was sent in the same millisecond", () => {
      const { from, to } = twoLinks();
      later();
      for (let read = 1; read <= 3; read++) from.link.onBytes(PINGREQ);
      expect(to.transport.take()).toEqual([sent(1)]);
      turn();
      expect(to.transport.take()).toEqual([sent(2) + sent(3)]);
    });

    it("leaves after a read whose packet breaks the protocol, and after it nothing is kept for a next read", () => {
      const { from, to } = twoLinks();
      later();
      const { whenPacket } = from.handler;
      from.handler.whenPacket = (firstByte) => {
        whenPacket(firstByte);
        throw malformed("test");
      };
      from.link.onBytes(PINGREQ);
      expect(to.transport.take()).toEqual([sent(1)]);
      later();
      publish(to.link, 2);
      expect(to.transport.take()).toEqual([]);
      turn();
      expect(to.transport.take()).toEqual([sent(2)]);
    });
  });

  it("leaves in one write too when it is more than a small buffer holds", () => {
    const { link, transport } = connect({ ...LIMITS, maxPacketSizeBytes: 10_000 });
    let expected = "";
    for (let id = 1; id <= 100; id++) {
      publish(link, id, 100);
      expected += `3269000174${id.toString(16).padStart(4, "0")}${"70".repeat(100)}`;
    }
    turn();
    expect(transport.take()).toEqual([expected]);
  });

  it("is whole and in order when it is larger than any buffer", () => {
    const { link, transport } = connect();
    let expected = "";
    for (const [id, bytes] of [10, 1500, 700, 60_000, 3, 200_000, 5].entries()) {
      publish(link, id + 1, bytes);
      const other = connect();
      publish(other.link, id + 1, bytes);
      turn();
      expected += other.transport.take().join("");
    }
    turn();
    expect(transport.take().join("") === expected).toBe(true);
  });

  it("is collected while the peer has not taken what was written before, and leaves when it has", () => {
    const { link, transport } = connect();
    transport.reads = false;
    publish(link, 1);
    turn();
    expect(transport.take()).toEqual(["3206000174000170"]);
    publish(link, 2);
    turn();
    link.send(PINGREQ);
    turn();
    expect(transport.take()).toEqual([]);
    transport.readOne();
    expect(transport.take()).toEqual(["3206000174000270" + "c000"]);
    publish(link, 3);
    transport.readOne(); // in the turn of the packet: it may take more along
    expect(transport.take()).toEqual([]);
    publish(link, 4);
    turn();
    expect(transport.take()).toEqual(["3206000174000370" + "3206000174000470"]);
  });

  it("that no buffer holds does not wait for what was written before", () => {
    const { link, transport } = connect({ ...LIMITS, maxUnsentBytes: 1_000_000 });
    transport.reads = false;
    for (const id of [1, 2, 3]) publish(link, id, 40_000);
    turn();
    expect(transport.writes.map(({ length }) => length)).toEqual([40_009, 40_009]);
    transport.readAll();
    expect(transport.writes.map(({ length }) => length)).toEqual([40_009, 40_009, 40_009]);
  });

  it("that is collected leaves before the link is closed", () => {
    const { link, transport } = connect();
    transport.reads = false;
    publish(link, 1);
    turn();
    publish(link, 2);
    turn();
    link.close({ kind: "local", text: "enough" });
    expect(transport.take()).toEqual(["3206000174000170", "3206000174000270"]);
    expect(transport.takeCalls().at(-1)).toBe("end");
  });

  it("keeps its bytes while the peer has not read them", () => {
    const { link, transport } = connect();
    const other = connect();
    const handedOver: Buffer[] = [];
    transport.reads = false;
    transport.write = (bytes) => void handedOver.push(bytes);
    publish(link, 1);
    turn();
    for (let id = 2; id < 50; id++) {
      publish(other.link, id);
      turn();
    }
    expect(handedOver.map((bytes) => bytes.toString("hex"))).toEqual(["3206000174000170"]);
  });
});

describe("acknowledgements", () => {
  it("leave at once when nothing need be waited for", () => {
    const { link, transport } = connect();
    gate.release(3);
    link.acknowledge(PUBACK_BYTE, 1, 0, 10);
    link.acknowledge(PUBACK_BYTE, 2, 3, 10);
    turn();
    expect(transport.take()).toEqual([puback(1) + puback(2)]);
    expect(gate.heldBytes).toBe(0);
  });

  it("leave when their group is stored, in the order of their packets", () => {
    const { link, transport } = connect();
    link.acknowledge(PUBACK_BYTE, 1, 1, 0);
    link.acknowledge(PUBREC_BYTE, 0xffff, 3, 0);
    link.acknowledge(PUBACK_BYTE, 3, 2, 0); // behind the one before it, though its group is stored earlier
    link.acknowledge(PUBACK_BYTE, 4, 0, 0); // and this one waits for nothing but its turn
    link.sendAfter(Buffer.from("9003000501", "hex"), 0);
    turn();
    expect(transport.take()).toEqual([]);
    gate.release(1);
    turn();
    expect(transport.take()).toEqual([puback(1)]);
    gate.release(2);
    turn();
    expect(transport.take()).toEqual([]);
    gate.release(3);
    turn();
    expect(transport.take()).toEqual(["5002ffff" + puback(3) + puback(4) + "9003000501"]);
    link.acknowledge(PUBACK_BYTE, 5, 3, 0);
    turn();
    expect(transport.take()).toEqual([puback(5)]);
  });

  it("hold up no messages", () => {
    const { link, transport } = connect();
    link.acknowledge(PUBACK_BYTE, 1, 1, 0);
    publish(link, 7);
    turn();
    expect(transport.take()).toEqual(["3206000174000770"]);
  });

  it("of one link do not wait for another's", () => {
    const [one, two] = [connect(), connect()];
    one.link.acknowledge(PUBACK_BYTE, 1, 2, 0);
    two.link.acknowledge(PUBACK_BYTE, 1, 1, 0);
    gate.release(1);
    turn();
    expect([one.transport.take(), two.transport.take()]).toEqual([[], [puback(1)]]);
  });

  it("are many, and released in parts", () => {
    const { link, transport } = connect();
    const heldFrom = (first: number): number => Array.from({ length: 10_001 - first }, (_, index) => (first + index) % 7).reduce((sum, size) => sum + size, 0);
    for (let id = 1; id <= 10_000; id++) link.acknowledge(PUBACK_BYTE, id, id, id % 7);
    let seen = "";
    for (const upTo of [1, 4000, 4200, 9000, 9000, 10_000]) {
      gate.release(upTo);
      while (clock.step());
      seen += transport.take().join("");
      expect(seen.length).toBe(upTo * 8);
      expect(gate.heldBytes).toBe(heldFrom(upTo + 1));
    }
    expect(seen === Array.from({ length: 10_000 }, (_, index) => puback(index + 1)).join("")).toBe(true);
  });

  it("die with their link", () => {
    const { link, transport, handler } = connect();
    link.acknowledge(PUBACK_BYTE, 1, 1, 40);
    expect(gate.heldBytes).toBe(40);
    link.close({ kind: "local", text: "enough" });
    expect(gate.heldBytes).toBe(0);
    gate.release(1);
    link.acknowledge(PUBACK_BYTE, 2, 0, 0);
    publish(link, 1);
    while (clock.step());
    expect(transport.take()).toEqual([]);
    expect(handler.closed).toEqual([{ kind: "local", text: "enough" }]);
  });

  it("come before what was to be done after them", () => {
    const { link, transport } = connect();
    const done: string[] = [];
    link.whenReleased(() => done.push("at once"));
    link.sendAfter(Buffer.from("20020000", "hex"), 2);
    link.whenReleased(() => {
      done.push("after");
      publish(link, 1);
      link.acknowledge(PUBACK_BYTE, 9, 3, 0); // held again, while the gate releases
    });
    gate.release(1);
    expect(done).toEqual(["at once"]);
    gate.release(2);
    expect(done).toEqual(["at once", "after"]);
    turn();
    expect(transport.take()).toEqual(["200200003206000174000170"]);
    gate.release(3);
    turn();
    expect(transport.take()).toEqual([puback(9)]);
  });
});

describe("reading", () => {
  it("stops while the peer does not read what it is sent, and goes on when it has", () => {
    const { link, transport, handler } = connect();
    transport.reads = false;
    publish(link, 1, 4000);
    turn();
    expect([link.congested, transport.takeCalls()]).toEqual([false, []]);
    publish(link, 2, 4000);
    expect(link.congested).toBe(true);
    turn();
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual([]); // what it sends is still read, and answered
    publish(link, 3, ANSWERS_BYTES);
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual(["pause"]);
    link.onDrain(); // something was read, not enough
    expect([transport.takeCalls(), handler.drains]).toEqual([[], 0]);
    turn();
    for (let i = 0; i < 5; i++) transport.readAll();
    link.onDrain();
    expect([link.congested, transport.takeCalls(), handler.drains]).toEqual([false, ["resume"], 1]);
  });

  it("goes on at once when what was too much in one turn has left at its end", () => {
    const { link, transport, handler } = connect();
    handler.whenPacket = () => publish(link, 1, ANSWERS_BYTES);
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual(["pause"]);
    turn();
    expect(transport.takeCalls()).toEqual(["resume"]);
  });

  it("stops while too much of what was taken is not on disk", () => {
    const { link, transport, handler } = connect();
    handler.whenPacket = () => link.acknowledge(PUBACK_BYTE, 1, 2, 60);
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual([]);
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual(["pause"]);
    gate.release(1);
    expect(transport.takeCalls()).toEqual([]);
    gate.release(2);
    expect(transport.takeCalls()).toEqual(["resume"]);
  });

  it("stops for every link that waits for the disk when all of them have taken too much, and for no other", () => {
    gate = new AckGate(100);
    const [one, two, idle] = [connect(), connect(), connect()];
    one.handler.whenPacket = () => one.link.acknowledge(PUBACK_BYTE, 1, 1, 60);
    two.handler.whenPacket = () => two.link.acknowledge(PUBACK_BYTE, 1, 2, 60);
    for (const { link } of [one, two, idle]) link.onBytes(PINGREQ);
    expect([one, two, idle].map(({ transport }) => transport.takeCalls())).toEqual([[], ["pause"], []]);
    gate.release(1);
    gate.release(2);
    expect(two.transport.takeCalls()).toEqual(["resume"]);
  });

  it("ends at the first thing that breaks the protocol; the bytes behind it are nobody's", () => {
    const { link, transport, handler } = connect();
    handler.whenPacket = (firstByte) => {
      if (firstByte === 0xf0) throw malformed("a type that does not exist");
    };
    publish(link, 1);
    link.onBytes(Buffer.from([0xc0, 0, 0xf0, 0, 0xc0, 0]));
    link.onBytes(PINGREQ);
    expect(handler.packets).toEqual([0xc0, 0xf0]);
    expect(handler.closed).toEqual([{ kind: "violation", code: 0x81, text: "a type that does not exist" }]);
    expect(transport.take()).toEqual(["3206000174000170"]);
    expect(transport.takeCalls()).toEqual(["end"]);
    expect(link.congested).toBe(true);
  });

  it("ends when its handler closes the link in the middle of a read", () => {
    const { link, handler } = connect();
    handler.whenPacket = () => link.close({ kind: "local", text: "DISCONNECT" });
    link.onBytes(Buffer.from([0xe0, 0, 0xc0, 0]));
    expect(handler.packets).toEqual([0xe0]);
  });

  it("ends, without harm to others, when a bug throws", () => {
    const { link, handler, transport } = connect();
    handler.whenPacket = () => {
      throw new TypeError("a bug");
    };
    link.onBytes(Buffer.concat([PINGREQ, PINGREQ]));
    expect([handler.packets, transport.takeCalls()]).toEqual([[0xc0], ["end"]]);
    expect(handler.closed).toEqual([{ kind: "internal", code: 0x80, text: expect.stringMatching(/^TypeError: a bug\n\s+at /) }]);
  });

  it("follows the limit for packets that is given with the end of the handshake", () => {
    const { link, handler } = connect();
    expect(link.isHandshake).toBe(true);
    link.endHandshake(10);
    expect(link.isHandshake).toBe(false);
    link.onBytes(Buffer.from([0x30, 9]));
    expect(handler.closed).toEqual([{ kind: "violation", code: 0x95, text: "packet of 11 bytes, the limit is 10" }]);
  });

  it("hands a handler that wants it the head of a PUBLISH that is too large, and goes on behind it", () => {
    const handler = new Handler();
    const heads: [number, string, number, number][] = [];
    const link = new Link(Object.assign(handler, {
      onOversized: (firstByte: number, head: Buffer, bodyStart: number, packetBytes: number) => void heads.push([firstByte, head.toString("hex"), bodyStart, packetBytes]),
    }), LIMITS, clock, gate);
    link.open(new HandTransport());
    link.onBytes(Buffer.concat([Buffer.from("32d10f000174abcd", "hex"), Buffer.alloc(2000 - 4), PINGREQ]));
    expect(heads).toEqual([[0x32, "32d10f000174abcd", 3, 2004]]);
    expect([handler.packets, handler.closed]).toEqual([[0xc0], []]);
  });
});

const sendOf = (...packets: string[]): Buffer => Buffer.from(packets.join(""), "hex");

/** A clock on which each packet takes a while. */
class WorkClock extends VirtualClock {
  workedMs = 0;

  override exactMs(): number {
    return super.exactMs() + this.workedMs;
  }
}

describe("a peer that sends more than a turn has room for", () => {
  const PACKETS = 10_000;
  /** As the system hands it over: one read after the other. */
  const flood = Array.from({ length: PACKETS }, (_, i) => Buffer.from([i % 2 === 0 ? 0xc0 : 0xd0, 0]));
  const reads = [Buffer.concat(flood.slice(0, PACKETS / 2)), Buffer.concat(flood.slice(PACKETS / 2, -1)), Buffer.concat(flood.slice(-1))];
  const inOrder = flood.map((packet) => packet[0]);

  function connectSlowly(packetMs: number): ReturnType<typeof connect> {
    const work = new WorkClock();
    clock = work;
    const connected = connect();
    connected.handler.whenPacket = () => {
      work.workedMs += packetMs;
      connected.link.restIfLong();
    };
    return connected;
  }

  const seen = ({ packets }: Handler): number[] => packets.map((first) => first & 0xf0);
  const largeReads = reads.map((read) => Buffer.concat([Buffer.concat(Array.from({ length: 8_000 }, () => PINGREQ)), read]));

  it("puts no more than some megabytes aside for all links together", () => {
    connectSlowly(0.1);
    const links = Array.from({ length: 400 }, () => connect());
    const read = Buffer.concat(Array.from({ length: 32 * 1024 }, () => PINGREQ));
    for (const { handler } of links) handler.whenPacket = () => ((clock as WorkClock).workedMs += 0.1);
    for (const { link } of links) link.onBytes(read);
    const taken = links.reduce((sum, { handler }) => sum + handler.packets.length * PINGREQ.length, 0);
    expect(links.length * read.length - taken).toBeLessThan(9 * 1024 * 1024);
    for (const { transport } of links) expect(transport.takeCalls()).toEqual(["pause"]);
    for (const { link } of links.slice(0, 300)) link.drop({ kind: "local", text: "" });
    const left = links.slice(300);
    for (let turns = 0; left.some(({ handler }) => handler.packets.length < 32 * 1024) && turns < 1e6; turns++) turn();
    while (clock.step());
    expect(gate.turn.asideBytes).toBe(0);
  });

  it("lets the others have theirs after some milliseconds, and is read on in order until all is there", () => {
    const { link, transport, handler } = connectSlowly(0.1);
    for (const read of largeReads) link.onBytes(read);
    const first = handler.packets.length;
    expect(first).toBeLessThan(300);
    expect(transport.takeCalls()).toEqual(["pause"]);
    turn();
    expect(handler.packets.length).toBeGreaterThan(first);
    expect(handler.packets.length).toBeLessThan(300);
    expect(transport.takeCalls()).toEqual([]);
    const all = 3 * 8_000 + PACKETS;
    for (let turns = 0; handler.packets.length < all && turns < 10_000; turns++) turn();
    expect(seen(handler).slice(8_000, 8_000 + PACKETS / 2)).toEqual(inOrder.slice(0, PACKETS / 2));
    expect(handler.packets.length).toBe(all);
    turn();
    expect(transport.takeCalls().at(-1)).toBe("resume");
  });

  it("lets the others have theirs also when it sends few bytes, of which each packet takes long", () => {
    connectSlowly(0.1);
    const { link, handler } = connect();
    handler.whenPacket = () => ((clock as WorkClock).workedMs += 0.1);
    link.onBytes(Buffer.concat(flood.slice(0, 1_000)));
    expect(handler.packets.length).toBe(64); // at the first look the time begins
    for (let turns = 0; handler.packets.length < 1_000 && turns < 100; turns++) turn();
    expect(seen(handler)).toEqual(inOrder.slice(0, 1_000));
  });

  it("shares the turn with others that do", () => {
    const { link, handler } = connectSlowly(0.1);
    const other = connect();
    other.handler.whenPacket = (first) => {
      handler.whenPacket(first);
      other.link.restIfLong();
    };
    const calm = connect();
    for (const read of largeReads) {
      link.onBytes(read);
      other.link.onBytes(read);
    }
    calm.link.onBytes(PINGREQ);
    expect(handler.packets.length + other.handler.packets.length).toBeLessThan(300);
    expect([calm.handler.packets.length, calm.transport.takeCalls()]).toEqual([1, []]);
    const all = 3 * 8_000 + PACKETS;
    for (let turns = 0; handler.packets.length + other.handler.packets.length < 2 * all && turns < 20_000; turns++) turn();
    expect([handler.packets.length, other.handler.packets.length]).toEqual([all, all]);
    expect(seen(other.handler).slice(8_000, 8_000 + PACKETS / 2)).toEqual(inOrder.slice(0, PACKETS / 2));
  });

  it("is looked at within a read, if no handler asks", () => {
    const { link, handler } = connectSlowly(0.1);
    handler.whenPacket = () => void ((clock as WorkClock).workedMs += 0.1);
    for (const read of largeReads) link.onBytes(read);
    expect(handler.packets.length).toBeLessThan(300);
  });

  it("has as much of each turn, wherever in a millisecond that begins", () => {
    const taken = [0, 0.3, 0.9].map((beganMs) => {
      const { link, handler } = connectSlowly(0);
      (clock as WorkClock).workedMs = beganMs;
      handler.whenPacket = () => void ((clock as WorkClock).workedMs += 0.001);
      link.onBytes(largeReads[0] ?? PINGREQ);
      const inFirstTurn = handler.packets.length;
      while (clock.step());
      return inFirstTurn;
    });
    for (const packets of taken) expect(Math.abs(packets - 1_200)).toBeLessThanOrEqual(64);
  });

  it("waits with all that it brings while others take whole turns, and comes after those", () => {
    connectSlowly(0);
    const peers = Array.from({ length: 4 }, () => connect());
    for (const { handler } of peers) handler.whenPacket = () => void ((clock as WorkClock).workedMs += 0.1);
    const taken = (): number[] => peers.map(({ handler }) => handler.packets.length);
    for (const { link } of peers) link.onBytes(largeReads[0] ?? PINGREQ);
    const counts = [taken()];
    for (let turns = 0; turns < 5; turns++) {
      turn();
      counts.push(taken());
    }
    const share = counts[0]?.[0] ?? 0;
    expect(share).toBeLessThan(300);
    expect(peers.map(({ transport }) => transport.takeCalls())).toEqual(peers.map(() => ["pause"]));
    const [one, two] = [share, 2 * share];
    expect(counts).toEqual([[one, 0, 0, 0], [two, 0, 0, 0], [two, one, 0, 0], [two, one, one, 0], [two, one, one, one], [two + one, one, one, one]]);
  });

  it("is read at once when its packets take little time", () => {
    const { link, transport, handler } = connectSlowly(0);
    for (const read of largeReads) link.onBytes(read);
    expect(handler.packets.length).toBe(3 * 8_000 + PACKETS);
    expect(transport.takeCalls()).toEqual([]);
  });

  it("comes together for a moment when its handler asks for that, and none of it is lost or late for long", () => {
    const { link, transport, handler } = connect();
    handler.whenPacket = () => link.gatherInput();
    link.onBytes(PINGREQ);
    expect(transport.takeCalls()).toEqual(["pause"]);
    link.onBytes(Buffer.concat([PINGREQ, PINGREQ])); // was on its way
    expect(handler.packets).toHaveLength(1);
    handler.whenPacket = () => undefined;
    const beforeMs = clock.nowMs();
    turn();
    expect(clock.nowMs() - beforeMs).toBe(1);
    expect(handler.packets).toHaveLength(3);
    expect(transport.takeCalls()).toEqual(["resume"]);
  });

  it("stays stopped for who has stopped it", () => {
    const { link, transport, handler } = connectSlowly(0.1);
    link.onBytes(largeReads[0] ?? PINGREQ);
    link.stopReading();
    const { length } = handler.packets;
    turn();
    turn();
    expect(handler.packets.length).toBe(length);
    link.resumeReading();
    expect(handler.packets.length).toBeGreaterThan(length);
    expect(transport.takeCalls()).toEqual(["pause"]);
  });
});

describe("stopReading", () => {
  it("keeps the rest of a chunk and what still comes, and gives it on resume in its order", () => {
    const { link, transport, handler } = connect();
    handler.whenPacket = (firstByte) => {
      if (firstByte === 0xd0) link.stopReading();
    };
    link.onBytes(sendOf("c000", "d000", "4002", "0001", "50"));
    expect([handler.packets, transport.takeCalls()]).toEqual([[0xc0, 0xd0], ["pause"]]);
    const chunk = sendOf("020002", "d000", "62");
    link.onBytes(chunk); // was on its way from the system
    chunk.fill(0xff); // a read buffer is used again
    link.onBytes(sendOf("020003", "e000"));
    expect(handler.packets).toEqual([0xc0, 0xd0]);
    link.resumeReading();
    expect([handler.packets, transport.takeCalls().at(-1)]).toEqual([[0xc0, 0xd0, 0x40, 0x50, 0xd0], "pause"]);
    link.resumeReading();
    expect([handler.packets, transport.takeCalls()]).toEqual([[0xc0, 0xd0, 0x40, 0x50, 0xd0, 0x62, 0xe0], ["resume"]]);
    expect(handler.closed).toEqual([]);
  });

  it("gives everything, in order, however the stream was split and often it was stopped", () => {
    const stops = fc.array(fc.nat(40), { maxLength: 20 });
    fc.assert(
      fc.property(fc.array(fc.nat(60), { minLength: 1, maxLength: 30 }), fc.array(fc.integer({ min: 1, max: 50 })), stops, fc.array(fc.boolean()), (bodies, pieces, stopAt, resumes) => {
        const { link, handler } = connect();
        const seen: number[] = [];
        handler.onPacket = (_first, bytes, _start, bodyStart) => {
          seen.push(bytes.readUInt16BE(bodyStart));
          if (stopAt.includes(seen.length)) link.stopReading();
        };
        const stream = Buffer.concat(bodies.map((length, index) => Buffer.concat([Buffer.from([0x40, length + 2, 0, index]), Buffer.alloc(length)])));
        let at = 0;
        for (let index = 0; at < stream.length; index++) {
          const to = at + (pieces[index] ?? 20);
          link.onBytes(Buffer.from(stream.subarray(at, to)));
          if (resumes[index]) link.resumeReading();
          at = to;
        }
        for (let count = 0; count <= stopAt.length; count++) link.resumeReading();
        expect(seen).toEqual(bodies.map((_, index) => index));
      }),
    );
  });

  it("gives what came before the end of the connection, also where it stops again, and tells of that end behind it", () => {
    const { link, handler } = connect();
    handler.whenPacket = (firstByte) => {
      if (firstByte === 0xd0) link.stopReading();
    };
    link.stopReading();
    link.onBytes(sendOf("c000", "d000", "4002", "0001", "e000"));
    link.onClose(new Error("ECONNRESET"));
    expect([handler.packets, handler.closed]).toEqual([[], []]);
    link.resumeReading();
    expect([handler.packets, handler.closed]).toEqual([[0xc0, 0xd0], []]);
    link.resumeReading();
    expect(handler.packets).toEqual([0xc0, 0xd0, 0x40, 0xe0]);
    expect(handler.closed).toEqual([{ kind: "error", text: "ECONNRESET" }]);
    link.onClose(undefined);
    expect(handler.closed).toHaveLength(1);
  });

  it("tells at once of an end before which nothing has come", () => {
    const { link, handler } = connect();
    link.stopReading();
    link.onClose(undefined);
    expect(handler.closed).toHaveLength(1);
  });

  it("gives what has come in its order where it is resumed behind the packets of a read", () => {
    const { link, handler } = connect();
    handler.whenPacket = (firstByte) => {
      if (firstByte === 0xd0) link.stopReading();
    };
    link.stopReading();
    for (const text of ["d000c000", "e000", "4000"]) link.onBytes(Buffer.from(text, "hex"));
    handler.onReadEnd = () => link.resumeReading();
    link.resumeReading();
    expect(handler.packets).toEqual([0xd0, 0xc0, 0xe0, 0x40]);
  });

  it("leaves nothing behind when the link is closed meanwhile", () => {
    const { link, handler } = connect();
    link.stopReading();
    link.onBytes(PINGREQ);
    link.close({ kind: "local", text: "enough" });
    link.resumeReading();
    link.onBytes(PINGREQ);
    expect([handler.packets, handler.closed.length]).toEqual([[], 1]);
  });
});

describe("silence", () => {
  const silent = (link: Link): number => link.silentMs(clock.nowMs());
  const pass = (ms: number): void => {
    clock.after(ms, () => undefined);
    while (clock.step());
  };

  it("is counted from the last whole packet, not from single bytes of one", () => {
    const { link } = connect();
    expect(silent(link)).toBe(0);
    pass(500);
    expect(silent(link)).toBe(500);
    link.onBytes(PINGREQ);
    expect(silent(link)).toBe(0);
    for (const byte of [0x40, 2, 0]) {
      pass(100);
      link.onBytes(Buffer.from([byte]));
    }
    expect(silent(link)).toBe(300);
    link.onBytes(Buffer.from([1]));
    expect(silent(link)).toBe(0);
  });

  it("is broken by each KiB of a packet that is not whole", () => {
    const { link, handler } = connect({ ...LIMITS, maxPacketSizeBytes: 2_000_000 });
    link.onBytes(sendOf("30ffff3f"));
    pass(100);
    link.onBytes(Buffer.alloc(1000));
    expect(silent(link)).toBe(100);
    link.onBytes(Buffer.alloc(20)); // 1024 with the header
    expect(silent(link)).toBe(0);
    pass(100);
    link.onBytes(Buffer.alloc(1023));
    expect(silent(link)).toBe(100);
    link.onBytes(Buffer.alloc(1));
    expect(silent(link)).toBe(0);
    pass(100);
    link.onBytes(Buffer.alloc(5000));
    expect([silent(link), handler.packets]).toEqual([0, []]);
  });

  it("is not the peer's while we read nothing because its messages are not on disk, or somebody has stopped us", () => {
    const { link } = connect();
    pass(100);
    link.stopReading();
    pass(100);
    expect(silent(link)).toBe(0);
    link.resumeReading();
    pass(30);
    expect(silent(link)).toBe(30);
    link.acknowledge(PUBACK_BYTE, 1, 1, 101);
    link.onBytes(sendOf("40"));
    pass(100);
    expect(silent(link)).toBe(0);
    gate.release(1);
    while (clock.step());
    pass(50);
    expect(silent(link)).toBe(50);
  });

  it("is broken, while we read nothing because the peer does not, by each thing it takes", () => {
    const { link, transport } = connect();
    transport.reads = false;
    publish(link, 1, ANSWERS_BYTES);
    turn();
    expect(transport.takeCalls()).toEqual(["pause"]);
    pass(100);
    expect(silent(link)).toBe(100);
    transport.readSome();
    expect(silent(link)).toBe(0);
    pass(100);
    expect(silent(link)).toBe(100);
    pass(100);
    expect(silent(link)).toBe(200);
    transport.readOne();
    link.onDrain();
    expect(transport.takeCalls()).toEqual(["resume"]);
    pass(40);
    expect(silent(link)).toBe(40);
  });

  it("is not broken by what the peer takes while it could also send", () => {
    const { link, transport } = connect();
    transport.reads = false;
    publish(link, 1);
    turn();
    pass(100);
    transport.readAll();
    expect(silent(link)).toBe(100);
  });
});

describe("totals of all links", () => {
  const KIB = 1024;
  const MIB = 1024 * KIB;
  const large = { ...LIMITS, maxPacketSizeBytes: 64 * MIB };
  const none = { handshakeBytes: 0, unfinishedBytes: 0, unsentBytes: 0 };
  const totals = (): object => ({ ...gate.totals, unfinishedBytes: gate.unfinished.bytes });
  /** The beginning of a packet that wants more than there will be. */
  const begin = (firstByte: number, bytes: number): Buffer => Buffer.concat([Buffer.from([firstByte, 0xff, 0xff, 0xff, 0x0f]), Buffer.alloc(bytes - 5)]);

  it("count what is not whole, apart for those that are not logged in, and what is not sent", () => {
    const { link, transport } = connect(large);
    transport.reads = false;
    link.onBytes(begin(0x10, 3000));
    expect(gate.totals.handshakeBytes).toBeGreaterThanOrEqual(3000);
    const { handshakeBytes } = gate.totals;
    link.endHandshake(64 * MIB);
    expect(totals()).toEqual({ ...none, unfinishedBytes: handshakeBytes });
    publish(link, 1);
    expect(gate.totals.unsentBytes).toBe(0);
    turn();
    expect(gate.totals.unsentBytes).toBe(2 * KIB); // the buffer, however little is in it
    transport.readAll();
    expect(gate.totals.unsentBytes).toBe(0);
  });

  it("are 0 when packets have become whole", () => {
    const { link, handler } = connect(large);
    handler.whenPacket = () => {
      if (link.isHandshake) link.endHandshake(64 * MIB);
    };
    const whole = Buffer.concat([Buffer.from("10b817", "hex"), Buffer.alloc(3000)]);
    for (let turns = 0; turns < 2; turns++) {
      link.onBytes(whole.subarray(0, 2000));
      expect(totals()).not.toEqual(none);
      link.onBytes(whole.subarray(2000));
      expect(totals()).toEqual(none);
    }
    expect(handler.packets).toEqual([0x10, 0x10]);
  });

  const ways: Record<string, (link: Link, handler: Handler) => void> = {
    "we close": (link) => link.close({ kind: "local", text: "" }),
    "the peer closes": (link) => link.onClose(undefined),
    "the connection fails": (link) => link.onClose(new Error("ECONNRESET")),
    "its end comes twice": (link) => {
      link.close({ kind: "local", text: "" });
      link.onClose(undefined);
    },
    "the peer breaks the protocol": (link, handler) => {
      handler.whenPacket = () => {
        throw malformed("");
      };
      link.onBytes(Buffer.alloc(MIB));
    },
    "a bug throws": (link, handler) => {
      handler.whenPacket = () => {
        throw new TypeError("");
      };
      link.onBytes(Buffer.alloc(MIB));
    },
    "its handler closes it": (link, handler) => {
      handler.whenPacket = () => link.close({ kind: "local", text: "" });
      link.onBytes(Buffer.alloc(MIB));
    },
  };

  describe.each(Object.keys(ways))("are 0 when %s", (way) => {
    it.each([true, false])("in the handshake: %s, with output collected, held and unsent", (inHandshake) => {
      const { link, handler, transport } = connect(large);
      transport.reads = false;
      if (!inHandshake) link.endHandshake(64 * MIB);
      publish(link, 1, 3000);
      turn();
      publish(link, 2, 3000);
      link.acknowledge(PUBACK_BYTE, 1, 1, 10);
      link.onBytes(Buffer.concat([Buffer.from("308060", "hex"), Buffer.alloc(5000)]));
      expect(inHandshake ? gate.totals.handshakeBytes : gate.unfinished.bytes).toBeGreaterThan(5000);
      expect(gate.totals.unsentBytes).toBeGreaterThan(0);
      ways[way]?.(link, handler);
      expect([totals(), gate.heldBytes, link.isClosed]).toEqual([none, 0, true]);
      transport.readAll();
      while (clock.step());
      gate.release(1);
      expect([totals(), gate.heldBytes, handler.closed.length]).toEqual([none, 0, 1]);
    });
  });

  it("let CONNECT packets that are not whole have 4 MiB: beyond it the one that grows is closed", () => {
    const links = Array.from({ length: 9 }, () => connect(large));
    for (const { link } of links.slice(0, 8)) link.onBytes(begin(0x10, 512 * KIB));
    expect(links.map(({ link }) => link.isClosed)).not.toContain(true);
    links[8]?.link.onBytes(begin(0x10, 3 * KIB)); // small ones are never too many
    const small = connect(large);
    small.link.onBytes(begin(0x10, 100));
    links[3]?.link.onBytes(Buffer.alloc(KIB * 600));
    expect(links.map(({ handler }) => handler.closed.length)).toEqual([0, 0, 0, 1, 0, 0, 0, 0, 0]);
    expect(links[3]?.handler.closed).toEqual([{ kind: "violation", code: 0x97, text: "too many large packets of all connections are not whole yet" }]);
    expect(gate.totals.handshakeBytes).toBeLessThan(4 * MIB);
    expect([small.link.isClosed, gate.totals.handshakesExceeded]).toEqual([false, false]);
    for (const { link } of [...links, small]) link.onClose(undefined);
    expect(totals()).toEqual(none);
  });

  it("keep those that are logged in apart from CONNECT packets: beyond 32 MiB they wait for each other, and nothing is read from them", () => {
    const connects = Array.from({ length: 7 }, () => connect(large));
    for (const { link } of connects) link.onBytes(begin(0x10, 512 * KIB));
    const sessions = Array.from({ length: 7 }, () => connect(large));
    for (const { link } of sessions) link.endHandshake(64 * MIB);
    for (const { link } of sessions) link.onBytes(begin(0x30, 4 * MIB));
    const callsOf = (): string[] => sessions.flatMap(({ transport }, index) => transport.takeCalls().map((call) => `${index} ${call}`));
    sessions[3]?.link.onBytes(Buffer.alloc(5 * MIB)); // goes ahead
    sessions[1]?.link.onBytes(Buffer.alloc(KIB));
    sessions[2]?.link.onBytes(Buffer.alloc(KIB));
    sessions[3]?.link.onBytes(Buffer.alloc(8 * MIB));
    turn();
    expect(callsOf()).toEqual(["1 pause", "2 pause"]);
    sessions[3]?.link.onClose(undefined);
    turn();
    expect(callsOf()).toEqual(["1 resume"]);
    sessions[1]?.link.onClose(undefined);
    turn();
    expect(callsOf()).toEqual(["2 resume"]);
    expect([...connects, ...sessions].filter(({ link }) => link.isClosed)).toHaveLength(2);
    for (const { link } of [...connects, ...sessions]) link.onClose(undefined);
    expect(totals()).toEqual(none);
  });

  it("count no silence of a link that waits, and have what it has read already taken when it may go on", () => {
    const [hog, ahead, link] = [connect(large), connect(large), connect(large)];
    for (const { link: session } of [hog, ahead, link]) session.endHandshake(64 * MIB);
    hog.link.onBytes(begin(0x30, 20 * MIB));
    ahead.link.onBytes(begin(0x30, 20 * MIB));
    link.link.onBytes(Buffer.concat([Buffer.from("308060", "hex"), Buffer.alloc(10_000)]));
    link.link.onBytes(Buffer.concat([Buffer.alloc(2_288), PINGREQ])); // was on its way
    expect(link.handler.packets).toEqual([]);
    clock.after(100, () => undefined);
    turn();
    expect(link.link.silentMs(clock.nowMs())).toBe(0);
    hog.link.onClose(undefined);
    turn();
    expect(link.handler.packets).toEqual([0x30, 0xc0]);
  });

  it("make no link wait that has ended: what it has read is taken", () => {
    const [hog, ahead, link] = [connect(large), connect(large), connect(large)];
    for (const { link: session } of [hog, ahead, link]) session.endHandshake(64 * MIB);
    hog.link.onBytes(begin(0x30, 20 * MIB));
    ahead.link.onBytes(begin(0x30, 20 * MIB));
    link.link.onBytes(Buffer.concat([Buffer.from("308060", "hex"), Buffer.alloc(10_000)]));
    link.link.onBytes(Buffer.alloc(1_000));
    link.link.onBytes(Buffer.concat([Buffer.alloc(1_288), PINGREQ]));
    expect(link.handler.packets).toEqual([]);
    link.link.onClose(undefined);
    expect(link.handler.packets).toEqual([0x30, 0xc0]);
  });

  it.each(["is stored", "can't be stored for now"])("make a large packet wait while too much is not on disk yet, until that %s", (end) => {
    const [other, { link, transport, handler }] = [connect(large), connect(large)];
    for (const session of [other.link, link]) session.endHandshake(64 * MIB);
    other.link.acknowledge(PUBACK_BYTE, 1, 1, 1001);
    link.onBytes(PINGREQ);
    link.onBytes(begin(0x30, 5_000));
    expect([handler.packets, transport.takeCalls()]).toEqual([[0xc0], ["pause"]]);
    if (end === "is stored") gate.release(1);
    else gate.onStoreState(false);
    expect(transport.takeCalls()).toEqual(["resume"]);
    expect(link.isReadingPaused).toBe(false);
  });

  it("give each peer a small share of output when all of them have too much", () => {
    const limits = { ...LIMITS, maxUnsentBytes: 100 * MIB };
    const [one, two] = [connect(limits), connect(limits)];
    for (const { link, transport } of [one, two]) {
      transport.reads = false;
      publish(link, 1, 100 * KIB);
      turn();
    }
    expect([one.link.congested, two.link.congested]).toEqual([false, false]);
    publish(one.link, 2, 65 * MIB);
    one.link.onClose(undefined);
    expect(two.link.congested).toBe(false);
    const three = connect(limits);
    three.transport.reads = false;
    publish(three.link, 1, 65 * MIB);
    turn();
    expect(two.link.congested).toBe(true);
    three.transport.readAll();
    expect(two.link.congested).toBe(false);
  });
});

it.each([
  [undefined, { kind: "peer", text: "closed by the other side" }],
  [new Error("ECONNRESET"), { kind: "error", text: "ECONNRESET" }],
])("an end of the transport (%s) is told once", (error, reason) => {
  const { link, handler } = connect();
  link.acknowledge(PUBACK_BYTE, 1, 1, 40);
  link.onClose(error);
  link.onClose(undefined);
  link.close({ kind: "local", text: "late" });
  expect([handler.closed, link.isClosed, gate.heldBytes]).toEqual([[reason], true, 0]);
});

it("tells when it last heard and last sent", () => {
  const { link } = connect();
  const began = clock.nowMs();
  clock.after(500, () => link.onBytes(PINGREQ));
  clock.after(800, () => link.send(PINGREQ));
  while (clock.step());
  expect([link.lastReceivedMs - began, link.lastSentMs - began]).toEqual([500, 800]);
});
