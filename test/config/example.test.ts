import { expect, it } from "vitest";
import { readConfig } from "../../src/config/read-config.ts";

it("the example has no problems, and shows a mount point and a bridge both ways", () => {
  const { config, problems } = readConfig("amqtdd.cfg.example");
  expect(problems).toEqual([]);
  expect(config?.listeners.map(({ port, mountPoint }) => [port, mountPoint])).toEqual([[1884, "kitchen/"], [9001, ""], [1883, ""]]);
  expect(config?.connections[0]?.topics.map(({ direction }) => direction)).toEqual(["out", "in"]);
});
