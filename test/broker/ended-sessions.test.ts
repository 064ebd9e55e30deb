import { describe, expect, it } from "vitest";
import type { Entry } from "../../src/broker/entry.ts";
import { Sessions } from "../../src/broker/sessions.ts";
import { plainOptions } from "../../src/broker/subscription-options.ts";
import { Subscriptions } from "../../src/broker/subscriptions.ts";
import { MemoryBudget } from "../../src/queue/memory-budget.ts";
import { messageOf } from "../../src/queue/message.ts";
import { goneKey, incomingKey, nextNumberKey, pageKey, queueKey, sessionKey, subscriptionKey } from "../../src/store/keys.ts";
import { NO_LIMITS } from "../session/rig.ts";
import { type Disk, SimulatedStore } from "../sim/simulated-store.ts";
import { VirtualClock } from "../sim/virtual-clock.ts";

const text = (key: Buffer): string => key.toString("latin1");
const message = messageOf(Buffer.from("t"), Buffer.from("payload"), { qos: 2, retain: false, receivedMs: 1 });
const identity = (id: string) => ({ kind: "client", id, user: undefined }) as const;
const holder = { takenOver: () => undefined };

/** The sessions of one life of a daemon. */
class Life {
  readonly store: SimulatedStore;
  readonly sessions: Sessions;
  maxWriteMs = 0;

  constructor(
    disk: Disk = new Map(),
    readonly clock = new VirtualClock(),
  ) {
    this.store = new SimulatedStore(clock, () => 0.9, disk, () => this.maxWriteMs);
    const context = {
      store: this.store,
      clock,
      totals: { messages: 0, bytes: 0 },
      incomingTotal: { count: 0 },
      budget: new MemoryBudget(1 << 20),
      limits: { ...NO_LIMITS, maxInflightMessages: 10 },
      onAppended: () => undefined,
      onDropped: () => undefined,
      onLevel: () => undefined,
      onRoom: () => undefined,
      onLost: () => undefined, onRemounted: () => undefined,
    };
    this.sessions = new Sessions(this.store, new Subscriptions(), context, () => undefined, { onTakenUp: () => undefined, mayEnd: () => true, onEnded: () => undefined });
  }

  static async of(disk: Disk): Promise<Life> {
    const life = new Life(disk);
    await life.sessions.recover();
    life.sessions.endOver();
    return life;
  }

  connect(id: string, { clean = false } = {}): Entry {
    return this.sessions.open(identity(id), { cleanStart: clean, expiryMs: clean ? 0 : Infinity }, holder).entry;
  }

  async pass(ms: number): Promise<void> {
    let isOver = false;
    this.clock.after(ms, () => void (isOver = true));
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      this.clock.step();
    }
  }

  /** In good order; returns what is on disk. */
  async stop(): Promise<Disk> {
    await this.store.close();
    return this.store.crash();
  }
}

/** Keys of records that belong to a session, without its page and gone records. */
function stateKeys(disk: ReadonlyMap<string, Buffer>): string[] {
  return [...disk.keys()].filter((key) => "suiq".includes(key[0] ?? ""));
}

describe("a session that ends", () => {
  it("leaves nothing, be its state changed before or after its other records in the same group", async () => {
    const life = new Life();
    const old = life.connect("old");
    life.sessions.subscribe(old, "#", plainOptions(2));
    old.session.deliver(message, 2, false);
    await life.pass(100);
    life.sessions.subscribe(old, "a", plainOptions(2)); // the sessions' records are asked first in this group
    old.session.incoming.add(7, message);
    old.session.deliver(message, 2, false);
    life.connect("old", { clean: true });
    const disk = await life.stop();
    expect(stateKeys(disk)).toEqual([]);
    expect(disk.has(text(goneKey(1)))).toBe(true);
  });

  it("leaves nothing when its last changes are in the group before", async () => {
    const life = new Life();
    const old = life.connect("old");
    await life.pass(100);
    life.maxWriteMs = 50;
    old.session.incoming.add(7, message);
    old.session.deliver(message, 2, false);
    await life.pass(1); // that group is on its way
    life.connect("old", { clean: true });
    await life.pass(5_000);
    const disk = await life.stop();
    expect(stateKeys(disk)).toEqual([]);
    expect([...disk.keys()]).toEqual([text(nextNumberKey)]);
  });

  it("keeps its note until its pages are gone, however slow the card is", async () => {
    const life = new Life();
    const old = life.connect("old");
    await life.pass(100);
    life.maxWriteMs = 10_000;
    old.session.deliver(message, 1, false);
    await life.pass(1); // the group with the page is on its way
    life.connect("old", { clean: true });
    await life.pass(100_000);
    life.maxWriteMs = 0;
    await life.pass(10_000);
    expect([...life.store.written.keys()].filter((key) => "pg".includes(key[0] ?? ""))).toEqual([]);
  });

  it("does not give its number to another one", async () => {
    let life = new Life();
    life.connect("a");
    expect(life.connect("b").session.number).toBe(2);
    life.connect("b", { clean: true });
    await life.pass(10_000);
    expect([...life.store.written.keys()].some((key) => key.startsWith("g"))).toBe(false);
    life = await Life.of(await life.stop());
    expect(life.connect("c").session.number).toBe(3);
  });
});

describe("a start", () => {
  const left = Buffer.alloc(10);
  /** What earlier versions, lost groups and repairs can leave: number 9 has no session. */
  const orphans = new Map([
    [text(sessionKey(2)), Buffer.from(JSON.stringify({ clientId: "live", kind: "client", since: 1 }))],
    [text(subscriptionKey(9, "a")), Buffer.from([1])],
    [text(incomingKey(9, 0)), left],
    [text(queueKey(9, 0)), left],
    [text(pageKey(1, 0, 5)), left],
    [text(pageKey(9, 0, 5)), left],
    [text(pageKey(9, 1, 7)), left],
    [text(pageKey(12, 0, 1)), left],
  ]);

  it("removes what belongs to no session", async () => {
    const life = await Life.of(orphans);
    await life.pass(10_000);
    const disk = await life.stop();
    expect([...disk.keys()]).toEqual([text(sessionKey(2))]);
  });

  it("gives no number that is found on disk, though its session is not", async () => {
    const life = await Life.of(orphans);
    expect(life.connect("new").session.number).toBe(13);
  });

  it("does not bring back a session whose end is noted", async () => {
    const life = await Life.of(new Map([...orphans, [text(goneKey(2)), Buffer.alloc(0)]]));
    expect(life.sessions.get("client", "live")).toBeUndefined();
    await life.pass(10_000);
    expect([...(await life.stop()).keys()]).toEqual([]);
  });
});
