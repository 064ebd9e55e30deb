import type { Timer } from "./clock/clock.ts";
import { type Figures, SystemTopics } from "./control/system-topics.ts";
import type { Host } from "./host.ts";
import type { Parts } from "./parts.ts";
import { messageOf } from "./queue/message.ts";

/** A new `sys_interval` is seen after this time at the latest. */
const MAX_WAIT_MS = 5_000;

/** Publishes what the daemon knows of itself below `$SYS/broker/`. */
export class SelfReport {
  private readonly topics = new SystemTopics();
  private timer: Timer | undefined;
  private publishedMs = -Infinity;
  private maxHeapBytes = 0;

  constructor(
    private readonly host: Host,
    private readonly parts: Parts,
  ) {}

  start(): void {
    const { clock } = this.host.surroundings;
    const { sysIntervalMs } = this.host.config;
    const nowMs = clock.nowMs();
    if (this.publishedMs === -Infinity || nowMs - this.publishedMs >= sysIntervalMs) {
      this.publishedMs = nowMs;
      this.publish();
    }
    this.timer = clock.after(Math.min(sysIntervalMs, MAX_WAIT_MS), () => this.start());
  }

  stop(): void {
    this.timer?.cancel();
  }

  private publish(): void {
    const { broker, clock } = this.parts;
    const receivedMs = clock.nowMs();
    this.topics.update(this.figures(), (name, text) => {
      const topic = broker.topics.intern(name);
      broker.publish(undefined, topic, messageOf(topic.bytes, Buffer.from(text), { qos: 0, retain: true, receivedMs }));
    });
  }

  figures(): Figures {
    const { surroundings, startedMs, startedConfig, config } = this.host;
    const { broker, gate, store } = this.parts;
    const usage = surroundings.usage();
    this.maxHeapBytes = Math.max(this.maxHeapBytes, usage.heapBytes);
    const { traffic } = gate;
    let connected = 0;
    let disconnected = 0;
    const queued = { messages: 0, bytes: 0 };
    for (const { kind, holder, session } of broker.sessions.all()) {
      queued.messages += session.queuedMessages;
      queued.bytes += session.queuedBytes;
      if (kind !== "client") continue;
      if (holder) connected++;
      else disconnected++;
    }
    return {
      version: process.env["AMQTDD_VERSION"] ?? "unbuilt",
      built: process.env["AMQTDD_BUILT"] ?? "",
      uptimeMs: surroundings.clock.nowMs() - startedMs,
      received: { messages: broker.receivedMessages, bytes: traffic.receivedBytes },
      sent: { messages: traffic.sentMessages, bytes: traffic.sentBytes },
      droppedMessages: broker.droppedMessages,
      losses: broker.sessions.losses,
      clients: { connected, disconnected },
      subscriptions: broker.subscriptions.count,
      retainedMessages: broker.retained.count,
      queued,
      settings: config.limits,
      process: { ...usage, maxHeapBytes: this.maxHeapBytes },
      store: { state: startedConfig.persistence ? store.state : "off", figures: store.figures },
    };
  }
}
