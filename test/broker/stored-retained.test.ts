import { expect, it } from "vitest";
import { Retained } from "../../src/broker/retained.ts";
import { messageOf } from "../../src/queue/message.ts";
import { seal } from "../../src/store/checked.ts";
import { isRetainedKey } from "../../src/store/keys.ts";
import { SimulatedStore } from "../sim/simulated-store.ts";
import { seededRng, VirtualClock } from "../sim/virtual-clock.ts";

it("reads a retained message that an earlier version has taken out of a generation, with the CRC behind it that other records have there", async () => {
  const clock = new VirtualClock();
  const damaged: string[] = [];
  const retainedOf = (store: SimulatedStore): Retained => new Retained(store, clock, Infinity, (topic) => damaged.push(topic));
  const before = new SimulatedStore(clock, seededRng(1));
  retainedOf(before).set("a/topic", messageOf(Buffer.from("a/topic"), Buffer.from("value"), { qos: 1, retain: true, receivedMs: 1 }), undefined);
  await before.close();
  const disk = before.crash();
  for (const [key, value] of disk) if (isRetainedKey(Buffer.from(key, "latin1"))) disk.set(key, seal(Buffer.from(key, "latin1"), value));

  const retained = retainedOf(new SimulatedStore(clock, seededRng(1), disk));
  await retained.recover();
  const found: string[] = [];
  retained.match("#", ({ payload, payloadStart, payloadEnd }, topic) => found.push(`${topic}: ${payload.toString("utf8", payloadStart, payloadEnd)}`));
  expect(found).toEqual(["a/topic: value"]);
  expect(damaged).toEqual([]);
});
