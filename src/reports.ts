import type { Publisher } from "./broker/admission.ts";
import type { BrokerEvents } from "./broker/broker.ts";
import type { Host } from "./host.ts";
import type { Session } from "./session/session.ts";
import type { StoreEvent } from "./store/open.ts";

/** What may happen thousands of times a second is told this often. */
const REPEATED_LOG_INTERVAL_MS = 10_000;
/** Each hundredth message that is dropped is told of, up to here. */
const MANY_DROPPED = 1_000;

/** What the console is told of events of the broker and the store. */
export class Reports implements BrokerEvents {
  private readonly droppedLoggedMs = new WeakMap<Session, number>();
  private notTakenLoggedMs = -Infinity;

  constructor(private readonly host: Host) {}

  /** The 1st, the 10th and every 100th, as the original did; of many not more than one every few seconds. */
  onDropped(session: Session): void {
    const { bounds: { dropped }, clientId: client } = session;
    if (dropped !== 1 && dropped !== 10 && dropped % 100 !== 0) return;
    const nowMs = this.host.surroundings.clock.nowMs();
    if (dropped > MANY_DROPPED && nowMs - (this.droppedLoggedMs.get(session) ?? -Infinity) < REPEATED_LOG_INTERVAL_MS) return;
    this.droppedLoggedMs.set(session, nowMs);
    this.host.log.write("queueFull", { client, dropped });
  }

  onLevel({ clientId: client, waitingMessages: messages, bounds: { limits } }: Session, isNearlyFull: boolean): void {
    this.host.log.write(isNearlyFull ? "queueNearlyFull" : "queueBelowLimit", { client, messages, limit: limits.maxQueuedMessages });
  }

  onBlockTimeout({ peerName: client }: Publisher): void {
    this.host.log.write("blockTimeout", { client, seconds: this.host.config.limits.blockTimeoutMs / 1000 });
  }

  onLost({ clientId: client }: Session, messages: number): void {
    this.host.log.write("recordsLost", { client, messages });
  }

  onDamaged(topicName: string): void {
    this.host.log.write("storeDamaged", { detail: `the retained message of ${topicName}` });
  }

  onRefused(connections: number): void {
    const nowMs = this.host.surroundings.clock.nowMs();
    if (nowMs - this.notTakenLoggedMs < REPEATED_LOG_INTERVAL_MS) return;
    this.notTakenLoggedMs = nowMs;
    this.host.log.write("publishNotTaken", { connections });
  }

  onStore({ kind, detail }: StoreEvent): void {
    const keys = {
      damaged: "storeDamaged",
      readFailed: "storeReadFailed",
      repaired: "storeRepaired",
      setAside: "storeSetAside",
      writeFailed: "storeFailed",
      writeRecovered: "storeRecovered",
      full: "storeFull",
      roomAgain: "storeRoomAgain",
    } as const;
    if (kind === "readFailed") this.host.log.writeSome(keys[kind], { detail });
    else this.host.log.write(keys[kind], { detail });
  }
}
