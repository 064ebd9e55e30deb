import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { StoreDirectory } from "../../src/store/store-directory.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "amqtdd-names-"));
});

afterEach(() => rm(directory, { recursive: true }));

it("finds each new name, however soon it comes after another", async () => {
  const store = new StoreDirectory(directory, 0);
  await writeFile(join(directory, "first"), "");
  await store.syncNames();
  expect(await store.syncNewNames()).toBe(false);
  for (let number = 0; number < 100; number++) {
    await writeFile(join(directory, `${number}.log`), "");
    expect(await store.syncNewNames()).toBe(true);
    expect(await store.syncNewNames()).toBe(false);
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await store.syncNewNames()).toBe(false);
  await writeFile(join(directory, "last"), "");
  expect(await store.syncNewNames()).toBe(true);
});
