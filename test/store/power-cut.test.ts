import { randomBytes } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { openLevelDatabase } from "../../src/store/database.ts";
import { endOfQueue, generationKey, generationOf, pageKey, pageSeq, queueKey, sessionKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore } from "../../src/store/open.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { leftOf, notingBatches, replay, type Written } from "./batches.ts";
import { untilStored } from "./contract.ts";

/** Of 400 three found records that were older than their pages, before what later groups count on was synced: these, among others. */
const SEEDS = [...Array.from({ length: 16 }, (_, index) => index + 1), 372, 375];
const LIVES = 4;
const QUEUES = 4;
const CUT_BYTES = 3_000;
/** Of a page: the number of the message in it. */
const ID_AT = 3;

/** A queue as its owner knows it: messages from `acked` on, before `next`. */
interface Queue {
  readonly session: number;
  next: number;
  acked: number;
}

let root: string;
let store: LevelStore | undefined;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "amqtdd-cut-"));
});

afterEach(async () => {
  await store?.close();
  await rm(root, { recursive: true });
});

/** `written`: what LevelDB gets from now on. */
async function open(directory: string, written: Written[]): Promise<LevelStore> {
  return openStore({
    directory, durability: "process", commitIntervalMs: 0, clock: new SystemClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES, report: () => undefined, openDatabase: notingBatches(written),
  });
}

const recordOf = ({ next, acked }: Queue): Buffer => Buffer.from(`${next} ${acked}`);

it("never brings a message back that a start did not find, nor one that is done, with durability process", { timeout: 120_000 }, async () => {
  const wrong: string[] = [];
  for (const seed of SEEDS) {
    const rng = seededRng(seed);
    const upTo = (limit: number): number => Math.floor(rng() * limit);
    /** Messages that some start has not found, or was beyond. */
    const gone = new Set<number>();
    let ids = 0;
    let directory = join(root, `${seed}`);
    await (await open(directory, [])).close();

    for (let life = 0; life <= LIVES; life++) {
      const isLast = life === LIVES;
      const isUncertain = isLast || rng() < 0.4; // so it looks for pages everywhere
      const base = `${directory}-base`;
      await cp(directory, base, { recursive: true });
      if (isUncertain) await writeFile(join(directory, "uncertain"), "");
      const written: Written[] = [];
      const opened = (store = await open(directory, written));
      opened.recovered();
      const at = `seed ${seed}, life ${life}${isUncertain ? ", uncertain" : ""}`;
      const records = new Map((await opened.read(queueKey(0, 0), queueKey(99, 0), 100_000)).map(([key, value]) => [key.readUInt32BE(1), value.toString()]));
      const queues = Array.from({ length: QUEUES }, (_, index): Queue => {
        const [next = 1, acked = 1] = records.get(index + 1)?.split(" ").map(Number) ?? [];
        return { session: index + 1, next, acked };
      });
      const found = new Set<number>();
      for (const queue of queues) {
        const { session, next, acked } = queue;
        const from = pageKey(session, 0, acked);
        for (const [key, value] of await opened.read(from, endOfQueue(from), 1e7)) {
          const id = value.readUInt32BE(ID_AT);
          if (gone.has(id)) wrong.push(`${at}: page ${pageSeq(key)} of queue ${session}, which a start has not found before`);
          if (isUncertain) queue.next = Math.max(next, pageSeq(key) + 1); // it takes up what is behind the end
          else if (pageSeq(key) >= next) wrong.push(`${at}: page ${pageSeq(key)} of queue ${session}, which ends before ${next}`);
          found.add(id);
        }
      }
      for (let id = 0; id < ids; id++) if (!found.has(id)) gone.add(id);
      if (isLast) break;

      const write = (changes: readonly (readonly [key: Buffer, value: Buffer | undefined])[]): Promise<void> =>
        untilStored(opened, opened.touch({ writeTo: (group) => changes.forEach(([key, value]) => (value ? group.put(key, value) : group.delete(key))) }, "synced"));
      const several = 1 + upTo(QUEUES);
      for (let groups = 20 + upTo(60); groups > 0; groups--) {
        const queue = queues[upTo(several)] ?? expect.fail("no such queue");
        const { session } = queue;
        const action = rng();
        if (action < 0.75) {
          const page = Buffer.concat([Buffer.alloc(ID_AT + 4), randomBytes(300)]);
          page.writeUInt32BE(ids++, ID_AT);
          const key = pageKey(session, 0, queue.next++);
          await write([[key, page], [queueKey(session, 0), recordOf(queue)]]);
        } else if (action < 0.97) {
          const from = queue.acked;
          queue.acked += upTo(queue.next - from + 1);
          await write([...Array.from({ length: queue.acked - from }, (_, index) => [pageKey(session, 0, from + index), undefined] as const), [queueKey(session, 0), recordOf(queue)]]);
        } else await write([[sessionKey(session), Buffer.from("session")]]);
      }
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
});

it("brings no pages back later whose generation's record was lost with durability process: none is", async () => {
  const directory = join(root, "store");
  const written: Written[] = [];
  const writing = (store = await open(directory, written));
  const write = (session: number, seq: number): Promise<void> => untilStored(writing, writing.touch({ writeTo: (group) => group.put(pageKey(session, 0, seq), randomBytes(300)) }, "synced"));
  const isBeginning = ({ operations }: Written): boolean => operations.some(({ key }) => key.equals(generationKey(generationOf(key), 0)));
  for (let seq = 1; seq <= 40 || !isBeginning(written.at(-1) ?? expect.fail("nothing is written")); seq++) await write(1 + (seq % 2), seq);
  const before = written.length;
  await write(3, 1);
  await write(3, 2);
  const sure = written.findLastIndex(({ sync }) => sync) + 1;
  await store.close();
  const left = join(root, "left");
  await (await open(left, [])).close();
  const database = await openLevelDatabase(left);
  // LevelDB has begun another log between the pages.
  for (const { operations } of [...written.slice(0, Math.max(before, sure)), ...written.slice(before + 1)]) await database.batch([...operations]);
  await database.close();
  const found = async (): Promise<number> => {
    store = await open(left, []);
    const pages = await store.read(pageKey(3, 0, 1), endOfQueue(pageKey(3, 0, 1)), 10_000);
    await store.close();
    return pages.length;
  };
  const first = await found();
  await writeFile(join(left, "uncertain"), "");
  expect(await found()).toBe(first);
});
