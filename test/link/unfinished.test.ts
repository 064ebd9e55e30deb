import { beforeEach, describe, expect, it } from "vitest";
import { type Receiver, UnfinishedPackets } from "../../src/link/unfinished.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

let clock: VirtualClock;
let unfinished: UnfinishedPackets;
let isFull: boolean;

/** A link, as far as it is asked. */
class Peer implements Receiver {
  bytes = 0;
  verdict: "read" | "wait" | "close" = "read";

  private heardMs = clock.nowMs();

  readOn(): void {
    this.verdict = "read";
    this.heardMs = clock.nowMs();
  }

  silentMs(nowMs: number): number {
    return this.verdict === "wait" ? 0 : nowMs - this.heardMs;
  }

  giveUp(): void {
    this.to(0);
    this.verdict = "close";
  }

  /** Something has come, too little to be counted. */
  trickle(): void {
    this.heardMs = clock.nowMs();
  }

  /** Its packet has grown, or is whole: 0. */
  to(bytes: number): this {
    const grown = bytes - this.bytes;
    this.bytes = bytes;
    this.heardMs = clock.nowMs();
    this.verdict = unfinished.note(this, grown, bytes, clock);
    return this;
  }
}

const turn = (): void => void clock.step();
const pass = (ms: number): void => {
  clock.after(ms, () => undefined);
  for (const untilMs = clock.nowMs() + ms; clock.nowMs() < untilMs; ) turn();
};
const peers = (count: number, bytes: number): Peer[] => Array.from({ length: count }, () => new Peer().to(bytes));
const verdicts = (of: readonly Peer[]): string => of.map(({ verdict }) => verdict).join(" ");

beforeEach(() => {
  clock = new VirtualClock();
  isFull = false;
  unfinished = new UnfinishedPackets(() => isFull);
});

describe("packets that are not whole", () => {
  it("are read at the same time up to 32 MiB", () => {
    const all = peers(32, MIB);
    expect(new Set(verdicts(all).split(" "))).toEqual(new Set(["read"]));
  });

  it("come one after the other beyond, each when the one before is whole, without a moment between", () => {
    const all = peers(40, 800 * KIB);
    for (const peer of all) peer.to(900 * KIB);
    const order: Peer[] = [];
    for (let whole = 0; whole < 40; whole++) {
      const mayRead = (): Peer | undefined => all.find(({ verdict, bytes }) => verdict === "read" && bytes > 0);
      if (!mayRead()) turn();
      const next = mayRead() ?? expect.fail("all wait");
      next.to(0);
      order.push(next);
    }
    expect(new Set(order).size).toBe(40);
    expect(unfinished.bytes).toBe(0);
    expect(clock.nowMs()).toBe(new VirtualClock().nowMs());
  });

  it("wait for one that does not come for a moment, one after the other; it waits behind them when it grows", () => {
    peers(31, MIB);
    const [hangs, one, two, small] = [new Peer().to(3 * MIB), new Peer().to(10 * KIB), new Peer().to(10 * KIB), new Peer().to(3 * KIB)];
    expect(verdicts([hangs, one, two, small])).toBe("read wait wait read");
    pass(50);
    expect(verdicts([hangs, one, two])).toBe("read read wait");
    expect(hangs.to(3 * MIB + 1).verdict).toBe("wait");
    pass(50);
    expect(verdicts([hangs, one, two])).toBe("wait read read");
    two.to(0);
    turn();
    expect(verdicts([hangs, one, two])).toBe("read read read");
  });

  it("wait half a second for one that comes slowly", () => {
    peers(31, MIB);
    const [slow, next] = [new Peer().to(3 * MIB), new Peer().to(10 * KIB)];
    for (let ticks = 0; ticks < 9; ticks++) {
      pass(25);
      slow.trickle();
      pass(25);
      expect(next.verdict).toBe("wait");
    }
    pass(60);
    expect(verdicts([slow, next])).toBe("read read");
  });

  it("do not wait for ever for those that bring nothing more: these are closed, as many as are in the way", () => {
    const silent = peers(32, MIB);
    const waiting = peers(150, 300 * KIB);
    expect(new Set(verdicts(waiting).split(" "))).toEqual(new Set(["wait", "read"]));
    pass(4_900);
    expect(silent.every(({ verdict }) => verdict === "read")).toBe(true);
    expect(waiting.some(({ verdict }) => verdict === "wait")).toBe(true);
    pass(200);
    expect(silent.some(({ verdict }) => verdict === "close")).toBe(true);
    expect(unfinished.bytes).toBeGreaterThan(31 * MIB); // no more than are in the way
    pass(4_000);
    expect(waiting.some(({ verdict }) => verdict === "wait")).toBe(false);
    expect(waiting.some(({ verdict }) => verdict === "read")).toBe(true);
  });

  it("give way to those that wait when a peer begins the next one", () => {
    peers(31, MIB);
    const [stream, other] = [new Peer().to(2 * MIB), new Peer().to(10 * KIB)];
    expect(verdicts([stream, other])).toBe("read wait");
    stream.to(1.5 * MIB); // the next one, of which so much has come with the end of that
    expect(stream.verdict).toBe("wait");
    turn();
    expect(verdicts([stream, other])).toBe("wait read");
  });

  it("let no more go on at a time than there is room for what they read", () => {
    const [first] = peers(1, 20 * MIB);
    peers(1, 13 * MIB);
    const waiting = [...peers(4, 128 * KIB), ...peers(100, 5 * KIB)];
    expect(new Set(verdicts(waiting).split(" "))).toEqual(new Set(["wait"]));
    first?.to(17.5 * MIB - 500 * KIB);
    expect(unfinished.bytes).toBe(31 * MIB);
    turn();
    expect(waiting.filter(({ verdict }) => verdict === "read")).toHaveLength(4 + 8); // 128 and 64 KiB each
  });

  it("end connections where those of others have 128 MiB without the largest, which may be as large as it is", () => {
    const [large] = peers(1, 200 * MIB);
    expect(large?.verdict).toBe("read");
    expect(new Peer().to(5 * KIB).verdict).toBe("wait");
    const [next] = peers(1, 129 * MIB);
    expect(next?.verdict).toBe("wait");
    expect(new Peer().to(5 * KIB).verdict).toBe("close");
    expect(new Peer().to(4 * KIB).verdict).toBe("read");
    expect(large?.to(210 * MIB).verdict).toBe("read");
  });

  it("of a peer that goes are not waited for", () => {
    peers(31, MIB);
    const [ahead, gone, next] = [new Peer().to(2 * MIB), new Peer().to(10 * KIB), new Peer().to(10 * KIB)];
    expect(verdicts([ahead, gone, next])).toBe("read wait wait");
    gone.to(0);
    ahead.to(0);
    turn();
    expect(next.verdict).toBe("read");
  });

  describe("while too much is not on disk yet", () => {
    beforeEach(() => {
      isFull = true;
    });

    it("wait, however few, until less is; small ones do not", () => {
      const [one, two, small] = [new Peer().to(10 * KIB), new Peer().to(10 * KIB), new Peer().to(3 * KIB)];
      expect(verdicts([one, two, small])).toBe("wait wait read");
      unfinished.release();
      expect(verdicts([one, two])).toBe("wait wait");
      isFull = false;
      unfinished.release();
      expect(verdicts([one, two])).toBe("read read");
    });

    it("do not follow each other when one is whole", () => {
      isFull = false;
      peers(31, MIB);
      const [ahead, next] = [new Peer().to(2 * MIB), new Peer().to(10 * KIB)];
      isFull = true;
      expect(ahead.to(2 * MIB + 1).verdict).toBe("read");
      ahead.to(0);
      turn();
      expect(next.verdict).toBe("wait");
      isFull = false;
      unfinished.release();
      expect(next.verdict).toBe("read");
    });

    it("go on one every half second all the same", () => {
      const all = peers(3, 10 * KIB);
      pass(460);
      expect(verdicts(all)).toBe("wait wait wait");
      pass(50);
      expect(verdicts(all)).toBe("read wait wait");
      all[0]?.to(0);
      pass(450);
      expect(verdicts(all)).toBe("read wait wait");
      pass(60);
      expect(verdicts(all)).toBe("read read wait");
    });
  });
});
