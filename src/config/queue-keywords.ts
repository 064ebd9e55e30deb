import type { QueueConfig } from "./config.ts";
import type { Section } from "./section.ts";

/** What a section says of queues: the global one of each client's, a connection's of its own. */
export function buildQueue(section: Section): QueueConfig {
  return {
    maxQueuedMessages: section.number("max_queued_messages"),
    maxQueuedBytes: section.number("max_queued_bytes"),
    maxQueuedAgeMs: section.number("max_queued_age"),
    queueFull: section.string("queue_full") as QueueConfig["queueFull"],
    queueQoS0: section.boolean("queue_qos0_messages"),
  };
}
