// Publishers and subscribers, kept busy by one loop: all publish what they may, then all that has come is read, and so on.
import { Publisher } from "./publisher.mjs";
import { Receipts, Subscriber } from "./subscriber.mjs";

const TOPIC = "bench";
const AT_ONCE = 100;

/** The results of `make(0)` to `make(count - 1)`, so many at a time. */
export async function forEach(count, make) {
  const made = [];
  while (made.length < count) made.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - made.length) }, (_, i) => make(made.length + i)))));
  return made;
}

/**
 * `job`: `{ place, subscriberPlace, publishers, subscribers, pairs, qos, window, batch, ahead, payloadBytes, topics,
 * publisherVersions, subscriberVersions, subscriberQos, perSecond, stuckMs }`. With `pairs` each publisher has one subscriber; else every subscriber gets everything. `ahead`: deliveries that
 * may be outstanding. `perSecond`: publish so many at even times, whatever the broker does, instead of as many as it takes.
 */
export class Traffic {
  receipts;
  sent = 0;
  publishers = [];
  subscribers = [];
  #job;
  #fanOut;
  #scheduled = false;
  #ahead;
  #onTurn = () => {};
  #startedAt = 0;
  #stopped = false;

  constructor(job) {
    this.#job = { batch: 512, window: 20, publisherVersions: [4], subscriberVersions: [4], payloadBytes: 100, topics: 1, stuckMs: 15_000, ...job };
    this.receipts = new Receipts({ latencies: job.perSecond !== undefined });
    this.#fanOut = job.pairs ? 1 : job.subscribers;
    this.#ahead = job.ahead ?? Infinity;
  }

  async openSubscribers({ clean = true } = {}) {
    const { place, subscriberPlace = place, pairs, publishers, subscriberVersions, qos, subscriberQos = qos, topics } = this.#job;
    this.subscribers = await forEach(pairs ? publishers : this.#job.subscribers, async (i) => {
      const expects = pairs ? { firstPublisher: i, publishers: 1 } : { firstPublisher: 0, publishers };
      const subscriber = new Subscriber(subscriberPlace, subscriberVersions[i % subscriberVersions.length], this.receipts, { ...expects, qos: Math.min(qos, subscriberQos), onProgress: () => this.#schedule() });
      const present = await subscriber.open(`bench-sub${i}`, { clean });
      if (!present) await subscriber.subscribe([pairs ? `${TOPIC}/${i}${topics > 1 ? "/#" : ""}` : `${TOPIC}/#`], subscriberQos);
      return subscriber;
    });
  }

  async openPublishers() {
    const { place, publishers, publisherVersions, topics, ...load } = this.#job;
    this.publishers = await forEach(publishers, async (i) => {
      const own = { index: i, topic: `${TOPIC}/${i}`, publishers, onProgress: () => this.#schedule() };
      const publisher = new Publisher(place, publisherVersions[i % publisherVersions.length], { ...load, topics: Math.ceil(topics / publishers) }, own);
      await publisher.open(`bench-pub${i}`);
      return publisher;
    });
  }

  /** Publishes `messages` in all. Resolves when all of them, and all before, are acknowledged and, with subscribers there, delivered. */
  async publish(messages) {
    const { publishers } = this;
    publishers.forEach((publisher, i) => publisher.grant(Math.floor(messages / publishers.length) + (i < messages % publishers.length ? 1 : 0)));
    await this.#run(() => publishers.every((publisher) => publisher.isDone) && (this.subscribers.length === 0 || this.#isDelivered));
  }

  /**
   * Publishes until the broker is warm, after `warmUp.ms` at the earliest and `warmUp.deliveries`, and then for `ms` more, calling `onMeasure` at the beginning
   * and the end of those. Resolves when everything is delivered.
   */
  async publishFor(warmUp, ms, onMeasure) {
    const warmAt = performance.now() + warmUp.ms;
    let overAt;
    this.publishers.forEach((publisher) => publisher.grant(Infinity));
    await this.#run(() => {
      if (this.#stopped) return this.#isDelivered && this.publishers.every((publisher) => publisher.isDone);
      const now = performance.now();
      if (overAt === undefined && now >= warmAt && this.receipts.delivered >= warmUp.deliveries) {
        overAt = now + ms;
        onMeasure();
      }
      if (overAt === undefined || now < overAt) return false;
      onMeasure();
      this.#stopped = true;
      this.publishers.forEach((publisher) => publisher.stop());
      this.#schedule();
      return false;
    });
  }

  /** Resolves when `messages` have come in all. */
  async receive(messages) {
    await this.#run(() => this.receipts.delivered >= messages);
  }

  get #isDelivered() {
    return this.receipts.delivered >= this.sent * this.#fanOut;
  }

  /** Publishes and reads until `isOver`, which is asked after each turn. */
  #run(isOver) {
    const { receipts } = this;
    receipts.begin();
    this.#startedAt = performance.now();
    return new Promise((resolve, reject) => {
      let [lastDelivered, lastSent] = [-1, -1];
      const watch = setInterval(() => {
        if (receipts.delivered === lastDelivered && this.sent === lastSent) end(new Error(`nothing goes on: ${receipts.delivered} delivered of ${this.sent} published`));
        [lastDelivered, lastSent] = [receipts.delivered, this.sent];
      }, this.#job.stuckMs);
      const end = (error) => {
        clearInterval(watch);
        this.#onTurn = () => {};
        if (error) reject(error);
        else resolve();
      };
      this.#onTurn = () => {
        if (receipts.wrong > 0) end(new Error(`${receipts.wrong} of ${receipts.delivered} messages came twice or out of order, or one before them is lost`));
        else if (isOver()) end();
        else this.#pump();
      };
      this.#schedule();
    });
  }

  /** One turn after all that can be read now is read. */
  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#onTurn();
    });
  }

  #pump() {
    if (this.#job.perSecond !== undefined) return this.#pumpByTime();
    let moved = false;
    for (const publisher of this.publishers) {
      if (publisher.unsent > 0) continue;
      const allowed = Math.ceil((this.#ahead + this.receipts.delivered) / this.#fanOut) - this.sent;
      const count = publisher.pump(allowed, 0);
      this.sent += count;
      moved ||= count > 0;
    }
    if (moved) this.#schedule();
  }

  /** Each message when it is due, or as soon as this loop sees it, by its publisher in turn. */
  #pumpByTime() {
    const { perSecond } = this.#job;
    if (!this.#stopped) {
      for (let dueAt; (dueAt = this.#startedAt + (this.sent * 1000) / perSecond) <= performance.now(); ) {
        if (this.publishers[this.sent % this.publishers.length].pump(1, dueAt) === 0) break; // its window is full: what is late counts as late
        this.sent++;
      }
    }
    this.#schedule();
  }
}
