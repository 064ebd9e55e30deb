import { expect, it } from "vitest";
import { configurationReference } from "../../src/config/reference.ts";

it("doc/configuration.md is what the keyword tables say (update it with -u)", async () => {
  await expect(configurationReference()).toMatchFileSnapshot("../../doc/configuration.md");
});
