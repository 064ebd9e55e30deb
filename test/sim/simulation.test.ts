import { expect, it } from "vitest";
import { World } from "./world.ts";

const isLong = process.env["AMQTDD_LONG"] === "1";
const firstSeed = Number(process.env["AMQTDD_SEED"] ?? 1);
const seeds = process.env["AMQTDD_SEED"] === undefined ? (isLong ? 5_000 : 200) : 1;

it(`keeps its promises under ${seeds} seeds of cuts, power cuts, full and failing disks`, { timeout: isLong ? 7_200_000 : 300_000 }, async () => {
  const complaints: string[] = [];
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    const world = new World(seed);
    try {
      await world.run();
      complaints.push(...world.complaints);
    } catch (error) {
      complaints.push(String(error), ...world.complaints);
    }
    // Replay one with AMQTDD_SEED=N scripts/test test/sim
    if (complaints.length > 0) break;
  }
  expect(complaints).toEqual([]);
});
