import { describe, expect, it } from "vitest";
import { BrokerRig } from "./rig.ts";

const isThere = (rig: BrokerRig, id: string): boolean => rig.broker.sessions.get("client", id) !== undefined;

describe("a session's expiry", () => {
  it("of 0 ends it with the connection, also one that outlived earlier ones", async () => {
    const rig = await BrokerRig.start();
    rig.connect("c", { expiryMs: Infinity }).leave();
    const again = rig.connect("c", { expiryMs: 0 });
    expect(again.present).toBe(true);
    again.leave();
    expect(rig.connect("c", { expiryMs: 0 }).present).toBe(false);
  });

  it("of 0 ends it with a crash, too", async () => {
    const before = await BrokerRig.start();
    before.connect("c", { expiryMs: Infinity }).leave();
    before.connect("c", { expiryMs: 0 });
    expect(isThere(await before.restart(), "c")).toBe(false);
  });

  it("is counted from the end of the connection, whoever asks, and over a restart", async () => {
    const before = await BrokerRig.start();
    for (const [id, expiryMs] of [["short", 5_000], ["long", 60_000], ["ever", Infinity]] as const) before.connect(id, { expiryMs }).leave();
    await before.settle(3_000);
    expect(isThere(before, "short")).toBe(true);
    const rig = await before.restart();
    await rig.settle(3_000);
    expect([isThere(rig, "short"), isThere(rig, "long")]).toEqual([false, true]);
    await rig.settle(60_000);
    expect([isThere(rig, "long"), isThere(rig, "ever")]).toEqual([false, true]);
  });

  it.each([["its own", 5_000, Infinity], ["persistent_client_expiration", Infinity, 5_000]])("is not counted from an earlier connection when a crash ends a later one: %s", async (_whose, expiryMs, capMs) => {
    const before = await BrokerRig.start();
    before.broker.sessions.expireAfter(capMs, () => undefined);
    before.connect("c", { expiryMs }).leave();
    await before.settle(2_000);
    before.connect("c", { expiryMs });
    await before.settle(10_000);
    const rig = await before.restart();
    rig.broker.sessions.expireAfter(capMs, () => undefined);
    expect(isThere(rig, "c")).toBe(true);
    await rig.settle(6_100);
    expect(isThere(rig, "c")).toBe(false);
  });

  it("ends thousands that are over at once a few at a time, none of which is taken up meanwhile", async () => {
    const rig = await BrokerRig.start();
    for (let number = 0; number < 1_000; number++) rig.connect(`c${number}`, { expiryMs: Infinity }).leave();
    const left = (): number => Array.from({ length: 1_000 }, (_, number) => isThere(rig, `c${number}`)).filter(Boolean).length;
    await rig.settle(5_000);
    rig.broker.sessions.expireAfter(1_000, () => undefined);
    expect(left()).toBeGreaterThan(900);
    expect(rig.connect("c999", { expiryMs: Infinity }).present).toBe(false);
    await rig.settle(2_000);
    expect([left(), isThere(rig, "c999")]).toEqual([1, true]);
  });

  it("is not counted from an earlier connection when a crash follows a take-over", async () => {
    const before = await BrokerRig.start();
    before.connect("c", { expiryMs: 5_000 });
    before.connect("c", { expiryMs: 5_000 });
    await before.settle(10_000);
    expect(isThere(await before.restart(), "c")).toBe(true);
  });

  it("is not counted from an earlier connection's end that a start has read", async () => {
    const before = await BrokerRig.start();
    before.connect("c", { expiryMs: 5_000 }).leave();
    const rig = await before.restart();
    rig.connect("c", { expiryMs: 5_000 });
    await rig.settle(10_000);
    expect(isThere(await rig.restart(), "c")).toBe(true);
  });

  it("is counted from the first start after a crash that ended the connection, not from the last", async () => {
    const before = await BrokerRig.start();
    before.connect("c", { expiryMs: 5_000 });
    let rig = await before.restart();
    for (let starts = 0; starts < 3; starts++) {
      rig.broker.sessions.expireAfter(Infinity, () => undefined);
      await rig.settle(2_000);
      rig = await rig.restart();
    }
    expect(isThere(rig, "c")).toBe(false);
  });

  it("that is over makes the next connection's session a new one", async () => {
    const rig = await BrokerRig.start();
    const first = rig.connect("c", { expiryMs: 500 });
    first.subscribe("a", { qos: 1 });
    first.leave();
    await rig.settle(600); // nobody has looked yet
    expect(isThere(rig, "c")).toBe(true);
    expect(rig.connect("c", { expiryMs: 500 }).present).toBe(false);
  });

  it("may be changed while the connection is there", async () => {
    const rig = await BrokerRig.start();
    const client = rig.connect("c", { expiryMs: Infinity });
    rig.broker.sessions.setExpiry(client.entry, 2_000);
    client.leave();
    await rig.settle(3_100);
    expect(isThere(rig, "c")).toBe(false);
  });

  it("is cut to persistent_client_expiration", async () => {
    const rig = await BrokerRig.start();
    const expired: string[] = [];
    rig.broker.sessions.expireAfter(2_000, (id) => expired.push(id));
    rig.connect("c", { expiryMs: 60_000 }).leave();
    await rig.settle(3_100);
    expect(expired).toEqual(["c"]);
  });
});
