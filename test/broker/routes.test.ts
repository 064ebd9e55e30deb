import { beforeEach, describe, expect, it } from "vitest";
import { Routes } from "../../src/broker/routes.ts";
import { type Receiver, type Route, Subscriptions } from "../../src/broker/subscriptions.ts";
import { TopicTable } from "../../src/topic/topic-table.ts";

/** Counts what is looked for. */
class CountingSubscriptions extends Subscriptions {
  looked = 0;

  override routeOf(name: string): Route {
    this.looked += 1;
    return super.routeOf(name);
  }
}

let subscriptions: CountingSubscriptions;
let routes: Routes;
let topics: TopicTable;

function subscribe(filter: string): Receiver {
  const receiver: Receiver = { durable: false, deliver: () => 0, blocks: () => false, mayRead: () => true };
  subscriptions.place(filter, receiver, { receiver, qos: 0, retainAsPublished: false, noLocal: false });
  return receiver;
}

const receiversOf = (name: string): Receiver[] => routes.of(topics.intern(name)).map(({ receiver }) => receiver);
const publishTo = (count: number): void => {
  for (let number = 0; number < count; number++) routes.of(topics.intern(`x/${number}`));
};
const lookedFor = (task: () => void): number => {
  const before = subscriptions.looked;
  task();
  return subscriptions.looked - before;
};

beforeEach(() => {
  subscriptions = new CountingSubscriptions();
  routes = new Routes(subscriptions);
  topics = new TopicTable();
});

describe("routes", () => {
  it("are found once, and anew when a subscription has changed", () => {
    const [one] = [subscribe("x/#"), subscribe("y")];
    expect(receiversOf("x/1")).toEqual([one]);
    expect(lookedFor(() => publishTo(100))).toBe(99);
    expect(lookedFor(() => publishTo(100))).toBe(0);
    const two = subscribe("x/+");
    expect(receiversOf("x/1")).toEqual([one, two]);
    if (one) subscriptions.remove("x/#", one);
    expect(receiversOf("x/1")).toEqual([two]);
    expect(receiversOf("y/1")).toEqual([]);
  });

  it("of 10,000 topics to 10 receivers each are kept", () => {
    for (let receiver = 0; receiver < 10; receiver++) subscribe("x/#");
    publishTo(10_000);
    expect(lookedFor(() => publishTo(10_000))).toBe(0);
  });

  it("take some MiB however many topics and receivers there are, and are right all the same", () => {
    const receivers = Array.from({ length: 200 }, () => subscribe("x/#"));
    publishTo(4_000); // 6.8 MB
    expect(lookedFor(() => publishTo(4_000))).toBe(0);
    expect(lookedFor(() => publishTo(8_000))).toBeGreaterThanOrEqual(4_000);
    expect(lookedFor(() => publishTo(4_000))).toBe(4_000); // forgotten for the others
    for (const name of ["x/0", "x/3999", "x/7999"]) expect(receiversOf(name)).toEqual(receivers);
  });

  it("count receivers with several subscriptions for what each of their entries takes", () => {
    const receivers = Array.from({ length: 50 }, () => subscribe("x/#"));
    for (const receiver of receivers) subscriptions.place("x/+", receiver, { receiver, qos: 0, retainAsPublished: false, noLocal: false });
    publishTo(2_000);
    expect(lookedFor(() => publishTo(2_000))).toBe(2_000);
    expect(receiversOf("x/7")).toEqual(receivers);
  });
});
