import { expect, it } from "vitest";
import { World } from "./world.ts";

async function trace(seed: number): Promise<readonly string[]> {
  const world = new World(seed);
  await world.run();
  const ends = `${world.elapsedMs} ms, ${world.ledger.size} published, ${world.localWatch.received} and ${world.remoteWatch.received} received`;
  return [...world.daemons.flatMap(({ lines }) => lines), ends];
}

it.each([1, 2, 3, 4])("replays seed %i to the last line", async (seed) => {
  expect(await trace(seed)).toEqual(await trace(seed));
});
