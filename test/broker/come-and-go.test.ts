import { expect, it } from "vitest";
import type { QueueFull } from "../../src/session/bounds.ts";
import { seededRng } from "../sim/virtual-clock.ts";
import { accessOf, BrokerRig, type Client } from "./rig.ts";

const MEMBERS = ["x", "y", "z"];
const TOPICS = ["x", "y", "z", "all"];
const STEPS = 400;
const LIMIT = 6;
const SEEDS = Number(process.env["AMQTDD_SEEDS"] ?? 20);
const FIRST_SEED = Number(process.env["AMQTDD_FIRST_SEED"] ?? 0);

/** What one client has, over its connections: what came twice it has once, by its topic. */
class Member {
  private client: Client | undefined;
  readonly got = new Set<string>();

  constructor(
    private rig: BrokerRig,
    readonly id: string,
  ) {}

  get isConnected(): boolean {
    return this.client !== undefined;
  }

  connect(): Client {
    this.client ??= this.rig.connect(this.id, { expiryMs: Infinity });
    return this.client;
  }

  leave(): void {
    this.take();
    this.client?.leave();
    this.client = undefined;
  }

  take(): void {
    for (const topic of this.client?.take() ?? []) this.got.add(topic);
  }

  /** Returns whether anything was left to acknowledge. */
  acknowledge(count: number): boolean {
    this.take();
    const { client } = this;
    const ids = client?.peer.unacknowledged.splice(0, count) ?? [];
    for (const id of ids) client?.entry.session.sender?.onPuback(id);
    return ids.length > 0;
  }
}

interface Case {
  readonly seed: number;
  readonly queueFull: QueueFull | "none";
  readonly isShared: boolean;
}

const CASES: Case[] = [true, false].flatMap((isShared) =>
  (["none", "drop_newest", "drop_oldest"] as const).flatMap((queueFull) => Array.from({ length: SEEDS }, (_, index) => ({ seed: FIRST_SEED + index, queueFull, isShared }))),
);

it.each(CASES)("each message goes to one of the members that may read it, or to all if $isShared is false, or is counted as dropped, and none stays behind: limits $queueFull, seed $seed", async ({ seed, queueFull, isShared }) => {
  const rng = seededRng(seed);
  const below = (count: number): number => Math.floor(rng() * count);
  const limits = queueFull === "none" ? {} : { queueFull, maxQueuedMessages: LIMIT };
  const rig = await BrokerRig.start(new Map(), { inflight: 2 + below(3), limits, access: accessOf("topic readwrite all/#\npattern readwrite %c/#\n") });
  const members = MEMBERS.map((id) => new Member(rig, id));
  for (const member of members) member.connect().subscribe(isShared ? "$share/g/#" : "#", { qos: 1 });
  const published: string[] = [];
  const mayRead = ({ id }: Member, topic: string): boolean => ["all", id].includes(topic.split("/")[0] ?? "");
  for (let step = 0; step < STEPS; step++) {
    const member = members[below(members.length)] ?? expect.fail();
    switch (below(8)) {
      case 0:
        member.leave();
        break;
      case 1:
        member.connect();
        break;
      case 2:
      case 3:
        member.acknowledge(1 + below(4));
        break;
      case 4:
        await rig.settle(below(30));
        break;
      default: {
        const topic = `${TOPICS[below(TOPICS.length)]}/${published.length}`;
        published.push(topic);
        rig.publish(topic, 1);
      }
    }
  }
  for (const member of members) member.connect();
  do await rig.settle(); while (members.map((member) => member.acknowledge(Infinity)).includes(true));
  const got = members.flatMap((member) => [...member.got].map((topic) => (isShared ? topic : `${topic} ${member.id}`)));
  const receivers = isShared ? published : published.flatMap((topic) => members.filter((member) => mayRead(member, topic)));
  expect(new Set(got).size).toBe(got.length);
  expect(got.length + rig.broker.droppedMessages).toBe(receivers.length);
  for (const member of members) for (const topic of member.got) expect(mayRead(member, topic)).toBe(true);
  for (const { session } of rig.broker.sessions.all()) expect(session.queuedMessages).toBe(0);
  if (queueFull === "none") expect(rig.broker.droppedMessages).toBe(0);
});
