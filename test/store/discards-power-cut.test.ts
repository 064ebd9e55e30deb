import { randomBytes } from "node:crypto";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Timer } from "../../src/clock/clock.ts";
import { SystemClock } from "../../src/clock/system-clock.ts";
import { type Database, openLevelDatabase, type WriteOperation } from "../../src/store/database.ts";
import type { Discards } from "../../src/store/discards.ts";
import { endOfQueue, generationOf, isPageKey, pageKey, pageSeq, pagesOf, queueKey, sessionKey } from "../../src/store/keys.ts";
import type { LevelStore } from "../../src/store/level-store.ts";
import { openStore } from "../../src/store/open.ts";
import type { Need } from "../../src/store/store.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { leftOfLogs, replay, type Written } from "./batches.ts";
import { untilStored } from "./contract.ts";

/** Where a page goes without its queue's record four of these (1, 4, 6, 8) lose messages. */
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];
const LIVES = 3;
/** So many groups that only add pages: of one queue, so that records ride on them, or of two, so that generations begin. */
const GROWTH = 12;
const QUEUES = 4;
const CUT_BYTES = 1_500;
/** Pages that wait go when they hold so much, so many at a time. */
const WAITING_BYTES = 4_000;
const AT_ONCE = 3;

vi.mock("../../src/store/discards.ts", async (original) => {
  const { Discards: Real } = await original<{ Discards: typeof Discards }>();
  return {
    Discards: class extends Real {
      constructor() {
        super(WAITING_BYTES, AT_ONCE);
      }
    },
  };
});

/** Nobody has a second for what need not be synced. */
class HastyClock extends SystemClock {
  override after(ms: number, task: () => void): Timer {
    return super.after(ms === 1000 ? 2 : ms === 5000 ? 30 : ms, task);
  }
}

/** A queue as its owner knows it: messages from `acked` on, before `next`; those before `deleted` have been given to be deleted. `sure`: before it all is stored. */
interface Queue {
  readonly session: number;
  next: number;
  acked: number;
  deleted: number;
  sure: number;
}

let root: string;
let store: LevelStore | undefined;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "amqtdd-discards-"));
});

afterEach(async () => {
  await store?.close();
  await rm(root, { recursive: true });
});

/** `written`: what LevelDB gets from now on. `fails`: whether a batch fails, and whether it is there all the same. */
async function open(directory: string, written: Written[], fails: () => "not" | "there" | "lost" = () => "not"): Promise<LevelStore> {
  const openDatabase = async (path: string): Promise<Database> => {
    const database = await openLevelDatabase(path);
    const batch = database.batch.bind(database) as (operations: WriteOperation[], options: { readonly sync: boolean }) => Promise<void>;
    return Object.assign(database, {
      batch: async (operations: WriteOperation[], options: { readonly sync: boolean }) => {
        const how = fails();
        if (how !== "lost") {
          written.push({ operations: [...operations], sync: options.sync && how === "not" });
          await batch(operations, options);
        }
        if (how !== "not") throw new Error("the disk fails");
      },
      compactRange: () => Promise.resolve(), // so that generations begin where the seed has them begin
    });
  };
  return openStore({
    directory, durability: "power", commitIntervalMs: 0, clock: new HastyClock(), strict: false, minFreeBytes: 0, reserveBytes: 0, cutBytes: CUT_BYTES, report: () => undefined, openDatabase,
  });
}

/** What a power cut may leave: of each of two logs what the last sync in it has covered, and any part of what was written behind that. */
function leftOf(written: readonly Written[], rng: () => number): Written[] {
  const upTo = (limit: number): number => Math.floor(rng() * (limit + 1));
  // Where groups that count on each other are not synced.
  const unsure = written.flatMap(({ sync }, at) => (at > 0 && !sync && written[at - 1]?.sync === false ? [at] : []));
  const which = rng();
  const second = which < 0.4 ? (unsure.at(-1) ?? 0) : which < 0.7 ? (unsure[upTo(unsure.length - 1)] ?? 0) : upTo(written.length);
  const first = upTo(second);
  return leftOfLogs(written, first, second, rng);
}

const recordOf = ({ next, acked }: Queue): Buffer => Buffer.from(`${next} ${acked}`);
const rangeOf = (from: number, to: number): number[] => Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);

it("loses nothing that was stored, and leaves nothing in the end, when pages wait to be deleted", { timeout: 120_000 }, async () => {
  const wrong: string[] = [];
  const counts = { deletions: 0, generations: 0, failures: 0 };
  for (const seed of SEEDS) {
    const rng = seededRng(seed);
    const upTo = (limit: number): number => Math.floor(rng() * limit);
    let directory = join(root, `${seed}`);
    await (await open(directory, [])).close();
    let before: Queue[] = Array.from({ length: QUEUES }, (_, index): Queue => ({ session: index + 1, next: 1, acked: 1, deleted: 1, sure: 1 }));

    for (let life = 0; life <= LIVES; life++) {
      const isLast = life === LIVES;
      const isUncertain = rng() < 0.4;
      const base = `${directory}-base`;
      await cp(directory, base, { recursive: true });
      if (isUncertain) await writeFile(join(directory, "uncertain"), "");
      const written: Written[] = [];
      let failing = 0;
      const fails = (): "not" | "there" | "lost" => {
        if (failing === 0) return "not";
        failing--;
        counts.failures++;
        return rng() < 0.5 ? "there" : "lost";
      };
      const opened = (store = await open(directory, written, fails));
      opened.recovered();
      const at = `seed ${seed}, life ${life}${isUncertain ? ", uncertain" : ""}`;
      const records = new Map((await opened.read(queueKey(0, 0), queueKey(99, 0), 100_000)).map(([key, value]) => [key.readUInt32BE(1), value.toString()]));
      const queues: Queue[] = [];
      for (const { session, next: known, acked: passed, sure } of before) {
        const [next = 1, acked = 1] = records.get(session)?.split(" ").map(Number) ?? [];
        const { from, to } = pagesOf(session);
        const seqs = (await opened.read(from, to, 1e7)).map(([key]) => pageSeq(key));
        if (next < sure || next > known) wrong.push(`${at}: queue ${session} ends before ${next}, stored before ${sure}, written before ${known}`);
        if (acked > passed) wrong.push(`${at}: queue ${session} is acknowledged below ${acked}, was below ${passed}`);
        const lost = rangeOf(acked, next).filter((seq) => !seqs.includes(seq));
        if (lost.length > 0) wrong.push(`${at}: queue ${session} from ${acked} before ${next} lacks ${lost.join()}`);
        if (seqs.some((seq) => seq >= next)) wrong.push(`${at}: queue ${session} has pages behind its end`);
        queues.push({ session, next, acked, deleted: seqs[0] ?? acked, sure: next });
      }
      const changed = new Map<Queue, { pages: number }>();
      const touch = (need: Need): Promise<void> =>
        untilStored(opened, opened.touch({
          writeTo: (group) => {
            for (const [queue, { pages }] of changed) {
              const { session } = queue;
              for (let seq = queue.next; seq < queue.next + pages; seq++) group.put(pageKey(session, 0, seq), randomBytes(300));
              queue.next += pages;
              const gone = rangeOf(queue.deleted, queue.acked);
              if (gone.length > 0) group.discard(session, 0, gone, gone.length * 300);
              queue.deleted = queue.acked;
              group.put(queueKey(session, 0), recordOf(queue));
            }
            changed.clear();
          },
        }, need));
      const change = (queue: Queue, pages = 0): void => void changed.set(queue, { pages: pages + (changed.get(queue)?.pages ?? 0) });
      for (const queue of queues) change(queue); // what a start finds below the head
      await touch("soon");
      const several = 1 + upTo(QUEUES);
      if (!isLast) {
        const growing = 1 + upTo(2);
        for (let groups = 0; groups < GROWTH; groups++) {
          const queue = queues[groups % growing] ?? expect.fail("no such queue");
          change(queue, 1);
          await touch("synced");
          queue.sure = queue.next;
        }
        for (let groups = 10 + upTo(50); groups > 0; groups--) {
          const queue = queues[upTo(several)] ?? expect.fail("no such queue");
          const action = rng();
          if (action < 0.05) failing = 1;
          if (rng() < 0.3) {
            const other = queues[upTo(QUEUES)] ?? expect.fail("no such queue");
            other.acked += upTo(other.next - other.acked + 1);
            change(other);
          }
          if (action < 0.6) {
            change(queue, 1 + upTo(2));
            await touch("synced");
            queue.sure = queue.next;
          } else if (action < 0.95) {
            queue.acked += upTo(queue.next - queue.acked + 1);
            change(queue);
            await touch("soon");
            // The groups that follow delete the others.
            const [from, to] = [pageKey(queue.session, 0, 0), pageKey(queue.session, 0, queue.acked)];
            if (rng() < 0.7) await expect.poll(() => opened.read(from, to, 1e6), { interval: 2 }).toEqual([]);
            if (rng() < 0.2) break; // the power is cut before other groups make up for what is lost
          } else await untilStored(opened, opened.touch({ writeTo: (group) => group.put(sessionKey(queue.session), Buffer.from("session")) }, "synced"));
        }
        before = queues;
      } else {
        for (const queue of queues) {
          queue.acked = queue.next;
          change(queue);
        }
        await touch("soon");
        const pagesLeft = async (): Promise<number> => (await opened.read(pageKey(0, 0, 0), endOfQueue(pageKey(99, 0, 0)), 1e7)).length;
        await expect.poll(pagesLeft, { timeout: 3_000 }).toBe(0).catch(async () => wrong.push(`${at}: ${await pagesLeft()} pages are left`));
      }
      counts.generations += Math.max(0, ...written.flatMap(({ operations }) => operations.map(({ key }) => generationOf(key))));
      counts.deletions += written.filter(({ operations }) => operations.some(({ type, key }) => type === "del" && isPageKey(key))).length;
      const left = leftOf(written, rng);
      await opened.close();
      store = undefined;
      if (isLast) break;
      await replay(base, left);
      directory = base;
    }
  }
  expect(wrong).toEqual([]);
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(10);
});
