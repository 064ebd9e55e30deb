import type { Entry } from "../broker/entry.ts";
import type { Source } from "../broker/subscriptions.ts";
import type { Will } from "../mqtt/protocol.ts";
import { messageOf } from "../queue/message.ts";
import { type Incoming, maySpeakForSystem, SYSTEM } from "./incoming.ts";
import type { ListenerContext, MountPoint } from "./mount-point.ts";

/** Publishes the will of a connection that is over, and whose session has been released: now or, while the session lives, after the will's delay. */
export function publishWill(will: Will, entry: Entry, source: Source, incoming: Incoming, mount: MountPoint, context: ListenerContext): void {
  const topic = mount.topics.lookup(will.topic, 0, will.topic.length);
  if (!topic.valid) return;
  if (topic.isSystem && !maySpeakForSystem(entry, topic.name)) return incoming.logDenial(SYSTEM);
  const { broker, clock, settings } = context;
  const rights = broker.access.rightsOf(source.identity);
  if (rights && !rights.mayWrite(topic.name)) return incoming.logDenial(topic.name);
  const { payload, properties, delaySeconds = 0, expirySeconds } = will;
  const isDelayed = delaySeconds > 0 && broker.sessions.get("client", entry.identity.id) === entry;
  const receivedMs = clock.nowMs();
  const publishedMs = receivedMs + (isDelayed ? delaySeconds * 1000 : 0);
  const message = messageOf(topic.bytes, payload, {
    qos: will.qos < mount.options.maxQoS ? will.qos : mount.options.maxQoS,
    retain: will.retain && settings.retainAvailable,
    receivedMs,
    properties,
    expiresAtMs: expirySeconds === undefined ? 0 : publishedMs + expirySeconds * 1000,
  });
  if (isDelayed) broker.delayWill(entry, message, delaySeconds * 1000);
  else broker.publishWill(source, topic, message);
}
