import { expect, it } from "vitest";
import { SuspectBridge } from "./suspect-bridge.ts";

const SEEDS = Number(process.env["AMQTDD_SEEDS"] ?? (process.env["AMQTDD_LONG"] === "1" ? 20_000 : 30));
const onlySeed = process.env["AMQTDD_SEED"];
const seeds = onlySeed === undefined ? Array.from({ length: SEEDS }, (_, index) => index + 1) : [Number(onlySeed)];

it(`puts no message aside because the network cuts, under ${seeds.length} seeds`, { timeout: 3_600_000 }, async () => {
  let cuts = 0;
  for (const seed of seeds) {
    const stage = new SuspectBridge(seed);
    await stage.sufferCuts();
    expect(stage.complaints, `replay it with AMQTDD_SEED=${seed}`).toEqual([]);
    cuts += stage.cuts;
  }
  console.log(`${seeds.length} seeds, ${cuts} cuts, no message put aside`);
});

it(`puts each message aside that the remote answers by closing, and only those, under ${seeds.length} seeds`, { timeout: 3_600_000 }, async () => {
  for (const seed of seeds) {
    const stage = new SuspectBridge(seed);
    await stage.takePoison();
    expect(stage.complaints, `replay it with AMQTDD_SEED=${seed}`).toEqual([]);
  }
});
