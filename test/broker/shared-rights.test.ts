import { expect, it } from "vitest";
import { seededRng } from "../sim/virtual-clock.ts";
import { accessOf, BrokerRig, type Client } from "./rig.ts";

const MEMBERS = ["x", "y", "z"];
const TOPICS = ["x", "y", "z", "all"];
const STEPS = 400;
const LIMIT = 6;

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

it.each(
  [undefined, "drop_newest", "drop_oldest"].flatMap((queueFull) => Array.from({ length: 20 }, (_, seed) => [queueFull, seed] as const)),
)("each message goes to one of the members that may read it, or is counted as dropped, whoever comes and goes: limits %s, seed %i", async (queueFull, seed) => {
  const rng = seededRng(seed);
  const below = (count: number): number => Math.floor(rng() * count);
  const limits = queueFull === undefined ? {} : ({ queueFull, maxQueuedMessages: LIMIT } as const);
  const rig = await BrokerRig.start(new Map(), { inflight: 2 + below(3), limits, access: accessOf("topic readwrite all/#\npattern readwrite %c/#\n") });
  const members = MEMBERS.map((id) => new Member(rig, id));
  for (const member of members) member.connect().subscribe("$share/g/#", { qos: 1 });
  const published: string[] = [];
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
  const got = members.flatMap((member) => [...member.got]);
  expect(new Set(got).size).toBe(got.length);
  expect(got.length + rig.broker.droppedMessages).toBe(published.length);
  for (const { id, got: topics } of members) for (const topic of topics) expect([id, "all"]).toContain(topic.split("/")[0]);
  for (const { session } of rig.broker.sessions.all()) expect(session.queuedMessages).toBe(0);
  if (queueFull === undefined) expect(rig.broker.droppedMessages).toBe(0);
});
