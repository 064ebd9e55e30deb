import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Timer } from "../../src/clock/clock.ts";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { isRetainedRider, pageKey, queueKey, retainedKey, retainedRange, sessionKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore } from "../../src/store/open.ts";
import type { Need } from "../../src/store/store.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { leftOf, notingBatches, replay, type Written } from "./batches.ts";
import { untilStored } from "./contract.ts";

const SEEDS = 30;
const LIVES = 4;
const TOPICS = 50;
const CUT_BYTES = 12_000;
const SOON_MS = 1_000;

/** A group that nobody waits for is written at once. */
class HastyClock extends SystemClock {
  override after(ms: number, task: () => void): Timer {
    return super.after(ms === SOON_MS ? 0 : ms, task);
  }
}

/** What has become of a topic: the last change that was acknowledged, and later ones, by their numbers; whether each is one that removes. */
interface Topic {
  acknowledged: number;
  readonly removes: Map<number, boolean>;
}

let root: string;
let store: LevelStore | undefined;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "amqtdd-retained-"));
});

afterEach(async () => {
  await store?.close();
  await rm(root, { recursive: true });
});

const open = (directory: string, written: Written[]): Promise<LevelStore> =>
  openStore({
    directory, durability: "power", commitIntervalMs: 0, clock: new HastyClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES,
    report: ({ kind, detail }) => expect.fail(`${kind}: ${detail}`), openDatabase: notingBatches(written),
  });

it("never has an older retained value than the one that was acknowledged last, nor one that was removed, whichever unsynced groups a power cut takes", { timeout: 120_000 }, async () => {
  const wrong: string[] = [];
  let rode = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const rng = seededRng(seed);
    const upTo = (limit: number): number => Math.floor(rng() * limit);
    const topics = Array.from({ length: TOPICS }, (): Topic => ({ acknowledged: 0, removes: new Map([[0, true]]) }));
    let number = 0;
    let seq = 1;
    let directory = join(root, `${seed}`);
    await (await open(directory, [])).close();

    for (let life = 0; life <= LIVES; life++) {
      const base = `${directory}-base`;
      await cp(directory, base, { recursive: true });
      if (rng() < 0.3) await writeFile(join(directory, "uncertain"), "");
      const written: Written[] = [];
      const opened = (store = await open(directory, written));
      opened.recovered();
      const found = new Map((await opened.read(retainedRange.from, retainedRange.to, 1e7)).map(([key, value]) => [Number(key.toString("latin1", 1)), Number(value.toString())]));
      for (const [name, { acknowledged, removes }] of topics.entries()) {
        const value = found.get(name);
        const isRight = value === undefined ? [...removes].some(([change, isRemoved]) => isRemoved && change >= acknowledged) : value >= acknowledged && removes.get(value) === false;
        if (!isRight) wrong.push(`seed ${seed}, life ${life}: topic ${name} has ${value}, acknowledged was ${acknowledged}${removes.get(acknowledged) === true ? ", a removal" : ""}`);
        // What a start has found is on disk.
        const at = value ?? number;
        topics[name] = { acknowledged: at, removes: new Map([[at, value === undefined]]) };
      }
      if (life === LIVES) break;

      const write = (changes: readonly (readonly [key: Buffer, value: Buffer | undefined])[], need: Need): Promise<void> =>
        untilStored(opened, opened.touch({ writeTo: (group) => changes.forEach(([key, value]) => (value ? group.put(key, value) : group.delete(key))) }, need));
      // Few topics ride, all of them together are too large.
      const several = rng() < 0.5 ? 10 : TOPICS;
      for (let groups = 40 + upTo(80); groups > 0; groups--) {
        number++;
        const isAwaited = rng() < 0.6;
        const changes: (readonly [Buffer, Buffer | undefined])[] = [];
        const session = 1 + upTo(2);
        if (isAwaited && rng() < 0.8) changes.push([pageKey(session, 0, seq++), Buffer.alloc(300, `page ${number}`)]);
        if (rng() < 0.05) changes.push([sessionKey(session), Buffer.from("session")]);
        changes.push([queueKey(session, 0), Buffer.from(`${number}`)]);
        const name = upTo(several);
        const isRemoved = rng() < 0.25;
        changes.push([retainedKey(Buffer.from(`${name}`)), isRemoved ? undefined : Buffer.from(`${number}`.padEnd(rng() < 0.1 ? 3_000 : 1 + upTo(1_900)))]);
        await write(changes, isAwaited ? "synced" : "soon");
        const topic = topics[name] as Topic; // name < TOPICS
        topic.removes.set(number, isRemoved);
        if (isAwaited) topic.acknowledged = number;
      }
      rode += written.filter(({ operations }) => operations.some(({ key }) => isRetainedRider(key))).length;
      const left = leftOf(written, rng);
      await opened.close();
      store = undefined;
      await replay(base, left);
      directory = base;
    }
    await store?.close();
    store = undefined;
  }
  expect(wrong).toEqual([]);
  expect(rode).toBeGreaterThan(1_000);
});
